"""A plan names the photo it rests on, not just the last one that was sent."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from sqlalchemy import select

from adapters.terminal.channel import TerminalChannel, inbound
from bot.service import Service
from bot.settings import Settings
from core.store.tables import follow_up, photo
from tests.conftest import ManualClock

_FIXTURES = Path(__file__).parents[2] / "fixtures" / "fundus"


async def test_a_later_photo_does_not_take_the_place_of_the_one_that_decided(
    tmp_path: Path,
) -> None:
    lines: list[str] = []
    service = Service(
        Settings(
            data_dir=tmp_path / "data",
            dialog={"merge_window_ms": 0},
            consent={"required": False},
            fundus={"threads": 1},
        ),
        extra_channel=lambda blobs: TerminalChannel(
            lines.append, blobs, tmp_path / "pictures", as_json=True
        ),
        network=False,
        clock=ManualClock(1_799_978_400_000),
    )
    numbers = itertools.count(1)

    async def says(**data: str) -> None:
        line = inbound(json.dumps(data), next(numbers), as_json=True)
        await service.intake.accept([line])
        await service.settle()

    await service.start()
    try:
        await says(photo=str(_FIXTURES / "idrid_grade4.jpg"))
        await says(photo=str(_FIXTURES / "not_a_fundus.jpg"))
        await says(button="v1:ask:also:none")
        await says(button="v1:plan:agree")
        plans = await service.store.read(
            lambda db, _: db.execute(
                select(follow_up.c.photo_id, follow_up.c.basis).where(follow_up.c.state == "active")
            ).all(),
            None,
        )
        photos = await service.store.read(
            lambda db, _: db.execute(select(photo.c.id).order_by(photo.c.id)).scalars().all(), None
        )
    finally:
        await service.stop()
    assert len(photos) == 2
    assert [tuple(plan) for plan in plans] == [(photos[0], "finding")]
