"""Fetching what people sent, within limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import PatientError, TransientError
from core.message import Attachment, AttachmentKind
from core.texts import text
from tests.fakes.botapi import BotApi
from tests.fakes.botapi_methods import METHODS
from tests.integration.telegram.conftest import impatient

MIB = 1024 * 1024


@pytest.fixture
def photo(api: BotApi) -> Attachment:
    api.files["f1"] = (b"\xff\xd8" + b"x" * 300_000, 300_002)
    return Attachment(AttachmentKind.PHOTO, "f1", size_bytes=300_002)


async def test_the_bytes_come_as_they_were_sent(api, channel, photo):
    assert await channel.fetch(photo, limit_bytes=MIB) == api.files["f1"][0]


async def test_a_claimed_size_over_the_limit_asks_nothing(api, channel, photo):
    with pytest.raises(PatientError) as caught:
        await channel.fetch(replace(photo, size_bytes=30 * MIB), limit_bytes=99 * MIB)
    assert api.requests == 0
    assert caught.value.text_key == "telegram.too_large"
    for language in ("zh-Hans", "en"):
        assert "20 MB" in text(language, caught.value.text_key, **caught.value.fields)


@pytest.mark.parametrize(
    ("told", "known", "asked"),
    [(300_002, 300_002, 0), (None, 300_002, 1), (None, 0, 2)],
    ids=["claimed with the message", "known to getFile", "seen while reading"],
)
async def test_a_size_over_the_limit_stops_as_early_as_it_is_known(
    api, channel, photo, told, known, asked
):
    api.files["f1"] = (api.files["f1"][0], known)
    with pytest.raises(PatientError, match="too_large"):
        await channel.fetch(replace(photo, size_bytes=told), limit_bytes=100_000)
    assert api.requests == asked


async def test_what_telegram_finds_too_big(api, channel):
    api.files["big"] = (b"x", 21 * MIB)
    with pytest.raises(PatientError, match="too_large"):
        await channel.fetch(Attachment(AttachmentKind.DOCUMENT, "big"), limit_bytes=99 * MIB)


@pytest.mark.parametrize("ref", ["", "unknown"])
async def test_what_is_gone(channel, ref):
    with pytest.raises(PatientError, match="file_gone"):
        await channel.fetch(Attachment(AttachmentKind.LOCATION, ref), limit_bytes=MIB)


async def test_a_file_that_vanishes_between_the_two_calls(api, channel, photo, monkeypatch):
    get_file = METHODS["getfile"]

    def vanishing(api: BotApi, parameters):
        found = get_file(api, parameters)
        del api.files["f1"]
        return found

    monkeypatch.setitem(METHODS, "getfile", vanishing)
    with pytest.raises(PatientError, match="file_gone"):
        await channel.fetch(photo, limit_bytes=MIB)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("502", "getFile"), ("cut", "getFile"), ("hang", "getFile"), ("502", "download")],
)
async def test_what_passes_by_itself(api, channel, photo, kind, method):
    api.fault(kind, method)
    patience_s = channel._request._request_timeout_s
    if kind == "hang":
        impatient(channel)
    with pytest.raises(TransientError):
        await channel.fetch(photo, limit_bytes=MIB)
    channel._request._request_timeout_s = patience_s
    assert await channel.fetch(photo, limit_bytes=MIB)


async def test_a_pause_is_passed_on(api, channel, photo):
    api.fault("429", "getFile", retry_after=9)
    with pytest.raises(TransientError) as caught:
        await channel.fetch(photo, limit_bytes=MIB)
    assert caught.value.retry_after_s == 9
