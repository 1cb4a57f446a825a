"""The takeover race: a patient writes while staff take over, many times."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.table import Figure
from tests.fakes.takeover_race import Outcome, race
from tests.fakes.takeover_world import SlowAssistant, world

_TRIES = 1_000


async def takeovers(_repeat: int) -> list[Figure]:
    """Run 1,000 races, half of them against a model that takes 4 ms."""
    found: list[Outcome] = []
    for seed, delay_s in enumerate((0.0, 0.004)):
        # The service logs each takeover; the figures are wanted alone.
        with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            async with world(Path(folder), assistant=SlowAssistant(delay_s)) as here:
                found.append(await race(here, tries=_TRIES // 2, seed=seed))
    before = sum(f.before for f in found)
    overtaken = sum(f.abandoned for f in found)
    return [
        Figure(
            f"takeover race, {_TRIES} tries: both answered",
            "times",
            (float(sum(f.both for f in found)),),
            0,
            note=f"{before} messages answered before, {overtaken} left to staff",
        ),
        Figure(
            f"takeover race, {_TRIES} tries: nobody answered",
            "times",
            (float(sum(f.nobody for f in found)),),
            0,
        ),
    ]
