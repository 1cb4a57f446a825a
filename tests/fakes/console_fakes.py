"""The console's store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

from adapters.console.ports import Counts, StaffTask
from adapters.console.recall_ports import RecallTask
from core.followup.report import PlanRow
from core.ports import Health


class FakeWorklist:
    def __init__(self, names: dict[int, str]) -> None:
        self._names = names
        self.tasks: dict[int, StaffTask] = {}
        self.notes: dict[int, str] = {}
        self.looks = 0

    async def open_tasks(self, *, limit: int) -> Sequence[StaffTask]:
        order = sorted(self.tasks.values(), key=lambda t: (t.urgency.rank, t.opened_at_ms))
        return order[:limit]

    async def stamp(self) -> str:
        self.looks += 1
        return str(hash(tuple(self.tasks.values())))

    def _name(self, staff_id: int) -> str:
        return self._names[staff_id]

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
        self.forms: set[str] = set()

    async def open_recalls(self, *, limit: int) -> Sequence[RecallTask]:
        return list(self.tasks.values())[:limit]

    async def claim(self, task_id: int, *, by: int, at_ms: int) -> bool:
        task = self.tasks.get(task_id)
        if task is None or task.claimed_by is not None:
            return False
        self.tasks[task_id] = replace(task, claimed_by=f"staff {by}")
        return True

    async def note(
        self, task_id: int, *, by: int, name: str, words: str, at_ms: int, form_id: str = ""
    ) -> bool:
        task = self.tasks.get(task_id)
        if task is None:
            return False
        if form_id and form_id in self.forms:
            return True
        self.forms.add(form_id)
        self.tasks[task_id] = replace(task, notes=(*task.notes, f"{name}: {words}"))
        return True

    async def finish(
        self, task_id: int, *, outcome, plan_id, day, words, form_id="", **_by
    ) -> bool:
        if form_id and form_id in self.forms:
            return True
        if self.tasks.pop(task_id, None) is None:
            return False
        self.forms.add(form_id)
        self.outcomes[task_id] = (outcome, plan_id, day, words)
        return True

    async def plans_due(self, first: date, last: date) -> Sequence[PlanRow]:
        return [plan for plan in self.plans if first <= plan.due_day <= last]


class FakeLogin:
    """`CodeLogin`: a channel's login as a test wants it."""

    def __init__(self) -> None:
        self.view = SimpleNamespace(state="idle", wrong_code=False)
        self.begun = 0
        self.digits: list[str] = []

    async def begin(self) -> None:
        self.begun += 1
        self.view.state = "waiting"

    def give_code(self, digits: str) -> None:
        self.digits.append(digits)
        self.view.state = "scanned"


class FakeParts:
    """`Parts`: how the service is, as a test wants it."""

    def __init__(self) -> None:
        self.found = [
            Health("database", True),
            Health("ilink", True, "off: wechat.ilink.enabled is false", required=False),
            Health("telegram", False, "cannot be reached", required=False),
            Health(
                "wechaty",
                False,
                "waits for a login",
                facts={"qr": "https://login.weixin.qq.com/l/abc"},
            ),
        ]

    async def health(self) -> Sequence[Health]:
        return self.found
