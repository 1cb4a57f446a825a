"""HTTP to WeChat's API over one pooled session: tokens, retries, and what its codes mean.

Addresses hold the token, so no error or log line made here repeats one.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, cast

import aiohttp
import structlog

from adapters.wechat.official.errcodes import Do, meaning
from adapters.wechat.official.settings import OfficialSettings
from adapters.wechat.official.token import Issued, TokenHolder
from core.clock import Clock
from core.errors import ConfigError, SendUnknown, TransientError, Unreachable
from core.store.store import Store

log = structlog.get_logger(__name__)

# Idle connections end before WeChat's end ends them, else nobody would know whether a message
# that met a closed one was delivered.
_KEEPALIVE_S = 15
_BUSY_TRIES = 3
_BUSY_PAUSE_S = 0.3
_SLOW_FACTOR = 3
_LONGEST_ANSWER_BYTES = 1024 * 1024


class ApiError(Exception):
    """WeChat answered with a code.

    Attributes:
        code: ``errcode``.
        do: what that asks of us.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"errcode {code}")
        self.code = code
        self.do = meaning(code)


class TooLarge(Exception):
    """A download is longer than we accept."""


FormMaker = Callable[[], aiohttp.FormData]


class WechatApi:
    """Calls WeChat's API for one account. `start` opens the session, `stop` closes it."""

    def __init__(self, settings: OfficialSettings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self.tokens = TokenHolder(settings.app_id or "", store, clock, self._fetch_token)

    async def start(self) -> None:
        """Open the session; repeatable."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=_KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept-Encoding", "User-Agent"),
            )

    async def stop(self) -> None:
        """Close the session; repeatable."""
        await self.tokens.close()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def call(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        form: FormMaker | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Call a method and return its answer; `body` and `form` post, neither gets.

        A void token is renewed once and a busy server asked again: neither did anything.

        Raises:
            ApiError: WeChat's own refusal.
            ConfigError: our app id, secret or address is not accepted.
            Unreachable: nothing was accepted.
            SendUnknown: no answer came back; it may have been carried out.
        """
        return await self._with_token(lambda token: self._once(token, path, body, form, query))

    async def _with_token(self, attempt: Callable[[str], Any]) -> Any:
        token = await self.tokens.get()
        renewed, tries = False, 1
        while True:
            try:
                return await attempt(token)
            except ApiError as error:
                if error.do is Do.RENEW_TOKEN and not renewed:
                    renewed = True
                    token = await self.tokens.renew(token)
                elif error.do is Do.TRY_AGAIN and tries < _BUSY_TRIES:
                    pause_s = _BUSY_PAUSE_S * 2**tries * random.uniform(0.5, 1.0)  # noqa: S311
                    tries += 1
                    await asyncio.sleep(pause_s)
                else:
                    raise

    async def _once(
        self,
        token: str,
        path: str,
        body: Mapping[str, Any] | None,
        form: FormMaker | None,
        query: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        data: Any = form() if form else None
        if body is not None:
            # Not escaped: WeChat shows "\u4f60" as it stands.
            data = json.dumps(body, ensure_ascii=False).encode()
        slow = _SLOW_FACTOR if form else 1
        method = "GET" if data is None else "POST"
        params = {"access_token": token, **(query or {})}
        answer = await self._exchange(method, path, params, data, slow)
        code = answer.get("errcode", 0)
        if code:
            raise ApiError(int(code))
        return answer

    async def _exchange(
        self, method: str, path: str, params: Mapping[str, str], data: Any, slow: int
    ) -> dict[str, Any]:
        url = self._settings.base_url.rstrip("/") + path
        headers = {"Content-Type": "application/json"} if isinstance(data, bytes) else None
        try:
            async with self._open().request(
                method,
                url,
                params=params,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout(slow),
            ) as response:
                if response.status != 200:
                    raise Unreachable(f"HTTP {response.status} from WeChat")
                raw = await response.content.read(_LONGEST_ANSWER_BYTES)
        except aiohttp.ClientError as error:
            raise translated(error) from None  # its text holds the address
        except TimeoutError:
            raise SendUnknown("WeChat did not answer in time") from None
        return _object(raw)

    async def download(
        self, path: str, query: Mapping[str, str], *, limit_bytes: int
    ) -> tuple[bytes, str]:
        """Return a file and its type; reads no more than `limit_bytes`.

        Raises:
            ApiError: WeChat answered with a code instead of a file.
            TooLarge: it is longer.
            Unreachable, SendUnknown: try again.
        """

        async def attempt(token: str) -> tuple[bytes, str]:
            url = self._settings.base_url.rstrip("/") + path
            return await self._read(url, {"access_token": token, **query}, limit_bytes)

        return await self._with_token(attempt)

    async def picture(self, url: str, *, limit_bytes: int) -> bytes:
        """Return a picture from one of WeChat's own picture hosts.

        Raises:
            TooLarge, Unreachable, SendUnknown: as `download`.
        """
        data, _ = await self._read(url, {}, limit_bytes)
        return data

    async def _read(
        self, url: str, params: Mapping[str, str], limit_bytes: int
    ) -> tuple[bytes, str]:
        data = bytearray()
        try:
            async with self._open().get(
                url, params=params, allow_redirects=False, timeout=self._timeout(_SLOW_FACTOR)
            ) as response:
                if response.status != 200:
                    raise Unreachable(f"HTTP {response.status} to a download")
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > limit_bytes:
                        raise TooLarge
                kind = response.content_type
        except aiohttp.ClientError as error:
            raise translated(error) from None
        except TimeoutError:
            raise SendUnknown("WeChat did not answer in time") from None
        # Errors come with status 200, and not always with the type they have.
        if "json" in kind or kind.startswith("text/") or bytes(data[:1]) == b"{":
            answer = _object(bytes(data))
            raise ApiError(int(answer.get("errcode") or 40007))
        return bytes(data), kind

    async def fetch_once(self) -> None:
        """Ask for a token and keep nothing: shows whether id, secret and address are accepted.

        Raises:
            ConfigError, TransientError: as `tokens.get`.
        """
        await self._fetch_token(False)

    async def _fetch_token(self, force: bool) -> Issued:
        secret = self._settings.app_secret
        if secret is None:
            raise ConfigError("wechat.official.app_secret is not set: take it from the console")
        body = {
            "grant_type": "client_credential",
            "appid": self._settings.app_id,
            "secret": secret.get_secret_value(),
            "force_refresh": force,
        }
        try:
            answer = await self._exchange(
                "POST", "/cgi-bin/stable_token", {}, json.dumps(body).encode(), 1
            )
        except SendUnknown as error:
            raise TransientError(str(error)) from None
        code = int(answer.get("errcode", 0))
        if not code:
            try:
                return Issued(str(answer["access_token"]), int(answer["expires_in"]))
            except (KeyError, TypeError, ValueError):
                raise TransientError("WeChat gave no token") from None
        log.warning("wechat_token_refused", code=code)
        if meaning(code) in (Do.CONFIGURE, Do.RENEW_TOKEN):
            raise ConfigError(remedy(code))
        raise TransientError(f"WeChat gives no token: errcode {code}", retry_after_s=30)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise Unreachable("the session is closed")
        return self._session

    def _timeout(self, slow: int) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=self._settings.request_timeout_s * slow,
            connect=min(5.0, self._settings.request_timeout_s),
        )


def remedy(code: int) -> str:
    """Return what an operator does about a code that says: configure."""
    match code:
        case 40164 | 89503 | 89506 | 89507:
            words = "put this server's address on the console's IP whitelist (IP白名单)"
        case 40001 | 40125 | 40243 | 41004:
            words = "set wechat.official.app_secret anew from the console"
        case 40002 | 40013 | 41002:
            words = "correct wechat.official.app_id"
        case 40037 | 41028 | 47003:
            words = "correct the template's id and fields in wechat.official"
        case _:
            words = "look the code up on developers.weixin.qq.com"
    return f"wechat.official: WeChat answers errcode {code}: {words}"


def _object(raw: bytes) -> dict[str, Any]:
    try:
        answer: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise SendUnknown("WeChat's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise SendUnknown("WeChat's answer is not an object")
    return cast("dict[str, Any]", answer)


def translated(error: aiohttp.ClientError) -> Unreachable | SendUnknown:
    """Return what a broken connection means for what was being sent."""
    name = type(error).__name__
    match error:
        case (
            aiohttp.ClientConnectorError()
            | aiohttp.ConnectionTimeoutError()
            | aiohttp.ServerFingerprintMismatch()
            | aiohttp.InvalidURL()
        ):
            return Unreachable(name)
        case _:
            return SendUnknown(name)
