"""Stylesheets, scripts and icons: read once, addressed by content hash, sent compressed.

The files are a few kilobytes each, so they and their gzip twins live in memory; twins made at
start cannot fall behind their originals as files made by a build step can.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aiohttp import web

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    gzipped: bytes
    content_type: str
    digest: str


def _load(path: Path) -> _Asset:
    body = path.read_bytes()
    return _Asset(
        body=body,
        gzipped=gzip.compress(body, compresslevel=9, mtime=0),
        content_type=_TYPES[path.suffix],
        digest=hashlib.sha256(body).hexdigest()[:12],
    )


class StaticFiles:
    """One folder's files under one address prefix.

    Args:
        folder: where the files are; those of a known type are read at once.
        prefix: address prefix without a trailing slash, for example ``/chat/static``.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self._prefix = prefix
        self._assets = {
            path.name: _load(path) for path in sorted(folder.iterdir()) if path.suffix in _TYPES
        }

    def url(self, name: str) -> str:
        """Return the address of a file; it changes with the content."""
        return f"{self._prefix}/{self._assets[name].digest}/{name}"

    def routes(self) -> list[web.RouteDef]:
        """Return the route that serves the files."""
        return [web.get(f"{self._prefix}/{{digest}}/{{name}}", self._serve)]

    async def _serve(self, request: web.Request) -> web.Response:
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise web.HTTPNotFound
        # A page from before an update asks for the old hash: give it today's file, uncached.
        current = request.match_info["digest"] == asset.digest
        headers = {
            "Content-Type": asset.content_type,
            "Cache-Control": "public, max-age=31536000, immutable" if current else "no-cache",
            "Vary": "Accept-Encoding",
        }
        body = asset.body
        if "gzip" in request.headers.get("Accept-Encoding", "") and len(asset.gzipped) < len(body):
            body = asset.gzipped
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)


@cache
def shared_files() -> StaticFiles:
    """Return the icon and the stylesheet of plain pages, which every page may use."""
    return StaticFiles(Path(__file__).parent / "static", "/static")
