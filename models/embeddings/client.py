"""Client of an OpenAI-compatible ``/v1/embeddings`` endpoint; implements `core.ports.Embedder`.

Whatever goes wrong becomes `ModelUnavailable`; after three failures in a row the server is left
alone for half a minute. The server's own words are neither raised nor logged: they may repeat the
question.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from core.errors import ConfigError, ModelUnavailable
from models.embeddings.settings import KnowledgeSettings
from models.llm.http import FAILURES, Http

_WHOLE_CALL_S = 30.0  # of a batch; the wait for a question is shorter and the caller's
_BODY_LIMIT_BYTES = 32 << 20
_FAILURES_TO_OPEN = 3
_PAUSE_S = 30.0


class EmbeddingClient:
    """One embedding server.

    Args:
        settings: `base_url` must be set.
        now_s: monotonic clock.

    Raises:
        ConfigError: no address or no model.
    """

    def __init__(
        self, settings: KnowledgeSettings, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        if settings.base_url is None or not settings.model:
            raise ConfigError("knowledge.model: must name the model that knowledge.base_url serves")
        headers = {"content-type": "application/json", "accept": "application/json"}
        if settings.api_key is not None:
            headers["authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        self._url = f"{settings.base_url}/v1/embeddings"
        self._model = settings.model
        self._http = Http(headers, connect_timeout_s=2.0, connections=8)
        self._now_s = now_s
        self._failures = 0
        self._closed_until_s = 0.0

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    def is_healthy(self) -> bool:
        """Tell whether the server is not being left alone just now."""
        return self._closed_until_s <= self._now_s()

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector per text, in order.

        Raises:
            ModelUnavailable: no usable answer.
        """
        try:
            async with asyncio.timeout(_WHOLE_CALL_S):
                vectors = await self._call(list(texts))
        except (*FAILURES, TimeoutError) as error:
            self._failed()
            raise ModelUnavailable(f"embeddings: {type(error).__name__}") from None
        except ModelUnavailable:
            self._failed()
            raise
        except asyncio.CancelledError:
            self._failed()  # the caller's wait was too long for it
            raise
        self._failures = 0
        return vectors

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= _FAILURES_TO_OPEN:
            # One call tries it after the pause; its failure closes again at once.
            self._closed_until_s = self._now_s() + _PAUSE_S

    async def _call(self, texts: list[str]) -> list[list[float]]:
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        response = await self._http.send("POST", self._url, json.dumps(body).encode())
        try:
            if response.status_code != 200:
                raise ModelUnavailable(f"embeddings: HTTP {response.status_code}")
            content = bytearray()
            async for piece in response.aiter_bytes():
                content += piece
                if len(content) > _BODY_LIMIT_BYTES:
                    raise ModelUnavailable("embeddings: the answer is too long")
        finally:
            await response.aclose()
        return _vectors(bytes(content), len(texts))

    async def stop(self) -> None:
        """Close every connection."""
        await self._http.aclose()


def _vectors(body: bytes, wanted: int) -> list[list[float]]:
    """Read the answer; vectors come with an index and are put in order."""
    try:
        answer: Any = json.loads(body)
        rows = {int(row["index"]): [float(x) for x in row["embedding"]] for row in answer["data"]}
    except (ValueError, TypeError, KeyError):
        raise ModelUnavailable("embeddings: not an answer of this endpoint") from None
    found = [rows[i] for i in range(wanted) if i in rows]
    lengths = {len(v) for v in found}
    if len(found) != wanted or len(lengths) != 1 or 0 in lengths:
        raise ModelUnavailable("embeddings: vectors are missing or differ in length")
    if not all(math.isfinite(x) for v in found for x in v):
        raise ModelUnavailable("embeddings: a vector is not of finite numbers")
    return found
