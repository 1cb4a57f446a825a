"""The client against llama.cpp and transformers, for those who do not run LMDeploy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import structlog

from core.ports import ChatRequest, TextDelta
from models.llm.client import LlmClient
from tests.contract.llm.other_servers import scenarios
from tests.contract.llm.scenarios import QUESTION, play, settings_of
from tests.contract.llm.tape import Recorder, Tape
from tests.contract.lmdeploy.conftest import Servers
from tests.contract.lmdeploy.others import OTHERS, is_installed, running, version

pytestmark = pytest.mark.lmdeploy

_RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest, servers: Servers) -> Iterator[tuple[str, str]]:
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not in .venv-lmdeploy: make contract-others installs it")
    servers.close()  # one server at a time
    context = running(request.param)
    yield request.param, servers.run(context.__aenter__())
    servers.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize("scenario", scenarios("llama_cpp"))
async def test_is_understood(
    scenario: str, other: tuple[str, str], request: pytest.FixtureRequest
) -> None:
    name, url = other
    played = scenarios(name)[scenario]
    with structlog.testing.capture_logs() as logs:
        async with Recorder(url) as recorder:
            outcome, shown = await play(played, recorder.url)
    assert outcome == played.expect, (shown, logs)
    if request.config.getoption("--record"):
        Tape(version(name), recorder.exchanges).save(_RECORDED / name / f"{scenario}.json")


async def test_leaving_early_leaves_it_usable(other: tuple[str, str]) -> None:
    name, url = other
    played = scenarios(name)["answer"]
    client = LlmClient(settings_of(played, url))
    await client.start()
    try:
        async with aclosing(client.stream(ChatRequest(QUESTION))) as events:
            assert isinstance(await anext(events), TextDelta)
        async with asyncio.timeout(10):
            done = [event async for event in client.stream(ChatRequest(QUESTION))][-1]
        assert done.text == played.expect.text  # type: ignore[union-attr]
    finally:
        await client.stop()
