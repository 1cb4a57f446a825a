"""Which messages make one turn."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.gather import (
    ALBUM_CAP_MS,
    ALBUM_SILENCE_MS,
    MERGE_CAP_MS,
    Event,
    Waiting,
    from_json,
    gather,
    to_json,
)
from core.message import Address, Attachment, AttachmentKind, Inbound

CHAT = Address("telegram", "bot", "1")
PHOTO = Attachment(AttachmentKind.PHOTO, "file")


def a_waiting(number: int, at_ms: int = 0, *, text: str = "hello", **more) -> Waiting:
    message = Inbound(CHAT, str(number), number, text, **more)
    return Waiting(number, str(number), number, at_ms, message)


def ids(waiting) -> list[int]:
    return [w.inbox_id for w in waiting]


def test_without_a_window_each_text_stands_alone() -> None:
    waiting = [a_waiting(1, 0), a_waiting(2, 0)]
    assert ids(gather(waiting, now_ms=0, merge_window_ms=0).batch) == [1]


def test_texts_close_together_are_answered_together_after_a_silence() -> None:
    waiting = [a_waiting(1, 0), a_waiting(2, 800)]
    early = gather(waiting, now_ms=900, merge_window_ms=1000)
    assert (early.batch, early.look_again_ms) == ((), 1800)
    assert ids(gather(waiting, now_ms=1800, merge_window_ms=1000).batch) == [1, 2]


def test_a_fast_typist_is_answered_after_the_cap() -> None:
    waiting = [a_waiting(n, n * 900) for n in range(20)]
    found = gather(waiting, now_ms=18_000, merge_window_ms=1000).batch
    assert found[-1].received_at_ms - found[0].received_at_ms <= MERGE_CAP_MS


def test_commands_buttons_and_events_never_wait_and_never_merge() -> None:
    for alone in (
        a_waiting(1, text="/help"),
        a_waiting(1, text="", button="v1:plan:agree"),
        replace(a_waiting(1), what=Event("reminder", 7)),
    ):
        found = gather([alone, a_waiting(2)], now_ms=0, merge_window_ms=1000)
        assert ids(found.batch) == [1]
        behind = gather([a_waiting(0), alone], now_ms=0, merge_window_ms=1000)
        assert ids(behind.batch) == [0], "what came before need not wait for more of itself"


def test_an_album_waits_for_its_last_picture_but_not_for_ever() -> None:
    album = [a_waiting(n, n * 1_000, text="", attachments=(PHOTO,), album_id="a") for n in range(3)]
    last = album[-1].received_at_ms
    assert gather(album, now_ms=last, merge_window_ms=0).look_again_ms == last + ALBUM_SILENCE_MS
    assert ids(gather(album, now_ms=last + ALBUM_SILENCE_MS, merge_window_ms=0).batch) == [0, 1, 2]
    slow = [a_waiting(n, n * 1_400, text="", attachments=(PHOTO,), album_id="a") for n in range(9)]
    assert gather(slow, now_ms=ALBUM_CAP_MS, merge_window_ms=0).batch != ()


def test_a_red_flag_takes_what_is_before_it_along_at_once() -> None:
    waiting = [a_waiting(1, 0), replace(a_waiting(2, 10), urgent=True), a_waiting(3, 20)]
    assert ids(gather(waiting, now_ms=20, merge_window_ms=1000).batch) == [1, 2]


def test_a_red_flag_behind_a_command_lets_the_command_go_first() -> None:
    waiting = [a_waiting(1, text="/lang en"), replace(a_waiting(2), urgent=True)]
    assert ids(gather(waiting, now_ms=0, merge_window_ms=1000).batch) == [1]


def test_a_failed_message_waits_for_its_time() -> None:
    waiting = [replace(a_waiting(1), attempts=1, not_before_ms=5_000)]
    assert gather(waiting, now_ms=0, merge_window_ms=0).look_again_ms == 5_000
    assert ids(gather(waiting, now_ms=5_000, merge_window_ms=1000).batch) == [1]


_items = st.builds(
    lambda number, gap, kind: (gap, kind),
    st.integers(),
    st.integers(0, 4_000),
    st.sampled_from(["text", "command", "button", "album", "event", "urgent"]),
)


@given(st.lists(_items, max_size=12), st.sampled_from([0, 500, 1000, 5000]))
def test_every_message_gets_its_turn_once_and_in_order(
    script: list[tuple[int, str]], window_ms: int
) -> None:
    waiting: list[Waiting] = []
    at_ms = 0
    for number, (gap, kind) in enumerate(script):
        at_ms += gap
        match kind:
            case "command":
                item = a_waiting(number, at_ms, text="/help")
            case "button":
                item = a_waiting(number, at_ms, text="", button="v1:a:b")
            case "album":
                item = a_waiting(number, at_ms, text="", attachments=(PHOTO,), album_id="a")
            case "event":
                item = replace(a_waiting(number, at_ms), what=Event("reminder", number))
            case _:
                item = replace(a_waiting(number, at_ms), urgent=kind == "urgent")
        waiting.append(item)
    handled: list[int] = []
    now_ms = at_ms
    for _ in range(100):
        if not waiting:
            break
        found = gather(waiting, now_ms=now_ms, merge_window_ms=window_ms)
        if found.batch:
            assert list(found.batch) == waiting[: len(found.batch)], "a batch is a prefix"
            handled += ids(found.batch)
            waiting = waiting[len(found.batch) :]
        else:
            assert found.look_again_ms is not None
            assert found.look_again_ms > now_ms, "looking again must come to an end"
            now_ms = found.look_again_ms
    assert handled == list(range(len(script)))


@given(st.text(), st.none() | st.text(), st.booleans(), st.lists(st.sampled_from(AttachmentKind)))
def test_a_message_survives_the_inbox(
    text: str, name: str | None, private: bool, kinds: list[AttachmentKind]
) -> None:
    message = Inbound(
        CHAT,
        "7",
        9,
        text,
        tuple(Attachment(k, "ref", "image/jpeg", 5, "name", True) for k in kinds),
        sender_name=name or None,
        private=private,
    )
    assert from_json(to_json(message), CHAT, "7") == message
