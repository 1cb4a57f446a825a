from __future__ import annotations

import asyncio
import re

import pytest

from adapters.console.passwords import LONGEST_PASSWORD, Passwords
from adapters.console.settings import ConsoleSettings
from core.store.staff import rehash
from core.store.tables import staff, staff_session
from tests.integration.console.conftest import CHEAP, HOSTILE, PASSWORD, a_task, form_token


async def test_nobody_sees_anything_without_a_login(clinic, browser):
    async with browser.get("/console", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/console/login")
    async with browser.get("/console/tasks") as answer:
        assert answer.status == 401
        assert "P-1" not in await answer.text()
    for path in ("claim", "close"):
        async with browser.post(
            f"/console/tasks/{path}", data={"task": "1"}, allow_redirects=False
        ) as answer:
            assert answer.headers["Location"] == "/console/login"
    assert len(clinic.worklist.tasks) == 4


async def test_today_is_sorted_by_urgency_and_escaped(nurse):
    async with nurse.get("/console") as page:
        text = await page.text()
        assert page.headers["Cache-Control"] == "no-store"
        assert "Content-Encoding" not in page.headers  # it holds a form token
    assert re.findall(r'id="task-(\d)"', text) == ["2", "3", "4", "1"]
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert "李医生 正在处理" in text
    assert "王护士" in text
    title = re.search(r"<title>(.*?)</title>", text)
    assert title
    assert title[1] == "今日待办"


async def test_claim_and_close(clinic, nurse):
    token = await form_token(nurse)
    async with nurse.post("/console/tasks/claim", data={"form_token": token, "task": "1"}) as page:
        assert page.url.path == "/console"
        assert page.url.query_string == ""
        assert "王护士 正在处理" in await page.text()
    async with nurse.post("/console/tasks/claim", data={"form_token": token, "task": "3"}) as page:
        assert page.status == 409
        assert "已经有人在处理" in await page.text()
    data = {"form_token": token, "task": "1", "note": " 已电话联系\x00 "}
    async with nurse.post("/console/tasks/close", data=data) as page:
        assert "P-1<" not in await page.text()
    assert clinic.worklist.notes == {1: "已电话联系"}
    async with nurse.post("/console/tasks/close", data=data) as page:
        assert page.status == 409


@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"])
@pytest.mark.parametrize(
    "path", ["/console/tasks/claim", "/console/tasks/close", "/console/logout"]
)
async def test_a_form_of_another_session_does_nothing(clinic, nurse, path, token):
    data = {"task": "1", **({} if token is None else {"form_token": token})}
    async with nurse.post(path, data=data) as answer:
        assert answer.status == 403
    assert clinic.worklist.tasks[1].claimed_by is None
    assert len(await clinic.sessions()) == 1


async def test_a_foreign_page_does_nothing(clinic, nurse):
    data = {"task": "1", "form_token": await form_token(nurse)}
    async with nurse.post(
        "/console/tasks/claim", data=data, headers={"Origin": "https://evil.test"}
    ) as answer:
        assert answer.status == 403
    assert clinic.worklist.tasks[1].claimed_by is None


@pytest.mark.parametrize("task", ["", "x", "-1", "1" * 30, "１"])
async def test_odd_task_ids(nurse, task):
    data = {"form_token": await form_token(nurse), "task": task}
    async with nurse.post("/console/tasks/claim", data=data) as answer:
        assert answer.status == 400


async def test_wrong_name_and_wrong_password_look_the_same(browser):
    pages = []
    for account, password in (("wang", "no"), ("nobody", PASSWORD), ("", PASSWORD), ("wang", "")):
        async with browser.post(
            "/console/login", data={"account": account, "password": password}
        ) as page:
            assert page.status == 401
            assert not page.cookies
            pages.append(await page.text())
    assert len(set(pages)) == 1


async def test_guessing_is_slowed_even_when_done_at_once(clinic, browser):
    async def guess(n: int) -> int:
        data = {"account": "wang", "password": str(n)}
        async with browser.post("/console/login", data=data) as page:
            return page.status

    statuses = await asyncio.gather(*[guess(n) for n in range(12)])
    assert sorted(statuses) == [401] * 5 + [429] * 7
    right = {"account": "wang", "password": PASSWORD}
    async with browser.post("/console/login", data=right) as page:
        assert page.status == 429
        assert int(page.headers["Retry-After"]) > 0
    clinic.clock.ms += 15 * 60_000 + 1
    async with browser.post("/console/login", data=right) as page:
        assert page.url.path == "/console"


async def test_many_accounts_from_one_address_are_slowed(browser):
    for n in range(30):
        async with browser.post(
            "/console/login", data={"account": f"a{n}", "password": "x"}
        ) as page:
            assert page.status == 401
    async with browser.post("/console/login", data={"account": "new", "password": "x"}) as page:
        assert page.status == 429


async def test_a_disabled_account_cannot_log_in(clinic, browser):
    await clinic.execute(staff.update().where(staff.c.account == "wang").values(active=False))
    for password in ("", "nobody's password", PASSWORD):
        data = {"account": "wang", "password": password}
        async with browser.post("/console/login", data=data) as page:
            assert page.status == 401


async def test_the_session_is_rotated_hashed_and_ends(clinic, nurse):
    (session,) = await clinic.sessions()
    token_hash = session["token_hash"]
    (cookie,) = (c for c in nurse.cookie_jar if c.key == "oc_staff")
    assert cookie.value not in token_hash
    assert len(token_hash) == 64
    assert cookie["httponly"]
    assert session["staff_id"] == clinic.ids["wang"]
    clinic.clock.ms += 29 * 60_000
    async with nurse.get("/console", allow_redirects=False) as page:
        assert page.status == 200
    clinic.clock.ms += 29 * 60_000
    async with nurse.get("/console", allow_redirects=False) as page:  # it was touched
        assert page.status == 200
    clinic.clock.ms += 31 * 60_000
    async with nurse.get("/console", allow_redirects=False) as page:
        assert page.status == 303
    assert await clinic.sessions() == []


async def test_a_busy_session_ends_too(clinic, nurse):
    for _ in range(12 * 3 + 1):
        clinic.clock.ms += 20 * 60_000
        async with nurse.get("/console", allow_redirects=False) as page:
            status = page.status
    assert status == 303


async def test_logout_ends_it_here_and_there(clinic, nurse):
    async with nurse.post("/console/logout", data={"form_token": await form_token(nurse)}) as page:
        assert page.url.path == "/console/login"
    assert await clinic.sessions() == []
    assert not [c for c in nurse.cookie_jar if c.key == "oc_staff"]


async def test_a_revoked_session_is_over_at_once(clinic, nurse):
    await clinic.execute(staff_session.delete())
    async with nurse.get("/console", allow_redirects=False) as page:
        assert page.status == 303


async def test_old_hashes_are_renewed_at_login(clinic, browser):
    weaker = Passwords(ConsoleSettings(argon2_memory_kib=32, argon2_passes=1))
    old = weaker.hash(PASSWORD)
    weaker.close()
    await clinic.store.write(rehash, (clinic.ids["wang"], old))
    for _ in range(2):
        async with browser.post(
            "/console/login", data={"account": "wang", "password": PASSWORD}
        ) as page:
            assert page.url.path == "/console"
    new = next(row for row in await clinic.rows(staff) if row["account"] == "wang")["password_hash"]
    assert f"m={CHEAP.argon2_memory_kib}" in new


async def test_the_list_alone_for_the_open_page(clinic, nurse):
    clinic.worklist.tasks[9] = a_task(9)
    async with nurse.get("/console/tasks") as answer:
        text = await answer.text()
    assert "<html" not in text
    assert 'id="task-9"' in text


async def test_english(nurse):
    data = {"language": "en", "form_token": await form_token(nurse)}
    async with nurse.post("/console/preferences", data=data) as page:
        text = await page.text()
    assert "<title>Today</title>" in text
    assert "Emergency" in text
    assert "overdue since" in text


async def test_passwords_at_their_default_cost_and_limits():
    passwords = Passwords(ConsoleSettings())
    stored = passwords.hash(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert (await passwords.check(PASSWORD, stored)).is_right
    assert not (await passwords.check(PASSWORD + "x", stored)).is_right
    assert not (await passwords.check("x" * 10 * LONGEST_PASSWORD, stored)).is_right
    assert not (await passwords.check(PASSWORD, "not a hash")).is_right
    assert not (await passwords.check("nobody's password", None)).is_right
    passwords.close()
