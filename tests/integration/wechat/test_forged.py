"""Two thousand pushes that are not WeChat's: each gets 403 or 400, none is taken."""

from __future__ import annotations

import base64
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from adapters.wechat.official.push import Asking, Door
from adapters.wechat.official.settings import OfficialSettings
from core.clock import SystemClock
from tests.fakes.wechat_api import (
    ACCOUNT_NAME,
    AES_KEY,
    APP_ID,
    TOKEN,
    Pushed,
    body_of,
    encrypt,
    make_push,
    signature,
)

FORGERIES = 2_000
_BILLION = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;">]><xml><Content>&c;</Content></xml>'
)
_OUTSIDE = (
    '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]><xml><Content>&x;</Content></xml>'
)


def _fields(chance: random.Random) -> dict[str, Any]:
    return {
        "ToUserName": ACCOUNT_NAME,
        "FromUserName": f"oPatient_{chance.randrange(1000)}",
        "CreateTime": int(time.time()),
        "MsgType": "text",
        "Content": chance.choice(["眼睛疼", "hello", "<a>", "1"]),
        "MsgId": chance.randrange(1, 2**63),
    }


def _signed(body: bytes, chance: random.Random, *, sealed: str | None = None) -> Pushed:
    """A body of an attacker who somehow has a valid plain signature."""
    at, nonce = str(int(time.time())), os.urandom(6).hex()
    query = {"timestamp": at, "nonce": nonce, "signature": signature(TOKEN, at, nonce)}
    if sealed is not None:
        query |= {"encrypt_type": "aes", "msg_signature": signature(TOKEN, at, nonce, sealed)}
    return Pushed(query, body)


def _wrong_signature(good: Pushed, chance: random.Random) -> Pushed:
    name = chance.choice([n for n in ("signature", "msg_signature") if n in good.query])
    value = good.query[name]
    at = chance.randrange(len(value))
    other = chance.choice([c for c in "0123456789abcdef" if c != value[at]])
    wrong = chance.choice(
        [value[:at] + other + value[at + 1 :], value[:at], value + "0", "", value.upper() + "x"]
    )
    return Pushed({**good.query, name: wrong}, good.body)


def _without(good: Pushed, chance: random.Random) -> Pushed:
    name = chance.choice(["signature", "timestamp", "nonce"])
    return Pushed({k: v for k, v in good.query.items() if k != name}, good.body)


def _other_time_or_nonce(good: Pushed, chance: random.Random) -> Pushed:
    name = chance.choice(["timestamp", "nonce"])
    values = ["1", "99999999999", "-5", "٣٤", "", "x" * 5000, "1e9", good.query[name] + "1"]
    return Pushed({**good.query, name: chance.choice(values)}, good.body)


def _replayed_late(good: Pushed, chance: random.Random) -> Pushed:
    age_s = chance.choice([-86_400, -3_600, -301, 400, 86_400])
    fields = _fields(chance)
    mode = "secure" if "msg_signature" in good.query else "plain"
    return make_push(fields, mode=mode, now_s=time.time() + age_s + (-5 if age_s < 0 else 5))


def _another_body(good: Pushed, chance: random.Random) -> Pushed:
    """The signature of a push that was sent, with other words."""
    if "msg_signature" in good.query:
        sealed = encrypt(body_of(_fields(chance), "xml"))
        return Pushed(good.query, body_of({"ToUserName": "x", "Encrypt": sealed}, "xml"))
    return Pushed(good.query, good.body.replace(b"</xml>", b"<A>1</A></xml>"))


def _downgraded(good: Pushed, chance: random.Random) -> Pushed:
    """An encrypted push made plain."""
    query = {k: v for k, v in good.query.items() if k not in ("msg_signature", "encrypt_type")}
    return Pushed(query, body_of(_fields(chance), "xml"))


def _sealed_badly(_good: Pushed, chance: random.Random) -> Pushed:
    """Correctly signed, but the encrypted part is cut, flipped, padded or somebody else's."""
    sealed = encrypt(body_of(_fields(chance), "xml"))
    raw = bytearray(base64.b64decode(sealed))
    match chance.randrange(7):
        case 0:
            raw = raw[: chance.randrange(len(raw))]
        case 1:
            raw[-1 - chance.randrange(32)] ^= 1 << chance.randrange(8)
        case 2:
            raw += os.urandom(chance.randrange(1, 64))
        case 3:
            raw = raw[:-16]
        case 4:
            sealed = encrypt(b"<xml></xml>", app_id="wxsomebodyelse")
            raw = bytearray(base64.b64decode(sealed))
        case 5:
            raw = bytearray(os.urandom(chance.choice([0, 1, 15, 16, 32, 48, 64])))
        case _:
            text = chance.choice(["", "%%%", "=", "A", "眼", sealed[:-2], sealed + "="])
            return _signed(body_of({"Encrypt": text}, "xml"), chance, sealed=text)
    text = base64.b64encode(bytes(raw)).decode()
    return _signed(body_of({"ToUserName": "x", "Encrypt": text}, "xml"), chance, sealed=text)


def _unreadable(_good: Pushed, chance: random.Random) -> Pushed:
    fields = _fields(chance)
    whole = body_of(fields, "xml")
    many = "".join(f"<f{n}>1</f{n}>" for n in range(500))
    body = chance.choice(
        [
            b"",
            b"\x00",
            b"<",
            b"{",
            b"[]",
            b"{}",
            b"null",
            b"<xml>",
            whole[: chance.randrange(len(whole) - 7)],
            _BILLION.encode(),
            _OUTSIDE.encode(),
            b"<xml>" * 3_000 + b"</xml>" * 3_000,
            f"<xml>{many}</xml>".encode(),
            b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
            whole.replace(b"CreateTime", b"CreateTim"),
            json.dumps({**fields, "CreateTime": "soon"}).encode(),
            json.dumps({**fields, "MsgId": "../../etc"}).encode(),
            json.dumps({**fields, "FromUserName": "a b\x00"}).encode(),
            json.dumps({**fields, "FromUserName": "o" * 500}).encode(),
            whole.replace(b"oPatient", b"\xff\xfe"),
            b'<?xml version="1.0" encoding="utf-7"?>' + whole,
            os.urandom(chance.randrange(1, 200)),
        ]
    )
    return _signed(body, chance)


def _unreadable_inside(_good: Pushed, chance: random.Random) -> Pushed:
    inner = _unreadable(_good, chance).body
    sealed = encrypt(inner)
    return _signed(body_of({"Encrypt": sealed}, "xml"), chance, sealed=sealed)


_WAYS: list[Callable[[Pushed, random.Random], Pushed]] = [
    _wrong_signature,
    _without,
    _other_time_or_nonce,
    _replayed_late,
    _another_body,
    _downgraded,
    _sealed_badly,
    _unreadable,
    _unreadable_inside,
]


@pytest.fixture
async def door() -> Any:
    taken: list[dict[str, str]] = []

    async def receive(fields: Mapping[str, str], _asking: Asking) -> None:
        from adapters.wechat.official.inbound import to_push  # noqa: PLC0415
        from adapters.wechat.official.wire import Unreadable  # noqa: PLC0415

        if to_push(fields, account=APP_ID, now_ms=int(time.time() * 1000)) is None:
            raise Unreadable("a field is missing")
        taken.append(dict(fields))

    settings = OfficialSettings.model_validate(
        {"app_id": APP_ID, "token": TOKEN, "aes_key": AES_KEY, "reply": "passive"}
    )
    made = Door(settings, SystemClock(), receive)
    failures: list[str] = []

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            failures.append(repr(error))
            raise

    app = web.Application(middlewares=[watch])
    app.add_routes([web.post("/push", made.push)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/push", taken, failures
    await runner.cleanup()


async def test_two_thousand_forgeries_are_refused(door: Any) -> None:
    url, taken, failures = door
    chance = random.Random(20261122)
    answers: Counter[tuple[str, int]] = Counter()
    genuine = 0
    async with aiohttp.ClientSession() as session:
        for number in range(FORGERIES):
            mode = chance.choice(["plain", "secure", "compatible"])
            good = make_push(_fields(chance), mode=mode)
            way = _WAYS[number % len(_WAYS)]
            if way in (_another_body, _downgraded):
                # The attacker listened to a push that was taken.
                good = make_push(
                    _fields(chance), mode=mode if way is _another_body else "compatible"
                )
                async with session.post(url, params=good.query, data=good.body) as answer:
                    assert answer.status == 200
                genuine += 1
            bad = way(good, chance)
            async with session.post(url, params=bad.query, data=bad.body) as answer:
                answers[way.__name__, answer.status] += 1
    assert {status for _, status in answers} <= {400, 403}, answers
    assert len(taken) == genuine
    assert failures == []
    assert sum(answers.values()) == FORGERIES


async def test_a_body_that_is_too_long_is_not_read(door: Any) -> None:
    url, taken, _ = door
    chance = random.Random(1)
    async with aiohttp.ClientSession() as session:
        push = _signed(b"<xml>" + b"x" * 600_000 + b"</xml>", chance)
        async with session.post(url, params=push.query, data=push.body) as answer:
            assert answer.status == 413
    assert taken == []
