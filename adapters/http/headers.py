"""Headers every answer carries, and the check that a change comes from our own pages.

The pages hold no inline script or style, so the policy needs neither nonces nor exceptions.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob:",  # blob: is the preview of a photo that is still being sent
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "manifest-src 'self'",
)
CONTENT_SECURITY_POLICY = "; ".join(_POLICY)
_FEATURES = "camera=(self), microphone=({microphone}), geolocation=()"


def headers_with_sound(*, records: bool = False) -> dict[str, str]:
    """Return what a page sets itself to play recordings.

    Args:
        records: it records too. Then a recording is played before it is sent, as `blob:`: a data
            address would be as lax, and decoding two minutes in the script takes tens of
            megabytes, which closes the page on a small phone. Media cannot run scripts.
    """
    sources = "'self' blob:" if records else "'self'"
    headers = {"Content-Security-Policy": "; ".join((*_POLICY, f"media-src {sources}"))}
    if records:
        headers["Permissions-Policy"] = _FEATURES.format(microphone="self")
    return headers


_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": _FEATURES.format(microphone=""),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Nothing here may lie in a shared cache; what may be kept says so itself.
    "Cache-Control": "no-store",
}
# Signals see the request as it came, not the clone that a middleware passed on.
_OVER_HTTPS: web.RequestKey[bool] = web.RequestKey("over_https", bool)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what the answer does not set itself; an `on_response_prepare` signal."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.get(_OVER_HTTPS, request.secure):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    response.headers.pop("Server", None)


def is_same_origin(request: web.Request) -> bool:
    """Tell whether a browser says that the request comes from our own page.

    Browsers send `Sec-Fetch-Site` over https and `Origin` with every POST; a client that sends
    neither is no browser with somebody else's page in it, so it holds no borrowed cookie.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.host.lower()
    except ValueError:
        return False


@web.middleware
async def refuse_foreign_posts(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 403 when another site's page tries to change something here."""
    if request.method not in _SAFE_METHODS and not is_same_origin(request):
        raise web.HTTPForbidden
    return await handler(request)


def trust_proxy(proxies: frozenset[str]) -> Middleware:
    """Return a middleware that believes `X-Forwarded-*` from these peer addresses only.

    The last entry of `X-Forwarded-For` is the one our own proxy wrote.
    """

    @web.middleware
    async def forwarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.remote in proxies:
            scheme = request.headers.get("X-Forwarded-Proto", "").strip().lower()
            client = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
            scheme = scheme if scheme in {"http", "https"} else request.scheme
            request[_OVER_HTTPS] = scheme == "https"
            host = request.headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
            request = request.clone(
                scheme=scheme,
                host=host or request.host,  # what `Origin` is compared with
                remote=client[:64] or request.remote or "",
            )
        return await handler(request)

    return forwarded
