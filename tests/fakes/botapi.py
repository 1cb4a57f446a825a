"""A strict Bot API on loopback: what Telegram documents, it enforces, with Telegram's words.

In a test::

    async with BotApi.running() as api:
        api.user_text(1001, "你好")

As a process of its own, for harnesses that kill and restart the service::

    python -m tests.fakes.botapi --port 9000 --log calls.jsonl

Then ``POST /control/<name>`` with a JSON object calls the method of that name (see `CONTROLS`),
``GET /control/log?since=N`` returns the accepted calls from number N on, and ``GET /control/state``
says what is pending. The log file has one JSON object per accepted call, appended in one write.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from aiohttp import web

from tests.fakes.botapi_methods import METHODS, Refused
from tests.fakes.botapi_state import TOKEN, Fault, State

__all__ = ["TOKEN", "BotApi"]

_FAULT_TEXTS = {
    "entities": (400, 'Bad Request: can\'t parse entities: Unsupported start tag "" at offset 4'),
    "chat_not_found": (400, "Bad Request: chat not found"),
    "blocked": (403, "Forbidden: bot was blocked by the user"),
    "bad_request": (400, "Bad Request: something Telegram does not like"),
    "unauthorized": (401, "Unauthorized"),
    "not_found": (404, "Not Found"),
    "conflict": (409, "Conflict: terminated by other getUpdates request; make sure that only one"),
    "413": (413, "Request Entity Too Large"),
    "internal": (500, "Internal Server Error"),
}


class BotApi(State):
    """The fake as an HTTP server on loopback."""

    # ---- running -------------------------------------------------------------------------

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, port: int = 0, **state: Any) -> AsyncIterator[BotApi]:
        """Serve on 127.0.0.1 until the block ends; a new port when `port` is 0."""
        api = cls(**state)
        api.calls = deque(maxlen=api.keep_calls)
        if api.log_path:
            api.log = os.open(api.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
        await site.start()
        api.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        delivery = asyncio.create_task(api._deliver(), name="botapi-webhook")
        try:
            yield api
        finally:
            api.stopping.set()
            api.wake()
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            await runner.cleanup()
            if api.log is not None:
                os.close(api.log)

    @property
    def base_url(self) -> str:
        """What `telegram.Bot` calls base_url."""
        return f"{self.base}/bot"

    @property
    def base_file_url(self) -> str:
        """What `telegram.Bot` calls base_file_url."""
        return f"{self.base}/file/bot"

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._handle)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        app.router.add_get("/control/log", self._control_log)
        app.router.add_get("/control/state", self._control_state)
        app.router.add_post("/control/{name}", self._control)
        return app

    # ---- the wire ------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        name = request.match_info["method"]
        try:
            method = self._method(request.match_info["token"], name)
            parameters = await _parameters(request)
            fault = self._fault(name, parameters)
            if fault is not None and fault.kind == "slow":
                await asyncio.sleep(0.1)
                fault = None
            if fault is None:
                result = method(self, parameters)
                if asyncio.iscoroutine(result):
                    result = await result
            elif fault.kind == "lost":
                method(self, parameters)
                _cut(request)
                return web.Response()
            else:
                return await self._fail(fault, request)
        except Refused as no:
            body: dict[str, Any] = {
                "ok": False,
                "error_code": no.status,
                "description": no.description,
            }
            if no.parameters:
                body["parameters"] = no.parameters
            return web.json_response(body, status=no.status)
        return web.Response(
            body=json.dumps({"ok": True, "result": result}).encode(),
            content_type="application/json",
        )

    def _method(self, token: str, name: str) -> Callable[[State, Mapping[str, Any]], Any]:
        if token != self.token:
            raise Refused(401, "Unauthorized")
        method = METHODS.get(name.lower())
        if method is None or (name == "sendMessageDraft" and not self.drafts):
            raise Refused(404, "Not Found")
        return method

    def _fault(self, name: str, parameters: Mapping[str, Any]) -> Fault | None:
        for fault in self.faults:
            chat = parameters.get("chat_id")
            if fault.method in ("", name) and fault.chat_id in (None, chat and int(chat)):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    async def _fail(self, fault: Fault, request: web.Request) -> web.Response:
        match fault.kind:
            case "429":
                seconds = fault.retry_after
                text = f"Too Many Requests: retry after {seconds}"
                raise Refused(429, text, retry_after=seconds)
            case "502":
                return web.Response(status=502, text="<html>Bad Gateway</html>")
            case "proxy_403":
                return web.Response(status=403, text="<html>Forbidden by policy</html>")
            case "429_bare":
                raise Refused(429, "Too Many Requests")
            case "strange":
                return web.json_response({"ok": True, "result": {"message_id": 1, "date": "soon"}})
            case "garbage":
                return web.Response(text="<html>Welcome to the hotel</html>")
            case "hang":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), 60)
                return web.Response(status=504)
            case "cut":
                _cut(request)
                return web.Response()
            case kind:
                raise Refused(*_FAULT_TEXTS[kind])

    async def _download(self, request: web.Request) -> web.Response:
        self.requests += 1
        found = self.files.get(request.match_info["path"].rpartition("/")[2])
        if request.match_info["token"] != self.token or found is None:
            return web.Response(status=404)
        if self._fault("download", {}):
            return web.Response(status=502)
        return web.Response(body=found[0])

    async def _deliver(self) -> None:
        """Post pending updates one after the other; repeat each until it is answered 2xx."""
        timeout = aiohttp.ClientTimeout(total=90)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            pause_s = 0.02
            while True:
                if not (self.updates and self.webhook.get("url")):
                    self.news.clear()
                    await self.news.wait()
                    continue
                update = self.updates[0]
                headers = {}
                if secret := self.webhook.get("secret_token"):
                    headers["X-Telegram-Bot-Api-Secret-Token"] = str(secret)
                try:
                    async with session.post(
                        self.webhook["url"], json=update, headers=headers
                    ) as answer:
                        status = answer.status
                except (aiohttp.ClientError, TimeoutError):
                    status = 0
                self.webhook_answers.append(status)
                if 200 <= status < 300:
                    pause_s = 0.02
                    if update in self.updates:
                        self.updates.remove(update)
                    self.confirmed += 1
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, 2.0)

    # ---- control over HTTP ---------------------------------------------------------------

    async def _control(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in CONTROLS:
            return web.json_response({"error": f"unknown {name}; one of {CONTROLS}"}, status=404)
        arguments = await request.json() if request.can_read_body else {}
        for key in ("data", "pictures"):  # bytes travel as base64
            if key in arguments and name != "user_presses":
                value = arguments[key]
                one = isinstance(value, str)
                arguments[key] = base64.b64decode(value) if one else [*map(base64.b64decode, value)]
        return web.json_response({"result": getattr(self, name)(**arguments)})

    async def _control_log(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", 0))
        return web.json_response([call for call in self.calls if call["n"] >= since])

    async def _control_state(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "pending": len(self.updates),
                "confirmed": self.confirmed,
                "requests": self.requests,
                "accepted": self.call_number,
                "polls": self.poller,
                "webhook": self.webhook.get("url", ""),
            }
        )


CONTROLS = (
    "user_text",
    "user_photo",
    "user_album",
    "user_document",
    "user_voice",
    "user_sticker",
    "user_location",
    "user_presses",
    "user_edits",
    "user_message",
    "redeliver",
    "push",
    "fault",
    "expire_query",
    "texts",
)


async def _parameters(request: web.Request) -> dict[str, Any]:
    """Return a call's parameters, wherever the Bot API lets them be."""
    parameters: dict[str, Any] = dict(request.query)
    kind = request.content_type
    try:
        if kind == "application/json":
            body = await request.read()
            parameters |= json.loads(body) if body else {}
        elif kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
            for name, value in (await request.post()).items():
                upload = isinstance(value, web.FileField)
                parameters[name] = value.file.read() if upload else value
    except ValueError:
        raise Refused(400, "Bad Request: can't parse JSON object") from None
    return parameters


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _serve(port: int, log_path: str | None, token: str) -> None:
    async with BotApi.running(port, log_path=log_path, token=token) as api:
        print(json.dumps({"base": api.base}), flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted; the first line printed says where."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", default=None, help="append accepted calls here, one JSON a line")
    parser.add_argument("--token", default=TOKEN)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.port, options.log, options.token))


if __name__ == "__main__":
    main()
