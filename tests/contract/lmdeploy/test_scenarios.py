"""Every scenario of `tests.contract.llm.scenarios` against the real LMDeploy server.

`make contract-lmdeploy ARGS=--record` also keeps the traffic, which the default suite replays.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from tests.contract.llm.scenarios import SCENARIOS, play
from tests.contract.llm.tape import Recorder, Tape
from tests.contract.lmdeploy.conftest import Servers

pytestmark = pytest.mark.lmdeploy

RECORDED = Path(__file__).parent / "recorded"
# Servers start seldom when those of one kind stand together.
BY_SERVER = sorted(SCENARIOS, key=lambda name: SCENARIOS[name].server)


@pytest.mark.parametrize("name", BY_SERVER)
async def test_ends_in_a_right_answer_or_an_honest_error(
    name: str, servers: Servers, request: pytest.FixtureRequest
) -> None:
    scenario = SCENARIOS[name]
    server = servers.of(scenario.server)
    servers.run(server.say(*scenario.rules))
    cut_after, cut = scenario.cut or (None, "reset")
    with structlog.testing.capture_logs() as logs:
        async with Recorder(server.url, cut_after_events=cut_after, cut=cut) as recorder:
            outcome, shown = await play(scenario, recorder.url)
    assert outcome == scenario.expect, (shown, logs)
    leaked = [word for word in (*scenario.never, "sesame") if word in repr((shown, logs))]
    assert not leaked
    if request.config.getoption("--record"):
        Tape(f"lmdeploy {VERSION}", recorder.exchanges).save(RECORDED / f"{name}.json")


VERSION = next(
    line.partition("==")[2].strip()
    for line in (Path(__file__).parent / "requirements-bare.txt").read_text("utf-8").splitlines()
    if line.startswith("lmdeploy==")
)


def test_installed_version_is_the_pinned_one(servers: Servers) -> None:
    installed = Path(__file__).parents[3] / ".venv-lmdeploy/lib"
    assert list(installed.glob(f"python*/site-packages/lmdeploy-{VERSION}.dist-info"))
