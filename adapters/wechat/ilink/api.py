"""Calls of iLink over HTTPS, and what their failures mean for a message.

No error made here repeats an address, a token or an answer: they hold secrets and people's words.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx

from adapters.wechat.ilink.settings import IlinkSettings
from adapters.wechat.ilink.wire import Updates, read_updates

STALE = -14
_APP_ID = "bot"
# Idle connections end before WeChat's end ends them, else a message could meet a closed one and
# nobody would know whether it was taken.
_KEEPALIVE_S = 15.0
_MEDIA_FACTOR = 3
_MOST_REDIRECTIONS = 3
_ANSWER_LIMIT_BYTES = 8 << 20
_NOT_TAKEN = (429, 502, 503)  # said by what stands before the service


class NotSent(Exception):
    """No connection, or refused before the service: nothing happened."""


class NoAnswer(Exception):
    """The connection broke or the answer cannot be read: it may have happened."""


class TimedOut(NoAnswer):
    """No answer in time."""


class Refused(Exception):
    """WeChat says no.

    Attributes:
        code: its `ret` or `errcode`; -2 = this message now, -14 = this login no longer.
        reason: its own short words, for telling reasons apart; never shown or logged.
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"refused with code {code}")
        self.code = code
        self.reason = reason

    @property
    def is_stale(self) -> bool:
        """The login has ended: the person scanned elsewhere, or WeChat wants a new scan."""
        return self.code == STALE


@dataclass(frozen=True, slots=True)
class Access:
    """Where and as whom to call."""

    base_url: str
    token: str


class IlinkApi:
    """The HTTP client. `start` opens it, `stop` closes it; both repeatable."""

    def __init__(self, settings: IlinkSettings) -> None:
        # At INFO the library logs addresses, which hold what a login code can be taken over with.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._settings = settings
        # The library looks through a whole pool for every request: with 200 waiting polls in it,
        # sending costs 2.5 ms of CPU instead of 1.1.
        self._client: httpx.AsyncClient | None = None
        self._polls: httpx.AsyncClient | None = None
        own = version("oculichat")
        major, minor, patch = ([int(p) for p in own.split(".")[:3] if p.isdecimal()] + [0] * 3)[:3]
        self._base_info = {"channel_version": own, "bot_agent": f"OculiChat/{own}"}
        self._app = {
            "iLink-App-Id": _APP_ID,
            "iLink-App-ClientVersion": str(major << 16 | minor << 8 | patch),
        }

    async def start(self) -> None:
        """Open the connection pool; needs no network."""
        if self._client is None:
            self._client = _client(64)
            self._polls = _client(self._settings.most_logins + 8)

    async def stop(self) -> None:
        """Close the connections."""
        clients, self._client, self._polls = (self._client, self._polls), None, None
        for client in clients:
            if client is not None:
                await client.aclose()

    # ---- logging in ----------------------------------------------------------------------

    async def login_code(self, known_tokens: list[str]) -> Mapping[str, Any]:
        """Ask for a new QR code; WeChat recognises a phone that one of the tokens is bound to."""
        url = f"{self._settings.base_url}/ilink/bot/get_bot_qrcode?bot_type=3"
        return await self._json("POST", url, {"local_token_list": known_tokens})

    async def login_status(
        self, base_url: str, code: str, *, verify_code: str
    ) -> Mapping[str, Any]:
        """Wait for news about a QR code; an empty answer = none yet."""
        query = {"qrcode": code} | ({"verify_code": verify_code} if verify_code else {})
        url = str(httpx.URL(f"{base_url}/ilink/bot/get_qrcode_status", params=query))
        try:
            return await self._json(
                "GET", url, None, timeout_s=self._settings.poll_timeout_s, waits=True
            )
        except NoAnswer:
            return {}

    # ---- as a bot ------------------------------------------------------------------------

    async def updates(self, access: Access, cursor: str) -> Updates:
        """Wait for messages; nothing within the time is an empty answer.

        Raises:
            NotSent, NoAnswer, Refused: as every call here.
        """
        timeout_s = self._settings.poll_timeout_s
        try:
            answer = await self.call(
                access, "getupdates", {"get_updates_buf": cursor}, timeout_s=timeout_s, waits=True
            )
        except TimedOut:
            return Updates((), None)
        return read_updates(answer)

    async def call(
        self,
        access: Access,
        method: str,
        body: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        waits: bool = False,
    ) -> Mapping[str, Any]:
        """Call one method as a bot and return its answer.

        Args:
            access: as whom.
            method: its name.
            body: what it takes.
            timeout_s: another than the settings'.
            waits: a long poll, which does not belong among the calls.

        Raises:
            NotSent: nothing happened.
            NoAnswer: it may have happened.
            Refused: WeChat says no.
        """
        url = f"{access.base_url}/ilink/bot/{method}"
        return await self._json(
            "POST",
            url,
            {**body, "base_info": self._base_info},
            token=access.token,
            timeout_s=timeout_s,
            waits=waits,
        )

    # ---- media ---------------------------------------------------------------------------

    async def upload(self, url: str, data: bytes) -> str:
        """Put encrypted bytes into the CDN and return what they are called there."""
        headers = {"Content-Type": "application/octet-stream"}
        with _translated():
            async with asyncio.timeout(self._media_s):
                response = await self._open().post(
                    self.trusted(url),
                    content=data,
                    headers=headers,
                    timeout=self._limits(self._media_s),
                )
        if response.status_code != 200:
            raise NotSent(f"the CDN says {response.status_code}")
        param = response.headers.get("x-encrypted-param", "")
        if not param:
            raise NotSent("the CDN does not name what it took")
        return param

    @asynccontextmanager
    async def download(self, url: str) -> AsyncGenerator[httpx.Response]:
        """Open a file of the CDN; its status is the caller's to judge.

        Redirections are followed by hand, for each place has to be trusted anew.
        """
        limits = self._limits(self._media_s)
        with _translated():
            async with asyncio.timeout(self._media_s):
                for _ in range(_MOST_REDIRECTIONS):
                    async with self._open().stream("GET", self.trusted(url), timeout=limits) as r:
                        if r.next_request is None:
                            yield r
                            return
                        url = str(r.next_request.url)
        raise NotSent("the CDN sends us in circles")

    def trusted(self, url: str) -> str:
        """Return an address that WeChat gave, if it leads to WeChat or to a configured place.

        Raises:
            NotSent: it leads elsewhere.
        """
        place = urlsplit(url)
        ours = {urlsplit(u)[:2] for u in (self._settings.base_url, self._settings.cdn_url)}
        if place[:2] in ours:
            return url
        host = place.hostname or ""
        if place.scheme == "https" and any(
            host == end or host.endswith(f".{end}") for end in self._settings.trusted_hosts
        ):
            return url
        raise NotSent("an address outside wechat.ilink.trusted_hosts")

    # ---- inside --------------------------------------------------------------------------

    async def _json(
        self,
        verb: str,
        url: str,
        body: Mapping[str, Any] | None,
        *,
        token: str = "",
        timeout_s: float | None = None,
        waits: bool = False,
    ) -> Mapping[str, Any]:
        headers = dict(self._app)
        if body is not None:
            # A random uint32 in decimal digits, new for each call, as WeChat's own client sends.
            uin = str(secrets.randbits(32)).encode()
            headers["X-WECHAT-UIN"] = base64.b64encode(uin).decode()
            headers["AuthorizationType"] = "ilink_bot_token"
        if token:
            headers["Authorization"] = f"Bearer {token}"
        whole_s = timeout_s or self._settings.request_timeout_s
        with _translated():
            # The library's own limits are for each read: an answer in drops would never end.
            async with asyncio.timeout(whole_s + self._settings.connect_timeout_s):
                response = await self._open(waits=waits).request(
                    verb,
                    self.trusted(url),
                    json=body,
                    headers=headers,
                    timeout=self._limits(whole_s),
                )
        return _answer(response)

    def _limits(self, whole_s: float) -> httpx.Timeout:
        return httpx.Timeout(whole_s, connect=self._settings.connect_timeout_s)

    @property
    def _media_s(self) -> float:
        return self._settings.request_timeout_s * _MEDIA_FACTOR

    def _open(self, *, waits: bool = False) -> httpx.AsyncClient:
        client = self._polls if waits else self._client
        if client is None:
            raise NotSent("the client is closed")
        return client


def _client(connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=_KEEPALIVE_S,
    )
    return httpx.AsyncClient(limits=limits, follow_redirects=False)


class _translated:
    """Turns the library's errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        name = type(error).__name__
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
                raise NotSent(name) from None
            case httpx.UnsupportedProtocol() | httpx.InvalidURL():
                raise NotSent(name) from None
            case httpx.TimeoutException() | TimeoutError():
                raise TimedOut(name) from None
            case httpx.HTTPError():
                raise NoAnswer(name) from None
            case _:
                return


def _answer(response: httpx.Response) -> Mapping[str, Any]:
    """Read an answer.

    Raises:
        NotSent, NoAnswer, Refused: see `IlinkApi.call`.
    """
    status = response.status_code
    if status in _NOT_TAKEN or 400 <= status < 500:
        raise NotSent(f"HTTP {status}")
    if status != 200 or len(response.content) > _ANSWER_LIMIT_BYTES:
        raise NoAnswer(f"HTTP {status}")
    try:
        answer: Any = response.json()
    except ValueError:
        raise NoAnswer("the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise NoAnswer("the answer is not an object")
    found: dict[str, Any] = answer  # pyright: ignore[reportUnknownVariableType] wire data
    for name in ("errcode", "ret"):
        code = found.get(name)
        if isinstance(code, int) and code != 0:
            raise Refused(code, str(found.get("errmsg") or ""))
    return found
