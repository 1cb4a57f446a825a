"""The chat page itself, its preferences and its manifest."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

from aiohttp import web
from jinja2 import Environment

from adapters.http.forms import read_form
from adapters.http.headers import headers_with_sound
from adapters.http.language import (
    Texts,
    is_large,
    language_of,
    remember_preferences,
    texts_in,
)
from adapters.http.pages import environment, html
from adapters.http.static import StaticFiles, shared_files
from adapters.webchat.render import Renderer, with_open_buttons
from adapters.webchat.session import find_session, guest_token, keep_session, new_session
from adapters.webchat.settings import MEBIBYTE, WebChatSettings
from core.clock import Clock
from core.message import Address
from core.ports import History

_SHOWN = 60
_SHOWN_EARLIER = 2_000
_ICONS = (
    ("icon.svg", "any", "image/svg+xml"),
    ("icon-192.png", "192x192", "image/png"),
    ("icon-512.png", "512x512", "image/png"),
)
_SCRIPT_TEXTS = (
    "a_photo",
    "connection_lost",
    "discard",
    "edit",
    "not_sent",
    "photo_lost",
    "photo_preview",
    "photo_sending",
    "retry",
    "sending",
    "sent",
    "voice_lost",
    "voice_sending",
    "a_voice",
    "you",
)

_RECORDER_TEXTS = ("recording", "ready", "stopped", "refused", "nothing", "time")


def templates(static: StaticFiles) -> Environment:
    """Return the chat's template environment."""
    return environment(Path(__file__).parent / "templates", static_url=static.url)


class Pages:
    """Serves the page and what belongs to it."""

    def __init__(
        self,
        *,
        settings: WebChatSettings,
        history: History,
        renderer: Renderer,
        templates: Environment,
        clock: Clock,
        has_links: bool = False,
    ) -> None:
        self._settings = settings
        self._history = history
        self._renderer = renderer
        self._page = templates.get_template("chat.html")
        self._clock = clock
        self._has_links = has_links

    async def root(self, request: web.Request) -> web.StreamResponse:
        """Send visitors of the bare site to the chat."""
        raise web.HTTPFound("/chat")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Return the page with the conversation so far; starts a session where there is none."""
        known = find_session(request)
        session = known or new_session()
        was_guest = known is None and guest_token(request) != ""
        language = language_of(request)
        say = texts_in(language)
        limit = _SHOWN_EARLIER if "earlier" in request.query else _SHOWN
        address = Address("webchat", self._settings.account, session.chat_id)
        items = list(await self._history.history(address, limit=limit))
        open_ids = with_open_buttons(items, session.chat_id)
        now = self._clock.now_ms()
        articles = [
            self._renderer.item(
                item,
                chat_id=session.chat_id,
                language=language,
                now_ms=now,
                with_buttons=item.id in open_ids,
            )
            for item in items
        ]
        page = self._page.render(
            t=say,
            language=language,
            large=is_large(request),
            articles=articles,
            cursor=items[-1].id if items else 0,
            has_links=self._has_links,
            was_guest=was_guest,
            has_earlier=len(items) == limit and limit == _SHOWN,
            chat_key=session.chat_id[:12],
            emergency_number=self._settings.emergency_number,
            max_characters=self._settings.max_text_characters,
            max_upload_bytes=self._settings.max_upload_bytes,
            max_voice_bytes=self._settings.max_voice_bytes,
            max_voice_s=self._settings.max_voice_s,
            voice_texts=self._voice_texts(say),
            script_texts=self._script_texts(say),
            starters=say("webchat.welcome.starters").split("\n"),
            new_id=lambda: str(uuid4()),
        )
        response = html(page, compress=True)
        response.headers.update(headers_with_sound(records=True))
        if was_guest:  # photos that this browser kept by itself
            response.headers["Clear-Site-Data"] = '"cache"'
        keep_session(
            response, session, secure=request.secure, days=self._settings.session_lifetime_days
        )
        return response

    def _script_texts(self, say: Texts) -> str:
        texts = {name: say(f"webchat.script.{name}") for name in _SCRIPT_TEXTS}
        texts["too_long"] = say("webchat.script.too_long", limit=self._settings.max_text_characters)
        texts["too_large"] = say(
            "webchat.photo_too_large", limit_mb=self._settings.max_upload_bytes // MEBIBYTE
        )
        return json.dumps(texts, ensure_ascii=False)

    def _voice_texts(self, say: Texts) -> str:
        texts = {name: say(f"webchat.recorder.{name}") for name in _RECORDER_TEXTS}
        texts["too_large"] = say(
            "webchat.voice_too_large",
            limit_mb=self._settings.max_voice_bytes // MEBIBYTE,
            limit_s=self._settings.max_voice_s,
        )
        return json.dumps(texts, ensure_ascii=False)

    async def preferences(self, request: web.Request) -> web.StreamResponse:
        """Remember language and text size in cookies; unknown values change nothing."""
        fields = await read_form(request)
        redirect = web.HTTPSeeOther("/chat#latest")
        remember_preferences(
            redirect,
            language=fields.get("language"),
            size=fields.get("size"),
            secure=request.secure,
        )
        raise redirect

    async def manifest(self, request: web.Request) -> web.StreamResponse:
        """Return what a phone needs to put the page on its home screen."""
        language = language_of(request)
        say = texts_in(language)
        content = {
            "id": "/chat",
            "name": say("webchat.service_name"),
            "short_name": say("webchat.service_name"),
            "description": say("webchat.tagline"),
            "lang": language,
            "start_url": "/chat",
            "scope": "/",
            "display": "standalone",
            "background_color": "#f2f6f8",
            "theme_color": "#0b5468",
            "icons": [
                {"src": shared_files().url(name), "sizes": sizes, "type": kind}
                for name, sizes, kind in _ICONS
            ],
        }
        return web.json_response(content, content_type="application/manifest+json")
