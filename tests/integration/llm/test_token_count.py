"""The server's own count of tokens, and servers that have none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from models.llm.client import LlmClient
from models.llm.settings import LlmSettings


@asynccontextmanager
async def _counting(answer: Any, status: int = 200) -> AsyncIterator[tuple[LlmClient, list[Any]]]:
    seen: list[Any] = []

    async def encode(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        seen.append(body)
        found = answer(body["input"]) if callable(answer) else answer
        return web.json_response(found, status=status)

    app = web.Application()
    app.router.add_post("/v1/encode", encode)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = LlmClient(LlmSettings(base_urls=(url,), model="m", probe_interval_s=60))
    await client.start()
    for server in client._servers.all:
        server.is_reachable = True
    try:
        yield client, seen
    finally:
        await client.stop()
        await runner.cleanup()


async def test_texts_are_counted_in_one_call() -> None:
    def lengths(texts: list[str]) -> dict[str, Any]:
        return {"input_ids": [[1] * len(t) for t in texts], "length": [len(t) for t in texts]}

    async with _counting(lengths) as (client, seen):
        assert await client.tokens.count(["你好", "abc"]) == [2, 3]
        assert seen == [{"input": ["你好", "abc"], "do_preprocess": False, "add_bos": False}]


@pytest.mark.parametrize(
    ("answer", "status"),
    [({"detail": "Not Found"}, 404), ({"length": [1]}, 200), ({"length": "x"}, 200), ([], 200)],
)
async def test_a_server_that_cannot_tell_is_left_alone_for_a_while(
    answer: Any, status: int
) -> None:
    async with _counting(answer, status) as (client, seen):
        assert await client.tokens.count(["a", "b"]) is None
        assert await client.tokens.count(["a", "b"]) is None
        assert len(seen) == 1
