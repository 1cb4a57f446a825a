"""`python -m tests.bench`: measure what the design promises, and say what is met and what missed.

`python -m tests.bench soak` kills the service at random times instead (see `tests.bench.soak`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import (
    hostile_figures,
    llm_figures,
    page_figures,
    process_figures,
    reminder_figures,
    scheduler_figures,
    stability_figures,
    store_figures,
    takeover_figures,
    viewer_figures,
    wechat_figures,
)
from tests.bench.soak import soak
from tests.bench.table import Figure, as_markdown, write_json

_Group = Callable[[int], Awaitable[list[Figure]]]


def _groups(*, full: bool) -> dict[str, _Group]:
    async def reminders(repeat: int) -> list[Figure]:
        pending, due = (1_000_000, 100_000) if full else (100_000, 10_000)
        return await reminder_figures.reminders(1 if full else repeat, pending=pending, due=due)

    return {
        "turns": process_figures.turns,
        "starts": process_figures.starts,
        "emergencies": process_figures.emergencies,
        "photos": process_figures.photos,
        "hostile": hostile_figures.hostile,
        "stability": stability_figures.stability,
        "faults": process_figures.faults,
        "sqlite": store_figures.sqlite,
        "postgresql": store_figures.postgresql,
        "reminders": reminders,
        "month": reminder_figures.month,
        "schedulers": scheduler_figures.schedulers,
        "llm": llm_figures.llm,
        "viewers": viewer_figures.viewers,
        "pages": page_figures.pages,
        "takeover": takeover_figures.takeovers,
        "wechat": wechat_figures.wechat,
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def _measure(options: argparse.Namespace) -> int:
    groups = _groups(full=options.full)
    unknown = set(options.only) - groups.keys()
    if unknown:
        _say(f"unknown: {', '.join(sorted(unknown))}; one of {', '.join(groups)}")
        return 2
    figures: list[Figure] = []
    for name, group in groups.items():
        if options.only and name not in options.only:
            continue
        began = time.monotonic()
        sys.stderr.write(f"{name} …")
        sys.stderr.flush()
        figures += await group(options.repeat)
        sys.stderr.write(f" {time.monotonic() - began:.0f} s\n")
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    about = f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load}"
    _say(as_markdown(figures))
    _say(
        f"\nMedians of {options.repeat}; {about}. On a shared machine compare within one run only."
    )
    if options.json:
        write_json(figures, options.json, machine=about, repeat=options.repeat, full=options.full)
    return 0


async def _soak(options: argparse.Namespace) -> int:
    _say(f"seed {options.seed}: {options.kills} kills, {options.messages} messages")
    with TemporaryDirectory() as folder:
        done = await soak(
            Path(folder),
            kills=options.kills,
            messages=options.messages,
            users=options.users,
            seed=options.seed,
        )
    for name, value in asdict(done).items():
        _say(f"{name:14} {value}")
    _say("clean" if done.is_clean else "PROMISE BROKEN")
    return 0 if done.is_clean else 1


def main() -> int:
    """Measure, or soak; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="take medians of so many runs")
    parser.add_argument("--full", action="store_true", help="1,000,000 reminders")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--only", nargs="*", default=[], help="groups of figures")
    commands = parser.add_subparsers(dest="command")
    long = commands.add_parser("soak", help="random kill -9 while people write")
    long.add_argument("--kills", type=int, default=18)
    long.add_argument("--messages", type=int, default=1_500)
    long.add_argument("--users", type=int, default=200)
    long.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    return asyncio.run(_soak(options) if options.command == "soak" else _measure(options))


if __name__ == "__main__":
    sys.exit(main())
