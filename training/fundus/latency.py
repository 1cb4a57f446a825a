"""Time photo → Reading, warm, through the reader itself, and how much of it the network takes.

.venv/bin/python -m training.fundus.latency tests/fixtures/fundus/idrid_grade2.jpg
"""

from __future__ import annotations

import argparse
import asyncio
import io
import resource
import statistics
import time
from pathlib import Path

from PIL import Image

from models.fundus.assess import Assessor
from models.fundus.reader import OnnxFundusReader
from models.fundus.settings import FundusSettings

SIZES = {"as it is": None, "messenger 1280 px": 1280, "camera 4032 px": 4032}


def _scaled(data: bytes, longest_px: int | None) -> bytes:
    if longest_px is None:
        return data
    with Image.open(io.BytesIO(data)) as image:
        scale = longest_px / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        out = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


async def _wall_ms(reader: OnnxFundusReader, data: bytes, runs: int) -> list[float]:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        await reader.read(data, language="zh-Hans")
        times.append((time.perf_counter() - start) * 1e3)
    return times


def _parts(settings: FundusSettings, data: bytes, runs: int) -> dict[str, float]:
    assessor = Assessor(settings)
    assessor.warm_up()
    timings = []
    for _ in range(runs):
        assessor.assess(data, language="zh-Hans", eye=None)
        timings.append(assessor.timing)
    names = ("decode_ms", "network_ms", "card_ms", "total_ms")
    return {n: statistics.median(getattr(t, n) for t in timings) for n in names}


async def main() -> None:
    """Print a line per size and thread count."""
    parser = argparse.ArgumentParser(prog="python -m training.fundus.latency")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    given = parser.parse_args()
    data = given.photo.read_bytes()
    for threads in (1, 2):
        settings = FundusSettings(threads=threads)
        reader = OnnxFundusReader(settings)
        start = time.perf_counter()
        await reader.warm_up()
        print(f"{threads} thread(s): load and warm up {(time.perf_counter() - start) * 1e3:.0f} ms")
        for name, longest in SIZES.items():
            photo = _scaled(data, longest)
            times = sorted(await _wall_ms(reader, photo, given.runs))
            parts = _parts(settings, photo, given.runs)
            p50, p95 = statistics.median(times), times[int(0.95 * len(times))]
            share = parts["network_ms"] / parts["total_ms"]
            print(
                f"  {name:18s} p50 {p50:6.1f} ms  p95 {p95:6.1f} ms"
                f"  decode {parts['decode_ms']:5.1f}  network {parts['network_ms']:5.1f}"
                f"  card {parts['card_ms']:5.1f}"
                f"  network share {share:.0%}"
            )
        await reader.close()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process {peak_mib:.0f} MiB")


if __name__ == "__main__":
    asyncio.run(main())
