"""Connecting somebody to a channel from the console."""

from __future__ import annotations

from tests.integration.console.conftest import form_token

_LOGIN = "/console/channels/wechaty/login"


async def test_an_admin_begins_a_login_and_hands_in_the_digits(clinic, admin):
    async with admin.get("/console/channels") as page:
        assert "Refresh" not in page.headers
    token = await form_token(admin)
    for _ in range(2):  # a double tap
        async with admin.post(_LOGIN, data={"form_token": token}) as page:
            shown = await page.text()
            assert page.url.path == "/console/channels"
    assert clinic.login.begun == 2
    assert page.headers["Refresh"].startswith("4;")
    assert "/login/digits" not in shown
    early = {"form_token": token, "digits": "123456"}
    async with admin.post(f"{_LOGIN}/digits", data=early) as answer:
        assert answer.status == 409
    clinic.login.view.state, clinic.login.view.wrong_code = "code_needed", True
    async with admin.get("/console/channels") as page:
        assert "Refresh" not in page.headers, "what is being typed would be gone"
        shown = await page.text()
    assert f'action="{_LOGIN}/digits"' in shown
    assert "数字不对" in shown
    for digits, status in (("", 400), ("12 34", 400), ("x", 400), ("1" * 13, 400), ("１２", 400)):
        data = {"form_token": token, "digits": digits}
        async with admin.post(f"{_LOGIN}/digits", data=data) as answer:
            assert answer.status == status, digits
    async with admin.post(f"{_LOGIN}/digits", data=early) as page:
        assert page.status == 200
    assert clinic.login.digits == ["123456"]
    assert (await clinic.audited()).count("login_begun") == 2
    assert (await clinic.audited()).count("login_digits_given") == 1


async def test_nobody_else_begins_one_and_other_channels_have_none(clinic, admin, nurse):
    async with nurse.get("/console/channels") as page:
        assert _LOGIN not in await page.text()
    token = await form_token(nurse)
    async with nurse.post(_LOGIN, data={"form_token": token}) as answer:
        assert answer.status == 403
    async with admin.post(_LOGIN, data={"form_token": "0" * 64}) as answer:
        assert answer.status == 403
    token = await form_token(admin)
    for channel in ("telegram", "none"):
        path = f"/console/channels/{channel}/login"
        async with admin.post(path, data={"form_token": token}) as answer:
            assert answer.status == 404
    assert clinic.login.begun == 0


async def test_every_state_of_a_login_is_said(clinic, admin):
    for state in ("idle", "scanned", "confirmed", "already", "expired", "blocked", "failed"):
        clinic.login.view.state = state
        async with admin.get("/console/channels") as page:
            shown = await page.text()
        assert page.status == 200
        assert "channel_login" not in shown
