"""`/metrics`: counters that show whether the promises hold. Numbers only, no patient in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from core.drift import BINS, Histogram, Tallies
from core.store.due import count_pending
from core.store.inbox import InboxCounts, count_inbox
from core.store.outbox import OutboxCounts, count_outbox

if TYPE_CHECKING:
    from bot.service import Service
    from models.llm.servers import Servers

_HELP = {
    "intake": "Messages by what intake did with them",
    "dispatch": "Turns, executions repeated after a crash, leases lost, messages given up",
    "delivery": "Replies by how sending them went",
    "alerts": "Alerts to staff chats, and how many of them were repeats",
    "wechat": "Pushes of the Official Account by what became of them",
    "writer": "Group commit: transactions, jobs, jobs that had to run alone",
}


async def render(service: Service) -> bytes:
    """Return the metrics in Prometheus' text format."""
    store = service.store
    inbox = await store.read(count_inbox, None)
    outbox = await store.read(count_outbox, None)
    reminders = await store.read(count_pending, None)
    registry = CollectorRegistry()
    registry.register(_Snapshot(service, inbox, outbox, reminders))
    return generate_latest(registry)


class _Snapshot(Collector):
    """One reading of everything."""

    def __init__(
        self, service: Service, inbox: InboxCounts, outbox: OutboxCounts, reminders: int
    ) -> None:
        self._service = service
        self._inbox = inbox
        self._outbox = outbox
        self._reminders = reminders

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        for part, counts in self._service.counts().items():
            values: dict[str, Any] = asdict(counts)
            family = CounterMetricFamily(f"oculichat_{part}", _HELP[part], labels=["what"])
            for name, value in values.items():
                family.add_metric([name], value)
            yield family
        yield self._states("oculichat_inbox_messages", "Messages by state", self._inbox_states())
        yield self._states("oculichat_outbox_replies", "Replies by state", self._outbox.by_state)
        now_ms = self._service.clock.now_ms()
        for name, text, since_ms in (
            ("inbox", "Age of the oldest message without an answer", self._inbox.oldest_pending_ms),
            ("outbox", "Age of the oldest reply not sent", self._outbox.oldest_open_ms),
        ):
            age_s = 0.0 if since_ms is None else max(0, now_ms - since_ms) / 1000
            yield GaugeMetricFamily(f"oculichat_{name}_oldest_seconds", text, value=age_s)
        yield GaugeMetricFamily(
            "oculichat_reminders_pending", "Reminders that wait", value=self._reminders
        )
        yield GaugeMetricFamily(
            "oculichat_reminder_lateness_seconds",
            "How late the latest reminder of the last tick was",
            value=self._service.ticker.lateness_ms / 1000,
        )
        yield GaugeMetricFamily(
            "oculichat_lanes_open",
            "Conversations being handled",
            value=self._service.dispatcher.open_lanes,
        )
        if self._service.llm is not None:
            yield from self._llm(self._service.llm.servers)
        yield from self._readings(self._service.readings)

    @staticmethod
    def _readings(tallies: Tallies) -> Iterator[Metric]:
        """Yield what the fundus reader said, by channel; only words and bins of the code."""
        photos = CounterMetricFamily(
            "oculichat_fundus_photos",
            "Photos by what became of them",
            labels=["channel", "outcome"],
        )
        findings = CounterMetricFamily(
            "oculichat_fundus_findings",
            "Decisions on assessed photos",
            labels=["channel", "condition", "decision"],
        )
        scores = HistogramMetricFamily(
            "oculichat_fundus_score", "Probabilities, by head", labels=["channel", "head"]
        )
        for channel, tally in sorted(tallies.by_channel.items()):
            for outcome, n in sorted(tally.outcomes.items()):
                photos.add_metric([channel, outcome], n)
            for (condition, decision), n in sorted(tally.decisions.items()):
                findings.add_metric([channel, condition, decision], n)
            for head, histogram in tally.scores.items():
                if histogram.n:
                    scores.add_metric([channel, head], _buckets(histogram), histogram.total)
        yield from (photos, findings, scores)

    @staticmethod
    def _llm(servers: Servers) -> Iterator[Metric]:
        """Yield what is known of each LLM server, by its place in `llm.base_urls`."""
        state = GaugeMetricFamily(
            "oculichat_llm_server_state", "1 for the state it is in", labels=["server", "state"]
        )
        in_flight = GaugeMetricFamily(
            "oculichat_llm_in_flight", "Calls being answered", labels=["server"]
        )
        calls = CounterMetricFamily(
            "oculichat_llm_calls",
            "Calls begun, and failed by the server",
            labels=["server", "what"],
        )
        for server in servers.all:
            number = str(server.number)
            state.add_metric([number, servers.state(server)], 1)
            in_flight.add_metric([number], server.in_flight)
            calls.add_metric([number, "begun"], server.calls)
            calls.add_metric([number, "failed"], server.failed_calls)
        yield from (state, in_flight, calls)

    def _inbox_states(self) -> dict[str, int]:
        return {
            "pending": self._inbox.pending,
            "dead": self._inbox.dead,
            **self._inbox.outcomes,
        }

    @staticmethod
    def _states(name: str, text: str, values: dict[str, int]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["state"])
        for state, value in sorted(values.items()):
            family.add_metric([state], value)
        return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return counts up to each bin's end, as Prometheus wants them."""
    counts = accumulate(histogram.counts)
    ends = [f"{(n + 1) / BINS:.1f}" for n in range(BINS - 1)]
    return list(zip((*ends, "+Inf"), map(float, counts), strict=True))
