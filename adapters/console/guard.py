"""The guard before every route: login, role, the form's token, and the audit afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from adapters.console.rights import RIGHTS, Right, may
from adapters.console.session import VISIT, Doorkeeper, Visit, is_own_form
from adapters.console.staff_ports import Audit, AuditRow
from adapters.http.failures import Refusal
from adapters.http.forms import read_form
from core.clock import Clock
from core.errors import Bug

log = structlog.get_logger(__name__)

LOGIN_PATH = "/console/login"
ACCOUNT_PATH = "/console/account"


@dataclass(slots=True)
class _Noted:
    patients: list[int]
    subject: str = ""


_NOTED: web.RequestKey[_Noted] = web.RequestKey("noted", _Noted)


def note_patient(request: web.Request, *patient_ids: int) -> None:
    """Say whom a request showed or changed; every route that is `of_patient` has to."""
    request[_NOTED].patients += [p for p in patient_ids if p not in request[_NOTED].patients]


def note_subject(request: web.Request, subject: str) -> None:
    """Say what a request was about: an account, a setting; never anything a patient said."""
    request[_NOTED].subject = subject[:64]


def guarded(
    routes: Sequence[web.RouteDef],
    doorkeeper: Doorkeeper,
    audit: Audit,
    clock: Clock,
    rights: Mapping[str, Right] = RIGHTS,
) -> list[web.RouteDef]:
    """Return the same routes, each behind the guard.

    Raises:
        Bug: a route has no line in `rights`.
    """
    return [_guard(route, doorkeeper, audit, clock, rights) for route in routes]


def _guard(
    route: web.RouteDef,
    doorkeeper: Doorkeeper,
    audit: Audit,
    clock: Clock,
    rights: Mapping[str, Right],
) -> web.RouteDef:
    name = f"{route.method} {route.path}"
    right = rights.get(name)
    if right is None:
        raise Bug(f"{name!r} has no line in adapters/console/rights.py: say who may use it")
    # `web.get` and `web.post` take handlers; class based views are not used here.
    handler: Handler = route.handler  # pyright: ignore[reportAssignmentType]

    async def enter(request: web.Request) -> web.StreamResponse:
        request[_NOTED] = _Noted([])
        visit = await doorkeeper.visit(request)
        if right.least is not None:
            await _check(request, right, visit)
        try:
            response = await handler(request)
        except web.HTTPRedirection:
            await _write(request, right, visit, audit, clock)
            raise
        # A page that refuses a form shows the patient all the same.
        if response.status < 400 or request[_NOTED].patients:
            await _write(request, right, visit, audit, clock)
        return response

    return web.RouteDef(route.method, route.path, enter, route.kwargs)


async def _check(request: web.Request, right: Right, visit: Visit | None) -> None:
    if visit is None:
        raise web.HTTPUnauthorized if right.is_part else web.HTTPSeeOther(LOGIN_PATH)
    if right.least is not None and not may(visit.staff.role, right.least):
        log.warning("staff_not_allowed", staff_id=visit.staff.staff_id, role=visit.staff.role)
        raise Refusal(403, "console.not_allowed")
    if visit.staff.must_change and not right.is_early:
        raise web.HTTPUnauthorized if right.is_part else web.HTTPSeeOther(ACCOUNT_PATH)
    if request.method not in ("GET", "HEAD") and not right.is_upload:
        fields = await read_form(request)
        if not is_own_form(visit, fields.get("form_token", "")):
            raise Refusal(403)


async def _write(
    request: web.Request, right: Right, visit: Visit | None, audit: Audit, clock: Clock
) -> None:
    """Keep what was done, before the answer leaves."""
    if not right.audit:
        return
    noted = request[_NOTED]
    if right.of_patient and not noted.patients:
        raise Bug(f"{request.match_info.route.resource}: shows a patient and does not say whom")
    await audit.record(
        [
            AuditRow(
                clock.now_ms(),
                visit.staff.staff_id if visit else None,
                right.audit,
                patient_id,
                noted.subject,
            )
            for patient_id in (noted.patients or [None])
        ]
    )


# The request's visit, for handlers behind the guard.
def visit_of(request: web.Request) -> Visit:
    """Return who is here; only behind the guard, on a route that asks for a role."""
    visit = request.get(VISIT)
    if visit is None:
        raise Bug("no visitor: the route asks for no role")
    return visit
