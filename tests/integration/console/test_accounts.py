"""One's own account and the staff screen: passwords, sessions, one-time codes, roles, the audit."""

from __future__ import annotations

import re

import aiohttp
import pytest
from pyotp.totp import TOTP

from adapters.console.staff_desk import StaffRoll
from core.store.tables import staff
from tests.integration.console.conftest import PASSWORD, form_token, logged_in

NEW = "一个 long enough 的新密码"


async def post(browser, path, page="/console/account", **fields):
    """Send a form and return status, path arrived at and text."""
    fields["form_token"] = await form_token(browser, page)
    async with browser.post(path, data=fields) as answer:
        return answer.status, answer.url.path, await answer.text()


async def try_login(clinic, account: str, password: str) -> int:
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        aiohttp.ClientSession(clinic.base, cookie_jar=jar) as browser,
        browser.post("/console/login", data={"account": account, "password": password}) as page,
    ):
        return page.status


async def test_a_new_password_ends_the_other_sessions(clinic, nurse):
    async with logged_in(clinic, "wang") as other:
        status, path, text = await post(
            nurse, "/console/account/password", old=PASSWORD, new=NEW, again=NEW
        )
        assert (status, path) == (200, "/console/account")
        assert "密码换好了" in text
        async with other.get("/console", allow_redirects=False) as page:
            assert page.status == 303
    assert await try_login(clinic, "wang", PASSWORD) == 401
    assert await try_login(clinic, "wang", NEW) == 200
    assert "password_changed" in await clinic.audited()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"old": "wrong", "new": NEW, "again": NEW}, 403),
        ({"old": PASSWORD, "new": NEW, "again": NEW + "x"}, 400),
        ({"old": PASSWORD, "new": "short", "again": "short"}, 400),
        ({"old": PASSWORD, "new": "aaaaaaaaaaaaaa", "again": "aaaaaaaaaaaaaa"}, 400),
        ({"old": PASSWORD, "new": "Wang-is-my-name", "again": "Wang-is-my-name"}, 400),
        ({"old": PASSWORD, "new": PASSWORD, "again": PASSWORD}, 400),
        ({}, 403),
    ],
)
async def test_a_bad_new_password_changes_nothing(clinic, nurse, fields, status):
    assert (await post(nurse, "/console/account/password", **fields))[0] == status
    assert await try_login(clinic, "wang", PASSWORD) == 200
    assert "password_changed" not in await clinic.audited()


async def test_the_old_password_cannot_be_guessed_from_a_borrowed_phone(clinic, nurse):
    for n in range(5):
        fields = {"old": f"guess {n}", "new": NEW, "again": NEW}
        assert (await post(nurse, "/console/account/password", **fields))[0] == 403
    status, _, _ = await post(nurse, "/console/account/password", old=PASSWORD, new=NEW, again=NEW)
    assert status == 429


async def test_a_password_somebody_gave_has_to_be_changed_first(clinic, admin):
    _, _, page = await post(
        admin, "/console/staff/add", "/console/staff", account="Sun", name="孙护士", role="nurse"
    )
    password = re.search(r'<code class="secret">([\w-]+)</code>', page)
    assert password
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(clinic.base, cookie_jar=jar) as sun:
        data = {"account": "sun", "password": password[1]}
        async with sun.post("/console/login", data=data) as page:
            assert page.url.path == "/console/account"
            assert "请先换成" in await page.text()
        for path in ("/console", "/console/recalls", "/console/account/codes"):
            async with sun.get(path, allow_redirects=False) as page:
                assert page.headers["Location"] == "/console/account", path
        async with sun.get("/console/tasks") as page:
            assert page.status == 401
        await post(sun, "/console/account/password", old=password[1], new=NEW, again=NEW)
        async with sun.get("/console", allow_redirects=False) as page:
            assert page.status == 200
    added = [
        row
        for row in await StaffRoll(clinic.store).lines(
            before=None, limit=50, patient_id=None, staff_id=None
        )
        if row.what == "staff_added"
    ]
    assert [(row.name, row.subject) for row in added] == [("赵主任", "sun")]


async def test_sessions_are_listed_and_ended(clinic, nurse):
    async with logged_in(clinic, "wang") as phone, logged_in(clinic, "li") as doctor:
        async with nurse.get("/console/account") as page:
            text = await page.text()
        handles = re.findall(r'name="session" value="(\w+)"', text)
        assert len(handles) == 1  # the other one of hers; never the doctor's
        assert "就是这台" in text
        # A handle of somebody else's session ends nothing.
        await post(doctor, "/console/account/sessions/end", session=handles[0])
        async with phone.get("/console", allow_redirects=False) as page:
            assert page.status == 200
        await post(nurse, "/console/account/sessions/end", session=handles[0])
        async with phone.get("/console", allow_redirects=False) as page:
            assert page.status == 303
        async with nurse.get("/console", allow_redirects=False) as page:
            assert page.status == 200


async def test_a_login_nobody_came_back_to_is_forgotten(clinic, nurse):
    clinic.clock.ms += 72 * 3_600_000 + 1
    async with logged_in(clinic, "li"):
        pass
    assert [row["staff_id"] for row in await clinic.sessions()] == [clinic.ids["li"]]


async def switch_codes_on(clinic, browser) -> tuple[TOTP, list[str]]:
    async with browser.get("/console/account/codes") as page:
        secret = re.search(r'<code class="secret">([A-Z2-7 ]+)</code>', await page.text())
    assert secret
    totp = TOTP(secret[1].replace(" ", ""))
    async with browser.get("/console/account/codes/qr.svg") as picture:
        assert picture.content_type == "image/svg+xml"
        assert "style=" not in await picture.text()
    _, _, text = await post(
        browser, "/console/account/codes/on", code=totp.at(clinic.clock.ms // 1000)
    )
    recovery = re.findall(r"<li><code>([\w-]+)</code></li>", text)
    assert len(recovery) == 8
    return totp, recovery


class Half:
    """Somebody who gave the right password and owes the code."""

    def __init__(self, clinic) -> None:
        self.clinic = clinic
        self.browser = aiohttp.ClientSession(clinic.base, cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self):
        data = {"account": "wang", "password": PASSWORD}
        async with self.browser.post("/console/login", data=data) as page:
            assert page.url.path == "/console/login"
            assert 'name="code"' in await page.text()
        return self

    async def __aexit__(self, *_):
        await self.browser.close()

    async def say(self, code: str) -> tuple[int, str]:
        token = await form_token(self.browser, "/console/login")
        async with self.browser.post(
            "/console/login/code", data={"form_token": token, "code": code}
        ) as page:
            return page.status, page.url.path


async def test_a_one_time_code_lets_in_once(clinic, nurse):
    totp, recovery = await switch_codes_on(clinic, nurse)
    at = clinic.clock.ms // 1000
    async with Half(clinic) as half:
        async with half.browser.get("/console", allow_redirects=False) as page:
            assert page.headers["Location"] == "/console/login"
        # The code that switched it on is used up; so is any older one.
        assert await half.say(totp.at(at)) == (401, "/console/login/code")
        assert await half.say(totp.at(at - 30)) == (401, "/console/login/code")
        assert await half.say(totp.at(at + 300)) == (401, "/console/login/code")
        clinic.clock.ms += 30_000
        right = totp.at(at + 30)
        assert await half.say(right) == (200, "/console")
    async with Half(clinic) as other:
        assert (await other.say(right))[0] == 401  # read over a shoulder
        assert await other.say(recovery[0].upper().replace("-", " ")) == (200, "/console")
    async with Half(clinic) as third:
        assert (await third.say(recovery[0]))[0] == 401
        assert await third.say(recovery[1]) == (200, "/console")


async def test_codes_cannot_be_guessed_from_many_addresses(clinic, nurse):
    totp, _ = await switch_codes_on(clinic, nurse)
    clinic.clock.ms += 30_000
    statuses = []
    for n in range(6):
        async with Half(clinic) as half:
            code = f"{n:06}" if n < 5 else totp.at(clinic.clock.ms // 1000)
            statuses.append((await half.say(code))[0])
    assert statuses == [401] * 5 + [429]


async def test_half_a_login_ends_after_five_minutes_and_is_listed_nowhere(clinic, nurse):
    totp, _ = await switch_codes_on(clinic, nurse)
    async with Half(clinic) as half:
        token = await form_token(half.browser, "/console/login")
        async with nurse.get("/console/account") as page:
            assert re.findall(r'name="session"', await page.text()) == []
        clinic.clock.ms += 5 * 60_000 + 1
        data = {"form_token": token, "code": totp.at(clinic.clock.ms // 1000)}
        async with half.browser.post("/console/login/code", data=data) as page:
            assert page.url.path == "/console/login"
            assert 'name="password"' in await page.text()


async def test_codes_go_off_with_the_password_and_the_secret_is_gone(clinic, nurse):
    await switch_codes_on(clinic, nurse)
    async with nurse.get("/console/account/codes/qr.svg") as page:
        assert page.status == 404  # never shown again
    assert (await post(nurse, "/console/account/codes/off", old="wrong"))[0] == 403
    assert (await post(nurse, "/console/account/codes/off", old=PASSWORD))[0] == 200
    row = next(r for r in await clinic.rows(staff) if r["account"] == "wang")
    assert (row["code_sealed"], row["code_step"], row["recovery_sealed"]) == (None, None, None)
    assert await try_login(clinic, "wang", PASSWORD) == 200


async def test_a_secret_is_sealed(clinic, nurse):
    async with nurse.get("/console/account/codes") as page:
        shown = re.search(r'<code class="secret">([A-Z2-7 ]+)</code>', await page.text())
    row = next(r for r in await clinic.rows(staff) if r["account"] == "wang")
    assert shown
    assert shown[1].replace(" ", "").encode() not in row["code_sealed"]
    assert row["code_step"] is None  # begun, not on
    assert await try_login(clinic, "wang", PASSWORD) == 200


async def test_an_admin_changes_roles_at_once(clinic, admin, nurse):
    fields = {"staff": str(clinic.ids["wang"]), "role": "admin"}
    await post(admin, "/console/staff/role", "/console/staff", **fields)
    async with nurse.get("/console/staff") as page:
        assert page.status == 200
    fields["role"] = "king"
    assert (await post(admin, "/console/staff/role", "/console/staff", **fields))[0] == 400


async def test_who_is_switched_off_is_out_at_once(clinic, admin, nurse):
    fields = {"staff": str(clinic.ids["wang"]), "active": "0"}
    await post(admin, "/console/staff/active", "/console/staff", **fields)
    async with nurse.get("/console", allow_redirects=False) as page:
        assert page.status == 303
    assert await try_login(clinic, "wang", PASSWORD) == 401
    fields["active"] = "1"
    await post(admin, "/console/staff/active", "/console/staff", **fields)
    assert await try_login(clinic, "wang", PASSWORD) == 200


async def test_an_admin_gives_a_new_password_and_takes_the_codes_away(clinic, admin, nurse):
    await switch_codes_on(clinic, nurse)
    fields = {"staff": str(clinic.ids["wang"])}
    _, _, text = await post(admin, "/console/staff/password", "/console/staff", **fields)
    password = re.search(r'<code class="secret">([\w-]+)</code>', text)
    assert password
    async with nurse.get("/console", allow_redirects=False) as page:
        assert page.status == 303
    assert await try_login(clinic, "wang", PASSWORD) == 401
    assert await try_login(clinic, "wang", password[1]) == 200


@pytest.mark.parametrize("what", ["role", "active", "password", "sessions/end"])
async def test_nobody_works_on_their_own_account_here(clinic, admin, what):
    fields = {"staff": str(clinic.ids["zhao"]), "role": "nurse", "active": "0"}
    assert (await post(admin, f"/console/staff/{what}", "/console/staff", **fields))[0] == 403
    fields["staff"] = "9999"
    assert (await post(admin, f"/console/staff/{what}", "/console/staff", **fields))[0] == 404


async def test_the_last_admin_stays(clinic):
    roll = StaffRoll(clinic.store)
    assert not await roll.set_role(clinic.ids["zhao"], "nurse")
    assert not await roll.set_active(clinic.ids["zhao"], is_active=False)
    assert await roll.set_role(clinic.ids["li"], "admin")
    assert await roll.set_active(clinic.ids["zhao"], is_active=False)
    assert not await roll.set_role(clinic.ids["li"], "doctor")


async def test_the_audit_says_who_did_what_and_nothing_that_was_said(clinic, admin, nurse):
    token = await form_token(nurse)
    data = {"form_token": token, "task": "1", "note": "患者说左眼很痛"}
    await (await nurse.post("/console/tasks/close", data=data)).read()
    await (await nurse.get("/console/staff")).read()  # refused: leaves no row
    async with admin.get("/console/audit") as page:
        text = await page.text()
    assert "完成了一项待办" in text
    assert "很痛" not in text
    assert "staff_added" not in text
    async with admin.get(f"/console/audit?staff={clinic.ids['zhao']}") as page:
        text = (await page.text()).partition('<ol class="rows">')[2]
    assert "赵主任" in text
    assert "王护士" not in text
    async with admin.get("/console/audit?patient=P-77&before=x") as page:
        assert "没有记录" in await page.text()


async def test_the_audit_has_pages(clinic, admin):
    for _ in range(55):
        await (await admin.get("/console/recalls")).read()
    async with admin.get("/console/audit") as page:
        older = re.search(r'href="(/console/audit\?before=\d+)"', await page.text())
    assert older
    async with admin.get(older[1]) as page:
        assert "登录" in await page.text()
