"""Staff who have Today open see an emergency by itself; `tests.bench` has times and memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.acceptance.harness import a_world
from tests.bench.viewer_figures import EMERGENCY, watching
from tests.fakes.waiting import PATIENCE_S


async def test_sixty_open_pages_see_an_emergency(tmp_path: Path) -> None:
    async with a_world(tmp_path, llm=None) as world:
        async with watching(world, 60) as viewers:
            assert not any(viewer.has_it.is_set() for viewer in viewers)
            world.api.user_text(1000, EMERGENCY)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(viewer.has_it.wait() for viewer in viewers))
        assert "live_list_failed" not in world.service.log()
