"""The Official Account under load: 500 people and a model that takes 2 s.

The bar is 100 messages a second; a quarter of it shows what a busy machine still does.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.table import Figure
from tests.bench.wechat_load import Load, load

_PEOPLE, _SECONDS, _RATES_PER_S = 500, 10.0, (25.0, 100.0)


async def wechat(repeat: int) -> list[Figure]:
    """Measure how long WeChat waits for us, and that each message is answered once."""
    found: list[Figure] = []
    for per_s in _RATES_PER_S:
        runs: list[Load] = []
        for _ in range(repeat):
            with TemporaryDirectory() as folder:
                runs.append(await load(Path(folder), people=_PEOPLE, per_s=per_s, seconds=_SECONDS))
        found += _figures(runs, per_s)
    return found


def _figures(runs: list[Load], per_s: float) -> list[Figure]:
    def counted(wrong: Callable[[int], bool]) -> tuple[float, ...]:
        return tuple(
            float(sum(n for times, n in run.times_answered.items() if wrong(times))) for run in runs
        )

    refused = [float(sum(n for s, n in run.statuses.items() if s != "200 success")) for run in runs]
    longest = tuple(max(run.answered_after_s) for run in runs)
    about = f"{_PEOPLE} people for {_SECONDS:.0f} s, each message delivered 3 times"
    return [
        Figure(f"WeChat at {per_s:.0f} messages/s waits: longest", "s", longest, 4.0, note=about),
        Figure("  the same, p99", "s", tuple(run.p99_s() for run in runs), 4.0),
        Figure("  messages answered twice", "times", counted(lambda n: n > 1), 0),
        Figure("  not answered by the model within a minute", "times", counted(lambda n: n < 1), 0),
        Figure("  deliveries not taken", "times", tuple(refused), 0),
        Figure(
            "  message to answer, p50 (the model takes 2 s)",
            "s",
            tuple(statistics.median(run.took_s) for run in runs),
        ),
    ]
