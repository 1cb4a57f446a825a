"""DICOM files made here, one for each way in which cameras and archives write pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from core.errors import PatientError
from core.message import LANGUAGES
from core.reply import plain_text
from core.turn.reading_answer import explain_unreadable
from models.fundus import intake

LIMITS = {"max_bytes": 25 * 1024 * 1024, "max_pixels": 80_000_000}
NAME, NUMBER, HOSPITAL = "ZHANG^SAN", "MRN-4711", "People's Hospital"


def red_and_blue(height: int = 64, width: int = 96) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 220
    pixels[:, width // 2 :, 2] = 220
    return pixels


def ramp(bits: int) -> np.ndarray:
    """A grey step wedge of the full range, dark on the left."""
    row = np.linspace(0, (1 << bits) - 1, 96).round()
    return np.tile(row, (64, 1)).astype(np.uint16 if bits > 8 else np.uint8)


def a_dicom(
    pixels: np.ndarray,
    kind: str = "RGB",
    *,
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    body: bytes | None = None,
    **tags: Any,
) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = uid.OphthalmicPhotography8BitImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    found = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    found.PatientName, found.PatientID, found.InstitutionName = NAME, NUMBER, HOSPITAL
    found.PatientBirthDate = "19500101"
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if found.SamplesPerPixel == 3:
        found.PlanarConfiguration = 0
    found.PhotometricInterpretation = kind
    found.BitsAllocated = found.BitsStored = pixels.dtype.itemsize * 8
    found.PixelRepresentation = 0
    found.PixelData = pixels.tobytes() if body is None else body
    for name, value in tags.items():
        setattr(found, name, value)
    found.HighBit = found.BitsStored - 1
    out = io.BytesIO()
    little = syntax != uid.ExplicitVRBigEndian
    implicit = syntax == uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(
        out, found, implicit_vr=implicit, little_endian=little, enforce_file_format=True
    )
    return out.getvalue()


def compressed(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return encapsulate([out.getvalue()])


def opened(data: bytes, **limits: int) -> intake.Photo:
    return intake.decode(data, **{**LIMITS, **limits})


def looks_red_and_blue(photo: intake.Photo) -> bool:
    left, right = photo.pixels[32, 10].astype(int), photo.pixels[32, 86].astype(int)
    return left[0] > 150 > 80 > left[2] and right[2] > 150 > 80 > right[0]


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_uncompressed_colours(syntax: uid.UID) -> None:
    photo = opened(a_dicom(red_and_blue(), syntax=syntax))
    assert (photo.format, photo.width_px, photo.height_px) == ("DICOM", 96, 64)
    assert looks_red_and_blue(photo)


def test_big_endian_greys() -> None:
    body = ramp(16).astype(">u2").tobytes()
    data = a_dicom(ramp(16), "MONOCHROME2", syntax=uid.ExplicitVRBigEndian, body=body)
    assert abs(int(opened(data).pixels[0, 48, 0]) - 128) <= 3


def test_colour_by_plane() -> None:
    planes = np.ascontiguousarray(red_and_blue().transpose(2, 0, 1)).tobytes()
    assert looks_red_and_blue(opened(a_dicom(red_and_blue(), body=planes, PlanarConfiguration=1)))


def test_luminance_and_colour_difference() -> None:
    pixels = np.asarray(Image.fromarray(red_and_blue()).convert("YCbCr"))
    assert looks_red_and_blue(opened(a_dicom(pixels, "YBR_FULL")))


@pytest.mark.parametrize(
    ("syntax", "kind", "body"),
    [
        (uid.JPEGBaseline8Bit, "YBR_FULL_422", ("JPEG", {"quality": 95})),
        (uid.JPEG2000Lossless, "YBR_RCT", ("JPEG2000", {"no_jp2": True, "mct": 1})),
        (uid.JPEG2000, "YBR_ICT", ("JPEG2000", {"no_jp2": True, "irreversible": True, "mct": 1})),
    ],
)
def test_compressed_colours(syntax: uid.UID, kind: str, body: tuple[str, dict[str, Any]]) -> None:
    data = compressed(red_and_blue(), body[0], **body[1])
    assert looks_red_and_blue(opened(a_dicom(red_and_blue(), kind, syntax=syntax, body=data)))


def test_run_length_encoding() -> None:
    found = pydicom.dcmread(io.BytesIO(a_dicom(red_and_blue())))
    found.compress(uid.RLELossless, generate_instance_uid=False)
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    assert looks_red_and_blue(opened(out.getvalue()))


def test_palette() -> None:
    index = np.zeros((64, 96), np.uint8)
    index[:, 48:] = 1
    tags: dict[str, Any] = {}
    for n, name in enumerate(("Red", "Green", "Blue")):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        values = np.zeros(256, np.uint16)
        values[:2] = [(0xDC00, 0), (0, 0), (0, 0xDC00)][n]
        tags[f"{name}PaletteColorLookupTableData"] = values.tobytes()
    assert looks_red_and_blue(opened(a_dicom(index, "PALETTE COLOR", **tags)))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_greys_keep_their_range(bits: int, kind: str) -> None:
    pixels = opened(a_dicom(ramp(bits), kind, BitsStored=bits)).pixels
    dark, light = (0, -1) if kind == "MONOCHROME2" else (-1, 0)
    assert pixels[0, dark].max() <= 2
    assert pixels[0, light].min() >= 253
    assert abs(int(pixels[0, 48, 0]) - 128) <= 3


def test_signed_greys_and_a_window() -> None:
    signed = (ramp(12).astype(np.int32) - 2048).astype(np.int16)
    pixels = opened(a_dicom(signed, "MONOCHROME2", BitsStored=12, PixelRepresentation=1)).pixels
    assert (pixels[0, 0, 0], pixels[0, -1, 0]) == (0, 255)
    narrow = opened(
        a_dicom(ramp(12), "MONOCHROME2", BitsStored=12, WindowCenter=1024, WindowWidth=512)
    ).pixels
    assert narrow[0, 17, 0] == 0  # 725
    assert narrow[0, 31, 0] == 255  # 1336
    rescaled = opened(
        a_dicom(
            ramp(8), "MONOCHROME2", RescaleSlope=2, RescaleIntercept=-255,
            WindowCenter=[0.5, 9], WindowWidth=[511, 1],
        )
    ).pixels  # fmt: skip
    assert abs(int(rescaled[0, 48, 0]) - 128) <= 3


def test_twelve_bit_colours() -> None:
    deep = red_and_blue().astype(np.uint16) << 4
    assert looks_red_and_blue(opened(a_dicom(deep, BitsStored=12)))


@pytest.mark.parametrize(
    ("tags", "eye"),
    [
        ({"ImageLaterality": "R"}, "OD"),
        ({"ImageLaterality": "L"}, "OS"),
        ({"ImageLaterality": "B"}, None),
        ({"Laterality": "L"}, "OS"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "OD"),
        ({}, None),
    ],
)
def test_the_side_of_the_eye(tags: dict[str, str], eye: str | None) -> None:
    assert opened(a_dicom(red_and_blue(), **tags)).eye == eye


def test_the_side_in_the_functional_groups() -> None:
    anatomy, groups = Dataset(), Dataset()
    anatomy.FrameLaterality = "L"
    groups.FrameAnatomySequence = [anatomy]
    assert opened(a_dicom(red_and_blue(), SharedFunctionalGroupsSequence=[groups])).eye == "OS"


def test_nothing_about_the_person_leaves() -> None:
    data = a_dicom(red_and_blue(), ImageLaterality="R")
    for secret in (NAME, NUMBER, HOSPITAL, "19500101"):
        assert secret.encode() in data
        assert secret.encode() not in intake.clean_jpeg(data, **LIMITS)
        assert secret not in repr(opened(data))


def test_only_the_first_frame_counts() -> None:
    two = np.concatenate([red_and_blue(), red_and_blue()[:, ::-1]]).tobytes()
    data = a_dicom(red_and_blue(), body=two, NumberOfFrames="2")
    assert looks_red_and_blue(opened(data))


def test_working_size_shrinks_but_remembers_the_original() -> None:
    photo = opened(a_dicom(red_and_blue(320, 480)), working_px=96)
    assert photo.pixels.shape == (64, 96, 3)
    assert (photo.width_px, photo.height_px) == (480, 320)


def refused(data: bytes, **limits: int) -> str:
    with pytest.raises(PatientError) as caught:
        opened(data, **limits)
    return caught.value.text_key


def test_hostile_and_foreign_files_are_refused_in_words() -> None:
    plain = a_dicom(red_and_blue())
    assert refused(plain, max_pixels=96 * 64 - 1) == "fundus.too_many_pixels"
    assert refused(a_dicom(red_and_blue(16, 16))) == "fundus.too_small"
    assert refused(plain[:900]) in {"fundus.damaged", "fundus.cannot_open"}
    assert refused(b"\0" * 128 + b"DICM" + b"\xff" * 500) in {
        "fundus.damaged",
        "fundus.cannot_open",
    }
    # 65,535 × 65,535 promised
    huge = a_dicom(red_and_blue(), body=b"\0" * 64, Rows=65535, Columns=65535)
    assert refused(huge) == "fundus.too_many_pixels"
    assert refused(a_dicom(red_and_blue(), body=b"\0" * 64)) == "fundus.damaged"
    # The frame inside is larger than the tags say.
    inner = compressed(np.zeros((2000, 2000, 3), np.uint8), "JPEG")
    liar = a_dicom(red_and_blue(), "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit, body=inner)
    assert refused(liar, max_pixels=1_000_000) in {"fundus.too_many_pixels", "fundus.damaged"}


@pytest.mark.parametrize(
    "syntax",
    [
        uid.JPEGLossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEGLSNearLossless,
        uid.HTJ2KLossless, uid.MPEG2MPML,
    ],
)  # fmt: skip
def test_compressions_nobody_here_opens_are_answered_with_what_to_ask_for(syntax: uid.UID) -> None:
    body = encapsulate([b"\xff\xd8\xff\xd9"])
    key = refused(a_dicom(red_and_blue(), syntax=syntax, body=body))
    assert key == "fundus.dicom_packed"
    for language in LANGUAGES:
        said = plain_text(explain_unreadable(key, language))
        assert "DICOM" in said
        assert "JPG" in said
        assert "Explicit VR Little Endian" in said


def test_a_file_without_a_picture_is_no_matter_of_compression() -> None:
    found = pydicom.dcmread(io.BytesIO(a_dicom(red_and_blue())))
    del found.PixelData
    out = io.BytesIO()
    found.save_as(out, enforce_file_format=True)
    assert refused(out.getvalue()) == "fundus.cannot_open"


def test_a_deflated_file_is_never_inflated() -> None:
    plain = a_dicom(red_and_blue())
    deflated = plain.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0\0")
    assert refused(deflated) == "fundus.dicom_packed"


SEEDS = [
    a_dicom(red_and_blue()),
    a_dicom(ramp(12), "MONOCHROME1", BitsStored=12),
    a_dicom(
        red_and_blue(), "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit,
        body=compressed(red_and_blue(), "JPEG"),
    ),
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, len(SEEDS) - 1),
    edits=st.lists(st.tuples(st.integers(132, 900), st.integers(0, 255)), max_size=10),
    cut=st.integers(0, 1500),
)
def test_damaged_files_never_raise_anything_else(
    seed: int, edits: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SEEDS[seed])
    for at, value in edits:
        data[at % len(data)] = value
    try:
        photo = opened(bytes(data[: max(140, len(data) - cut)]))
    except PatientError:
        return
    assert photo.pixels.shape[2] == 3
    assert photo.pixels.dtype == np.uint8
