"""Made-up plans of a clinic, for pages that draw them."""

from __future__ import annotations

from datetime import date, timedelta

from core.followup.report import PlanRow


def some_plans(today: date) -> list[PlanRow]:
    """Return 96 plans of three reasons and two cadences, due in the last half year."""
    plans: list[PlanRow] = []
    for n in range(96):
        reason, days = (("dr2", 90), ("dr3", 14), ("glaucoma", 28))[n % 3]
        due = today - timedelta(days=2 * n)
        came = None if n % 5 in (1, 3) else due + timedelta(days=(n % 7) * 4 - 6)
        came = None if came is not None and came > today else came
        state = "seen" if came else ("active", "refused", "stopped", "active", "died")[n // 3 % 5]
        plans.append(
            PlanRow(
                person=n,
                reason=reason,
                channel=("telegram", "webchat")[n % 2],
                arm=("standard", "lighter")[n // 2 % 2],
                planned_day=due - timedelta(days=days),
                due_day=due,
                state=state,
                changed_day=came or due,
                reminded=n % 11 > 0,
                confirmed=n % 3 > 0,
                seen_day=came,
            )
        )
    return plans
