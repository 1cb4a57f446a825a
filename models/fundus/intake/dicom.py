"""DICOM files, as fundus cameras and hospital archives write them, through pydicom.

Only the tags listed here are parsed, so a name, a birth date or a hospital number is never even
read. Out come the pixels of the first frame, as a doctor's viewer shows them, and the side of the
eye (PS3.3 C.8.17, ophthalmic photography).
"""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom import config, uid
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array

from core.errors import PatientError
from core.reading import Eye
from models.fundus.intake.photo import fit
from models.fundus.intake.raster import Decoded, check_size, shrink

_TAGS: list[Any] = [
    "TransferSyntaxUID", "SOPClassUID", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "NumberOfFrames", "PixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "ImageLaterality", "Laterality", "SharedFunctionalGroupsSequence",
]  # fmt: skip
# Its warnings quote the values they are about.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
config.settings.reading_validation_mode = config.IGNORE

_COLOURS = {
    "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT",
}  # fmt: skip
_GREYS = {"MONOCHROME1", "MONOCHROME2"}
_META_BYTES = 4096  # the transfer syntax is among the first elements
_EYES: dict[str, Eye] = {"R": "OD", "L": "OS"}
# pydicom has decoders of its own for these, or Pillow's.
_OPENED = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.RLELossless,
}


def decode(data: bytes, *, max_pixels: int, working_px: int | None) -> tuple[Decoded, Eye | None]:
    """Decode the first frame.

    Returns:
        The picture, and the eye the file names; None when it names none or both.

    Raises:
        PatientError: `fundus.too_many_pixels`, `fundus.too_small`, or `fundus.dicom_packed` for
            compressions that are not opened here, or `fundus.cannot_open` for depths that are not
            and for files without a picture.
        Exception: whatever pydicom raises on a damaged file.
    """
    # A deflated file is inflated whole before anything can be checked: a bomb.
    if uid.DeflatedExplicitVRLittleEndian.encode() in data[:_META_BYTES]:
        raise PatientError("fundus.dicom_packed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that break the standard; cameras write many
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
        try:
            found = cast("Any", pydicom).dcmread(io.BytesIO(data), specific_tags=_TAGS)
        except (BytesLengthException, InvalidDicomError) as error:
            raise ValueError("no DICOM") from error
        syntax: Any = getattr(found, "file_meta", {}).get("TransferSyntaxUID")
        if "PixelData" not in found or syntax is None:
            raise PatientError("fundus.cannot_open")
        if syntax not in _OPENED:
            raise PatientError("fundus.dicom_packed")
        width, height = int(found.Columns), int(found.Rows)
        check_size(width, height, max_pixels=max_pixels)
        image = Image.fromarray(_pixels(found))
    return Decoded(shrink(image, fit(width, height, working_px)), width, height), _eye(found)


def _pixels(found: pydicom.Dataset) -> NDArray[np.uint8]:
    """Return uint8 grey of shape (rows, columns), or RGB of shape (rows, columns, 3)."""
    kind = str(found.PhotometricInterpretation)
    allocated, stored = int(found.BitsAllocated), int(found.get("BitsStored", 8))
    samples = int(found.SamplesPerPixel)
    fits = allocated in {8, 16} and 1 <= stored <= allocated
    if not fits or samples != (3 if kind in _COLOURS else 1):
        raise PatientError("fundus.cannot_open")
    raw = pixel_array(found, index=0)  # colours come as RGB
    if kind in _COLOURS:
        return _eight_bit(raw, stored)
    if kind == "PALETTE COLOR":
        return _palette(raw, found)
    if kind in _GREYS:
        return np.repeat(_grey(raw, found, stored)[..., None], 3, axis=2)
    raise PatientError("fundus.cannot_open")


def _eight_bit(raw: NDArray[Any], stored: int) -> NDArray[np.uint8]:
    if raw.dtype == np.uint8 and stored == 8:
        return raw
    table = np.arange(1 << stored, dtype=np.float32) * (255.0 / ((1 << stored) - 1))
    return table.round().astype(np.uint8)[raw & ((1 << stored) - 1)]


def _palette(raw: NDArray[Any], found: pydicom.Dataset) -> NDArray[np.uint8]:
    """Look colours up; 16-bit tables are as good as 8-bit ones to an eye."""
    coloured = apply_color_lut(raw, found)
    if coloured.dtype == np.uint8:
        return coloured[..., :3]
    return (coloured[..., :3] >> 8).astype(np.uint8)


def _grey(raw: NDArray[Any], found: pydicom.Dataset, stored: int) -> NDArray[np.uint8]:
    """Scale by the file's window, or by the range its depth promises; MONOCHROME1 is a negative."""
    signed = int(found.get("PixelRepresentation", 0)) == 1
    lowest = -(1 << (stored - 1)) if signed else 0
    values = np.arange(lowest, lowest + (1 << stored), dtype=np.float32)
    slope, intercept = _number(found, "RescaleSlope", 1.0), _number(found, "RescaleIntercept", 0.0)
    values = values * slope + intercept
    low, high = float(values.min()), float(values.max())
    width = _number(found, "WindowWidth", 0.0)
    if width > 1:
        centre = _number(found, "WindowCenter", (low + high) / 2)
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    table = ((values - low) * (255.0 / max(high - low, 1e-6))).clip(0, 255).round()
    if found.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    index = (raw.astype(np.int32) - lowest).clip(0, len(values) - 1)
    return table.astype(np.uint8)[index]


def _number(found: pydicom.Dataset, name: str, default: float) -> float:
    """Return the first value of a tag as a finite number."""
    value: Any = found.get(name)
    if value is None or value == "":
        return default
    number = float(value if isinstance(value, str | float | int) else value[0])
    return number if np.isfinite(number) else default


def _eye(found: pydicom.Dataset) -> Eye | None:
    """Read the laterality where the three generations of the standard put it."""
    try:
        groups: Any = found.get("SharedFunctionalGroupsSequence")
        frame: Any = groups[0].FrameAnatomySequence[0].FrameLaterality if groups else None
    except (AttributeError, LookupError, TypeError):
        frame = None
    for side in (found.get("ImageLaterality"), frame, found.get("Laterality")):
        if side:
            return _EYES.get(str(side).strip().upper())
    return None
