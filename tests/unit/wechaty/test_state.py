"""Settings, the link's states, the pace, and the notes of announced messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.wechat.wechaty.client import CallFailed
from adapters.wechat.wechaty.link import Link
from adapters.wechat.wechaty.pace import Pace
from adapters.wechat.wechaty.settings import WechatySettings
from adapters.wechat.wechaty.waiting import Waiting
from core.errors import Throttled


class Steady:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


# ---- settings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"enabled": True},
        {"enabled": True, "token": ""},
        {"endpoint": "http://gateway:8788"},
        {"endpoint": "gateway"},
        {"endpoint": "gateway:0"},
        {"token": "two\nlines"},
        {"account": "a/../b"},
        {"unknown": 1},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        WechatySettings.model_validate(wrong)
    assert "two\nlines" not in str(refused.value)


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [("gw.test:8788", "gw.test", 8788), ("[::1]:99", "::1", 99), ("127.0.0.1:1", "127.0.0.1", 1)],
)
def test_an_endpoint_is_host_and_port(endpoint: str, host: str, port: int) -> None:
    made = WechatySettings(endpoint=endpoint)
    assert (made.host, made.port) == (host, port)


def test_a_frozen_gateway_is_noticed_within_15_s_by_default() -> None:
    made = WechatySettings()
    assert made.keepalive_s + made.keepalive_timeout_s < 15


# ---- the link ----------------------------------------------------------------------------


def _gone(why: str = "unreachable") -> CallFailed:
    return CallFailed(why, written=False)  # type: ignore[arg-type]


def test_pauses_grow_a_little_and_start_small_again() -> None:
    link = Link(Steady())
    pauses = [link.failed(_gone()) for _ in range(12)]
    assert pauses[0] <= 0.5
    assert all(0.25 <= p <= 3.0 for p in pauses)
    assert max(pauses) > 1.0
    link.opened()
    link.heard()
    assert link.failed(_gone()) <= 0.5
    assert link.failed(_gone("token_refused")) >= 30
    assert link.state == "token_refused"
    assert link.failed(_gone("occupied")) <= 3
    assert link.state == "occupied"


def test_a_greeting_does_not_clear_a_doubt_and_a_message_does() -> None:
    link = Link(Steady())
    link.opened()
    link.logged_in("me")
    assert link.quiet()
    assert not link.quiet()
    link.failed(_gone())
    assert not link.is_usable
    link.opened()
    link.heard()
    link.logged_in("me")
    assert (link.state, link.is_usable) == ("quiet", True)
    link.proved_alive()
    assert link.state == "logged_in"


def test_the_code_to_scan_is_shown_as_long_as_it_counts() -> None:
    link = Link(Steady())
    link.opened()
    link.scan("https://x")
    assert link.facts()["qr"] == "https://x"
    link.scan("")
    assert "qr" not in link.facts()
    link.scan("https://y")
    link.failed(_gone())
    assert "qr" not in link.facts()


# ---- the pace ----------------------------------------------------------------------------


async def test_a_chat_is_written_to_with_uneven_gaps() -> None:
    steady = Steady()
    pace = Pace(messages_per_min=600, chat_gap_s=1, now_s=steady, sleep=steady.sleep)
    for _ in range(4):
        await pace.turn("a", urgent=False)
    assert len(steady.slept) == 3
    assert all(1.0 <= s <= 1.5 for s in steady.slept)
    assert len(set(steady.slept)) == 3
    await pace.turn("b", urgent=False)  # another chat need not wait
    assert len(steady.slept) == 3


async def test_all_chats_share_a_limit_that_an_emergency_ignores() -> None:
    steady = Steady()
    pace = Pace(messages_per_min=6, chat_gap_s=0, now_s=steady, sleep=steady.sleep)
    for n in range(6):
        await pace.turn(f"chat-{n}", urgent=False)
    with pytest.raises(Throttled) as no:
        await pace.turn("one-more", urgent=False)
    assert no.value.scope == "account"
    assert no.value.retry_after_s == pytest.approx(10)
    await pace.turn("emergency", urgent=True)
    assert steady.slept == []


# ---- announced messages ------------------------------------------------------------------


_ids = st.sampled_from([f"m{n}\n\u2028「" for n in range(6)])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["add", "done", "later", "crash"]), _ids), max_size=30))
def test_a_crash_forgets_nothing_that_waits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("waiting") / "folder" / "notes.jsonl"
    waiting, model = Waiting(path), set[str]()
    for what, message_id in steps:
        if what == "add":
            assert waiting.add(message_id) == (message_id not in model)
            model.add(message_id)
        elif what == "crash":
            waiting.close()
            waiting = Waiting(path)
        elif message_id in model:
            if what == "done":
                waiting.done(message_id)
                model.discard(message_id)
            else:
                waiting.later(message_id)
        assert len(waiting) == len(model)
        assert (waiting.first() in model) if model else waiting.first() is None
    waiting.close()


def test_they_wait_in_their_order_and_a_cut_line_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    waiting = Waiting(path)
    for message_id in ("a", "b", "c"):
        waiting.add(message_id)
    waiting.done("a")
    waiting.close()
    with path.open("a") as file:
        file.write('["+", "d')
    again = Waiting(path)
    assert again.first() == "b"
    assert again.later("b") == 1
    assert again.first() == "c"
    again.add("e")  # not onto the line that was cut
    again.close()
    third = Waiting(path)
    assert len(third) == 3
    third.close()


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    waiting = Waiting(path)
    for n in range(2000):
        waiting.add(str(n))
        waiting.done(str(n))
    waiting.close()
    assert path.stat().st_size < 30_000
    waiting = Waiting(path)
    waiting.add("stays")  # also where something waits all the time
    for n in range(2000):
        waiting.add(str(n))
        waiting.done(str(n))
    waiting.close()
    assert path.stat().st_size < 30_000
    assert Waiting(path).first() == "stays"
    assert oct(path.stat().st_mode & 0o777) == "0o600"
