"""Posted forms, cleaned at the border."""

from __future__ import annotations

from urllib.parse import parse_qsl

from aiohttp import web

from core.split import clean_text

_FORM = "application/x-www-form-urlencoded"


async def read_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a posted form, cleaned; the first of a repeated name counts.

    Raises:
        HTTPUnsupportedMediaType: not a form.
        HTTPBadRequest: too many fields, or no form inside.
        HTTPRequestEntityTooLarge: longer than the server takes.
    """
    if request.content_type != _FORM:
        raise web.HTTPUnsupportedMediaType
    try:
        body = await request.read()
        pairs = parse_qsl(
            body.decode("ascii", "replace"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=20,
        )
    except (ValueError, ConnectionError) as error:
        raise web.HTTPBadRequest from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, clean_text(value))
    return fields
