"""Who is writing: a random token in a cookie, whose hash is the chat id.

The token itself is stored nowhere on our side, so who reads the database cannot write in
somebody's name. There is no account: the browser that holds the cookie holds the conversation.

A browser that came in by a link is a guest: it gets a token of its own, which can be taken back.
Whose chat that is stands in the database (`adapters.webchat.links`) and is looked up before the
handlers see the request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from aiohttp import web

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_GUEST_TOKEN = re.compile(r"g\.[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Session:
    """One browser's conversation; `chat_id` goes into `Address.chat_id`."""

    token: str
    chat_id: str
    is_guest: bool = False

    @property
    def token_hash(self) -> str:
        """What the database knows a guest by."""
        return hashlib.sha256(self.token.encode("ascii")).hexdigest()


# The chat of a guest's token, while its link has not been taken back.
GUEST: web.RequestKey[Session] = web.RequestKey("guest", Session)


def _cookie_name(*, secure: bool) -> str:
    # __Host- keeps other hosts of the same domain from planting a session; it needs https.
    return "__Host-oc_chat" if secure else "oc_chat"


def _of_token(token: str) -> Session:
    return Session(token, hashlib.sha256(token.encode("ascii")).hexdigest())


def new_session() -> Session:
    """Return a session nobody had before (256 random bits)."""
    return _of_token(secrets.token_urlsafe(32))


def session_of(token: str) -> Session | None:
    """Return the session of a token, or None when it cannot be one."""
    return _of_token(token) if _TOKEN.fullmatch(token) else None


def new_guest(chat_id: str) -> Session:
    """Return a session of its own for one more browser of a conversation."""
    return Session(f"g.{secrets.token_urlsafe(32)}", chat_id, is_guest=True)


def guest_token(request: web.Request) -> str:
    """Return the token of a browser that came in by a link, or "" for any other."""
    token = request.cookies.get(_cookie_name(secure=request.secure), "")
    return token if _GUEST_TOKEN.fullmatch(token) else ""


def find_session(request: web.Request) -> Session | None:
    """Return the session the browser holds, or None when it holds none of ours."""
    return request.get(GUEST) or session_of(
        request.cookies.get(_cookie_name(secure=request.secure), "")
    )


def keep_session(
    response: web.StreamResponse, session: Session, *, secure: bool, days: int
) -> None:
    """Make the browser keep the session for `days` from now."""
    response.set_cookie(
        _cookie_name(secure=secure),
        session.token,
        max_age=days * 86_400,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Lax",
    )
