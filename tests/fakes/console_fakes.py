"""The console's store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from adapters.console.ports import Counts, Staff, StaffSession, StaffTask
from adapters.console.recall_ports import RecallTask
from core.followup.report import PlanRow


class FakeStaff:
    """`StaffAccounts` and `StaffSessions`."""

    def __init__(self) -> None:
        self.accounts: dict[str, Staff] = {}
        self.sessions: dict[str, StaffSession] = {}

    async def find_account(self, account: str) -> Staff | None:
        return self.accounts.get(account)

    async def find_session(self, token_hash: str) -> StaffSession | None:
        return self.sessions.get(token_hash)

    async def replace_password_hash(self, staff_id: int, password_hash: str) -> None:
        for name, staff in self.accounts.items():
            if staff.id == staff_id:
                self.accounts[name] = replace(staff, password_hash=password_hash)

    async def create_session(self, token_hash: str, staff_id: int, *, at_ms: int) -> None:
        name = next(s.name for s in self.accounts.values() if s.id == staff_id)
        self.sessions[token_hash] = StaffSession(staff_id, name, at_ms, at_ms)

    async def touch_session(self, token_hash: str, *, at_ms: int) -> None:
        self.sessions[token_hash] = replace(self.sessions[token_hash], seen_at_ms=at_ms)

    async def revoke_session(self, token_hash: str) -> None:
        self.sessions.pop(token_hash, None)


class FakeWorklist:
    def __init__(self, staff: FakeStaff) -> None:
        self._staff = staff
        self.tasks: dict[int, StaffTask] = {}
        self.notes: dict[int, str] = {}

    async def open_tasks(self, *, limit: int) -> Sequence[StaffTask]:
        order = sorted(self.tasks.values(), key=lambda t: (t.urgency.rank, t.opened_at_ms))
        return order[:limit]

    def _name(self, staff_id: int) -> str:
        return next(s.name for s in self._staff.accounts.values() if s.id == staff_id)

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        task = self.tasks.get(task_id)
        if task is None or task.claimed_by not in {None, self._name(by)}:
            return False
        self.tasks[task_id] = replace(task, claimed_by=self._name(by))
        return True

    async def close(self, task_id: int, *, by: int, note: str, at_ms: int) -> bool:
        if self.tasks.pop(task_id, None) is None:
            return False
        self.notes[task_id] = note
        return True

    async def counts(self) -> Counts:
        return Counts(unanswered=3, dead_letters=1, overdue_follow_ups=0)


class FakeRecalls:
    """`Recalls` and `Attendance` in memory."""

    def __init__(self) -> None:
        self.tasks: dict[int, RecallTask] = {}
        self.outcomes: dict[int, tuple[str, int | None, date, str]] = {}
        self.plans: list[PlanRow] = []

    async def open_recalls(self, *, limit: int) -> Sequence[RecallTask]:
        return list(self.tasks.values())[:limit]

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        task = self.tasks.get(task_id)
        if task is None or task.claimed_by is not None:
            return False
        self.tasks[task_id] = replace(task, claimed_by=f"staff {by}")
        return True

    async def note(self, task_id: int, *, by: int, name: str, words: str, at_ms: int) -> bool:
        task = self.tasks.get(task_id)
        if task is None:
            return False
        self.tasks[task_id] = replace(task, notes=(*task.notes, f"{name}: {words}"))
        return True

    async def finish(self, task_id: int, *, outcome, plan_id, day, words, **_by) -> bool:
        if self.tasks.pop(task_id, None) is None:
            return False
        self.outcomes[task_id] = (outcome, plan_id, day, words)
        return True

    async def plans_due(self, first: date, last: date) -> Sequence[PlanRow]:
        return [plan for plan in self.plans if first <= plan.due_day <= last]
