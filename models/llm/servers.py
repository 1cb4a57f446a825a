"""Which of several servers gets the next call, and what is known about each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal

from core.ports import Health

State = Literal["unknown", "usable", "unreachable", "resting", "on_trial", "refusing", "draining"]

# A server that answers its health probe but fails three calls in a row is left alone for a while;
# the pause doubles with every trial that fails, up to a minute.
_FAILURES_TO_OPEN = 3
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
# After a 503 a server is the last choice for so long: it is stopping, sleeping or overloaded.
_REFUSED_S = 5.0
# A patient's own server may have so many times the mean number of calls (consistent hashing with
# bounded loads, Mirrokni, Thorup and Zadimoghaddam 2018; 1.25 is their example).
_BOUND = 1.25

# What `doctor` says about a cause.
_REMEDIES = {
    "not_connected": "nothing listens there; is it started, and the address right?",
    "no_answer": "it does not answer in time",
    "unauthorized": "it refuses our key; set llm.api_key to one of its --api-keys",
    "sleeping": "it sleeps; wake it with POST /wakeup, or restart it",
    "initializing": "it is starting",
    "unhealthy": "its engine has stopped working; restart it",
    "models_malformed": "it names no model; is it an OpenAI-compatible server?",
    "models_http_404": "it has no /v1/models; is it an OpenAI-compatible server?",
}


@dataclass(slots=True, eq=False)
class Server:
    """One server and what we know about it.

    Attributes:
        url: address without ``/v1``.
        number: place in ``llm.base_urls``, from 0; what logs and metrics call it.
        is_draining: gets no new calls; those it has may finish.
        in_flight: our calls it is answering now.
        is_reachable: by the last probe or connection; None = not tried yet.
        trouble: why it is not reachable, in one word for logs and `doctor`.
        configured_model: the name every call uses, or None: the server is asked.
        model: the name it serves, or None while unknown.
        takes_tools: None until it was offered tools; False = it wants them described in words.
        takes_extras: False = it refuses the newer fields of the interface (`wire.EXTRAS`).
        failures: calls failed in a row.
        trips: times in a row the breaker opened.
        rests_until_s: monotonic time before which it gets no call.
        refused_until_s: monotonic time before which it is the last choice.
        calls: calls begun since the start.
        failed_calls: those that failed for a reason of the server's.
        waits: deadlines of calls that have no first byte yet.
    """

    url: str
    number: int = 0
    is_draining: bool = False
    in_flight: int = 0
    is_reachable: bool | None = None
    trouble: str = ""
    configured_model: str | None = None
    model: str | None = None
    takes_tools: bool | None = None
    takes_extras: bool = True
    failures: int = 0
    trips: int = 0
    rests_until_s: float = 0.0
    refused_until_s: float = 0.0
    calls: int = 0
    failed_calls: int = 0
    waits: set[asyncio.Timeout] = field(default_factory=set[asyncio.Timeout])


class Servers:
    """The servers in the order of the configuration.

    Args:
        urls: addresses without ``/v1``.
        model: name of the model on all of them; None = each is asked.
        draining: those that get no new calls.
        now_s: the monotonic present, in seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        model: str | None,
        draining: Collection[str] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.all = tuple(
            Server(url, number, url in draining, configured_model=model, model=model)
            for number, url in enumerate(urls)
        )
        self._now_s = now_s

    def state(self, server: Server) -> State:
        """Return what the server is good for now."""
        now_s = self._now_s()
        if server.is_draining:
            return "draining"
        if server.is_reachable is False:
            return "unreachable"
        if server.rests_until_s > now_s:
            return "resting"
        if server.failures >= _FAILURES_TO_OPEN:
            return "on_trial"
        if server.refused_until_s > now_s:
            return "refusing"
        return "usable" if server.is_reachable else "unknown"

    def health(self) -> Health:
        """Return the state of all for `/readyz`; the service works without an LLM."""
        usable = self.usable()
        facts = {
            "servers": f"{len(usable)}/{len(self.all)}",
            "in_flight": str(sum(s.in_flight for s in self.all)),
            "models": ", ".join(sorted({s.model for s in self.all if s.model})),
        }
        if len(self.all) > 1:
            facts |= {f"server_{s.number}": self._in_words(s) for s in self.all}
        away = [s for s in self.all if not s.is_draining and s.is_reachable is False]
        detail = "; ".join(
            f"server {s.number}: {_REMEDIES.get(s.trouble, s.trouble)}" for s in away
        )
        if not usable:
            detail = f"no LLM server answers, the guided consult serves alone; {detail}".rstrip(
                "; "
            )
        return Health("llm", ok=bool(usable), detail=detail, required=False, facts=facts)

    def _in_words(self, server: Server) -> str:
        words = [self.state(server), server.trouble, server.model or ""]
        return ", ".join(word for word in [*words, f"{server.in_flight} in flight"] if word)

    def usable(self, tried: Collection[Server] = ()) -> list[Server]:
        """Return the servers worth a call now; those that refuse calls only when all others do."""
        last_choice: list[Server] = []
        good: list[Server] = []
        for server in self.all:
            if server in tried:
                continue
            match self.state(server):
                case "usable" | "unknown":
                    good.append(server)
                case "on_trial" if server.in_flight == 0:  # after a pause a single call goes first
                    good.append(server)
                case "refusing":
                    last_choice.append(server)
                case _:
                    pass
        return good or last_choice

    def choose(self, affinity: str, tried: Collection[Server] = ()) -> Server | None:
        """Return the server for the next call, or None when there is none.

        The same `affinity` gets the same server, whose prefix cache knows the conversation, while
        that one is usable and not much busier than the others; a server that comes or goes moves
        only its own patients (rendezvous hashing). Without `affinity`: the least busy.
        """
        servers = self.usable(tried)
        if not servers:
            return None
        if not affinity:
            return min(servers, key=lambda s: (s.in_flight, s.calls))
        mean = (sum(s.in_flight for s in servers) + 1) / len(servers)
        free = [s for s in servers if s.in_flight < _BOUND * mean]
        return max(free, key=lambda s: _weight(affinity, s.url))

    def succeeded(self, server: Server) -> None:
        """Note a good answer."""
        server.failures = server.trips = 0
        server.rests_until_s = server.refused_until_s = 0.0
        server.is_reachable = True
        server.trouble = ""

    def failed(self, server: Server, *, cause: str, unreachable: bool = False) -> None:
        """Note a failed call; an unreachable server waits for its next good probe."""
        server.failed_calls += 1
        if unreachable:
            server.is_reachable = False
            server.trouble = cause
            return
        server.failures += 1
        now_s = self._now_s()
        # Calls that were under way when the breaker opened tell nothing new.
        if server.failures >= _FAILURES_TO_OPEN and server.rests_until_s <= now_s:
            server.rests_until_s = now_s + min(
                _FIRST_PAUSE_S * 2 ** min(server.trips, 8), _LONGEST_PAUSE_S
            )
            server.trips += 1

    def lost(self, server: Server, *, cause: str) -> None:
        """Note that probes fail; calls still without a first byte may go elsewhere, if they can."""
        server.is_reachable = False
        server.trouble = cause
        if server.waits and self.usable():
            now_s = asyncio.get_running_loop().time()
            for wait in server.waits:
                wait.reschedule(now_s)

    def refused(self, server: Server) -> None:
        """Note a 503: the server is well enough to say that it wants no calls."""
        server.failed_calls += 1
        server.refused_until_s = self._now_s() + _REFUSED_S


def _weight(affinity: str, url: str) -> bytes:
    return blake2b(f"{affinity}@{url}".encode(), digest_size=8).digest()
