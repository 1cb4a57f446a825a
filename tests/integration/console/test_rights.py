"""Who may use which route: every route of the console by every role, read from the router."""

from __future__ import annotations

import re
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from adapters.console.guard import guarded
from adapters.console.rights import MENU, RIGHTS, ROLES, may
from adapters.console.session import Doorkeeper
from adapters.console.staff_desk import StaffRoll
from core.errors import Bug
from tests.fakes.core_fakes import FakeClock
from tests.integration.console.conftest import CHEAP, form_token, logged_in

_ACCOUNTS = {"nurse": "wang", "doctor": "li", "admin": "zhao"}
_FILLED = re.compile(r"\{(\w+)\}")
_LOGIN = "/console/login"
# A stream does not end; logging out would end the session the other routes are tried with.
_STREAMS = {"GET /console/live"}
_LAST = {"POST /console/logout"}


def routes_of(clinic) -> list[str]:
    """Return ``METHOD path`` of everything the server answers under /console."""
    app = clinic.server._runner.app
    found = [
        f"{route.method} {route.resource.canonical}"
        for route in app.router.routes()
        if route.resource.canonical.startswith("/console") and route.method != "HEAD"
    ]
    return sorted(found, key=lambda name: (name in _LAST, name))


async def ask(browser: aiohttp.ClientSession, name: str, fields: dict[str, str]):
    """Use a route with made-up ids; returns status and where it leads."""
    method, _, path = name.partition(" ")
    path = _FILLED.sub("1", path)
    data = fields if method == "POST" else None
    async with browser.request(method, path, data=data, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "")


async def test_every_route_has_a_right_and_every_right_a_route(clinic):
    assert set(routes_of(clinic)) == set(RIGHTS)


async def test_nobody_gets_in_without_a_login(clinic, browser):
    for name in routes_of(clinic):
        right = RIGHTS[name]
        status, location = await ask(browser, name, {"form_token": "0" * 64})
        if right.least is None:
            assert status != 403, name
        elif right.is_part:
            assert status == 401, name
        else:
            assert (status, location) == (303, _LOGIN), name


@pytest.mark.parametrize("role", ROLES)
async def test_every_route_lets_in_whom_it_should_and_nobody_else(clinic, role):
    tried = 0
    async with logged_in(clinic, _ACCOUNTS[role]) as browser:
        token = await form_token(browser)
        for name in routes_of(clinic):
            right = RIGHTS[name]
            if name in _STREAMS:
                continue
            status, location = await ask(browser, name, {"form_token": token})
            tried += 1
            if right.least is not None and not may(role, right.least):
                assert status == 403, (name, status)
            else:
                wrong_password = right.least is None and status == 401
                assert wrong_password or status not in (401, 500), (name, status)
                if right.least is not None and name not in _LAST:
                    assert location != _LOGIN, name
                # With made-up fields a form is refused for what is in it, not for who sent it.
                if status == 403:
                    assert "staff" in name or "account" in name, name
    assert tried == len(RIGHTS) - len(_STREAMS)


@pytest.mark.parametrize("role", ROLES)
async def test_the_live_list_is_for_everybody_who_works_here(clinic, role):
    async with (
        logged_in(clinic, _ACCOUNTS[role]) as browser,
        browser.get("/console/live") as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"


async def test_a_forms_token_is_asked_for_everywhere(clinic):
    """No route that changes something works without the token of this very session."""
    async with logged_in(clinic, "zhao") as browser, logged_in(clinic, "zhao") as other:
        foreign = await form_token(other)
        for name, right in RIGHTS.items():
            if name.startswith("POST") and right.least is not None and not right.is_upload:
                for token in ("", foreign):
                    status, _ = await ask(browser, name, {"form_token": token, "staff": "1"})
                    assert status == 403, name
    assert len(await clinic.sessions()) == 2


async def test_a_route_without_a_line_does_not_start(clinic):
    async def page(_request: web.Request) -> web.Response:
        return web.Response()

    doorkeeper = Doorkeeper(None, CHEAP, FakeClock())
    with pytest.raises(Bug, match="GET /console/new"):
        guarded([web.get("/console/new", page)], doorkeeper, None, FakeClock())


async def test_a_page_that_shows_a_patient_must_say_whom(clinic):
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="secret")

    right = replace(RIGHTS["GET /console"], least=None, of_patient=True)
    roll = StaffRoll(clinic.store)
    (route,) = guarded(
        [web.get("/console/p", page)],
        Doorkeeper(roll, CHEAP, clinic.clock),
        roll,
        clinic.clock,
        {"GET /console/p": right},
    )
    with pytest.raises(Bug, match="does not say whom"):
        await route.handler(make_mocked_request("GET", "/console/p"))


@pytest.mark.parametrize("role", ROLES)
async def test_the_menu_shows_what_a_role_may_open(clinic, role):
    async with (
        logged_in(clinic, _ACCOUNTS[role]) as browser,
        browser.get("/console") as page,
    ):
        header = (await page.text()).partition("<main>")[0]
    shown = re.findall(r'<a href="(/console[\w/-]*)"', header)
    assert shown == [
        path
        for path, _ in MENU
        if f"GET {path}" in RIGHTS and may(role, RIGHTS[f"GET {path}"].least)
    ]
