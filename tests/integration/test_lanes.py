"""Lanes and delivery over a real SQLite file, with scripted turns and a scripted channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.delivery import OUTBOX_BODY, Delivery
from core.dispatch import Dispatcher, DispatchLimits, TurnInput
from core.errors import SendRefused, SendUnknown, Throttled, Unreachable
from core.intake import StoreIntake
from core.message import Address, Attachment, Inbound
from core.ports import Capabilities
from core.reply import Reply, plain_text, say, to_json
from core.store.completion import Completion, Entry
from core.store.inbox import count_inbox
from core.store.keyring import load_or_create
from core.store.outbox import count_outbox
from core.store.store import Store
from migrations.schema import create
from tests.fakes.waiting import until

Behave = Callable[[TurnInput], Awaitable[str]]


class ScriptedChannel:
    """Keeps what it was told to send, and fails as scheduled."""

    name = "test"
    account = "me"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.capabilities = Capabilities(4000, 0, "characters", True, False, 1000)

    async def ready(self, to: Address, *, urgent: bool) -> None:
        return

    async def send(self, to: Address, reply: Reply, *, key: str) -> str | None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append((to.chat_id, plain_text(reply)))
        return key

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        return b""

    async def discard(self, attachment: Attachment) -> None:
        return

    def activity(self, to: Address, what: str) -> Any:
        raise AssertionError("scripted turns show nothing")

    def draft(self, to: Address) -> None:
        return None


@dataclass
class World:
    """One process's worth of core."""

    store: Store
    channel: ScriptedChannel
    dispatcher: Dispatcher
    delivery: Delivery
    intake: StoreIntake
    turns: list[list[str]] = field(default_factory=list)

    async def send(self, chat: str, *texts: str, first: int = 1) -> None:
        await self.intake.accept(
            [
                Inbound(Address("test", "me", chat), f"{n}", n, text)
                for n, text in enumerate(texts, start=first)
            ]
        )

    async def settle(self) -> None:
        await until(
            lambda: not self.dispatcher.open_lanes and not self.delivery.open_queues, "quiet"
        )

    def heard(self, chat: str) -> list[str]:
        return [text for to, text in self.channel.sent if to == chat]


async def _echo(turn: TurnInput) -> str:
    return "re " + " + ".join(m.what.text for m in turn.messages if isinstance(m.what, Inbound))


@asynccontextmanager
async def world(
    tmp_path: Path,
    behave: Behave = _echo,
    *,
    merge_window_ms: int = 0,
    drain_s: float = 5,
    url: str | None = None,
    lease_ms: int = 30_000,
) -> AsyncIterator[World]:
    if url is None:
        url = f"sqlite:///{tmp_path / 'lanes.db'}"
        if not (tmp_path / "lanes.db").exists():
            create(url)
    keys = load_or_create(tmp_path / "keys.json")
    store, clock, channel = Store(url, keys), SystemClock(), ScriptedChannel()
    turns: list[list[str]] = []

    async def handle(turn: TurnInput, token: str) -> Completion:
        texts = [m.what.text for m in turn.messages if isinstance(m.what, Inbound)]
        turns.append(texts)
        said = "given up" if turn.given_up else await behave(turn)
        body = keys.seal_json(OUTBOX_BODY, to_json(say("answer", said)))
        return Completion(
            turn.conversation_id,
            token,
            turn.turn_id,
            clock.now_ms(),
            tuple((m.inbox_id, "answered") for m in turn.messages),
            body,
            dead=turn.given_up,
            entries=(Entry("service", "answer", body, clock.now_ms(), parts=(body,)),),
        )

    delivery = Delivery(store, clock, {("test", "me"): channel})
    dispatcher = Dispatcher(
        store,
        clock,
        handle,
        delivery.deliver,
        lambda message: "blind" in message.text,
        DispatchLimits(merge_window_ms=merge_window_ms, drain_s=drain_s, lease_ms=lease_ms),
    )
    intake = StoreIntake(store, clock, dispatcher, "Asia/Shanghai")
    yield World(store, channel, dispatcher, delivery, intake, turns)
    await dispatcher.stop()
    await delivery.stop(drain_s=2)
    store.close()


async def test_fifty_people_with_ten_messages_each_are_answered_in_order(tmp_path: Path) -> None:
    async def slow(turn: TurnInput) -> str:
        await asyncio.sleep(0.001 * (turn.conversation_id % 5))
        return await _echo(turn)

    async with world(tmp_path, slow) as w:
        await asyncio.gather(*(w.send(f"p{p}", *(f"{n}" for n in range(10))) for p in range(50)))
        await w.settle()
        for p in range(50):
            assert w.heard(f"p{p}") == [f"re {n}" for n in range(10)]


async def test_messages_that_trickle_in_while_a_lane_closes_keep_their_order(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        for n in range(200):
            await w.send("p", f"{n}", first=n)
            await asyncio.sleep(0.0005 * (n % 7))
        await w.settle()
        assert w.heard("p") == [f"re {n}" for n in range(200)]


async def test_a_redelivery_is_neither_handled_nor_answered(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.send("p", "once")
        await w.send("p", "once")
        await w.settle()
        await w.send("p", "once")
        await w.settle()
        assert w.heard("p") == ["re once"]
        assert w.intake.counts.duplicates == 2


async def test_rapid_texts_become_one_turn(tmp_path: Path) -> None:
    async with world(tmp_path, merge_window_ms=150) as w:
        await w.send("p", "my mother", "has diabetes")
        await w.settle()
        assert w.heard("p") == ["re my mother + has diabetes"]


async def test_a_red_flag_overtakes_a_slow_answer(tmp_path: Path) -> None:
    async def model(turn: TurnInput) -> str:
        if all("blind" not in m.what.text for m in turn.messages):  # type: ignore[union-attr]
            await asyncio.Event().wait()  # it never answers
        return await _echo(turn)

    async with world(tmp_path, model) as w:
        await w.send("p", "a long question")
        await until(lambda: w.turns, "the turn that waits for the model")
        await w.send("p", "suddenly blind", first=2)
        await w.settle()
        assert w.heard("p") == ["re a long question + suddenly blind"]
        assert w.turns == [["a long question"], ["a long question", "suddenly blind"]]


async def test_a_turn_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.dispatch._RETRY_BASE_S", 0.01)
    failures = iter([RuntimeError("a bug"), RuntimeError("again")])

    async def flaky(turn: TurnInput) -> str:
        for error in failures:
            raise error
        return await _echo(turn)

    async with world(tmp_path, flaky) as w:
        await w.send("p", "one", "two")
        await w.settle()
        assert w.heard("p") == ["re one", "re two"]
        accounts = await w.store.read(count_inbox, None)
        assert accounts.outcomes == {"answered": 2}


async def test_a_message_that_always_fails_is_given_up_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.dispatch._RETRY_BASE_S", 0.001)

    async def broken(turn: TurnInput) -> str:
        raise RuntimeError("always")

    async with world(tmp_path, broken) as w:
        await w.send("p", "poison")
        await w.settle()
        assert w.heard("p") == ["given up"]
        accounts = await w.store.read(count_inbox, None)
        assert (accounts.pending, accounts.dead) == (0, 1)


async def test_what_a_dead_process_left_is_answered_by_the_next(tmp_path: Path) -> None:
    async def hang(turn: TurnInput) -> str:
        await asyncio.sleep(60)
        return ""

    async with world(tmp_path, hang, drain_s=0.05) as w:
        await w.send("p", "one", "two")
        await until(lambda: w.turns, "the first turn")
    async with world(tmp_path) as w:
        assert await w.dispatcher.claim_waiting() == 1
        await w.settle()
        assert w.heard("p") == ["re one", "re two"]


async def test_a_stop_lets_turns_and_sends_finish(tmp_path: Path) -> None:
    released = asyncio.Event()

    async def held(turn: TurnInput) -> str:
        await released.wait()
        return await _echo(turn)

    async with world(tmp_path, held, drain_s=60) as w:
        for person in range(20):
            await w.send(f"p{person}", "hello")
        await until(lambda: len(w.turns) == 20, "every lane has begun")
        w.intake.close()
        stopping = asyncio.create_task(w.dispatcher.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done(), "it waits for the turns"
        released.set()
        await stopping
        await w.delivery.stop(drain_s=60)
        assert len(w.channel.sent) + (await _open(w)) == 20
        assert (await w.store.read(count_inbox, None)).pending == 0


async def _open(w: World) -> int:
    return (await w.store.read(count_outbox, None)).by_state.get("pending", 0)


def three_times(make: Callable[[], Exception]) -> list[Exception]:
    return [make() for _ in range(3)]


@pytest.mark.parametrize(
    "failure",
    [
        lambda: Throttled("slow down", retry_after_s=0.02),
        lambda: Unreachable("502"),
    ],
)
async def test_what_was_not_accepted_is_sent_again_until_it_is(
    tmp_path: Path, failure: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.delivery._BACKOFF_BASE_S", 0.01)
    async with world(tmp_path) as w:
        w.channel.failures = three_times(failure)
        await w.send("p", "one", "two")
        await w.settle()
        assert w.heard("p") == ["re one", "re two"]


async def test_what_may_have_arrived_is_not_sent_again_but_shown_to_staff(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.channel.failures = [SendUnknown("cut off")]
        await w.send("p", "one", "two")
        await w.settle()
        assert w.heard("p") == ["re two"]
        assert (await w.store.read(count_outbox, None)).by_state == {"unknown": 1, "sent": 1}


async def test_a_refused_message_does_not_block_the_next(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.channel.failures = [SendRefused("bad request")]
        await w.send("p", "one", "two")
        await w.settle()
        assert w.heard("p") == ["re two"]
        assert (await w.store.read(count_outbox, None)).by_state == {"dead": 1, "sent": 1}


async def test_replies_of_a_channel_that_is_off_wait_for_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.delivery._channels = {}  # switched off
        await w.send("p", "one")
        await w.settle()
        assert await _open(w) == 1
    async with world(tmp_path) as w:
        await w.delivery.recover(only_user=True)
        await w.settle()
        assert w.heard("p") == ["re one"]


async def test_a_lost_lease_ends_the_turn_without_a_trace(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def hang(turn: TurnInput) -> str:
        started.set()
        await asyncio.sleep(60)
        return ""

    async with world(tmp_path, hang) as w:
        await w.send("p", "one")
        await started.wait()

        def steal(connection: Any, _arguments: Sequence[None]) -> list[None]:
            connection.exec_driver_sql("UPDATE conversation SET lease_token = 'somebody else'")
            return [None]

        await w.store.write(steal, None)
        await w.dispatcher.renew_leases()
        await w.settle()
        assert w.dispatcher.counts.leases_lost == 1
        assert w.channel.sent == []


async def _beat(w: World, stop: asyncio.Event) -> None:
    """Do what the ticker does, faster."""
    while not stop.is_set():
        await w.dispatcher.claim_waiting()
        await w.dispatcher.renew_leases()
        await w.delivery.recover(only_user=False)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
async def test_two_replicas_share_the_work_and_keep_every_chats_order(
    empty_database: str, tmp_path: Path
) -> None:
    """Messages of one chat arrive at both replicas in turn; one of them dies on the way."""
    create(empty_database)
    people, each = 20, 10

    async def brief(turn: TurnInput) -> str:
        await asyncio.sleep(0.002)
        return await _echo(turn)

    here = {"url": empty_database, "lease_ms": 1_000, "drain_s": 0.0}
    async with world(tmp_path, brief, **here) as a, world(tmp_path, brief, **here) as b:
        b.channel.sent = a.channel.sent  # one platform
        stop_a, stop_b = asyncio.Event(), asyncio.Event()
        beats = [asyncio.create_task(_beat(a, stop_a)), asyncio.create_task(_beat(b, stop_b))]
        for n in range(each):
            replica = a if n % 2 and n < each // 2 else b
            await asyncio.gather(*(replica.send(f"p{p}", f"{n}", first=n) for p in range(people)))
            if n == each // 2:
                stop_a.set()  # renews no more leases, finishes nothing: as good as dead
                for lane in list(a.dispatcher._lanes.values()):
                    if lane.task is not None:
                        lane.task.cancel()
        await until(lambda: len(a.channel.sent) >= people * each, "every answer")
        stop_b.set()
        await asyncio.gather(*beats)
        for p in range(people):
            assert b.heard(f"p{p}") == [f"re {n}" for n in range(each)]
        accounts = await b.store.read(count_inbox, None)
        assert (accounts.pending, accounts.outcomes) == (0, {"answered": people * each})
