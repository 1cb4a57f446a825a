from __future__ import annotations

import asyncio

import pytest
from telegram.error import Conflict, InvalidToken, NetworkError, RetryAfter

from adapters.telegram.link import Link, persist
from adapters.telegram.polling import poll
from core.errors import TransientError


class Stop(BaseException):
    """Ends a loop that only cancelling ends."""


async def run(answers: list, *, received: list | None = None, refuse: int = 0):
    """Poll a scripted server to the end; return (offset, timeout) of each call, and the sleeps."""
    calls: list[tuple[int | None, int]] = []
    slept: list[float] = []
    link = Link()
    script = iter(answers)

    async def fetch(offset: int | None, timeout_s: int):
        calls.append((offset, timeout_s))
        answer = next(script, Stop())
        if isinstance(answer, BaseException):
            raise answer
        return [{"update_id": n} for n in answer]

    async def receive(updates) -> None:
        nonlocal refuse
        if refuse:
            refuse -= 1
            raise TransientError("no disk")
        if received is not None:
            received.extend(u["update_id"] for u in updates)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    with pytest.raises(Stop):
        await poll(fetch, receive, link, poll_timeout_s=50, sleep=sleep)
    return calls, slept, link


async def test_the_offset_passes_what_was_received():
    received: list[int] = []
    calls, _, link = await run([[5, 6], [9], []], received=received)
    assert [offset for offset, _ in calls] == [None, 7, 10, 10]
    assert received == [5, 6, 9]
    assert link.state == "ready"


async def test_the_offset_stays_when_they_could_not_be_stored():
    received: list[int] = []
    calls, slept, _ = await run([[5], [5], [5]], received=received, refuse=2)
    assert [offset for offset, _ in calls] == [None, None, None, 6]
    assert received == [5]
    assert len(slept) == 2


async def test_after_a_failure_it_asks_for_an_answer_at_once():
    calls, _, _ = await run([NetworkError("x"), [], [1]])
    assert [timeout for _, timeout in calls][:3] == [50, 0, 50]


async def test_a_server_that_does_not_wait_keeps_nobody_busy():
    _, slept, _ = await run([[], [], []])
    assert slept == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("error", "state", "least_s"),
    [
        (NetworkError("x"), "unreachable", 0.25),
        (Conflict("x"), "conflict", 5),
        (InvalidToken("x"), "unauthorized", 30),
        (RetryAfter(17), "starting", 17),
        (TransientError("x"), "not_storing", 0.25),
        (RuntimeError("x"), "not_storing", 0.25),
    ],
)
async def test_every_failure_has_its_state_and_pause(error, state, least_s):
    _, slept, link = await run([error])
    assert link.state == state
    assert slept[0] >= least_s


async def test_the_pause_grows_and_is_bounded():
    _, slept, _ = await run([NetworkError("x")] * 12)
    assert slept[0] <= 0.5
    assert 15 <= slept[-1] <= 30


async def test_persist_repeats_until_it_succeeds():
    link, left = Link(), [NetworkError("a"), InvalidToken("b")]

    async def action() -> str:
        if left:
            raise left.pop(0)
        return "done"

    async def sleep(_: float) -> None:
        assert link.remedy

    assert await persist(action, link, sleep) == "done"
    assert (link.state, link.failures, link.remedy) == ("ready", 0, "")
