"""The same photo as other files: does it get the same answer?"""

from __future__ import annotations

import csv
import io
import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pillow_heif
from PIL import Image, ImageOps

from core.reading import Reading
from models.fundus.assess import Assessor
from models.fundus.settings import FundusSettings
from tests.bench.table import Figure

ROOT = Path(__file__).parents[2]
_ORIENTATION = 0x0112
_SEED = 7


def _jpeg(image: Image.Image, quality: int, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


def _turned(image: Image.Image) -> bytes:
    """Return the photo as a phone held upright stores it: on its side, with a note."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), 92, exif=exif)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _heic(image: Image.Image) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=80)
    return out.getvalue()


VARIANTS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG q60": lambda image: _jpeg(image, 60),
    "90° in EXIF": _turned,
    "PNG": _png,
    "HEIC": _heic,
    "mirrored": lambda image: _jpeg(ImageOps.mirror(image), 92),
}


def bands(reading: Reading) -> tuple[str, ...]:
    """Return all that a person is told about a photo, as far as it may not change."""
    return (reading.outcome, *(finding.decision for finding in reading.findings))


def compare(assessor: Assessor, photos: Sequence[bytes]) -> dict[str, list[tuple[bool, bool]]]:
    """Return for every variant and photo whether DR, and whether every band, stayed the same."""
    same: dict[str, list[tuple[bool, bool]]] = {name: [] for name in VARIANTS}
    for data in photos:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        before = read(assessor, data)
        for name, change in VARIANTS.items():
            after = read(assessor, change(image))
            dr = before.outcome == after.outcome and (
                before.finding("dr").decision == after.finding("dr").decision
            )
            same[name].append((dr, bands(before) == bands(after)))
    return same


def read(assessor: Assessor, data: bytes) -> Reading:
    """Read a photo without drawing its card."""
    return assessor.assess(data, language="en", eye=None, with_card=False)


def test_photos(count: int) -> list[bytes]:
    """Return retinas of the test rows of the development data; empty where it is not at hand."""
    folder = Path(os.environ.get("OCULICHAT_SHARED", ROOT.parent / "shared")) / "fundus"
    if not (folder / "labels.csv").is_file():
        return []
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = [
            r["file"]
            for r in csv.DictReader(file)
            if r["split"] == "test" and r["is_fundus"] == "1"
        ]
    chosen = random.Random(_SEED).sample(rows, min(count, len(rows)))
    return [(folder / name).read_bytes() for name in chosen]


async def stability(_repeat: int, count: int = 200) -> list[Figure]:
    """Share of photos whose bands stay when the file changes."""
    photos = test_photos(count)
    if not photos:
        sys.stderr.write(" no development data in ../shared/fundus (OCULICHAT_SHARED), left out")
        return []
    same = compare(Assessor(FundusSettings(threads=1)), photos)
    figures = [
        Figure(
            f"same bands as {name}",
            f"of {len(photos)} photos",
            (sum(every for _, every in pairs) / len(pairs),),
            0.95,
            more_is_better=True,
            note=f"DR alone {sum(dr for dr, _ in pairs) / len(pairs):.3f}",
        )
        for name, pairs in same.items()
    ]
    all_pairs = [pair for pairs in same.values() for pair in pairs]
    share = sum(every for _, every in all_pairs) / len(all_pairs)
    return [
        Figure("same bands, all variants", "", (share,), 0.95, more_is_better=True),
        *figures,
    ]
