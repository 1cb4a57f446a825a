"""HTTP to the Bot API: `telegram.Bot`'s transport over one pooled aiohttp session.

Addresses hold the bot's token, so no error or log line made here repeats one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import TYPE_CHECKING, Any

import aiohttp
from telegram.error import BadRequest, NetworkError, RetryAfter, TelegramError, TimedOut
from telegram.request import BaseRequest, RequestData

if TYPE_CHECKING:
    from telegram._utils.types import ODVInput

# `RetryAfter.retry_after` as a timedelta, which it becomes for good in the next major version.
os.environ["PTB_TIMEDELTA"] = "1"

# Idle connections end before Telegram's end ends them, else a message could meet a closed one
# and nobody would know whether it was delivered.
_KEEPALIVE_S = 15
_KNOWN_REFUSALS = {400, 401, 403, 404, 409, 429}
_UNSTATED_PAUSE_S = 5
_SLOW_FACTOR = 3  # uploads and downloads get this many times the request timeout


class NotSent(NetworkError):
    """No connection, so nothing was sent."""


class ServerFailed(NetworkError):
    """Answered by an error that is not the Bot API's own word: 5xx, or a proxy in between."""


class TooLarge(TelegramError):
    """A download is longer than we accept."""


class BotRequest(BaseRequest):
    """Calls the Bot API. `initialize` opens the session, `shutdown` closes it; both repeatable."""

    def __init__(
        self, *, connect_timeout_s: float, request_timeout_s: float, proxy: str | None = None
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._request_timeout_s = request_timeout_s
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    @property
    def read_timeout(self) -> float | None:
        """Seconds one call may take."""
        return self._request_timeout_s

    async def initialize(self) -> None:
        """Open the session."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=64, keepalive_timeout=_KEEPALIVE_S)
            self._session = aiohttp.ClientSession(
                connector=connector,
                proxy=self._proxy,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            )

    async def shutdown(self) -> None:
        """Close the session."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
        write_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
        connect_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
        pool_timeout: ODVInput[float] = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """Make one call and return status and body.

        Raises:
            NotSent: nothing left this machine.
            ServerFailed: the answer is not the Bot API's.
            BadRequest: refused with a status the library does not know.
            RetryAfter: the Bot API asked for a pause without saying how long.
            TimedOut: no answer in time; the call may have been carried out.
            NetworkError: the connection broke; the call may have been carried out.
        """
        total_s = self._request_timeout_s
        body: bytes | aiohttp.FormData | None = None
        headers: dict[str, str] = {}
        if request_data is not None and request_data.contains_files:
            body = _form(request_data)
            total_s *= _SLOW_FACTOR
        elif request_data is not None:
            body = json.dumps(request_data.parameters).encode()
            headers["Content-Type"] = "application/json"
        if isinstance(read_timeout, int | float):
            total_s = read_timeout
        try:
            async with self._open().request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout(total_s),
            ) as response:
                payload = await response.read()
        except aiohttp.ClientError as error:
            raise _translated(error) from None  # its text holds the address
        except TimeoutError:
            raise TimedOut from None
        if not 200 <= response.status <= 299:
            _check_refusal(response.status, payload)
        return response.status, payload

    async def call(self, url: str, *, timeout_s: float | None = None) -> Any:
        """Call a method whose parameters are in the query and return its raw result.

        Raises:
            TelegramError: see `do_request`, and whatever the Bot API answers.
        """
        return await self.post(
            url, read_timeout=self._request_timeout_s if timeout_s is None else timeout_s
        )

    async def download(self, url: str, *, limit_bytes: int) -> bytes:
        """Return a file of at most `limit_bytes`, reading no more than that.

        Raises:
            TooLarge: it is longer.
            NetworkError: it could not be read whole; `FileNotFoundError` when it is gone.
        """
        timeout = self._timeout(self._request_timeout_s * _SLOW_FACTOR)
        data = bytearray()
        try:
            async with self._open().get(url, timeout=timeout, allow_redirects=False) as response:
                if response.status == 404:
                    raise FileNotFoundError
                if response.status != 200:
                    raise ServerFailed(f"HTTP {response.status} to a download")
                async for chunk in response.content.iter_any():
                    data += chunk
                    if len(data) > limit_bytes:
                        raise TooLarge("longer than accepted")
        except aiohttp.ClientError as error:
            raise _translated(error) from None
        except TimeoutError:
            raise TimedOut from None
        return bytes(data)

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Read an answer; the library's own would log the whole body, a patient's words included.

        Raises:
            TelegramError: not a Bot API answer.
        """
        try:
            answer: Any = json.loads(payload)
        except ValueError:
            raise TelegramError("the answer is not JSON") from None
        if not isinstance(answer, dict) or "ok" not in answer:
            raise TelegramError("the answer is not the Bot API's")
        return answer  # pyright: ignore[reportUnknownVariableType] wire data, read by telegram

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise NotSent("the session is closed")
        return self._session

    def _timeout(self, total_s: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total_s, connect=self._connect_timeout_s)


def _form(request_data: RequestData) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in request_data.json_parameters.items():
        form.add_field(name, value)
    for name, (filename, content, mime) in request_data.multipart_data.items():
        body = io.BytesIO(content) if isinstance(content, bytes) else content  # sent in chunks
        form.add_field(name, body, filename=filename, content_type=mime)
    return form


def _check_refusal(status: int, payload: bytes) -> None:
    """Raise for what the library would misread: a refusal that is not the Bot API's own.

    A 403 of a proxy, read as "blocked by the patient", would unlink everybody.
    """
    answer: dict[str, Any] = {}
    with contextlib.suppress(TelegramError):
        answer = BotRequest.parse_json_payload(payload)
    if status >= 500 or answer.get("ok") is not False:
        raise ServerFailed(f"HTTP {status} without an answer of the Bot API")
    parameters: dict[str, Any] = answer.get("parameters") or {}
    if status == 429 and not parameters.get("retry_after"):
        raise RetryAfter(_UNSTATED_PAUSE_S)
    if status not in _KNOWN_REFUSALS:
        raise BadRequest(f"HTTP {status}: {answer.get('description')}")


def _translated(error: aiohttp.ClientError) -> NetworkError:
    name = type(error).__name__
    match error:
        case (
            aiohttp.ClientConnectorError()
            | aiohttp.ConnectionTimeoutError()
            | aiohttp.ClientHttpProxyError()
            | aiohttp.ServerFingerprintMismatch()
            | aiohttp.InvalidURL()
        ):
            return NotSent(name)
        case aiohttp.ServerTimeoutError():
            return TimedOut(name)
        case _:
            return NetworkError(name)
