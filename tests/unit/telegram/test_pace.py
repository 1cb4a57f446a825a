from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.telegram.pace import Pace
from core.errors import Throttled


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def a_pace(time: Time, **changes: float) -> Pace:
    limits = {
        "messages_per_s": 25.0,
        "chat_messages_per_s": 1.0,
        "chat_burst": 3,
        "group_messages_per_min": 20,
        "longest_wait_s": 1.5,
    }
    return Pace(**(limits | changes), now_s=time, sleep=time.sleep)


async def sent_at(pace: Pace, time: Time, chat_id: str, times: int) -> list[float]:
    """When `times` messages to a chat go out, each tried again when it is handed back."""
    stamps: list[float] = []
    while len(stamps) < times:
        try:
            await pace.turn(chat_id)
        except Throttled as error:
            time.now_s += error.retry_after_s
        else:
            stamps.append(time.now_s - 100)
    return stamps


async def test_a_private_chat_gets_three_at_once_and_then_one_a_second():
    time = Time()
    stamps = await sent_at(a_pace(time), time, "1", 6)
    assert stamps == pytest.approx([0, 0, 0, 1, 2, 3])


async def test_a_group_gets_twenty_in_any_minute():
    time = Time()
    stamps = await sent_at(a_pace(time), time, "-1", 60)
    for start in stamps:
        assert sum(start <= s < start + 59.9 for s in stamps) <= 20


async def test_all_chats_together_keep_the_global_limit():
    time = Time()
    pace = a_pace(time)
    stamps = [s for n in range(100) for s in await sent_at(pace, time, str(n + 1), 1)]
    assert stamps[-1] == pytest.approx(95 / 25)


async def test_a_long_wait_is_handed_back_and_counts_nothing():
    time = Time()
    pace = a_pace(time, longest_wait_s=0.5)
    for _ in range(3):
        await pace.turn("1")
    for _ in range(5):
        with pytest.raises(Throttled) as caught:
            await pace.turn("1")
        assert caught.value.retry_after_s == pytest.approx(1.0)
        assert caught.value.scope == "chat"
    await pace.turn("2")
    time.now_s += 1
    await pace.turn("1")


async def test_the_account_pauses_when_the_global_limit_is_the_cause():
    time = Time()
    pace = a_pace(time, messages_per_s=0.5, longest_wait_s=0)
    await pace.turn("1")
    with pytest.raises(Throttled) as caught:
        await pace.turn("2")
    assert caught.value.scope == "account"


async def test_an_asked_pause_holds_one_chat_and_ends():
    time = Time()
    pace = a_pace(time)
    pace.pause("1", 30)
    pace.pause("1", 10)  # a shorter one does not end the longer one
    with pytest.raises(Throttled) as caught:
        await pace.turn("1")
    assert caught.value.retry_after_s == pytest.approx(30)
    assert not pace.spare("1")
    assert pace.spare("2")
    await pace.turn("2")
    time.now_s += 30
    assert pace.pause_s("1") == 0
    await pace.turn("1")


async def test_what_is_unimportant_never_waits_and_takes_no_turn_of_the_chat():
    time = Time()
    pace = a_pace(time)
    assert sum(pace.spare("1") for _ in range(20)) == 5
    time.now_s += 1
    assert await sent_at(pace, time, "1", 3) == pytest.approx([1, 1, 1])


async def test_an_urgent_message_waits_for_no_limit_of_ours_but_for_an_asked_pause():
    time = Time()
    pace = a_pace(time, longest_wait_s=0)
    for _ in range(10):
        await pace.turn("1", urgent=True)
    assert time.now_s == 100
    with pytest.raises(Throttled):
        await pace.turn("1")
    pace.pause("1", 5)
    with pytest.raises(Throttled):
        await pace.turn("1", urgent=True)


async def test_ten_thousand_quiet_chats_are_forgotten():
    time = Time()
    pace = a_pace(time, messages_per_s=1e6)
    for n in range(10_001):
        await pace.turn(str(n))
        time.now_s += 0.01
    assert len(pace._chats) < 500


@given(st.lists(st.floats(0, 3), min_size=1, max_size=40), st.integers(1, 5))
async def test_no_second_ever_has_more_than_it_may(gaps: list[float], burst: int):
    time = Time()
    pace = a_pace(time, chat_burst=burst)
    stamps: list[float] = []
    for gap in gaps:
        time.now_s += gap
        stamps += await sent_at(pace, time, "1", 1)
    for n, start in enumerate(stamps):
        later = stamps[n:]
        for count, stamp in enumerate(later):
            assert count <= burst + (stamp - start) + 1e-6
