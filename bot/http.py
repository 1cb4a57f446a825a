"""The routes of the one HTTP server: web chat, console, webhooks, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from aiohttp import web

from adapters.console.calendar_desk import CalendarDesk
from adapters.console.channel_login import CodeLogin
from adapters.console.channels import StoredQueues
from adapters.console.insight_page import StoredInsights
from adapters.console.passwords import Passwords
from adapters.console.recall_desk import RecallDesk
from adapters.console.site import console_routes
from adapters.console.staff_desk import StaffRoll
from adapters.http.server import LOOPBACK
from adapters.visit.site import visit_routes
from bot import followup_rules
from bot.bedside import bedside
from bot.settings import Settings
from bot.visits import VisitFinder

if TYPE_CHECKING:
    from bot.service import Service


@runtime_checkable
class WithLogin(Protocol):
    """A channel that somebody joins by scanning a code, and that can show one on demand."""

    @property
    def name(self) -> str:
        """Adapter name, as in the parts of `health`."""
        ...

    @property
    def desk(self) -> CodeLogin:
        """The login it shows."""
        ...


def routes(
    service: Service, settings: Settings, passwords: Passwords
) -> list[web.AbstractRouteDef]:
    """Return every route this process serves."""
    found: list[web.AbstractRouteDef] = [*_health_routes(service)]
    web_chat = service.web_chat()
    if web_chat is not None:
        found += web_chat.routes(service.intake)
    for channel in service.connected:
        found += channel.routes(service.intake)
    if settings.server.public_url:
        found += visit_routes(VisitFinder(service.store, service.clock))
    if settings.console.enabled:
        recalls = RecallDesk(service.store, service.clock, service.desk, settings.console.timezone)
        found += console_routes(
            settings.console,
            roll=StaffRoll(service.store),
            worklist=service.desk,
            recalls=recalls,
            attendance=recalls,
            calendar=CalendarDesk(service.store, service.clock, settings.console.timezone),
            parts=service,
            queues=StoredQueues(service.store),
            clinic=service.clinic,
            insights=StoredInsights(service.store),
            passwords=passwords,
            bedside=bedside(service),
            open_days=followup_rules.open_days(settings.followups),
            logins={c.name: c.desk for c in service.connected if isinstance(c, WithLogin)},
        )
    return found


def _health_routes(service: Service) -> list[web.RouteDef]:
    async def alive(_request: web.Request) -> web.Response:
        """Answer at all: the loop turns."""
        return web.json_response({"status": "ok"})

    async def ready(_request: web.Request) -> web.Response:
        """Answer 200 when everything required works; parts that may be away are listed."""
        parts = await service.health()
        good = all(part.ok for part in parts if part.required)
        body = {
            "status": "ready" if good else "not ready",
            "parts": {
                part.name: {"ok": part.ok, "detail": part.detail, "required": part.required}
                for part in parts
            },
        }
        return web.json_response(body, status=200 if good else 503)

    async def metrics(request: web.Request) -> web.Response:
        """Answer the machine itself alone; a proxy's visitors get a 404."""
        if request.remote not in LOOPBACK:
            raise web.HTTPNotFound
        from bot.metrics import render  # noqa: PLC0415 only where somebody scrapes

        body = await render(service)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})

    return [
        web.get("/healthz", alive),
        web.get("/readyz", ready),
        web.get("/metrics", metrics),
    ]
