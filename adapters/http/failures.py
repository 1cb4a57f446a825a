"""What a person sees when something goes wrong: one calm sentence, never a stack trace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from traceback import extract_tb

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment

from adapters.http.language import language_of, texts_in
from adapters.http.pages import environment, html, wants_json
from core.errors import PatientError, TransientError
from core.texts import catalogue

log = structlog.get_logger(__name__)


class Refusal(Exception):
    """A request we refuse in words of our own; see `failure` for the fields."""

    def __init__(
        self,
        status: int,
        text_key: str | None = None,
        *,
        fields: Mapping[str, str | int] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.text_key = text_key
        self.fields = fields
        self.retry_after_s = retry_after_s


@cache
def _environment() -> Environment:
    return environment(Path(__file__).parent / "templates")


def failure(
    request: web.Request,
    status: int,
    *,
    text_key: str | None = None,
    fields: Mapping[str, str | int] | None = None,
    retry_after_s: int | None = None,
) -> web.Response:
    """Return the answer for a failure, as JSON for our script and as a page for a person.

    Args:
        request: what failed.
        status: HTTP status; without `text_key` it also chooses the words.
        text_key: catalogue text that says what the person can do.
        fields: values for the text.
        retry_after_s: how long the person should wait, when that is known.
    """
    language = language_of(request)
    if text_key is None or text_key not in catalogue(language):
        by_status = f"webchat.failure.{status}"
        text_key = by_status if by_status in catalogue(language) else "webchat.failure.other"
    say = texts_in(language)
    message = say(text_key, **(fields or {}))
    if wants_json(request):
        response = web.json_response({"ok": False, "message": message}, status=status)
    else:
        page = _environment().get_template("failure.html")
        is_staff = request.path.startswith("/console")
        names = {"t": say, "language": language, "message": message, "is_staff": is_staff}
        response = html(page.render(names), status=status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


def _where(error: Exception) -> list[str]:
    """Return the innermost frames, innermost first, as ``module-file:line function``."""
    frames = reversed(extract_tb(error.__traceback__)[-6:])
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]


@web.middleware
async def answer_failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into an answer; the unforeseen ones are logged by route, not by address."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = failure(request, error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Refusal as error:
        return failure(
            request,
            error.status,
            text_key=error.text_key,
            fields=error.fields,
            retry_after_s=error.retry_after_s,
        )
    except PatientError as error:
        return failure(request, 400, text_key=error.text_key, fields=error.fields)
    except TransientError as error:
        return failure(request, 503, retry_after_s=max(1, round(error.retry_after_s or 5)))
    except Exception as error:
        resource = request.match_info.route.resource
        # A full traceback would carry the error's words, and some renderers every local variable:
        # a patient's text and session token among them.
        log.error(  # noqa: TRY400
            "http_request_failed",
            error=type(error).__name__,
            where=_where(error),
            method=request.method,
            route=resource.canonical if resource else None,
        )
        return failure(request, 500)
