"""Settings of the LLM client. `bot` reads them from the `llm:` part of the configuration."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from core.agent.limits import Limits


def _split(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("["):
        return json.loads(value)  # its error is a ValueError, which pydantic reports
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


# NoDecode: an environment variable holds plain addresses, not JSON.
_Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class LlmSettings(BaseModel):
    """How to reach one or several LMDeploy servers, and how they shall answer.

    Attributes:
        base_urls: addresses with or without ``/v1``; a list or one comma-separated text. Empty:
            no LLM, the guided consult answers alone.
        draining: those of `base_urls` that get no new turns, before they are stopped; what they
            have begun they finish.
        api_key: one of the server's ``--api-keys``.
        model: ``--model-name`` of the server; None reads it from ``/v1/models``.
        temperature: of answers; rounds that may call tools use it too.
        top_p: in (0, 1].
        top_k: 0 = no limit. Sampling is always sent in full, because the server otherwise takes
            whatever the model's generation_config.json says.
        repetition_penalty: 1 = none.
        max_completion_tokens: always sent; without it the server generates up to its context.
        session_len: context length of the server (``--session-len``); it does not publish it.
        first_token_timeout_s: longest wait for the first token, queueing included, and the longest
            silence between two tokens.
        total_timeout_s: longest whole answer.
        connect_timeout_s: longest wait for a TCP connection.
        probe_interval_s: pause between two health probes.
        probe_timeout_s: longest wait for the answer to a probe; a server that is silent for longer
            counts as away.
        max_in_flight: calls at once over all servers. LMDeploy refuses nothing and queues for ever,
            so the limit is ours; as many again may wait, more are refused at once.
        tool_mode: ``native`` needs ``--tool-call-parser`` on the server; ``text`` describes the
            tools in the system prompt and reads the calls from the text.
        thinking: ask the chat template for thoughts; they are never shown.
        stop: strings that end an answer; enforced here because the server knows only those that
            are a single token.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_urls: _Texts = ()
    draining: _Texts = ()
    api_key: SecretStr | None = None
    model: str | None = None
    temperature: float = Field(default=0.3, ge=0, le=2)
    top_p: float = Field(default=0.8, gt=0, le=1)
    top_k: int = Field(default=40, ge=0)
    repetition_penalty: float = Field(default=1.02, gt=0, le=2)
    max_completion_tokens: int = Field(default=1024, ge=16)
    session_len: int = Field(default=8192, ge=1024)
    first_token_timeout_s: float = Field(default=8, gt=0)
    total_timeout_s: float = Field(default=60, gt=0)
    connect_timeout_s: float = Field(default=2, gt=0)
    probe_interval_s: float = Field(default=5, gt=0)
    probe_timeout_s: float = Field(default=1.5, gt=0)
    max_in_flight: int = Field(default=64, ge=1)
    tool_mode: Literal["native", "text"] = "native"
    thinking: bool = False
    stop: _Texts = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")

    @field_validator("base_urls", "draining")
    @classmethod
    def _check_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError("each address must start with http:// or https://")
        return tuple(dict.fromkeys(u.rstrip("/").removesuffix("/v1").rstrip("/") for u in urls))

    @model_validator(mode="after")
    def _check_draining(self) -> LlmSettings:
        if unknown := [url for url in self.draining if url not in self.base_urls]:
            raise ValueError(f"draining: {unknown[0]} is not one of base_urls; keep it in both")
        return self

    def limits(self) -> Limits:
        """Return what `core.agent.loop.converse` needs to know."""
        return Limits(
            session_len=self.session_len,
            max_completion_tokens=self.max_completion_tokens,
            temperature=self.temperature,
        )
