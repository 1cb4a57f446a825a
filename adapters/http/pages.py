"""Jinja2 set up once: escaping on, undefined names are errors, no code from templates."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adapters.http.static import shared_files


def environment(*folders: Path, **names: object) -> Environment:
    """Return a template environment over `folders`; `names` are known in every template."""
    made = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    # Jinja2 types its globals by what it puts there itself.
    known = cast("dict[str, object]", made.globals)
    known.update(names, shared_url=shared_files().url)
    return made


def html(body: str, *, status: int = 200, compress: bool = False) -> web.Response:
    """Return a page; never compress one that holds a secret beside what others can write."""
    response = web.Response(text=body, status=status, content_type="text/html", charset="utf-8")
    if compress:
        response.enable_compression()
    return response


def wants_json(request: web.Request) -> bool:
    """Tell whether our script asks; a plain form gets pages and redirects."""
    return "application/json" in request.headers.get("Accept", "")
