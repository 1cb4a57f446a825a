"""The LLM client against what real servers said, byte for byte, cut in every possible way.

Recorded by `make contract-lmdeploy ARGS=--record`; nothing but the client is needed to replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.llm.sse import SseReader
from tests.contract.llm.other_servers import scenarios as scenarios_of
from tests.contract.llm.scenarios import SCENARIOS, Scenario, play
from tests.contract.llm.tape import Player, Tape
from tests.contract.lmdeploy.others import OTHERS, version

_LMDEPLOY = Path(__file__).parents[1] / "lmdeploy"
_RECORDED = _LMDEPLOY / "recorded"
_PER_TAPE = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def _tape(name: str) -> Tape:
    return Tape.load(_RECORDED / f"{name}.json")


def test_every_scenario_is_recorded_from_the_pinned_version() -> None:
    pinned = (_LMDEPLOY / "requirements-bare.txt").read_text("utf-8")
    version = pinned.partition("lmdeploy==")[2].split()[0]
    recorded = {path.stem: Tape.load(path).server for path in _RECORDED.glob("*.json")}
    again = "make contract-lmdeploy ARGS=--record"
    assert recorded.keys() == SCENARIOS.keys(), again
    assert set(recorded.values()) == {f"lmdeploy {version}"}, again


async def _play(scenario: Scenario, player: Player) -> None:
    with structlog.testing.capture_logs() as logs:
        async with player:
            outcome, shown = await play(scenario, player.url)
    assert not player.unexpected
    assert outcome == scenario.expect, (shown, logs)
    assert player.is_over, "the client asked less often than it did when this was recorded"
    assert not [word for word in scenario.never if word in repr((shown, logs))]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_as_recorded(name: str) -> None:
    await _play(SCENARIOS[name], Player(_tape(name)))


@pytest.mark.parametrize("name", scenarios_of("llama_cpp"))
@pytest.mark.parametrize("other", OTHERS)
async def test_other_servers_as_recorded(other: str, name: str) -> None:
    tape = Tape.load(_RECORDED / other / f"{name}.json")
    assert tape.server == version(other), "make contract-lmdeploy ARGS=--record"
    await _play(scenarios_of(other)[name], Player(tape))


def _cutter(sizes: Sequence[int]) -> Callable[[bytes], list[bytes]]:
    """Return what cuts bytes into pieces of these sizes, again and again."""

    def cut(data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        n = 0
        while data:
            size = sizes[n % len(sizes)]
            pieces.append(data[:size])
            data, n = data[size:], n + 1
        return pieces

    return cut


# Sizes that make few pieces: a piece is a wake-up of the client.
_SIZES = st.lists(st.integers(1, 4000), min_size=1, max_size=5).filter(lambda s: sum(s) > 900)
_SILENT = {name for name in SCENARIOS if name.startswith("silence")}


@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - _SILENT))
@_PER_TAPE
@given(chunks=_SIZES, writes=_SIZES)
async def test_cut_anywhere(name: str, chunks: list[int], writes: list[int]) -> None:
    player = Player(_tape(name), chunk=_cutter(chunks), write=_cutter(writes))
    await _play(SCENARIOS[name], player)


def _bodies() -> list[tuple[str, int, bytes]]:
    """Return every event stream on the tapes, each once."""
    seen: dict[bytes, tuple[str, int, bytes]] = {}
    for name in SCENARIOS:
        for number, exchange in enumerate(_tape(name).exchanges):
            if "text/event-stream" in exchange.head:
                seen.setdefault(exchange.body, (name, number, exchange.body))
    return list(seen.values())


def _payloads(pieces: Sequence[bytes]) -> list[bytes]:
    reader = SseReader()
    payloads = [payload for piece in pieces for payload in reader.feed(piece)]
    return payloads + reader.close()


def test_split_at_every_single_byte_means_the_same() -> None:
    """Two pieces, cut at every place (of a long stream at 2,500 of them); and byte by byte."""
    streams = _bodies()
    for name, number, body in streams:
        whole = _payloads([body])
        assert len(whole) == body.count(b"data: "), (name, number)
        for at in range(1, len(body), 1 + len(body) // 2500):
            assert _payloads([body[:at], body[at:]]) == whole, (name, number, at)
        assert _payloads([body[n : n + 1] for n in range(len(body))]) == whole, (name, number)
    assert len(streams) > 40
