"""Staff answer a conversation instead of us: never both, never nobody."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import select

from core.store.due import take_due
from core.store.tables import conversation, follow_up, reminder, staff_task, takeover
from core.takeover import TakeoverSettings
from core.turn.completion import STATE
from core.turn.state import from_json
from migrations.schema import create
from tests.fakes.takeover_race import race
from tests.fakes.takeover_world import SlowAssistant, World, world
from tests.fakes.waiting import until

NURSE = {"staff_id": 1, "name": "王护士"}
FORM = "0" * 31


async def taken(w: World, chat: str = "p") -> int:
    found = await w.takeovers.take(w.chat(chat), **NURSE)
    assert found.takeover_id is not None
    return found.takeover_id


def state_of(w: World, conversation_id: int):
    with w.store._read_engine.connect() as connection:
        sealed = connection.execute(
            select(conversation.c.state_sealed).where(conversation.c.id == conversation_id)
        ).scalar_one()
    return from_json(w.store.keys.open_json(STATE, sealed))


def tasks(w: World) -> list[tuple[str, str]]:
    with w.store._read_engine.connect() as connection:
        rows = connection.execute(
            select(staff_task.c.detail_sealed, staff_task.c.state).order_by(staff_task.c.id)
        ).all()
    opened = [w.store.keys.open_json("staff_task.detail", row.detail_sealed) for row in rows]
    return [(d.get("why") or "red_flag", r.state) for d, r in zip(opened, rows, strict=True)]


async def test_while_staff_answer_we_are_silent_and_their_words_reach_the_patient(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, assistant=SlowAssistant()) as w:
        await w.write("p", "我想预约一个检查，需要带什么？")
        await w.settle()
        before = len(w.heard("p"))
        chat = w.chat("p")
        await taken(w)
        await w.write("p", "有人吗")
        await w.settle()
        assert [words[:2] for words in w.heard("p")[before:]] == ["诊所"], "only who answers now"
        how = await w.takeovers.reply(chat, **NURSE, words="带身份证。\n\n明天来。", form_id=FORM)
        assert how == "said"
        await w.settle()
        assert w.heard("p")[-1] == "王护士（诊所工作人员）\n\n带身份证。\n\n明天来。"
        assert w.outcomes(chat.conversation_id)["m2"] == "handed"
        assert [s.author for s in w.transcript(chat.conversation_id)][-2:] == ["patient", "staff"]


async def test_a_form_that_comes_twice_is_said_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        await taken(w)
        words = {**NURSE, "words": "好的", "form_id": FORM}
        twice = await asyncio.gather(
            w.takeovers.reply(w.chat("p"), **words), w.takeovers.reply(w.chat("p"), **words)
        )
        await w.settle()
        assert sorted(twice) == ["again", "said"]
        assert sum("好的" in said for said in w.heard("p")) == 1


async def test_only_whoever_has_it_may_reply_and_a_colleague_may_take_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        first = await taken(w)
        chat = w.chat("p")
        doctor = {"staff_id": 2, "name": "李医生"}
        assert (await w.takeovers.take(chat, **doctor)).staff_id == 1
        assert await w.takeovers.reply(chat, **doctor, words="我来", form_id=FORM) == "not_yours"
        theirs = await w.takeovers.take(chat, **doctor, instead_of=1)
        assert theirs.is_new
        assert theirs.takeover_id != first
        assert await w.takeovers.reply(chat, **doctor, words="我来", form_id=FORM) == "said"
        assert await w.takeovers.reply(chat, **NURSE, words="我", form_id="1" * 31) == "not_yours"
        assert await w.takeovers.reply(chat, **NURSE, words="我", form_id=FORM) == "again"


async def test_a_red_flag_still_gets_its_card_and_says_that_a_person_is_there(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, assistant=SlowAssistant()) as w:
        await w.write("p", "你好")
        await w.settle()
        await taken(w)
        await w.write("p", "我右眼突然看不见了")
        await w.settle()
        card = w.messenger.sent[-1][1]
        assert card.kind == "emergency"
        assert "诊所工作人员也在看这个对话" in w.heard("p")[-1]
        assert ("red_flag", "open") in tasks(w)
        assert w.outcomes(w.chat("p").conversation_id)["m2"] == "answered"


async def test_triage_reads_a_yes_in_the_light_of_what_staff_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        await taken(w)
        chat = w.chat("p")
        asked = "您是不是突然一只眼睛看不见了？"
        await w.takeovers.reply(chat, **NURSE, words=asked, form_id=FORM)
        await w.write("p", "是的")
        await w.settle()
        assert w.messenger.sent[-1][1].kind == "emergency"


async def test_handing_back_answers_what_nobody_answered_and_keeps_the_interview(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "最近看东西有点模糊")  # the guided consult begins
        await w.settle()
        chat = w.chat("p")
        interview = state_of(w, chat.conversation_id).consult
        assert interview is not None
        takeover_id = await taken(w)
        await w.write("p", "两只眼睛都这样")
        await w.settle()
        assert state_of(w, chat.conversation_id).consult == interview
        done = await w.takeovers.hand_back(chat, takeover_id, name="王护士")
        assert (done.done, done.waiting) == (True, 1)
        await w.settle()
        said = w.transcript(chat.conversation_id)
        assert [s.words for s in said].count("两只眼睛都这样") == 1
        assert said[-1].author == "service"
        assert said[-1].kind == "question"
        assert "王护士已离开" in said[-2].words
        assert state_of(w, chat.conversation_id).consult != interview, "the interview went on"
        again = await w.takeovers.hand_back(chat, takeover_id, name="王护士")
        assert not again.done
        assert w.outcomes(chat.conversation_id) == {
            "m1": "answered",
            "m2": "handed",
            "m2:again": "answered",
        }


async def test_what_staff_answered_is_not_answered_again(tmp_path: Path) -> None:
    async with world(tmp_path, assistant=SlowAssistant()) as w:
        await w.write("p", "你好")
        await w.settle()
        takeover_id = await taken(w)
        await w.write("p", "需要预约吗")
        await w.settle()
        chat = w.chat("p")
        await w.takeovers.reply(chat, **NURSE, words="不用。", form_id=FORM)
        done = await w.takeovers.hand_back(chat, takeover_id, name="王护士")
        assert done.waiting == 0
        await w.settle()
        assert set(w.outcomes(chat.conversation_id)) == {"m1", "m2"}


async def test_what_an_emergency_card_has_answered_is_not_answered_again(tmp_path: Path) -> None:
    async with world(tmp_path, assistant=SlowAssistant()) as w:
        await w.write("p", "你好")
        await w.settle()
        takeover_id = await taken(w)
        for words in ("68岁", "我右眼突然看不见了", "马上去医院，谢谢"):
            await w.write("p", words)
            await w.settle()
        done = await w.takeovers.hand_back(w.chat("p"), takeover_id, name="王护士")
        assert done.waiting == 2
        await w.settle()
        assert set(w.outcomes(w.chat("p").conversation_id)) == {"m1", "m2", "m3", "m4", "m4:again"}


async def test_photos_wait_for_consent_also_while_staff_answer(tmp_path: Path) -> None:
    async with world(tmp_path, consent_required=True) as w:
        await w.write("p", "你好")
        await w.settle()
        takeover_id = await taken(w)
        await w.write("p", "右眼", b"a photo")
        await w.settle()
        chat = w.chat("p")
        assert w.messenger.sent[-1][1].kind == "consent"
        assert w.outcomes(chat.conversation_id)["m2"] == "held"
        assert len(state_of(w, chat.conversation_id).held) == 2
        await w.write("p", "", button="v1:consent:all")
        await w.settle()
        # Without a reader a photo is left to staff, which is where it is already.
        assert state_of(w, chat.conversation_id).held == ()
        assert ("photo_not_read", "open") in tasks(w)
        done = await w.takeovers.hand_back(chat, takeover_id, name="王护士")
        assert done.waiting == 0


async def test_a_reminder_waits_until_nobody_is_talking(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        chat = w.chat("p")
        w.clock.ms += 4 * 3_600_000  # daytime in Shanghai
        now = w.clock.ms

        def plan(connection, _arguments):
            of = {"conversation_id": chat.conversation_id, "changed_at_ms": now}
            connection.execute(
                follow_up.insert(),
                {
                    **of,
                    "rule_id": "r",
                    "table_version": "t",
                    "source": "s",
                    "reason": "dr2",
                    "urgency": "routine",
                    "due_at_ms": now,
                    "zone": "Asia/Shanghai",
                    "set_by": "patient",
                    "state": "active",
                    "created_at_ms": now,
                },
            )
            connection.execute(
                reminder.insert(), {**of, "follow_up_id": 1, "step": "due", "due_at_ms": now - 1}
            )
            return [None]

        await w.store.write(plan, None)
        takeover_id = await taken(w)
        await w.settle()
        before = len(w.heard("p"))
        due = await w.store.write(take_due, now)
        assert due.count == 1
        await w.dispatcher.claim_waiting()
        await w.settle()
        assert len(w.heard("p")) == before
        with w.store._read_engine.connect() as connection:
            state, due_at_ms = connection.execute(
                select(reminder.c.state, reminder.c.due_at_ms)
            ).one()
        assert (state, due_at_ms) == ("pending", now + 30 * 60_000)
        await w.takeovers.hand_back(chat, takeover_id, name="王护士")
        w.clock.ms += 31 * 60_000
        await w.store.write(take_due, w.clock.ms)
        await w.dispatcher.claim_waiting()
        await w.settle()
        assert w.messenger.sent[-1][1].kind == "reminder"


async def test_staff_are_reminded_and_then_we_answer_again(tmp_path: Path) -> None:
    settings = TakeoverSettings(nudge_ms=180_000, idle_ms=1_800_000, alert_staff=True)
    async with world(tmp_path, assistant=SlowAssistant(), settings=settings) as w:
        await w.write("p", "你好")
        await w.settle()
        await taken(w)
        await w.write("p", "还在吗")
        await w.settle()
        await w.takeovers.tick()
        assert tasks(w) == []
        for minutes, nudges in ((4, 1), (1, 1), (2, 2)):
            w.clock.ms += minutes * 60_000
            await w.takeovers.tick()
            assert w.takeovers.counts.nudges == nudges
        assert tasks(w) == [("takeover_waits", "open")], "one task, however often"
        w.clock.ms += 24 * 60_000
        await w.takeovers.tick()
        await w.settle()
        assert tasks(w) == [("takeover_waits", "done"), ("takeover_ended", "open")]
        chat = w.chat("p")
        said = w.transcript(chat.conversation_id)
        assert "暂时不能回复您了" in said[-2].words
        assert said[-1].origin == "model"
        assert await w.takeovers.of(chat.conversation_id) is None
        with w.store._read_engine.connect() as connection:
            assert connection.execute(select(takeover.c.ending)).scalars().all() == ["idle"]


async def test_a_reply_ends_the_waiting(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        await taken(w)
        await w.write("p", "还在吗")
        await w.settle()
        w.clock.ms += 4 * 60_000
        await w.takeovers.tick()
        await w.takeovers.reply(w.chat("p"), **NURSE, words="在的", form_id=FORM)
        assert tasks(w) == [("takeover_waits", "done")]
        w.clock.ms += 10 * 60_000
        await w.takeovers.tick()
        assert tasks(w) == [("takeover_waits", "done")]


async def test_a_forgotten_takeover_ends_without_alarm(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        takeover_id = await taken(w)
        w.clock.ms += 29 * 60_000
        assert await w.takeovers.stay(takeover_id, staff_id=1)
        assert not await w.takeovers.stay(takeover_id, staff_id=2)
        w.clock.ms += 29 * 60_000
        await w.takeovers.tick()
        assert await w.takeovers.of(w.chat("p").conversation_id) is not None
        w.clock.ms += 2 * 60_000
        await w.takeovers.tick()
        await w.settle()
        assert await w.takeovers.of(w.chat("p").conversation_id) is None
        assert tasks(w) == []
        assert "王护士已离开" in w.heard("p")[-1]


async def test_the_patients_own_buttons_and_commands_still_work(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.write("p", "你好")
        await w.settle()
        await taken(w)
        await w.write("p", "/privacy")
        await w.settle()
        assert w.transcript(w.chat("p").conversation_id)[-1].author == "service"
        count = len(w.heard("p"))
        await w.write("p", "", button="v1:ask:which_eye:both")
        await w.settle()
        assert len(w.heard("p")) == count, "the interview waits"


async def test_a_model_at_work_is_abandoned(tmp_path: Path) -> None:
    assistant = SlowAssistant(3600)
    async with world(tmp_path, assistant=assistant) as w:
        await w.write("p", "我想了解一下飞蚊症的常见原因")
        await until(lambda: assistant.asked, "the model at work")
        await taken(w)
        await w.settle()
        said = w.transcript(w.chat("p").conversation_id)
        assert [(s.author, s.kind) for s in said] == [("service", "notice"), ("patient", "message")]
        assert w.outcomes(w.chat("p").conversation_id) == {"m1": "handed"}


@pytest.mark.parametrize("delay_s", [0.0, 0.004])
async def test_never_do_both_answer(tmp_path: Path, delay_s: float) -> None:
    """A short form of the bench's 1,000 tries (`python -m tests.bench --only takeover`)."""
    async with world(tmp_path, assistant=SlowAssistant(delay_s)) as w:
        found = await race(w, tries=60, seed=random.randrange(1 << 30))
        assert found.both == 0, found
        assert found.nobody == 0, found
        assert found.tries == 60


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
async def test_never_do_both_answer_with_two_replicas(empty_database: str, tmp_path: Path) -> None:
    """The patient's messages reach one process, the nurse's page another."""
    create(empty_database)
    assistant = SlowAssistant(0.004)
    async with (
        world(tmp_path, assistant=assistant, url=empty_database) as a,
        world(tmp_path, assistant=assistant, url=empty_database) as b,
    ):
        b.messenger.sent = a.messenger.sent  # one platform
        found = await race(a, tries=25, seed=random.randrange(1 << 30), desk=b)
        assert (found.both, found.nobody, found.tries) == (0, 0, 25), found
        assert found.abandoned > 0
