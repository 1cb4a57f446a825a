"""Staff who have Today open see an emergency by itself; `tests.bench` has the times."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.harness import a_world
from tests.bench.viewer_figures import viewed


async def test_sixty_open_pages_see_an_emergency_and_cost_little(tmp_path: Path) -> None:
    async with a_world(tmp_path, llm=None) as world:
        found = await viewed(world, 60)
        assert "live_list_failed" not in world.service.log()
    assert found.last_ms < 5_000  # a busy test machine; on its own it is a third of a second
    assert found.extra_mib < 30
