"""The page of a booked visit: when, where, and the file for a phone's calendar.

Whoever has the link sees the day, the hour and the place, and nothing else; the link stops
working a week after the visit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from adapters.http.failures import Refusal
from adapters.http.language import texts_in
from adapters.http.pages import environment, html
from core.followup.plan import show_date
from core.followup.visit_file import Visit, calendar_file

FindVisit = Callable[[str], Awaitable[Visit | None]]
_UNSEEN = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}


def visit_routes(find: FindVisit) -> list[web.RouteDef]:
    """Return the routes; `find` tells the visit that a token names, or None."""
    template = environment(Path(__file__).parent / "templates").get_template("visit.html")

    async def visit_of(request: web.Request) -> Visit:
        visit = await find(request.match_info["token"])
        if visit is None:
            raise Refusal(404)
        return visit

    async def page(request: web.Request) -> web.StreamResponse:
        """Show the visit."""
        visit = await visit_of(request)
        body = template.render(
            t=texts_in(visit.language),
            language=visit.language,
            day=show_date(visit.day, visit.language),
            at=f"{visit.at:%H:%M}" if visit.at else "",
            place=visit.place,
            file=f"{request.path}/visit.ics",
        )
        response = html(body)
        response.headers.update(_UNSEEN)
        return response

    async def file(request: web.Request) -> web.StreamResponse:
        """Return the calendar file."""
        body = calendar_file(await visit_of(request))
        headers = {**_UNSEEN, "Content-Disposition": 'attachment; filename="visit.ics"'}
        return web.Response(
            text=body, content_type="text/calendar", charset="utf-8", headers=headers
        )

    return [web.get("/visit/{token}", page), web.get("/visit/{token}/visit.ics", file)]
