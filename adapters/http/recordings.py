"""Serves a recording, whole or in part: Safari plays nothing that it cannot ask for in pieces."""

from __future__ import annotations

from aiohttp import web

from core.recording import kind_of


def recording_response(request: web.Request, data: bytes, *, name: str) -> web.Response:
    """Return a recording, or the part of it that was asked for.

    Args:
        request: with or without ``Range``; only one range is given, as every player asks.
        data: the whole file.
        name: of the file where it is saved, without its extension.
    """
    kind = kind_of(data)
    disposition = "inline" if kind is not None and kind.plays else "attachment"
    extension = kind.extension if kind is not None else "bin"
    headers = {
        "Content-Type": kind.mime if kind is not None else "application/octet-stream",
        "Content-Disposition": f'{disposition}; filename="{name}.{extension}"',
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "no-store",
        "Accept-Ranges": "bytes",
    }
    try:
        wanted = request.http_range
    except ValueError:  # several ranges, or nonsense: the whole file is a right answer
        wanted = slice(None)
    if wanted.start is None and wanted.stop is None:
        return web.Response(body=data, headers=headers)
    begin, end, _ = wanted.indices(len(data))
    if begin >= end:
        headers["Content-Range"] = f"bytes */{len(data)}"
        return web.Response(status=416, headers=headers)
    headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
    return web.Response(status=206, body=data[begin:end], headers=headers)
