from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from core.drift import Tallies
from core.errors import TransientError
from core.message import Attachment, AttachmentKind, Language
from core.ports import Capabilities
from core.reading import CONDITIONS, Decision, Eye, Finding, Reading
from core.reply import plain_text
from core.texts import catalogue
from core.turn.answer import Answer
from core.turn.photos import Sent, read_all
from core.turn.state import DialogState
from tests.fakes.core_fakes import FakeBlobs


def a_reading(dr: Decision = "borderline", eye: Eye = "OD") -> Reading:
    findings = tuple(Finding(c, dr, 0.5) if c == "dr" else Finding(c, "not_assessed") for c in CONDITIONS)  # fmt: skip  # noqa: E501
    return Reading("assessed", findings, 1, eye, 0.99, 0.9, (), "m 1", "CPU", 9, 9)


@dataclass
class FakeChannel:
    name: str
    account: str = "1"
    capabilities = Capabilities(4096, 1024, "utf16", buttons=True, drafts=False, media_limit_bytes=99)  # fmt: skip  # noqa: E501

    async def fetch(self, attachment: Attachment, *, limit_bytes: int) -> bytes:
        return attachment.ref.encode()


@dataclass
class FakeReader:
    reading: Reading | None

    async def read(self, photo: bytes, *, language: Language, eye: Eye | None = None) -> Reading:
        if self.reading is None:
            raise TransientError("busy")
        return self.reading

    async def clean(self, photo: bytes) -> bytes:
        return photo


async def answered(
    reading: Reading | None, channel: str, *, compressed: bool, tallies: Tallies | None = None
) -> str:
    answer = Answer(DialogState(), "zh-Hans", 1_700_000_000_000, "Asia/Shanghai")
    photo = Attachment(AttachmentKind.PHOTO, "ref", "image/jpeg", compressed=compressed)
    await read_all(
        answer,
        [Sent(1, 0, photo)],
        caption="",
        channel=FakeChannel(channel),  # type: ignore[arg-type]
        blobs=FakeBlobs(),
        reader=FakeReader(reading),
        tallies=tallies,
    )
    return "\n".join(plain_text(r) for r in answer.replies)


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        ("telegram", "telegram"),
        ("wechat", "wechat"),
        ("ilink", "wechat_file"),
        ("webchat", "other"),
    ],
)
async def test_a_borderline_photo_that_came_compressed_asks_for_the_original(
    channel: str, kind: str
) -> None:
    asked = catalogue("zh-Hans")[f"fundus.original.{kind}"]
    assert asked in await answered(a_reading(), channel, compressed=True)
    assert asked not in await answered(a_reading(), channel, compressed=False)
    assert asked not in await answered(a_reading("negative"), channel, compressed=True)


async def test_every_photo_is_counted_for_the_metrics_each_eye_once() -> None:
    tallies = Tallies()
    both = replace(a_reading(), other=a_reading("negative", "OS"))
    for reading in (a_reading("refer"), both, None):
        await answered(reading, "telegram", compressed=False, tallies=tallies)
    tally = tallies.by_channel["telegram"]
    assert tally.photos == 4
    assert tally.outcomes == {"assessed": 3, "unread": 1}
    assert {d: tally.decisions["dr", d] for d in ("refer", "borderline", "negative")} == {
        "refer": 1, "borderline": 1, "negative": 1,
    }  # fmt: skip
