"""One photo through the fundus reader in this process, on one thread, and where the time goes."""

from __future__ import annotations

import statistics
from datetime import date
from pathlib import Path

from models.fundus.assess import Assessor
from models.fundus.settings import FundusSettings
from tests.bench.table import Figure

_PHOTO = Path(__file__).parents[2] / "tests/fixtures/fundus/idrid_grade2.jpg"
_DAY = date(2026, 1, 1)


def reading(repeat: int, count: int = 30) -> list[Figure]:
    """Measure bytes to decisions without the card, the network in it, and the card."""
    assessor = Assessor(FundusSettings(threads=1))
    assessor.warm_up()
    data = _PHOTO.read_bytes()
    without: list[float] = []
    network: list[float] = []
    drawn: list[float] = []
    for _ in range(repeat):
        timings = []
        for _ in range(count):
            assessor.assess(data, language="zh-Hans", eye="OD", with_card=False)
            timings.append(assessor.timing)
        without.append(statistics.median(t.total_ms for t in timings))
        network.append(statistics.median(t.network_ms for t in timings))
        cards = []
        for _ in range(count):
            assessor.assess(data, language="zh-Hans", eye="OD", day=_DAY)
            cards.append(assessor.timing.card_ms)
        drawn.append(statistics.median(cards))
    return [
        Figure("fundus reading alone, one thread: p50", "ms", tuple(without), 50),
        Figure("of it, the network", "ms", tuple(network)),
        Figure("drawing the card: p50", "ms", tuple(drawn)),
    ]
