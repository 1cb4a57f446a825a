"""What a person sends through WeChat is in the inbox, once, whatever happens meanwhile."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from adapters.wechat.ilink.logins import all_logins
from core.errors import PatientError, TransientError
from core.message import AttachmentKind
from tests.fakes.ilink import aes_ecb
from tests.fakes.waiting import until
from tests.integration.ilink.conftest import Clinic


async def test_a_text_comes_in_with_its_ids_as_strings(clinic: Clinic) -> None:
    await clinic.connect("alice@im.wechat")
    await clinic.run()
    sent = clinic.wechat.user_says("alice@im.wechat", "眼睛红了两天")
    await until(lambda: clinic.intake.accepted)
    (message,) = clinic.intake.accepted
    assert sent["message_id"] > 2**63
    assert message.message_id == str(sent["message_id"])
    assert (message.text, message.private) == ("眼睛红了两天", True)
    address = message.address
    assert (address.channel, address.account, address.chat_id) == (
        clinic.channel.name,
        clinic.channel.account,
        "alice@im.wechat",
    )
    assert message.sent_at_ms == message.sequence == sent["create_time_ms"]
    assert clinic.channel.health().ok


async def test_another_process_goes_on_where_the_last_one_was(clinic: Clinic) -> None:
    await clinic.connect("alice")
    await clinic.run()
    await clinic.hears("alice", "一")
    await until(lambda: clinic.wechat.bots and _polls(clinic) > 1)
    await clinic.end()
    clinic.wechat.user_says("alice", "二")
    await clinic.again()
    await until(lambda: len(clinic.intake.accepted) == 2)
    assert [m.text for m in clinic.intake.accepted] == ["一", "二"]
    assert clinic.intake.duplicates == 0, "the cursor was kept"


def _polls(clinic: Clinic) -> int:
    return sum(bot.polls for bot in clinic.wechat.bots.values())


async def test_the_cursor_moves_only_after_the_inbox_has_the_messages(clinic: Clinic) -> None:
    await clinic.connect("alice")
    clinic.intake.down = True
    await clinic.run()
    clinic.wechat.user_says("alice", "在吗")
    await until(lambda: clinic.channel.health().facts.get("not_storing") == "1")
    (login,) = await clinic.store.read(all_logins, 10)
    assert login.cursor_sealed is None
    clinic.intake.down = False
    await until(lambda: clinic.intake.accepted)
    assert [m.text for m in clinic.intake.accepted] == ["在吗"]
    await until(lambda: clinic.channel.health().ok)


async def test_a_message_that_comes_twice_is_the_same_message(clinic: Clinic) -> None:
    bot = await clinic.connect("alice")
    await clinic.run()
    await clinic.hears("alice", "一")
    bot.messages.append(bot.messages[0])
    await until(lambda: clinic.intake.duplicates == 1)


@pytest.mark.parametrize("size", [1, 15, 16, 4_900, 270_001, 6 << 20])
async def test_pictures_and_files_arrive_byte_for_byte(clinic: Clinic, size: int) -> None:
    data = os.urandom(size)
    await clinic.connect("alice")
    await clinic.run()
    clinic.wechat.user_photo("alice", data)
    clinic.wechat.user_file("alice", data, "眼底.JPG")
    await until(lambda: len(clinic.intake.accepted) == 2)
    photo, file = (m.attachments[0] for m in clinic.intake.accepted)
    assert (photo.kind, photo.mime, photo.compressed) == (AttachmentKind.PHOTO, "image/jpeg", True)
    assert (file.kind, file.mime, file.name) == (AttachmentKind.DOCUMENT, "image/jpeg", "眼底.JPG")
    assert file.size_bytes == size
    for attachment in (photo, file):
        fetched = await clinic.channel.fetch(attachment, limit_bytes=10 << 20)
        assert hashlib.sha256(fetched).digest() == hashlib.sha256(data).digest()


async def test_a_whole_address_from_wechat_is_used_and_a_strange_one_is_not(
    clinic: Clinic,
) -> None:
    await clinic.connect("alice")
    await clinic.run()
    key = bytes(range(16))
    clinic.wechat.files["elsewhere"] = aes_ecb(b"picture", key)
    place = f"{clinic.wechat.base}/c2c/download?encrypted_query_param=elsewhere"
    away = f"{clinic.wechat.base}/c2c/download?moved_to="
    metadata = "https://169.254.169.254/latest/meta-data"
    good_ones = (place, away + quote(place, safe=""))
    for url in (*good_ones, metadata, "http://weixin.qq.com/x", away + quote(metadata, safe="")):
        clinic.wechat.user_sends(
            "alice", {"image_item": {"aeskey": key.hex(), "media": {"full_url": url}}}
        )
    await until(lambda: len(clinic.intake.accepted) == 5)
    good, moved, *strange = (m.attachments[0] for m in clinic.intake.accepted)
    assert await clinic.channel.fetch(good, limit_bytes=1000) == b"picture"
    assert await clinic.channel.fetch(moved, limit_bytes=1000) == b"picture"
    for attachment in strange:
        with pytest.raises(TransientError, match="trusted_hosts"):
            await clinic.channel.fetch(attachment, limit_bytes=1000)


async def test_files_that_cannot_be_had_are_said_to_the_patient(clinic: Clinic) -> None:
    await clinic.connect("alice")
    await clinic.run()
    clinic.wechat.user_photo("alice", b"x" * 5000)
    clinic.wechat.user_file("alice", b"sent before", "a.jpg", aes_key="MDEyMzQ1Njc4OWFiY2RlZg==")
    clinic.wechat.user_photo("alice", b"gone", encrypt_query_param="nowhere")
    clinic.wechat.user_sends("alice", {"image_item": {"media": {}}})
    await until(lambda: len(clinic.intake.accepted) == 4)
    large, wrong_key, gone, without_key = (m.attachments[0] for m in clinic.intake.accepted)
    with pytest.raises(PatientError) as too_large:
        await clinic.channel.fetch(large, limit_bytes=4999)
    assert too_large.value.text_key == "ilink.too_large"
    assert len(await clinic.channel.fetch(large, limit_bytes=5000)) == 5000
    for attachment in (wrong_key, gone, without_key):
        with pytest.raises(PatientError) as missing:
            await clinic.channel.fetch(attachment, limit_bytes=5000)
        assert missing.value.text_key == "ilink.file_gone"
    clinic.wechat.faults.append(("download", "502"))
    with pytest.raises(TransientError):
        await clinic.channel.fetch(large, limit_bytes=5000)


async def test_speech_is_what_wechat_wrote_down_else_a_voice_message(clinic: Clinic) -> None:
    await clinic.connect("alice")
    await clinic.run()
    clinic.wechat.user_voice("alice", b"silk", "左眼看东西变形")
    clinic.wechat.user_voice("alice", b"silk")
    await until(lambda: len(clinic.intake.accepted) == 2)
    written, spoken = clinic.intake.accepted
    assert written.text == "左眼看东西变形"
    assert [(a.kind, a.transcribed) for a in written.attachments] == [(AttachmentKind.VOICE, True)]
    assert spoken.text == ""
    assert [(a.kind, a.transcribed) for a in spoken.attachments] == [(AttachmentKind.VOICE, False)]
    assert await clinic.channel.fetch(spoken.attachments[0], limit_bytes=100) == b"silk"


async def test_groups_echoes_and_nonsense_are_left_out_and_block_nothing(clinic: Clinic) -> None:
    bot = await clinic.connect("alice")
    await clinic.run()
    clinic.wechat.user_says("alice", "in a group", group_id="g@im.group")
    clinic.wechat.user_says("alice", "our own", message_type=2)
    bot.messages += [{"from_user_id": 7}, {"item_list": "what"}, "nothing", None]
    clinic.wechat.user_sends("alice", {"strange_item": {}})
    clinic.wechat.user_says("alice", "在吗")
    await until(lambda: len(clinic.intake.accepted) == 2)
    strange, text = clinic.intake.accepted
    assert [a.kind for a in strange.attachments] == [AttachmentKind.OTHER]
    assert text.text == "在吗"


async def test_a_new_login_is_found_while_running_and_people_are_kept_apart(
    clinic: Clinic,
) -> None:
    await clinic.run()
    assert clinic.channel.health().detail.startswith("nobody")
    for user in ("alice", "bob"):
        await clinic.connect(user)
        clinic.wechat.user_says(user, f"我是{user}")
    await until(lambda: len(clinic.intake.accepted) == 2)
    said = {m.address.chat_id: m.text for m in clinic.intake.accepted}
    assert said == {"alice": "我是alice", "bob": "我是bob"}
    assert clinic.channel.health().facts["logins"] == "2"


async def test_an_outage_is_a_state_and_ends_by_itself(clinic: Clinic) -> None:
    await clinic.connect("alice")
    clinic.wechat.faults.extend([("getupdates", "502"), ("getupdates", "garbage")])
    await clinic.run()
    await until(lambda: clinic.channel.health().facts.get("unreachable") == "1")
    assert "network" in clinic.channel.health().detail
    await clinic.hears("alice")
    await until(lambda: clinic.channel.health().ok)


async def test_we_announce_ourselves_and_say_goodbye(clinic: Clinic) -> None:
    bot = await clinic.connect("alice")
    await clinic.run()
    await until(lambda: clinic.channel.health().facts.get("ready") == "1")
    await clinic.end()
    assert (bot.started, bot.stopped) == (1, 1)


async def test_one_stale_answer_is_asked_again_two_need_a_new_scan(clinic: Clinic) -> None:
    bot = await clinic.connect("alice")
    clinic.wechat.faults.append(("getupdates", "stale"))
    with capture_logs() as logs:
        await clinic.run()
        await clinic.hears("alice")
        await until(lambda: any(e["event"] == "ilink_link" for e in logs))
    assert bot.started == 2, "announced once more"
    assert [e["state"] for e in logs if e["event"] == "ilink_link"] == ["ready"]
    elsewhere = clinic.wechat.connect("alice")  # scanned with another program
    await until(lambda: clinic.channel.health().facts.get("stale") == "1")
    assert "scan" in clinic.channel.health().detail
    (login,) = await clinic.store.read(all_logins, 10)
    assert login.state == "stale"
    clinic.clock.advance(s=60)
    await clinic.keep(elsewhere)  # and with ours again
    await clinic.hears("alice", "我又来了")
    assert clinic.channel.health().ok
    (login,) = await clinic.store.read(all_logins, 10)
    assert login.state == "active"
    assert {m.address.chat_id for m in clinic.intake.accepted} == {"alice"}


async def test_no_more_people_than_the_operator_allows(clinic: Clinic) -> None:
    for user in ("alice", "bob", "carol"):
        await clinic.connect(user)
        clinic.clock.advance(s=1)
    clinic.settings = clinic.settings.model_copy(update={"most_logins": 2})
    await clinic.end()
    await clinic.again()
    await until(lambda: clinic.channel.health().facts.get("ready") == "2")
    assert "most_logins" in clinic.channel.health().detail
