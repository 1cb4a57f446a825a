"""Albums and pictures with two eyes get one answer; an unknown side is asked about once."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from adapters.terminal.channel import TerminalChannel, inbound
from bot.service import Service
from bot.settings import Settings
from core.message import Language
from core.reading import Eye, Reading
from core.store.tables import photo
from core.turn.completion import READING
from core.turn.photos import SECOND_EYE, reading_from_json, reading_to_json
from tests.conftest import ManualClock
from tests.unit.test_fundus_answer import a_reading

PICTURES = Path(__file__).parents[1] / "fixtures" / "fundus"
NAMES = ("idrid_grade0.jpg", "idrid_grade2.jpg", "idrid_grade4.jpg")


class ScriptedReader:
    """Says what it is told to, photo after photo; keeps what eye it was told."""

    def __init__(self, *readings: Reading) -> None:
        self._readings = itertools.cycle(readings)
        self.told: list[Eye | None] = []

    async def read(self, photo: bytes, *, language: Language, eye: Eye | None = None) -> Reading:
        self.told.append(eye)
        found = next(self._readings)
        return replace(found, eye=eye, eye_from="caption") if eye else found

    async def clean(self, photo: bytes) -> bytes:
        return photo


Says = Callable[..., Awaitable[list[dict[str, Any]]]]


@asynccontextmanager
async def a_chat(folder: Path, reader: ScriptedReader) -> AsyncIterator[tuple[Service, Says]]:
    lines: list[str] = []
    service = Service(
        Settings(
            data_dir=folder / "data",
            dialog={"merge_window_ms": 0},
            consent={"required": False},
        ),
        extra_channel=lambda blobs: TerminalChannel(
            lines.append, blobs, folder / "pictures", as_json=True
        ),
        network=False,
        clock=ManualClock(1_799_978_400_000),
    )
    service.reader.read = reader.read  # type: ignore[method-assign]
    service.reader.clean = reader.clean  # type: ignore[method-assign]
    numbers = itertools.count(1)

    async def says(*photos: str, **data: str) -> list[dict[str, Any]]:
        """Send photos as one message, or words, or a button; return what is answered."""
        before = len(lines)
        if photos:
            data["photo"] = str(PICTURES / photos[0])
        message = inbound(json.dumps(data), next(numbers), as_json=True)
        more = tuple(
            inbound(json.dumps({"photo": str(PICTURES / p)}), 0, as_json=True).attachments[0]
            for p in photos[1:]
        )
        await service.intake.accept([replace(message, attachments=message.attachments + more)])
        await service.settle()
        return [json.loads(line) for line in lines[before:]]

    await service.start()
    try:
        yield service, says
    finally:
        await service.stop()


async def stored(service: Service) -> list[tuple[int, Reading]]:
    rows = await service.store.read(
        lambda db, _: db.execute(
            select(photo.c.position, photo.c.reading_sealed).order_by(photo.c.id)
        ).all(),
        None,
    )
    keys = service.store.keys
    return [(p, reading_from_json(keys.open_json(READING, sealed))) for p, sealed in rows]


def of_photos(replies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in replies if r["kind"] == "reading"]


def labels(reply: dict[str, Any]) -> list[str]:
    return [b["action"] for b in reply["buttons"]]


RIGHT = replace(a_reading(dr="negative", dr_grade=0, eye="OD"), card=b"card one")
LEFT = replace(a_reading(dr="refer", dr_grade=3, eye="OS"), card=b"card two")
UNKNOWN = a_reading(dr="negative", dr_grade=0)


async def test_both_eyes_of_an_album_get_one_answer(tmp_path: Path) -> None:
    async with a_chat(tmp_path, ScriptedReader(RIGHT, LEFT)) as (service, says):
        one, other, both = of_photos(await says(*NAMES[:2]))
        assert (one["text"], other["text"]) == ("右眼", "左眼")
        assert one["image"]
        assert other["image"]
        words = both["text"]
        assert "两只眼睛" in words
        assert words.index("右眼") < words.index("左眼")
        assert "2 周内" in words  # the left eye's, and nothing later beside it
        assert "每年至少" not in words
        assert "两只眼睛的结果不一样" in words
        for once in ("没有评估", "AI 参考", "不要等"):
            assert words.count(once) == 1
        assert both["buttons"] == []
        assert [(p, r.eye) for p, r in await stored(service)] == [(0, "OD"), (1, "OS")]


async def test_two_eyes_in_one_picture_are_two_photos_of_the_record(tmp_path: Path) -> None:
    picture = replace(RIGHT, other=LEFT)
    async with a_chat(tmp_path, ScriptedReader(picture)) as (service, says):
        replies = of_photos(await says(NAMES[0]))
        assert len(replies) == 3
        assert "两只眼睛" in replies[-1]["text"]
        kept = await stored(service)
        assert [(p, r.eye) for p, r in kept] == [(0, "OD"), (SECOND_EYE, "OS")]
        assert all(r.other is None for _, r in kept)


async def test_what_cannot_be_read_does_not_hide_the_other(tmp_path: Path) -> None:
    blurred = a_reading("ungradable", retake=("blur",))
    no_eye = a_reading("not_fundus")
    async with a_chat(tmp_path, ScriptedReader(RIGHT, blurred, no_eye)) as (_, says):
        words = of_photos(await says(*NAMES))[-1]["text"]
        assert "右眼" in words
        assert "看不清不等于正常" in words
        assert "另外 1 张不像眼底照片" in words
        assert "第 2 张" in words


async def test_photos_that_show_no_retina_get_the_usual_answer(tmp_path: Path) -> None:
    async with a_chat(tmp_path, ScriptedReader(a_reading("not_fundus"))) as (_, says):
        (reply,) = of_photos(await says(*NAMES[:2]))
        assert "不像眼底照片" in reply["text"]


async def test_an_unknown_side_is_asked_about_and_kept(tmp_path: Path) -> None:
    async with a_chat(tmp_path, ScriptedReader(UNKNOWN)) as (service, says):
        (reply,) = of_photos(await says(NAMES[0]))
        assert "这张照片是哪只眼" in reply["text"]
        assert labels(reply) == ["v1:eye:right", "v1:eye:left", "v1:eye:unknown"]
        (noted,) = await says(button="v1:eye:left")
        assert "左眼" in noted["text"]
        ((_, reading),) = await stored(service)
        assert (reading.eye, reading.eye_from) == ("OS", "caption")
        (gone,) = await says(button="v1:eye:right")
        assert "已经过去" in gone["text"]
        ((_, reading),) = await stored(service)
        assert reading.eye == "OS"


async def test_each_unknown_photo_of_an_album_is_asked_about(tmp_path: Path) -> None:
    async with a_chat(tmp_path, ScriptedReader(UNKNOWN, RIGHT, UNKNOWN)) as (service, says):
        asked = of_photos(await says(*NAMES))[-1]
        assert "第 1 张照片是哪只眼" in asked["text"]
        (again,) = await says(button="v1:eye:unknown")
        assert "第 3 张照片是哪只眼" in again["text"]
        await says(button="v1:eye:left")
        assert [r.eye for _, r in await stored(service)] == [None, "OD", "OS"]


async def test_the_question_is_answered_by_its_label_too(tmp_path: Path) -> None:
    async with a_chat(tmp_path, ScriptedReader(UNKNOWN)) as (service, says):
        await says(NAMES[0])
        await says(text="照片是右眼")
        ((_, reading),) = await stored(service)
        assert reading.eye == "OD"


async def test_what_the_person_says_is_not_asked(tmp_path: Path) -> None:
    reader = ScriptedReader(UNKNOWN)
    async with a_chat(tmp_path, reader) as (_, says):
        (reply,) = of_photos(await says(NAMES[0], text="这是右眼"))
        assert reader.told == ["OD"]
        assert "v1:eye:right" not in labels(reply)


async def test_a_doubtful_side_and_a_guessed_one_are_said_so(tmp_path: Path) -> None:
    doubtful = replace(RIGHT, eye_from="caption", eye_doubt=True)
    guessed = replace(RIGHT, eye_from="picture")
    async with a_chat(tmp_path, ScriptedReader(doubtful, guessed)) as (_, says):
        (reply,) = of_photos(await says(NAMES[0]))
        assert "核对一下" in reply["text"]
        (reply,) = of_photos(await says(NAMES[1]))
        assert "从照片看是右眼" in reply["text"]


def test_a_reading_with_two_eyes_survives_json() -> None:
    both = replace(RIGHT, other=LEFT)
    data = json.loads(json.dumps(reading_to_json(both)))
    back = reading_from_json(data)
    assert back == replace(both, card=None, other=replace(LEFT, card=None))
