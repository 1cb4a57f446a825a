"""A follow-up that was agreed on is remembered through a crash, comes once, and stops when told."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.harness import ROOT, a_world
from tests.fakes.waiting import until

PHOTO = (ROOT / "tests/fixtures/fundus/idrid_grade4.jpg").read_bytes()
CHAT = 1001


def a_zone_where_it_is(hour: int) -> str:
    """Return a zone in which it is `hour` o'clock now; its names carry the sign the other way."""
    east = (hour - datetime.now(UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-east:+d}"


def buttons(world) -> list[tuple[str, int]]:
    """Return the actions under the latest message that has any, with that message's id."""
    for call in reversed(world.replies(CHAT)):
        rows = (call["params"].get("reply_markup") or {}).get("inline_keyboard", [])
        if rows:
            return [(b["callback_data"], call["message_id"]) for row in rows for b in row]
    return []


async def answer_until_a_plan_is_offered(world) -> None:
    """Say "none of that" to each question of the consult, then agree to the plan."""
    for _ in range(8):
        said = len(world.replies(CHAT))
        choices = buttons(world)
        wanted = ("v1:plan:agree", "none", "no", "skip")
        action, message_id = next(
            (choice for end in wanted for choice in choices if choice[0].endswith(end)), choices[-1]
        )
        world.api.user_presses(CHAT, action, message_id)
        await until(lambda said=said: len(world.replies(CHAT)) > said, "the next question")
        await world.settled()
        if action == "v1:plan:agree":
            return
    raise AssertionError(f"no plan: {[c['text'] for c in world.replies(CHAT)]}")


def let_time_pass(world) -> None:
    """Make the next reminder due a minute ago, as the service would find it after a night off."""
    due_ms = int(time.time() * 1000) - 60_000
    changed = world.service.execute(
        f"UPDATE reminder SET due_at_ms = {due_ms} WHERE id = "
        "(SELECT id FROM reminder WHERE state = 'pending' ORDER BY due_at_ms LIMIT 1)"
    )
    assert changed == 1


@pytest.fixture
async def planned(tmp_path, request):
    """A person sent a photo that needs a doctor and agreed to be reminded."""
    zone = a_zone_where_it_is(getattr(request, "param", 12))
    async with a_world(tmp_path, DIALOG__ZONE=zone) as world:
        world.api.user_photo(CHAT, PHOTO)
        await until(lambda: buttons(world), "the question behind the reading")
        await world.settled()
        await answer_until_a_plan_is_offered(world)
        yield world


async def test_a_reminder_due_while_the_service_was_dead_comes_once(planned):
    said = len(planned.replies(CHAT))
    await planned.service.kill()
    let_time_pass(planned)
    await planned.service.start()
    await until(lambda: len(planned.replies(CHAT)) > said, "the reminder")
    await asyncio.sleep(2.5)  # two more ticks
    (reminder,) = planned.replies(CHAT)[said:]
    assert "v1:remind:stop:" in str(reminder["params"]["reply_markup"])
    assert "糖尿病" not in reminder["text"]  # a lock screen is read by others too
    await planned.stop()


async def test_a_reminder_is_not_sent_again_after_a_crash_behind_it(planned):
    said = len(planned.replies(CHAT))
    await planned.service.kill()
    let_time_pass(planned)
    await planned.service.start()
    await until(lambda: len(planned.replies(CHAT)) > said, "the reminder")
    await planned.settled()
    await planned.service.kill()
    await planned.service.start()
    await asyncio.sleep(2.5)
    assert len(planned.replies(CHAT)) == said + 1
    await planned.stop()


@pytest.mark.parametrize("planned", [2], indirect=True)
async def test_a_reminder_due_in_the_night_waits_for_the_morning(planned):
    said = len(planned.replies(CHAT))
    await planned.service.kill()
    let_time_pass(planned)
    await planned.service.start()
    await asyncio.sleep(2.5)
    assert len(planned.replies(CHAT)) == said
    await planned.stop()
    zone = ZoneInfo(planned.service.settings["DIALOG__ZONE"])
    rows = planned.service.query("SELECT due_at_ms FROM reminder WHERE state = 'pending'")
    next_hour = datetime.fromtimestamp(min(row[0] for row in rows) / 1000, zone).hour
    assert 8 <= next_hour < 21


async def test_after_stop_no_reminder_comes(planned):
    planned.api.user_text(CHAT, "/stop")
    said = len(planned.replies(CHAT))
    await until(lambda: len(planned.replies(CHAT)) > said, "the confirmation")
    await planned.settled()
    await planned.service.kill()
    assert planned.service.query("SELECT id FROM reminder WHERE state = 'pending'") == []
    # Even one that slipped through, as after a restored backup, is kept back.
    due_ms = int(time.time() * 1000) - 60_000
    planned.service.execute(f"UPDATE reminder SET state = 'pending', due_at_ms = {due_ms}")
    await planned.service.start()
    await asyncio.sleep(3)
    assert len(planned.replies(CHAT)) == said + 1
    await planned.stop()
