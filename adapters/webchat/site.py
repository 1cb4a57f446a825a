"""Puts the parts of the web chat together and gives each its address."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment

from adapters.http.static import StaticFiles
from adapters.webchat.document import Documents
from adapters.webchat.inbound import Door
from adapters.webchat.links import ChatLinks, Guests
from adapters.webchat.messages import MessageForm
from adapters.webchat.own_files import OwnFiles
from adapters.webchat.pages import Pages, templates
from adapters.webchat.photo import Photos
from adapters.webchat.render import Renderer
from adapters.webchat.resume import ResumePages
from adapters.webchat.rooms import Rooms
from adapters.webchat.session import GUEST, guest_token
from adapters.webchat.settings import WebChatSettings
from adapters.webchat.stream import LiveStream
from adapters.webchat.upload import UploadForm
from adapters.webchat.upload import photos as photos_up_to
from adapters.webchat.upload import voices as voices_up_to
from adapters.webchat.voice import Voices
from core.clock import Clock
from core.ports import Blobs, History, Intake, Shrink


def site_routes(
    *,
    settings: WebChatSettings,
    intake: Intake,
    history: History,
    blobs: Blobs,
    rooms: Rooms,
    clock: Clock,
    shrink: Shrink | None = None,
    links: ChatLinks | None = None,
) -> list[web.RouteDef]:
    """Return the routes of the chat page."""
    static = StaticFiles(Path(__file__).parent / "static", "/chat/static")
    jinja = templates(static)
    renderer = Renderer(jinja, ZoneInfo(settings.timezone))
    door = Door(settings, intake, rooms, clock)
    pages = Pages(
        settings=settings,
        history=history,
        renderer=renderer,
        templates=jinja,
        clock=clock,
        has_links=links is not None,
    )
    texts = MessageForm(door, max_characters=settings.max_text_characters)
    photos = UploadForm(door, blobs, photos_up_to(settings.max_upload_bytes))
    spoken = voices_up_to(settings.max_voice_bytes, settings.max_voice_s)
    voices = UploadForm(door, blobs, spoken)
    live = LiveStream(
        account=settings.account,
        history=history,
        rooms=rooms,
        renderer=renderer,
        clock=clock,
        guests=links,
    )
    files = OwnFiles(account=settings.account, history=history, blobs=blobs)
    pictures, recordings = Photos(files, shrink=shrink), Voices(files)
    documents = Documents(account=settings.account, history=history)
    found = [
        *_link_routes(settings, links, rooms, jinja, clock),
        web.get("/", pages.root),
        web.get("/chat", pages.chat),
        web.post("/chat/preferences", pages.preferences),
        web.get("/chat/manifest.webmanifest", pages.manifest),
        web.post("/chat/messages", texts.post),
        web.post("/chat/photos", photos.post),
        web.post("/chat/voices", voices.post),
        web.get("/chat/stream", live.get, allow_head=False),
        web.get("/chat/photo/{blob:[A-Za-z0-9._-]{1,128}}", pictures.get),
        web.get("/chat/voice/{blob:[0-9a-f]{64}}", recordings.get),
        web.get("/chat/document/{id:[0-9]{1,18}}", documents.get),
    ]
    known = [_knowing(route, links) for route in found] if links else found
    return [*known, *static.routes()]


def _knowing(route: web.RouteDef, guests: Guests) -> web.RouteDef:
    """Return the same route; its handler finds the session of a browser that came by a link."""
    # `web.get` and `web.post` take handlers; class based views are not used here.
    handler: Handler = route.handler  # pyright: ignore[reportAssignmentType]

    async def enter(request: web.Request) -> web.StreamResponse:
        token = guest_token(request)
        guest = await guests.guest(token) if token else None
        if guest is not None:
            request[GUEST] = guest
        return await handler(request)

    return web.RouteDef(route.method, route.path, enter, route.kwargs)


def _link_routes(
    settings: WebChatSettings,
    links: ChatLinks | None,
    rooms: Rooms,
    templates: Environment,
    clock: Clock,
) -> list[web.RouteDef]:
    if links is None:
        return []
    resume = ResumePages(settings, links, rooms, templates, clock)
    return [
        web.get("/chat/link", resume.get),
        web.post("/chat/link", resume.make),
        web.post("/chat/link/end", resume.end),
        web.get("/chat/continue/{secret}", resume.confirm),
        web.post("/chat/continue/{secret}", resume.open),
    ]
