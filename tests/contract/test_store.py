"""One suite over both databases: what the inbox, leases, completion, outbox and timers promise."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import Connection, func, select, update

from core.dispatch import event_of
from core.followup.walltime import moment_ms
from core.gather import Event
from core.store import due, inbox, leases, outbox, tables
from core.store.completion import (
    Completion,
    Entry,
    FollowUpChange,
    NewFollowUp,
    NewReminder,
    complete,
)
from core.store.inbox import NewMessage
from core.store.keyring import Keyring
from core.store.leases import ClaimRequest, Postponement, Renewal
from core.store.outbox import Attempt, SendResult, UncertainPolicy
from core.store.plans import (
    AboutToSend,
    ContactChange,
    Recomputed,
    hold_back,
    latest_plan,
    offered,
    recompute,
    set_zone_data,
    zone_data,
)
from core.store.store import Store
from core.store.tables import reminder, staff_task
from migrations import upgrade
from migrations.schema import create

NOW = 1_800_000_000_000


@pytest.fixture
def store(empty_database: str, keys: Keyring) -> Iterator[Store]:
    create(empty_database)
    store = Store(empty_database, keys)
    yield store
    store.close()


def a_message(
    message_id: str = "1", *, chat: str = "chat", sequence: int = 1, lease: bool = True
) -> NewMessage:
    token = secrets.token_hex(16) if lease else None
    return NewMessage(
        "telegram", "bot", chat, message_id, sequence, b"sealed", NOW, "Asia/Shanghai", None,
        token, NOW + 30_000,
    )  # fmt: skip


def a_completion(lease: leases.Lease, *inbox_ids: int, replies: int = 1, **more) -> Completion:
    return Completion(
        lease.conversation_id,
        lease.token,
        f"turn-{inbox_ids}",
        NOW,
        tuple((i, "answered") for i in inbox_ids),
        b"state",
        entries=(
            Entry("patient", "message", b"words", NOW, "1"),
            *(Entry("service", "answer", b"reply", NOW, parts=(b"part",)) for _ in range(replies)),
        ),
        **more,
    )


async def count(store: Store, table, *where) -> int:
    def query(connection, _):
        return connection.execute(
            select(func.count()).select_from(table).where(*where)
        ).scalar_one()

    return await store.read(query, None)


async def test_a_message_is_stored_once_however_often_it_comes(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message())
    again = await store.write(inbox.ingest, a_message(sequence=99))
    together = await store.write_all(inbox.ingest, [a_message("2", sequence=2)] * 5)
    assert first.inbox_id is not None
    assert again.inbox_id is None
    assert sum(r.inbox_id is not None for r in together) == 1
    assert await count(store, tables.inbox) == 2
    assert await count(store, tables.patient) == 1


async def test_the_same_id_in_another_chat_is_another_message(store: Store) -> None:
    await store.write_all(inbox.ingest, [a_message(chat="a"), a_message(chat="b")])
    assert await count(store, tables.inbox) == 2
    assert await count(store, tables.conversation) == 2


async def test_only_one_holder_at_a_time(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message("1"))
    second = await store.write(inbox.ingest, a_message("2", sequence=2))
    assert first.lease is not None
    assert second.lease is None


async def test_an_older_waiting_message_is_seen_as_backlog(store: Store) -> None:
    await store.write(inbox.ingest, a_message("1", lease=False))
    second = await store.write(inbox.ingest, a_message("2", sequence=2))
    assert second.lease is not None
    assert second.lease.backlog == 2


async def test_claim_takes_what_waits_and_only_once(store: Store) -> None:
    await store.write_all(
        inbox.ingest,
        [a_message("2", sequence=2, lease=False), a_message("1", sequence=1, lease=False)],
    )
    request = ClaimRequest(("t1", "t2"), NOW, NOW + 30_000)
    claimed = await store.write(leases.claim, request)
    assert [row.message_id for row in claimed[0].rows] == ["1", "2"], "the platform's order"
    assert claimed[0].rows[0].attempts == 0
    assert await store.write(leases.claim, request) == []


async def test_an_expired_lease_is_taken_over_and_counted(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message())
    later = ClaimRequest(("new",), NOW + 31_000, NOW + 61_000)
    claimed = await store.write(leases.claim, later)
    assert claimed[0].lease.token == "new"
    assert claimed[0].rows[0].attempts == 1, "somebody may have died over it"
    assert first.lease is not None
    renewal = Renewal(first.lease.conversation_id, first.lease.token, NOW + 99_000)
    assert await store.write(leases.renew, renewal) is False


async def test_a_zombie_leaves_nothing(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message())
    claimed = await store.write(leases.claim, ClaimRequest(("new",), NOW + 31_000, NOW + 61_000))
    assert first.lease is not None
    assert first.inbox_id is not None
    zombie = await store.write(complete, a_completion(first.lease, first.inbox_id))
    assert zombie.how == "lost"
    assert await count(store, tables.outbox) == 0
    done = await store.write(complete, a_completion(claimed[0].lease, first.inbox_id))
    assert done.how == "done"
    assert await count(store, tables.outbox) == 1


async def test_a_message_is_answered_once(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message())
    assert first.lease is not None
    assert first.inbox_id is not None
    turn = a_completion(first.lease, first.inbox_id, release=False)
    assert (await store.write(complete, turn)).how == "done"
    assert (await store.write(complete, turn)).how == "stale"
    assert await count(store, tables.outbox) == 1
    assert await store.read(inbox.abandoned, None) == 0


async def test_one_bad_row_does_not_take_its_neighbours_along(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message(chat="a"))
    second = await store.write(inbox.ingest, a_message(chat="b"))
    assert first.lease is not None
    assert second.lease is not None
    good = a_completion(first.lease, first.inbox_id or 0)
    bad = a_completion(second.lease, second.inbox_id or 0, tasks=({"kind": "no such kind"},))
    results = await asyncio.gather(
        store.write(complete, good), store.write(complete, bad), return_exceptions=True
    )
    assert results[0].how == "done"
    assert isinstance(results[1], Exception)
    assert await count(store, tables.inbox, tables.inbox.c.state == "pending") == 1


async def test_a_failed_turn_waits_and_keeps_its_message(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message())
    assert first.lease is not None
    held = Postponement(
        first.conversation_id, first.lease.token, (first.inbox_id or 0,), NOW + 5_000
    )
    assert await store.write(leases.postpone, held) is True
    await store.write(leases.release, (first.conversation_id, first.lease.token))
    early = ClaimRequest(("t",), NOW + 1_000, NOW + 31_000)
    assert await store.write(leases.claim, early) == []
    due_again = ClaimRequest(("t",), NOW + 6_000, NOW + 36_000)
    claimed = await store.write(leases.claim, due_again)
    assert claimed[0].rows[0].attempts == 1


async def _replies(store: Store, number: int) -> list[outbox.OutboxRow]:
    first = await store.write(inbox.ingest, a_message())
    assert first.lease is not None
    ended = await store.write(
        complete, a_completion(first.lease, first.inbox_id or 0, replies=number)
    )
    return list(ended.rows)


async def test_only_the_oldest_open_reply_may_go(store: Store) -> None:
    one, two = await _replies(store, 2)
    second = Attempt(two.id, two.conversation_id, NOW, NOW + 60_000)
    assert await store.write(outbox.begin_sending, second) is False
    first = Attempt(one.id, one.conversation_id, NOW, NOW + 60_000)
    assert await store.write(outbox.begin_sending, first) is True
    assert await store.write(outbox.begin_sending, first) is False, "a peer has it"
    await store.write(outbox.finish_sending, SendResult(one.id, "sent", NOW))
    assert await store.write(outbox.begin_sending, second) is True


@pytest.mark.parametrize(
    ("kinds", "channels", "state"),
    [((), (), "unknown"), (("answer",), (), "pending"), ((), ("telegram",), "pending")],
)
async def test_an_orphaned_attempt_is_settled_by_policy(
    store: Store, kinds: tuple[str, ...], channels: tuple[str, ...], state: str
) -> None:
    (row,) = await _replies(store, 1)
    await store.write(outbox.begin_sending, Attempt(row.id, row.conversation_id, NOW, NOW + 60_000))
    policy = UncertainPolicy(NOW + 1, False, channels, kinds, b"detail")
    await store.write(outbox.settle_uncertain, policy)
    assert (await store.read(outbox.count_outbox, None)).by_state == {"sending": 1}, "still alive"
    policy = UncertainPolicy(NOW + 60_001, False, channels, kinds, b"detail")
    await store.write(outbox.settle_uncertain, policy)
    assert (await store.read(outbox.count_outbox, None)).by_state == {state: 1}
    assert await count(store, tables.staff_task) == (1 if state == "unknown" else 0)


async def test_a_refused_chat_is_unlinked_until_it_writes_again(store: Store) -> None:
    (row,) = await _replies(store, 1)
    await store.write(outbox.begin_sending, Attempt(row.id, row.conversation_id, NOW, NOW + 60_000))
    await store.write(
        outbox.finish_sending,
        SendResult(row.id, "dead", NOW, error="refused", unlink=True, task_sealed=b"detail"),
    )
    link = tables.channel_link
    assert await count(store, link, link.c.active) == 0
    assert await count(store, tables.staff_task) == 1
    await store.write(inbox.ingest, a_message("2", sequence=2))
    assert await count(store, link, link.c.active) == 1


def a_plan(*due_at_ms: int) -> NewFollowUp:
    row = {
        "rule_id": "dr_moderate",
        "table_version": "1",
        "source": "ADA17",
        "reason": "dr",
        "urgency": "2_weeks",
        "due_at_ms": NOW + 10_000,
        "zone": "Asia/Shanghai",
        "set_by": "rule",
    }
    return NewFollowUp(row, tuple(NewReminder("due", at) for at in due_at_ms))


async def _with_plan(store: Store, *due_at_ms: int) -> leases.Lease:
    first = await store.write(inbox.ingest, a_message())
    assert first.lease is not None
    turn = a_completion(
        first.lease, first.inbox_id or 0, follow_up=a_plan(*due_at_ms), replies=0, release=False
    )
    await store.write(complete, turn)
    return first.lease


async def test_a_reminder_fires_once_when_it_is_due(store: Store) -> None:
    lease = await _with_plan(store, NOW + 1_000, NOW + 9_000)
    assert (await store.write(due.take_due, NOW)).count == 0
    fired = await store.write(due.take_due, NOW + 1_500)
    assert (fired.count, fired.latest_ms) == (1, 500)
    assert fired.conversation_ids == (lease.conversation_id,)
    assert (await store.write(due.take_due, NOW + 1_500)).count == 0
    waiting = await store.read(leases.pending_of, lease.conversation_id)
    assert [row.body_sealed for row in waiting] == [None]
    reminder_id = event_of(waiting[0].message_id).ref
    found = await store.read(due.reminder_of, reminder_id)
    assert found is not None
    assert found.rule_id == "dr_moderate"


async def test_stopping_cancels_every_open_reminder(store: Store) -> None:
    lease = await _with_plan(store, NOW + 1_000, NOW + 9_000)
    await store.write(due.take_due, NOW + 1_500)
    (waiting,) = await store.read(leases.pending_of, lease.conversation_id)
    message = await store.write(inbox.ingest, a_message("2", sequence=2, lease=False))
    stop = a_completion(
        lease, message.inbox_id or 0, follow_up=FollowUpChange("stopped"), release=False
    )
    await store.write(complete, stop)
    assert await store.read(due.count_pending, None) == 0
    reminder_id = event_of(waiting.message_id).ref
    assert await store.read(due.reminder_of, reminder_id) is None, "it had fired, but was stopped"


async def test_a_new_plan_replaces_the_old_one(store: Store) -> None:
    lease = await _with_plan(store, NOW + 1_000)
    message = await store.write(inbox.ingest, a_message("2", sequence=2, lease=False))
    plan = replace(a_plan(NOW + 5_000), row={**a_plan().row, "set_by": "clinician"})
    turn = a_completion(lease, message.inbox_id or 0, follow_up=plan)
    await store.write(complete, turn)
    assert (await store.write(due.take_due, NOW + 2_000)).count == 0
    assert (await store.write(due.take_due, NOW + 5_000)).count == 1


@pytest.mark.parametrize(
    ("urgency", "due_in_ms", "kept"),
    [
        ("2_weeks", 20_000, "old"),
        ("routine", 5_000, "old"),
        ("2_weeks", 5_000, "new"),
        ("24_48h", 20_000, "new"),
    ],
)
async def test_a_rules_plan_never_postpones(
    store: Store, urgency: str, due_in_ms: int, kept: str
) -> None:
    lease = await _with_plan(store, NOW + 1_000)
    message = await store.write(inbox.ingest, a_message("2", sequence=2, lease=False))
    row = {**a_plan().row, "urgency": urgency, "due_at_ms": NOW + due_in_ms}
    turn = a_completion(
        lease, message.inbox_id or 0, follow_up=NewFollowUp(row, (NewReminder("due", NOW + 500),))
    )
    await store.write(complete, turn)
    plan = await store.read(latest_plan, lease.conversation_id)
    assert plan is not None
    assert plan.due_at_ms == NOW + (10_000 if kept == "old" else due_in_ms)
    assert (await store.write(due.take_due, NOW + 600)).count == (0 if kept == "old" else 1)


async def test_the_hour_stays_when_the_patient_travels_and_when_zones_change(store: Store) -> None:
    plan = NewFollowUp(
        a_plan().row,
        (
            NewReminder(
                "due", _moment("2027-03-01T09:30:00", "Asia/Shanghai"), "2027-03-01T09:30:00"
            ),
            NewReminder("staff_call", NOW + 7_200_000),
        ),
    )
    first = await store.write(inbox.ingest, a_message())
    assert first.lease is not None
    turn = a_completion(first.lease, first.inbox_id or 0, follow_up=plan, release=False)
    await store.write(complete, turn)
    moved = await store.write(inbox.ingest, a_message("2", sequence=2, lease=False))
    there = a_completion(first.lease, moved.inbox_id or 0, new_zone="Europe/Berlin")
    await store.write(complete, there)
    rows = await store.read(due.planned, None)
    assert [r.due_at_ms for r in rows] == [
        NOW + 7_200_000,
        _moment("2027-03-01T09:30:00", "Europe/Berlin"),
    ]
    assert (await store.write(recompute, 0)) == Recomputed(None, 0)
    await store.write(_shift, rows[1].id)  # as if computed with older zone data
    assert (await store.write(recompute, 0)) == Recomputed(None, 1)
    assert await store.read(due.planned, None) == rows
    await store.write(set_zone_data, "2026c")
    await store.write(set_zone_data, "2026d")
    assert await store.read(zone_data, None) == "2026d"


def _moment(wall: str, zone: str) -> int:
    return moment_ms(datetime.fromisoformat(wall), zone)


def _shift(connection: Connection, ids: Sequence[int]) -> list[None]:
    for reminder_id in ids:
        connection.execute(
            update(reminder)
            .where(reminder.c.id == reminder_id)
            .values(due_at_ms=reminder.c.due_at_ms + 3_600_000)
        )
    return [None] * len(ids)


async def _two_chats(store: Store, kind: str) -> tuple[leases.Lease, leases.Lease]:
    """Return the leases of two chats that agreed on sharing the first one's reminders."""
    mine = await _with_plan(store, NOW + 1_000)
    other = await store.write(inbox.ingest, a_message(chat="other"))
    assert other.lease is not None
    offer = await store.write(inbox.ingest, a_message("2", sequence=2, lease=False))
    change = ContactChange("offer", kind, "hash", NOW + 60_000)
    await store.write(
        complete, a_completion(mine, offer.inbox_id or 0, contact=change, replies=0, release=False)
    )
    assert await store.read(offered, ("hash", NOW)) == kind
    assert await store.read(offered, ("hash", NOW + 60_000)) is None
    accept = ContactChange("accept", code_hash="hash")
    await store.write(
        complete,
        a_completion(other.lease, other.inbox_id or 0, contact=accept, replies=0, release=False),
    )
    assert await store.read(offered, ("hash", NOW)) is None, "a code works once"
    return mine, other.lease


async def test_a_reminder_goes_to_chats_that_both_sides_agreed_on(store: Store) -> None:
    mine, other = await _two_chats(store, "family")
    await store.write(due.take_due, NOW + 1_500)
    (waiting,) = await store.read(leases.pending_of, mine.conversation_id)
    reminder_id = event_of(waiting.message_id).ref
    found = await store.read(due.reminder_of, reminder_id)
    assert found is not None
    assert found.family == (other.conversation_id,)
    said = a_completion(
        mine, waiting.id, reminder_done=reminder_id, relay_to=found.family, release=False
    )
    await store.write(complete, said)
    (event,) = await store.read(leases.pending_of, other.conversation_id)
    assert event_of(event.message_id) == Event("relay", reminder_id)
    relayed = await store.read(due.relayed_of, (reminder_id, other.conversation_id))
    assert relayed is not None
    assert relayed.family == (other.conversation_id,)
    end = await store.write(inbox.ingest, a_message("3", sequence=3, lease=False))
    change = ContactChange("end")
    await store.write(complete, a_completion(mine, end.inbox_id or 0, contact=change))
    ended = await store.read(due.relayed_of, (reminder_id, other.conversation_id))
    assert ended is not None
    assert (ended.same, ended.family) == ((), ())


async def _said(store: Store, lease: leases.Lease) -> tuple[int, int]:
    """Say the reminder that is due; return its id and its outbox row."""
    await store.write(due.take_due, NOW + 1_500)
    (waiting,) = await store.read(leases.pending_of, lease.conversation_id)
    reminder_id = event_of(waiting.message_id).ref
    entry = Entry("service", "reminder", b"sealed", NOW, parts=(b"part",))
    turn = a_completion(lease, waiting.id, reminder_done=reminder_id, release=False)
    ended = await store.write(complete, replace(turn, entries=(entry,)))
    (row,) = ended.rows
    return reminder_id, row.id


async def test_a_reminder_that_cannot_arrive_goes_to_the_other_chat_instead_of_staff(
    store: Store,
) -> None:
    mine, other = await _two_chats(store, "same")
    reminder_id, row_id = await _said(store, mine)
    await store.write(outbox.begin_sending, Attempt(row_id, mine.conversation_id, NOW, NOW))
    dead = SendResult(row_id, "dead", NOW, error="refused", task_sealed=b"x", unlink=True)
    await store.write(outbox.finish_sending, dead)
    (event,) = await store.read(leases.pending_of, other.conversation_id)
    assert event_of(event.message_id) == Event("relay", reminder_id)
    assert await count(store, staff_task) == 0


async def test_without_another_chat_a_reminder_that_cannot_arrive_goes_to_staff(
    store: Store,
) -> None:
    mine = await _with_plan(store, NOW + 1_000)
    _, row_id = await _said(store, mine)
    await store.write(outbox.begin_sending, Attempt(row_id, mine.conversation_id, NOW, NOW))
    dead = SendResult(row_id, "dead", NOW, error="refused", task_sealed=b"x")
    await store.write(outbox.finish_sending, dead)
    assert await count(store, staff_task) == 1
    assert await count(store, reminder, reminder.c.outcome == "staff") == 1


async def test_a_reminder_that_waited_into_the_night_is_due_again_in_the_morning(
    store: Store,
) -> None:
    mine = await _with_plan(store, NOW + 1_000)
    _, row_id = await _said(store, mine)
    noon = _moment("2027-01-20T12:00:00", "Asia/Shanghai")
    night = _moment("2027-01-20T22:30:00", "Asia/Shanghai")
    about = AboutToSend(row_id, mine.conversation_id, noon, b"detail")
    assert await store.write(hold_back, about) is False
    assert await store.write(hold_back, replace(about, now_ms=night)) is True
    assert await count(store, tables.outbox) == 0
    (again,) = await store.read(due.planned, None)
    morning = _moment("2027-01-21T08:00:00", "Asia/Shanghai")
    assert morning <= again.due_at_ms < morning + 3_600_000
    assert (await store.write(due.take_due, morning + 3_600_000)).count == 1


async def test_a_reminder_on_its_way_is_taken_back_when_the_plan_was_stopped(store: Store) -> None:
    mine = await _with_plan(store, NOW + 1_000)
    _, row_id = await _said(store, mine)
    stop = await store.write(inbox.ingest, a_message("2", sequence=2, lease=False))
    change = FollowUpChange("stopped")
    await store.write(complete, a_completion(mine, stop.inbox_id or 0, follow_up=change, replies=0))
    noon = _moment("2027-01-20T12:00:00", "Asia/Shanghai")
    about = AboutToSend(row_id, mine.conversation_id, noon, b"detail")
    assert await store.write(hold_back, about) is True
    assert await count(store, tables.outbox) == 0
    assert await store.read(due.count_pending, None) == 0


async def test_a_timer_fires_once_and_can_be_cancelled(store: Store) -> None:
    first = await store.write(inbox.ingest, a_message())
    assert first.lease is not None
    turn = a_completion(
        first.lease, first.inbox_id or 0, timers=(("first_aid", NOW + 1_000), ("other", NOW))
    )
    await store.write(complete, turn)
    assert (await store.write(due.take_due, NOW)).count == 1
    second = await store.write(inbox.ingest, a_message("2", sequence=2))
    assert second.lease is not None
    stop = a_completion(second.lease, second.inbox_id or 0, timers=(("first_aid", None),))
    await store.write(complete, stop)
    assert (await store.write(due.take_due, NOW + 2_000)).count == 0


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
async def test_two_processes_never_share_a_conversation(empty_database: str, keys: Keyring) -> None:
    """Two writers claim from the same inbox at once; every conversation goes to one of them."""
    upgrade(empty_database)
    stores = [Store(empty_database, keys) for _ in range(2)]
    await stores[0].write_all(
        inbox.ingest, [a_message(chat=str(n), lease=False) for n in range(200)]
    )
    rounds = [
        store.write(
            leases.claim,
            ClaimRequest(tuple(secrets.token_hex(8) for _ in range(20)), NOW, NOW + 30_000),
        )
        for _ in range(10)
        for store in stores
    ]
    claimed = [item for found in await asyncio.gather(*rounds) for item in found]
    ids = [item.lease.conversation_id for item in claimed]
    assert len(ids) == len(set(ids)) == 200
    for store in stores:
        store.close()
