"""What is on the disk: nothing readable, no metadata of photos, nothing that was refused."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adapters.webchat.channel import WebChat
from bot.service import Service
from bot.settings import Settings
from core.errors import ConfigError
from core.message import Address, Attachment, AttachmentKind, Inbound
from core.store.history import TranscriptHistory

PHOTO = Path(__file__).parents[1] / "fixtures" / "fundus" / "idrid_grade2.jpg"
WORDS = "我叫王小明，左眼有点干涩"
CHAT = Address("webchat", "web", "c" * 64)


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(
        data_dir=folder / "data",
        server={"port": 0},
        dialog={"merge_window_ms": 0},
        fundus={"threads": 1},
        **more,
    )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Service]:
    service = Service(settings(folder))
    await service.start()
    yield service
    await service.stop()


async def send(service: Service, number: int, **content: Any) -> None:
    message = Inbound(CHAT, f"m{number}", number, sender_name="王小明", **content)
    await service.intake.accept([message])
    await service.settle()


def a_photo_with_a_place() -> bytes:
    image = Image.open(io.BytesIO(PHOTO.read_bytes()))
    exif = Image.Exif()
    exif[0x010F] = "SecretCameraMaker"
    exif[0x8825] = {1: "N", 2: (31.0, 14.0, 0.0), 3: "E", 4: (121.0, 28.0, 0.0)}
    out = io.BytesIO()
    image.save(out, "JPEG", exif=exif)
    return out.getvalue()


async def test_nothing_readable_lies_on_the_disk(tmp_path: Path) -> None:
    photo = a_photo_with_a_place()
    async with running(tmp_path) as service:
        await send(service, 1, text=WORDS)
        await send(service, 2, button="v1:consent:all")
        ref = await service.blobs.put(photo, salt=b"upload")
        picture = Attachment(AttachmentKind.PHOTO, ref)
        await send(service, 3, attachments=(picture,))
    everything = b"".join(f.read_bytes() for f in (tmp_path / "data").rglob("*") if f.is_file())
    for clear in (WORDS, "王小明", "干涩", "SecretCameraMaker"):
        assert clear.encode() not in everything
    assert photo[:2000] not in everything
    for private in ("keys.json",):
        assert (tmp_path / "data" / private).stat().st_mode & 0o077 == 0


async def test_a_stored_photo_says_nothing_of_place_or_camera(tmp_path: Path) -> None:
    photo = a_photo_with_a_place()
    async with running(tmp_path) as service:
        await send(service, 1, button="v1:consent:all")
        ref = await service.blobs.put(photo, salt=b"upload")
        await send(service, 2, attachments=(Attachment(AttachmentKind.PHOTO, ref),))
        items = await TranscriptHistory(service.store).history(CHAT)
        (kept,) = [blob for item in items for blob in item.photos]
        stored = await service.blobs.get(kept)
        with Image.open(PHOTO) as original:
            assert Image.open(io.BytesIO(stored)).size == original.size
        assert b"SecretCameraMaker" not in stored
        assert not Image.open(io.BytesIO(stored)).getexif()
        blobs = [f for f in (tmp_path / "data" / "blobs").rglob("*") if f.is_file()]
        assert len(blobs) == 2, "the clean photo and its card; the upload itself is gone"


@pytest.mark.parametrize("refusal", ["v1:consent:none", "v1:consent:no:photos"])
async def test_a_refused_photo_is_not_kept(tmp_path: Path, refusal: str) -> None:
    async with running(tmp_path) as service:
        if refusal.endswith("photos"):
            await send(service, 1, button="v1:consent:yes:health")
        ref = await service.blobs.put(a_photo_with_a_place(), salt=b"upload")
        await send(service, 2, attachments=(Attachment(AttachmentKind.PHOTO, ref),))
        await send(service, 3, button=refusal)
    blobs = [f for f in (tmp_path / "data" / "blobs").rglob("*") if f.is_file()]
    assert blobs == []


async def test_the_same_photo_sent_twice_is_answered_twice(tmp_path: Path) -> None:
    photo = PHOTO.read_bytes()
    async with running(tmp_path) as service:
        await send(service, 1, button="v1:consent:all")
        pictures = [
            Attachment(AttachmentKind.PHOTO, await service.blobs.put(photo, salt=salt))
            for salt in (b"first", b"second")
        ]
        await service.intake.accept(
            [Inbound(CHAT, f"p{n}", n, attachments=(p,)) for n, p in enumerate(pictures, start=5)]
        )
        await service.settle()
        items = await TranscriptHistory(service.store).history(CHAT)
        readings = [i for i in items if i.reply is not None and i.reply.kind == "reading"]
        assert len(readings) == 2


async def test_a_lost_or_foreign_key_file_stops_the_start(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await send(service, 1, text=WORDS)
        assert isinstance(service.web_chat(), WebChat)
    keys = tmp_path / "data" / "keys.json"
    kept = keys.read_bytes()
    keys.unlink()
    with pytest.raises(ConfigError, match="restore it from your backup"):
        Service(settings(tmp_path))
    assert not keys.exists(), "no new key was made for old data"
    other = tmp_path / "other"
    async with running(other):
        pass
    shutil.copy(other / "data" / "keys.json", keys)
    with pytest.raises(ConfigError, match="put back the key file"):
        Service(settings(tmp_path))
    keys.write_bytes(kept)
    async with running(tmp_path) as service:
        items = await TranscriptHistory(service.store).history(CHAT)
        assert items[0].text == WORDS
    with sqlite3.connect(tmp_path / "data" / "oculichat.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


async def test_a_file_that_is_no_picture_is_not_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await send(service, 1, button="v1:consent:all")
        ref = await service.blobs.put(b"%PDF-1.4 with a name in it", salt=b"upload")
        await send(service, 2, attachments=(Attachment(AttachmentKind.PHOTO, ref),))
        items = await TranscriptHistory(service.store).history(CHAT)
        assert items[-1].reply is not None
    blobs = [f for f in (tmp_path / "data" / "blobs").rglob("*") if f.is_file()]
    assert blobs == []
