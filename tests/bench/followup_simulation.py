"""30 days of thousands of patients in under a minute: kills, outages, travellers, clock changes.

Runs the real store functions on one SQLite file (or a PostgreSQL URL) with a clock of its own and
the real decision of a reminder's turn; only the network is made up. At the end a book kept beside
the store is compared with what went out:

    python -m tests.bench.followup_simulation [--patients 10000] [--days 30] [--seed 1]

A kill falls between any two commits, or before one; the one window that no platform without an
idempotency key can close, after it accepted a message and before we noted so, is left out.

Every reminder that was due was delivered once or stands on the staff list, none came in somebody's
quiet hours, none after they opted out.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, event, select, update

from core.delivery import REPEAT_RATHER_THAN_LOSE
from core.dispatch import event_of
from core.followup.ladder import is_quiet, reminder_times
from core.store.completion import (
    Completion,
    Entry,
    FollowUpChange,
    NewFollowUp,
    NewReminder,
    complete,
)
from core.store.due import reminder_of, take_due
from core.store.engine import make_engine, parse_url
from core.store.outbox import (
    Attempt,
    SendResult,
    UncertainPolicy,
    begin_sending,
    finish_sending,
    settle_uncertain,
)
from core.store.plans import AboutToSend, StaffChange, change_by_staff, hold_back, move_to_zone
from core.store.tables import (
    IS_UNSENT,
    IS_WAITING,
    channel_link,
    conversation,
    follow_up,
    inbox,
    outbox,
    patient,
    reminder,
    staff_task,
    transcript,
)
from core.turn.answer import Answer
from core.turn.reminders import remind
from core.turn.state import DialogState
from core.urgency import Urgency
from migrations.schema import create

# New York goes to winter time on 1 November 2026, Lord Howe and Sydney to summer time in October.
_START = datetime(2026, 10, 3, 0, 30, tzinfo=UTC)
_ZONES = (
    *("Asia/Shanghai",) * 6,
    *("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"),
)
_TICK_S = 1_800
_HOUR_MS = 3_600_000


class _KillError(Exception):
    """The process dies here; what was not committed is gone."""


@dataclass(slots=True)
class Book:
    """What the world saw, kept beside the store.

    Attributes:
        sent: deliveries by reminder id.
        quiet: deliveries in somebody's quiet hours.
        after_stop: deliveries after they had opted out.
        missed: due reminders that were neither delivered nor given to staff, nor stopped.
    """

    sent: Counter[int] = field(default_factory=Counter[int])
    quiet: int = 0
    after_stop: int = 0
    staff: int = 0
    missed: int = 0
    due: int = 0
    kills: int = 0
    outages: int = 0
    moves: int = 0
    stops: int = 0
    seconds: float = 0.0

    @property
    def doubled(self) -> int:
        """Reminders delivered more than once."""
        return sum(n > 1 for n in self.sent.values())

    @property
    def is_clean(self) -> bool:
        """Nothing was promised in vain."""
        return not (self.quiet or self.after_stop or self.missed or self.doubled)


class World:
    """The patients, the platform and the hand that kills."""

    def __init__(self, engine: Engine, patients: int, seed: int) -> None:
        self.engine = engine
        self.random = random.Random(seed)
        self.book = Book()
        self.now_ms = int(_START.timestamp() * 1000)
        self.zones = {n: self.random.choice(_ZONES) for n in range(1, patients + 1)}
        self.stopped: set[int] = set()
        self.blocked: set[int] = set()
        self.down_until_ms = 0
        self.is_calm = False
        self._people(patients)

    def _people(self, patients: int) -> None:
        with self.engine.begin() as db:
            db.execute(
                patient.insert(),
                [{"id": n, "zone": z, "created_at_ms": 0} for n, z in self.zones.items()],
            )
            db.execute(
                conversation.insert(),
                [
                    {"id": n, "channel": "sim", "account": "1", "chat_id": str(n),
                     "patient_id": n, "lease_token": "t", "lease_until_ms": 2**60}
                    for n in self.zones
                ],
            )  # fmt: skip
            db.execute(
                channel_link.insert(),
                [
                    {"patient_id": n, "conversation_id": n, "active": True,
                     "last_inbound_at_ms": self.now_ms}
                    for n in self.zones
                ],
            )  # fmt: skip
            for n in range(1, patients + 1):
                self._plan(db, n)

    def _plan(self, db: Connection, n: int) -> None:
        zone = self.zones[n]
        booked = self.random.random() < 0.5
        urgency = self.random.choice([Urgency.ROUTINE, Urgency.ROUTINE, Urgency.TWO_WEEKS])
        due_ms = self.now_ms + self.random.randrange(4, 28) * 24 * _HOUR_MS
        times = reminder_times(
            due_ms, now_ms=self.now_ms, zone=zone, booked=booked, urgency=urgency, seed=str(n)
        )
        row = {
            "rule_id": "x", "table_version": "1", "source": "s", "reason": "x",
            "urgency": str(urgency), "due_at_ms": due_ms, "zone": zone, "set_by": "rule",
        }  # fmt: skip
        plan = NewFollowUp(row, tuple(NewReminder(t.step, t.at_ms, t.wall) for t in times))
        change_by_staff(db, [StaffChange(n, plan, self.now_ms)])

    # -- one half an hour -----------------------------------------------------------------

    def step(self) -> None:
        """Let half an hour pass, with whatever happens in it."""
        self.now_ms += _TICK_S * 1000
        if not self.is_calm and self.random.random() < 0.01:
            self.book.outages += 1
            self.down_until_ms = self.now_ms + self.random.randrange(1, 14) * _HOUR_MS
        for _ in range(0 if self.is_calm else 1 + len(self.zones) // 2_000):
            self._happen()
        for _ in range(20):
            try:
                if not self._work():
                    return
            except _KillError:
                self.book.kills += 1
                self._restart()

    def _happen(self) -> None:
        n = self.random.choice(list(self.zones))
        what = self.random.random()
        with self.engine.begin() as db:
            if what < 0.2 and n not in self.stopped:
                self.zones[n] = self.random.choice(_ZONES)
                db.execute(update(patient).where(patient.c.id == n).values(zone=self.zones[n]))
                move_to_zone(db, n, self.zones[n], self.now_ms)
                self.book.moves += 1
            elif what < 0.3:
                change = FollowUpChange("stopped")
                change_by_staff(db, [StaffChange(n, change, self.now_ms)])
                self.stopped.add(n)
                self.book.stops += 1
            elif what < 0.35:
                self.blocked.add(n)

    def _may_die(self) -> None:
        if not self.is_calm and self.random.random() < 0.02:
            raise _KillError

    def _work(self) -> bool:
        """Take what is due, answer the events, send what waits; False when nothing is left."""
        with self.engine.begin() as db:
            (due,) = take_due(db, [self.now_ms])
        self._may_die()
        with self.engine.connect() as db:
            events = db.execute(
                select(inbox.c.id, inbox.c.conversation_id, inbox.c.message_id).where(IS_WAITING)
            ).all()
        for group in (events[i : i + 200] for i in range(0, len(events), 200)):
            self._turns(group)
        is_up = self.now_ms >= self.down_until_ms
        return bool(due.count or (is_up and self._send()))

    def _turns(self, events) -> None:
        with self.engine.begin() as db:
            done = [
                self._turn(db, inbox_id, chat, event_of(message_id).ref)
                for inbox_id, chat, message_id in events
            ]
            ends = complete(db, done)
            assert all(end.how == "done" for end in ends)
            self._may_die()

    def _turn(self, db: Connection, inbox_id: int, chat: int, reminder_id: int) -> Completion:
        answer = Answer(
            DialogState(opted_out=chat in self.stopped), "en", self.now_ms, self.zones[chat]
        )
        remind(answer, reminder_of(db, reminder_id))
        entries = tuple(
            Entry("service", r.kind, b"s", self.now_ms, parts=(b"p",)) for r in answer.replies
        )
        tasks = tuple(
            {"kind": kind, "urgency": urgency, "turn_id": f"t{inbox_id}", "detail_sealed": b"d",
             "created_at_ms": self.now_ms, "changed_at_ms": self.now_ms}
            for kind, urgency, _ in answer.tasks
        )  # fmt: skip
        return Completion(
            chat, "t", f"t{inbox_id}", self.now_ms, ((inbox_id, answer.outcome),), b"s",
            entries=entries, tasks=tasks, release=False, reminder_done=answer.reminder_done,
            reminder_outcome=answer.reminder_outcome, reminder_again_ms=answer.reminder_again_ms,
            relay_to=answer.relay_to,
        )  # fmt: skip

    def _send(self) -> int:
        with self.engine.connect() as db:
            rows = db.execute(
                select(outbox.c.id, outbox.c.conversation_id).where(IS_UNSENT).order_by(outbox.c.id)
            ).all()
        sent = 0
        for group in (rows[i : i + 200] for i in range(0, len(rows), 200)):
            sent += self._send_group(group)
        return sent

    def _send_group(self, group) -> int:
        with self.engine.begin() as db:
            about = [AboutToSend(i, chat, self.now_ms, b"d") for i, chat in group]
            held = hold_back(db, about)
            mine = [row for row, is_held in zip(group, held, strict=True) if not is_held]
            tries = [Attempt(i, chat, self.now_ms, self.now_ms + 1) for i, chat in mine]
            begun = begin_sending(db, tries)
        self._may_die()
        results = []
        arrived: list[tuple[int, int]] = []
        for (row_id, chat), is_mine in zip(mine, begun, strict=True):
            if not is_mine:
                continue
            if chat in self.blocked:
                results.append(
                    SendResult(
                        row_id, "dead", self.now_ms, error="refused", unlink=True, task_sealed=b"d"
                    )
                )
                continue
            arrived.append((row_id, chat))
            results.append(SendResult(row_id, "sent", self.now_ms))
        self._arrive(arrived)
        with self.engine.begin() as db:
            if results:
                finish_sending(db, results)
        return len(results)

    def _arrive(self, arrived: list[tuple[int, int]]) -> None:
        with self.engine.connect() as db:
            reminders = dict(
                db.execute(
                    select(outbox.c.id, reminder.c.id)
                    .join(transcript, transcript.c.id == outbox.c.transcript_id)
                    .join(reminder, reminder.c.turn_id == transcript.c.turn_id)
                    .where(outbox.c.id.in_([row_id for row_id, _ in arrived]))
                ).all()
            )
        for row_id, chat in arrived:
            self.book.sent[reminders[row_id]] += 1
            local = datetime.fromtimestamp(self.now_ms / 1000, ZoneInfo(self.zones[chat]))
            self.book.quiet += is_quiet(local.time())
            self.book.after_stop += chat in self.stopped

    def _restart(self) -> None:
        """Come up again; what was being sent is decided about as the service does at its start."""
        self.engine.dispose()
        policy = UncertainPolicy(self.now_ms, True, (), REPEAT_RATHER_THAN_LOSE, b"d")
        with self.engine.begin() as db:
            settle_uncertain(db, [policy])

    # -- the end -----------------------------------------------------------------------------

    def audit(self) -> Book:
        """Compare what was due with what became of it."""
        book = self.book
        with self.engine.connect() as db:
            rows = db.execute(
                select(reminder.c.id, reminder.c.state, reminder.c.outcome, reminder.c.due_at_ms,
                       follow_up.c.state.label("plan"))
                .join(follow_up, follow_up.c.id == reminder.c.follow_up_id)
            ).all()  # fmt: skip
            book.staff = db.execute(select(staff_task.c.id)).all().__len__()
        for row in rows:
            if row.due_at_ms > self.now_ms or row.state == "cancelled" or row.plan != "active":
                continue
            book.due += 1
            has_staff = row.outcome == "staff"
            book.missed += not (book.sent[row.id] or has_staff)
        return book


def simulate(url: str, *, patients: int, days: int, seed: int) -> Book:
    """Run the simulation on an empty database and return the book."""
    create(url)
    engine = make_engine(parse_url(url), "write")
    if engine.dialect.name == "sqlite":
        # A process that is killed loses nothing the system has; only a power cut needs the fsync.
        event.listen(engine, "connect", lambda db, _: db.execute("PRAGMA synchronous=OFF"))
    began = time.perf_counter()
    try:
        world = World(engine, patients, seed)
        while world.now_ms < (int(_START.timestamp()) + days * 86_400) * 1000:
            world.step()
        # A last quiet day ends outages that began late.
        world.down_until_ms, world.is_calm = 0, True
        noon = datetime.combine(date(2026, 10, 3) + timedelta(days=days), day_time(6), UTC)
        while world.now_ms < int((noon + timedelta(days=1)).timestamp() * 1000):
            world.step()
        book = world.audit()
    finally:
        engine.dispose()
    book.seconds = time.perf_counter() - began
    return book


def main() -> int:
    """Simulate and print; exit status 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'simulation.db'}"
        book = simulate(url, patients=options.patients, days=options.days, seed=options.seed)
    lines = {
        "due": book.due, "delivered": sum(book.sent.values()), "staff tasks": book.staff,
        "missed": book.missed, "doubled": book.doubled, "in quiet hours": book.quiet,
        "after opting out": book.after_stop, "kills": book.kills, "outages": book.outages,
        "moves": book.moves, "stops": book.stops, "seconds": round(book.seconds, 1),
    }  # fmt: skip
    for name, value in lines.items():
        sys.stdout.write(f"{name:18} {value}\n")
    return 0 if book.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
