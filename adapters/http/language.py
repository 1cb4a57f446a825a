"""Which language a page speaks: the person's own choice, else what their browser asks for."""

from __future__ import annotations

from functools import partial
from typing import Protocol, cast

from aiohttp import web

from core.message import LANGUAGES, Language
from core.texts import text

LANGUAGE_COOKIE = "oc_language"
SIZE_COOKIE = "oc_size"
SIZES = ("normal", "large")
_A_YEAR_S = 365 * 86_400


class Texts(Protocol):
    """Looks up texts in one language."""

    def __call__(self, key: str, **fields: str | int | float) -> str:
        """Return one text with its fields filled in."""
        ...


def texts_in(language: Language) -> Texts:
    """Return the lookup for one language."""
    return cast("Texts", partial(text, language))


def choose_language(chosen: str | None, accept_language: str | None) -> Language:
    """Return the chosen language, else the best of `Accept-Language`, else Chinese.

    A browser that asks only for languages we do not speak gets English.
    """
    for language in LANGUAGES:
        if chosen == language:
            return language
    if not accept_language:
        return "zh-Hans"
    ranked: list[tuple[float, int, Language]] = []
    for place, entry in enumerate(accept_language[:512].split(",")):
        tag, _, parameter = entry.strip().lower().partition(";")
        primary = tag.strip().partition("-")[0]
        if primary in {"zh", "en"}:
            quality = _quality(parameter)
            if quality > 0:
                ranked.append((-quality, place, "zh-Hans" if primary == "zh" else "en"))
    return min(ranked)[2] if ranked else "en"


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def language_of(request: web.Request) -> Language:
    """Return the language this request's answer is written in."""
    return choose_language(
        request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language")
    )


def is_large(request: web.Request) -> bool:
    """Tell whether the person switched to large text."""
    return request.cookies.get(SIZE_COOKIE) == "large"


def remember_preferences(
    response: web.StreamResponse, *, language: str | None, size: str | None, secure: bool
) -> None:
    """Set the cookies of the choices that are valid; ignore the rest."""
    for name, value, allowed in (
        (LANGUAGE_COOKIE, language, LANGUAGES),
        (SIZE_COOKIE, size, SIZES),
    ):
        if value is not None and value in allowed:
            response.set_cookie(
                name,
                value,
                max_age=_A_YEAR_S,
                path="/",
                secure=secure,
                httponly=True,
                samesite="Lax",
            )
