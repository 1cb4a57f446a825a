"""People to call, for pages."""

from __future__ import annotations

from datetime import date
from typing import Any

from adapters.console.recall_ports import RecallTask, Said
from core.urgency import Urgency

_DAY_MS = 86_400_000


def some_recalls(clinic: Any, words: str) -> None:
    """Put three tasks on a clinic's list, as the store orders them; one is late."""
    now = clinic.clock.now_ms()
    for task in (
        RecallTask(
            2,
            "no_answer",
            Urgency.TWO_WEEKS,
            now - 9 * _DAY_MS,
            now - 4 * _DAY_MS,
            "P-1042",
            "telegram",
            plan_id=12,
            reason="dr3",
            due_day=date(2026, 2, 3),
            phone="+86 138 0013 8000",
            messages=(
                Said("service", now - 9 * _DAY_MS, "您好，想问问您看过医生了吗？"),
                Said("patient", now - 8 * _DAY_MS, words),
            ),
            notes=("2026-02-20 09:12 李医生: 没人接，明天再打",),
        ),
        RecallTask(
            1,
            "asked_for_help",
            Urgency.SAME_DAY,
            now - 3_600_000,
            now + 20 * 3_600_000,
            "P-7",
            "webchat",
            plan_id=11,
            reason="glaucoma",
            due_day=date(2026, 4, 3),
            visit="2026-04-02 09:00 县人民医院",
        ),
        RecallTask(
            3, "no_answer", Urgency.ROUTINE, now - 5, now + 5 * _DAY_MS, "P-9", "webchat",
            phone="call my son", claimed_by="李医生",
        ),
    ):  # fmt: skip
        clinic.recalls.tasks[task.id] = task
