"""Our signatures and encryption against hands that are not ours: Node's and wechatpy's.

Each message goes all the way: the peer writes the push, our door reads it and answers inside the
request, the peer reads the answer.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.wechat.official.crypto import Envelope, Forged, sign
from adapters.wechat.official.push import Asking, Door
from adapters.wechat.official.settings import OfficialSettings
from core.clock import SystemClock
from tests.fakes.wechat_api import ACCOUNT_NAME, APP_ID, TOKEN, body_of, parse, signature

MESSAGES = 1_000
PEER = Path(__file__).parents[2] / "peers" / "wechat-crypto"
_LETTERS = "眼睛疼痛看不清abcXYZ 0189。！？,.<>&\"'\\\n\t👁️‍🗨️👩‍⚕️é\u0301𠮷]]>[%"


class Node:
    """The peer in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [shutil.which("node") or "node", "peer.mjs"],
            cwd=PEER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, jobs: list[dict[str, Any]]) -> list[Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the independent peer cannot run")
    if not (PEER / "node_modules").exists():
        pytest.skip("run `make setup` (npm) to install the peer in tests/peers/wechat-crypto")
    peer = Node()
    yield peer
    peer.close()


def _words(chance: random.Random) -> str:
    text = "".join(chance.choice(_LETTERS) for _ in range(chance.randrange(1, 400)))
    return text.strip() or "眼"


def _a_key(chance: random.Random) -> str:
    return base64.b64encode(chance.randbytes(32)).decode().rstrip("=")


@asynccontextmanager
async def an_echo(aes_key: str | None, **more: Any) -> AsyncIterator[tuple[str, list[str]]]:
    """A door that answers each text with itself; yields its address and what it read."""
    read: list[str] = []

    async def receive(fields: Mapping[str, str], _asking: Asking) -> dict[str, Any]:
        read.append(fields["Content"])
        return {
            "ToUserName": fields["FromUserName"],
            "FromUserName": fields["ToUserName"],
            "CreateTime": 1,
            "MsgType": "text",
            "Content": fields["Content"],
        }

    settings = OfficialSettings.model_validate(
        {"app_id": APP_ID, "token": TOKEN, "aes_key": aes_key, "reply": "passive", **more}
    )
    door = Door(settings, SystemClock(), receive)
    app = web.Application()
    app.add_routes([web.get("/push", door.verify), web.post("/push", door.push)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/push", read
    finally:
        await runner.cleanup()


def _push(words: str, number: int) -> dict[str, Any]:
    return {
        "ToUserName": ACCOUNT_NAME,
        "FromUserName": f"oPatient_{number}",
        "CreateTime": int(time.time()),
        "MsgType": "text",
        "Content": words,
        "MsgId": 24_000_000 + number,
    }


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("mode", ["plain", "compatible", "secure"])
async def test_a_thousand_messages_go_there_and_back(node: Node, mode: str, form: Any) -> None:
    chance = random.Random(f"{mode} {form}")
    key = _a_key(chance)
    said = [_words(chance) for _ in range(MESSAGES)]
    pushes = [_push(words, n) for n, words in enumerate(said)]
    plains = [_safe_body(push, form) for push in pushes]
    at, nonces = str(int(time.time())), [os.urandom(5).hex() for _ in said]
    encrypted: list[str] = []
    marks: list[str] = []
    if mode != "plain":
        encrypted = node.ask(
            [{"do": "encrypt", "key": key, "message": p.decode(), "id": APP_ID} for p in plains]
        )
        marks = node.ask(
            [
                {"do": "sign", "token": TOKEN, "timestamp": at, "nonce": n, "encrypted": e}
                for n, e in zip(nonces, encrypted, strict=True)
            ]
        )
    answers: list[str] = []
    async with an_echo(key) as (url, read), aiohttp.ClientSession() as session:
        for number, plain in enumerate(plains):
            nonce = nonces[number]
            query = {"timestamp": at, "nonce": nonce, "signature": signature(TOKEN, at, nonce)}
            body = plain
            if mode != "plain":
                query |= {"encrypt_type": "aes", "msg_signature": marks[number]}
                outer = pushes[number] if mode == "compatible" else {"ToUserName": ACCOUNT_NAME}
                body = _safe_body({**outer, "Encrypt": encrypted[number]}, form)
            async with session.post(url, params=query, data=body) as answer:
                assert answer.status == 200
                answers.append(await answer.text())
    assert read == said
    if mode != "plain":
        outer_answers = [parse(a) for a in answers]
        checks = node.ask(
            [
                {
                    "do": "sign",
                    "token": TOKEN,
                    "timestamp": str(a["TimeStamp"]),
                    "nonce": a["Nonce"],
                    "encrypted": a["Encrypt"],
                }
                for a in outer_answers
            ]
        )
        assert checks == [a["MsgSignature"] for a in outer_answers]
        opened = node.ask(
            [{"do": "decrypt", "key": key, "encrypted": a["Encrypt"]} for a in outer_answers]
        )
        assert {o["id"] for o in opened} == {APP_ID}
        answers = [o["message"] for o in opened]
    assert [parse(a)["Content"] for a in answers] == said


def _safe_body(fields: dict[str, Any], form: Any) -> bytes:
    """WeChat's own bodies split the end mark of CDATA too."""
    split = {
        k: v.replace("]]>", "]]]]><![CDATA[>") if form == "xml" and isinstance(v, str) else v
        for k, v in fields.items()
    }
    return body_of(split, form)


def test_a_thousand_messages_agree_with_wechatpy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wechatpy.crypto import WeChatCrypto  # noqa: PLC0415 an oracle for this test alone

    chance = random.Random(7)
    for number in range(MESSAGES):
        key = _a_key(chance)
        oracle, ours = WeChatCrypto(TOKEN, key, APP_ID), Envelope(key, APP_ID)
        words = _words(chance)
        at, nonce = str(1_700_000_000 + number), str(chance.randrange(10**9))
        sealed = ours.seal(f"<xml><Content>{number}</Content></xml>".encode() + words.encode())
        outer = f"<xml><ToUserName>a</ToUserName><Encrypt>{sealed}</Encrypt></xml>"
        mark = sign(TOKEN, at, nonce, sealed)
        opened = oracle.decrypt_message(outer, mark, at, nonce)
        assert opened == f"<xml><Content>{number}</Content></xml>{words}"
        theirs = parse(oracle.encrypt_message(words, nonce, at))
        assert sign(TOKEN, at, nonce, theirs["Encrypt"]) == theirs["MsgSignature"]
        assert ours.open(theirs["Encrypt"]).decode() == words


def test_the_vector_of_the_official_page() -> None:
    expected = "899cf89e464efb63f54ddac96b0a0a235f53aa78"
    assert sign("AAAAA", "1714037059", "486452656") == expected


def test_another_accounts_message_and_another_key_are_refused() -> None:
    chance = random.Random(3)
    key = _a_key(chance)
    with pytest.raises(Forged):
        Envelope(key, APP_ID).open(Envelope(key, "wxanother").seal(b"x"))
    with pytest.raises(Forged):
        Envelope(_a_key(chance), APP_ID).open(Envelope(key, APP_ID).seal(b"x"))


async def test_pushes_with_the_previous_key_are_read_and_answered_with_it(node: Node) -> None:
    chance = random.Random(5)
    old, new = _a_key(chance), _a_key(chance)
    async with (
        an_echo(new, previous_aes_key=old) as (url, read),
        aiohttp.ClientSession() as session,
    ):
        for key in (old, new):
            plain = _safe_body(_push("你好", 1), "xml").decode()
            (sealed,) = node.ask([{"do": "encrypt", "key": key, "message": plain, "id": APP_ID}])
            at, nonce = str(int(time.time())), os.urandom(5).hex()
            query = {
                "timestamp": at,
                "nonce": nonce,
                "signature": signature(TOKEN, at, nonce),
                "encrypt_type": "aes",
                "msg_signature": signature(TOKEN, at, nonce, sealed),
            }
            body = body_of({"ToUserName": ACCOUNT_NAME, "Encrypt": sealed}, "xml")
            async with session.post(url, params=query, data=body) as answer:
                assert answer.status == 200
                outer = parse(await answer.text())
            (opened,) = node.ask([{"do": "decrypt", "key": key, "encrypted": outer["Encrypt"]}])
            assert parse(opened["message"])["Content"] == "你好"
    assert read == ["你好", "你好"]


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_the_console_can_check_our_address(is_encrypted: bool) -> None:
    key = _a_key(random.Random(1))
    at, nonce = str(int(time.time())), "n1"
    query = {"timestamp": at, "nonce": nonce, "signature": signature(TOKEN, at, nonce)}
    query["echostr"] = Envelope(key, APP_ID).seal(b"8831") if is_encrypted else "8831"
    if is_encrypted:
        query["msg_signature"] = signature(TOKEN, at, nonce, query["echostr"])
    async with an_echo(key) as (url, _), aiohttp.ClientSession() as session:
        async with session.get(url, params=query) as answer:
            assert (answer.status, await answer.text()) == (200, "8831")
        for wrong in ({"signature": "0" * 40}, {"nonce": "n2"}, {"echostr": ""}):
            async with session.get(url, params={**query, **wrong}) as answer:
                assert answer.status == 403
                assert "8831" not in await answer.text()
