"""Health and metrics of a running service, as a supervisor and a scraper see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.terminal.channel import TerminalChannel, inbound
from bot.metrics import render
from bot.service import Service
from bot.settings import Settings
from tests.fakes.llm import FakeLlm


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(
        data_dir=tmp_path / "data", server={"port": 0}, dialog={"merge_window_ms": 0}
    )
    service = Service(
        settings,
        extra_channel=lambda blobs: TerminalChannel(print, blobs, tmp_path, as_json=True),
    )
    await service.start()
    yield service
    await service.stop()


async def test_alive_and_ready(service: Service) -> None:
    base = f"http://127.0.0.1:{service.port}"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        async with session.get(f"{base}/readyz") as answer:
            assert answer.status == 200
            parts = (await answer.json())["parts"]
            assert {"database", "fundus", "llm", "telegram"} <= set(parts)


async def test_a_database_that_is_gone_is_not_ready(service: Service) -> None:
    async with aiohttp.ClientSession() as session:
        service.store._read_engine.dispose()
        Path(service.settings.data_dir / "oculichat.db").rename(
            service.settings.data_dir / "moved.db"
        )
        async with session.get(f"http://127.0.0.1:{service.port}/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json())["parts"]["database"]["ok"] is False


async def test_every_message_is_accounted_for_in_the_metrics(service: Service) -> None:
    for number, text in enumerate(("hello", "/help", "石灰溅到眼睛里了"), start=1):
        await service.intake.accept([inbound(text, number, as_json=False)])
        await service.settle()
    await service.intake.accept([inbound("hello", 1, as_json=False)])
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{service.port}/metrics"
        async with session.get(url) as answer:
            assert answer.status == 200
            text = await answer.text()
        async with session.get(url, headers={"X-Forwarded-For": "203.0.113.9"}) as answer:
            assert answer.status == 404, "only the machine itself"
    samples = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert samples["oculichat_intake_total", "accepted"] == 3
    assert samples["oculichat_intake_total", "duplicates"] == 1
    states = {k[1]: v for k, v in samples.items() if k[0] == "oculichat_inbox_messages"}
    assert sum(states.values()) == 3
    assert states["pending"] == states["dead"] == 0
    assert "石灰" not in text


async def test_every_llm_server_is_in_the_metrics_and_in_readyz(tmp_path: Path) -> None:
    async with FakeLlm() as up, FakeLlm() as leaving:
        settings = Settings(
            data_dir=tmp_path / "data",
            server={"port": 0},
            llm={
                "base_urls": [up.url, leaving.url],
                "draining": [leaving.url],
                "probe_timeout_s": 60,
            },
        )
        service = Service(settings)
        await service.start()
        try:
            assert service.llm
            await service.llm.probe()
            text = (await render(service)).decode()
            health = service.llm.health()
        finally:
            await service.stop()
    samples = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if "_llm_" in s.name
    }
    assert samples == {
        ("oculichat_llm_server_state", "0", "usable"): 1,
        ("oculichat_llm_server_state", "1", "draining"): 1,
        ("oculichat_llm_in_flight", "0"): 0,
        ("oculichat_llm_in_flight", "1"): 0,
        ("oculichat_llm_calls_total", "0", "begun"): 0,
        ("oculichat_llm_calls_total", "0", "failed"): 0,
        ("oculichat_llm_calls_total", "1", "begun"): 0,
        ("oculichat_llm_calls_total", "1", "failed"): 0,
    }
    assert health.facts["server_1"] == "draining, internlm2-chat-7b, 0 in flight"
