"""Counts tokens as the server does, where it has LMDeploy's ``/v1/encode``.

Asked only when the estimate says that a conversation does not fit, so it costs most turns nothing.
A server without the route (`serve proxy`, vLLM, Ollama) is not asked again for a while.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import structlog

from models.llm.http import FAILURES, Http
from models.llm.servers import Servers

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 1.5
_BODY_LIMIT_BYTES = 2 << 20
_PAUSE_S = 600.0


class ServerTokens:
    """Implements `core.agent.context.TokenCounter`.

    Args:
        servers: the client's.
        http: the client's pool, or None while it is stopped.
        now_s: monotonic time.
    """

    def __init__(
        self,
        servers: Servers,
        http: Callable[[], Http | None],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._http = http
        self._now_s = now_s
        self._not_before_s: dict[str, float] = {}

    async def count(self, texts: Sequence[str]) -> Sequence[int] | None:
        """Return the tokens of each text, or None when the server cannot tell now."""
        http, server = self._http(), self._servers.choose("")
        if http is None or server is None or not texts:
            return None
        if self._now_s() < self._not_before_s.get(server.url, 0.0):
            return None
        body = json.dumps(
            {"input": list(texts), "do_preprocess": False, "add_bos": False}, ensure_ascii=False
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status, answer = await _post(http, f"{server.url}/v1/encode", body.encode())
            if status == 200 and (found := _lengths(answer, len(texts))) is not None:
                return found
            cause = f"status_{status}"
        except (TimeoutError, *FAILURES) as error:
            cause = type(error).__name__
        self._not_before_s[server.url] = self._now_s() + _PAUSE_S
        _log.info("token_count_unavailable", cause=cause)
        return None


async def _post(http: Http, url: str, body: bytes) -> tuple[int, bytes]:
    response = await http.send("POST", url, body)
    try:
        answer = bytearray()
        async for chunk in response.aiter_raw():
            answer += chunk
            if len(answer) > _BODY_LIMIT_BYTES:
                break
        return response.status_code, bytes(answer)
    finally:
        await response.aclose()


def _lengths(answer: bytes, wanted: int) -> list[int] | None:
    """Return the lengths of an answer; one text comes back as a number, several as a list."""
    try:
        # Any: JSON from the wire.
        length: Any = json.loads(answer)["length"]
        lengths = list(
            map(int, cast("list[Any]", length) if isinstance(length, list) else [length])
        )
    except (ValueError, KeyError, TypeError):
        return None
    return lengths if len(lengths) == wanted and min(lengths) >= 0 else None
