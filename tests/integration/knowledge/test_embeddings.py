"""Search by meaning over a real HTTP server: fused when it answers, absent when it does not."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import math

import pytest
from aiohttp import web

from bot.knowledge import KnowledgeSources
from bot.settings import Settings
from core.errors import ConfigError, ModelUnavailable
from core.knowledge.meaning import Meaning
from core.knowledge.search import search, use
from models.embeddings.client import EmbeddingClient
from models.embeddings.settings import KnowledgeSettings
from tests.fakes.waiting import until


def a_vector(text, *, length=64):
    """Return a vector that is near for texts with the same letters."""
    vector = [0.0] * length
    for pair in itertools.pairwise(text):
        vector[hashlib.md5("".join(pair).encode()).digest()[0] % length] += 1
    return vector


class Server:
    """An embedding server; `mode` says how it fails."""

    def __init__(self):
        self.mode = "good"
        self.asked = []
        self.keys = []
        self.vectors = {}

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/v1/embeddings", self._embed)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _embed(self, request):
        body = await request.json()
        self.asked.append(body["input"])
        self.keys.append(request.headers.get("authorization"))
        if self.mode == "hang":
            await asyncio.Event().wait()
        if self.mode == "http_500":
            return web.Response(status=500, text="secret words of a patient")
        if self.mode == "garbage":
            return web.Response(text="<html>")
        data = [
            {"index": i, "embedding": self.vectors.get(t) or a_vector(t)}
            for i, t in enumerate(body["input"])
        ]
        if self.mode == "short":
            data = data[:-1]
        if self.mode == "nan":
            data[0]["embedding"][0] = math.nan
        if self.mode == "ragged":
            data[0]["embedding"] = [1.0]
        return web.Response(text=json.dumps({"data": data[::-1]}), content_type="application/json")


@pytest.fixture
async def server():
    async with Server() as running:
        yield running


@pytest.fixture
async def client(server):
    settings = KnowledgeSettings(base_url=f"{server.url}/v1/", model="m", api_key="k")
    made = EmbeddingClient(settings)
    yield made
    await made.stop()


async def test_vectors_come_in_order_whatever_the_server_does(server, client):
    first, second = await client.embed(["白内障", "glaucoma"])
    assert (first, second) == (a_vector("白内障"), a_vector("glaucoma"))
    assert server.keys == ["Bearer k"]


@pytest.mark.parametrize("mode", ["http_500", "garbage", "short", "nan", "ragged"])
async def test_an_unusable_answer_is_said_without_the_servers_words(server, client, mode):
    server.mode = mode
    with pytest.raises(ModelUnavailable) as failed:
        await client.embed(["a", "b"])
    assert "patient" not in str(failed.value)


async def test_after_three_failures_the_server_is_left_alone_for_a_while(server):
    now = [0.0]
    settings = KnowledgeSettings(base_url=server.url, model="m")
    client = EmbeddingClient(settings, now_s=lambda: now[0])
    server.mode = "http_500"
    for healthy in (True, True, True):
        assert client.is_healthy() is healthy
        with pytest.raises(ModelUnavailable):
            await client.embed(["a"])
    assert not client.is_healthy()
    now[0] = 31.0
    assert client.is_healthy()
    server.mode = "good"
    await client.embed(["a"])
    assert client.is_healthy()
    await client.stop()


async def test_a_server_that_is_gone_is_unavailable():
    client = EmbeddingClient(KnowledgeSettings(base_url="http://127.0.0.1:9", model="m"))
    with pytest.raises(ModelUnavailable):
        await client.embed(["a"])
    await client.stop()


async def test_vectors_are_made_once_and_kept(server, client, tmp_path):
    content = [("KB01", "one"), ("KB02", "two")]
    assert await Meaning(client, tmp_path, timeout_s=60).learn(content) == 2
    again = Meaning(client, tmp_path, timeout_s=60)
    assert await again.learn([*content, ("b#1", "three")]) == 1
    assert server.asked == [["one", "two"], ["three"]]
    await again.prepare("one")
    assert again.ranking("one")[0] == "KB01"
    assert again.ranking("never prepared") == ()


async def test_damaged_vectors_are_made_anew(server, client, tmp_path):
    meaning = Meaning(client, tmp_path, timeout_s=60)
    await meaning.learn([("KB01", "one")])
    (kept,) = tmp_path.glob("vectors-*.npz")
    kept.write_bytes(b"PK broken")
    assert await Meaning(client, tmp_path, timeout_s=60).learn([("KB01", "one")]) == 1


async def test_what_was_made_before_a_failure_is_kept(server, client, tmp_path):
    content = [(f"b#{i}", f"text {i}") for i in range(40)]  # two batches

    embed = client.embed

    async def fails_second(texts):
        if len(server.asked) == 1:
            raise ModelUnavailable("gone")
        return await embed(texts)

    client.embed = fails_second
    with pytest.raises(ModelUnavailable):
        await Meaning(client, tmp_path, timeout_s=60).learn(content)
    client.embed = embed
    assert await Meaning(client, tmp_path, timeout_s=60).learn(content) == 8


@pytest.mark.parametrize("mode", ["hang", "http_500", "garbage"])
async def test_a_bad_server_neither_delays_nor_changes_an_answer(server, client, tmp_path, mode):
    await Meaning(client, tmp_path, timeout_s=60).learn([("KB01", "one")])
    meaning = Meaning(client, tmp_path, timeout_s=0.2)
    assert await meaning.learn([("KB01", "one")]) == 0, "kept"
    before = [h.id for h in search("白内障是什么病", "zh-Hans")]
    server.mode = mode
    use(meaning=meaning)
    try:
        for n in range(6):
            await meaning.prepare(f"白内障是什么病{n}")  # three waits, then the circuit is open
        assert len(server.asked) <= 1 + 3
        assert [h.id for h in search("白内障是什么病", "zh-Hans")] == before
    finally:
        use()


async def test_meaning_moves_articles_up_and_opens_no_other_business(server, tmp_path):
    settings = Settings(
        data_dir=tmp_path, knowledge=KnowledgeSettings(base_url=server.url, model="m")
    )
    question = "白内障是什么病"
    sources = KnowledgeSources(settings)
    task = sources.start()
    try:
        await until(lambda: sources.is_ready, "the vectors are made")
        words_alone = [h.id for h in search(question, "zh-Hans", 5)]
        wanted = next(t for batch in server.asked for t in batch if t.startswith("干眼怎么办"))
        server.vectors[question] = server.vectors["今天股票涨了多少"] = a_vector(wanted)
        await sources.prepare(question)
        await sources.prepare("今天股票涨了多少")
        fused = [h.id for h in search(question, "zh-Hans", 5)]
        assert "KB42" not in words_alone
        assert "KB42" in fused
        assert fused[0] == "KB39"  # both lists speak for it
        assert search("今天股票涨了多少", "zh-Hans") == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sources.stop()


def test_an_address_without_a_model_is_refused(tmp_path):
    part = KnowledgeSettings(base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"knowledge\.model"):
        KnowledgeSources(Settings(data_dir=tmp_path, knowledge=part))
