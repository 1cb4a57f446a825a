"""The one part of LMDeploy that is not real here: an engine whose output is written in advance.

It stands where `lmdeploy.pytorch.engine.Engine` stands and speaks to the same code above it:
templates, tokenizer, detokenising, parsers, sessions, HTTP and SSE are LMDeploy's own.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# The server's environment only.
from lmdeploy.messages import EngineOutput, RequestMetrics, ResponseType, ScheduleMetrics
from transformers import AutoTokenizer

from tests.contract.lmdeploy.script import Rule, choose

_SAMPLING = (
    *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_new_tokens"),
    *("do_sample", "skip_special_tokens", "stop_words", "random_seed", "response_format"),
)


@dataclass(slots=True)
class EngineCall:
    """One call the engine has seen; `ended` is None while it runs."""

    prompt: str
    prompt_tokens: int
    sampling: dict[str, Any]
    session_id: int
    began_s: float
    tokens: int = 0
    ended: str | None = None
    ended_s: float | None = None


@dataclass(slots=True)
class Journal:
    """Rules and calls, shared between the server's loop and the control thread."""

    rules: tuple[Rule, ...] = ()
    calls: list[EngineCall] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def state(self) -> dict[str, Any]:
        """Return everything as JSON would have it; times are `time.time()`."""
        with self.lock:
            calls = [asdict(call) for call in self.calls]
        return {"active": sum(c["ended"] is None for c in calls), "calls": calls}


class Handle:
    """One slot of the engine."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self._engine = engine
        self._cancelled: dict[int, asyncio.Event] = {}

    async def async_cancel(self, session_id: int) -> None:
        """Stop generating for a session."""
        if session_id in self._cancelled:
            self._cancelled[session_id].set()

    async def async_stream_infer(
        self, session_id: int, input_ids: Any = None, gen_config: Any = None, **_: Any
    ) -> AsyncIterator[Any]:
        """Yield what the first matching rule says."""
        engine = self._engine
        prompt = engine.tokenizer.decode(input_ids)
        call = EngineCall(
            prompt,
            len(input_ids),
            {name: getattr(gen_config, name, None) for name in _SAMPLING},
            session_id,
            time.time(),
        )
        with engine.journal.lock:
            rule = choose(engine.journal.rules, prompt)
            engine.journal.calls.append(call)
        stop = self._cancelled[session_id] = asyncio.Event()
        try:
            async for output in self._play(rule, call, gen_config, stop):
                yield output
        finally:
            call.ended = call.ended or "closed"
            call.ended_s = time.time()
            del self._cancelled[session_id]

    async def _play(
        self, rule: Rule, call: EngineCall, config: Any, stop: asyncio.Event
    ) -> AsyncIterator[Any]:
        ids = self._engine.tokenizer.encode(rule.text, add_special_tokens=False)
        ids = [*ids, config.stop_token_ids[0]][: config.max_new_tokens]
        step = rule.tokens_per_step
        for n, start in enumerate(range(0, len(ids), step)):
            if rule.fault and n == rule.fault_after_steps:
                if rule.fault == "crash":
                    os._exit(70)
                if rule.fault == "raise":
                    call.ended = "raised"
                    raise RuntimeError("CUDA error: device-side assert triggered")
                if rule.fault == "hang":
                    await stop.wait()
                else:
                    call.ended = "failed"
                    yield EngineOutput(ResponseType[rule.fault], [])
                    return
            pause_s = rule.step_s + (rule.first_step_s if n == 0 else 0)
            if pause_s and not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause_s)
            if stop.is_set():
                call.ended = "cancelled"
                yield EngineOutput(ResponseType.CANCEL, [], req_metrics=_metrics())
                return
            self._engine.tick += 1
            call.tokens += len(ids[start : start + step])
            is_last = start + step >= len(ids)
            if is_last:
                call.ended = "finished"
            yield EngineOutput(
                ResponseType.FINISH if is_last else ResponseType.SUCCESS,
                ids[start : start + step],
                req_metrics=_metrics(),
            )


def _metrics() -> Any:
    return RequestMetrics(time.time())


class ScriptedEngine:
    """What `AsyncEngine` needs of an engine."""

    def __init__(self, model_path: str | Path, engine_config: Any, journal: Journal) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        self.engine_config = engine_config
        self.journal = journal
        self.tick = 0

    def create_instance(self, *_: Any) -> Handle:
        """Return one slot."""
        return Handle(self)

    def get_schedule_metrics(self) -> Any:
        """Return what the health monitor watches."""
        return ScheduleMetrics(active_seqs=self.journal.state()["active"], scheduler_tick=self.tick)

    async def get_health_status(self) -> dict[str, Any]:
        """Return what `/health` asks the engine."""
        return {"alive": True, "message": "", "schedule_metrics": self.get_schedule_metrics()}

    def start_loop(self) -> bool:
        """Nothing to start."""
        return True

    def close(self) -> None:
        """Nothing to close."""

    async def sleep(self, level: int = 1) -> None:
        """Nothing to free."""

    def wakeup(self, tags: Any = None) -> None:
        """Nothing to load."""
