"""`oculichat wechat menu` and `oculichat doctor` against WeChat's API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.operate import _channels
from bot.settings import Settings
from bot.wechat_menu import set_menu
from core.errors import ConfigError
from tests.fakes.wechat_api import WechatApi


def _settings(folder: Path, api: WechatApi, **official: Any) -> Settings:
    return Settings(data_dir=folder / "data", wechat={"official": api.settings(**official)})


async def test_the_menu_is_published_shown_and_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("start", "reminders", "human", "lang")
    async with WechatApi.running() as api:
        settings = _settings(tmp_path, api, menu=names)

        async def run(*, show: bool = False, delete: bool = False) -> tuple[int, list[str]]:
            code = await asyncio.to_thread(set_menu, settings, show=show, delete=delete)
            return code, capsys.readouterr().out.splitlines()

        assert await run(show=True) == (0, ["no menu"])
        published = ["开始咨询", "我的复查", "更多", "  转人工", "  中文/English"]
        assert await run() == (0, published)
        assert api.menu is not None
        assert await run(show=True) == (0, published)
        assert await run(delete=True) == (0, ["no menu"])
        assert api.menu is None
        api.fail("/cgi-bin/menu/create", 40164)
        code, said = await run()
        assert code == 1
        assert "IP" in said[0]


async def test_without_a_secret_it_says_so(tmp_path: Path) -> None:
    async with WechatApi.running() as api:
        settings = _settings(tmp_path, api, app_secret=None)
        with pytest.raises(ConfigError, match="app_secret"):
            set_menu(settings, show=True, delete=False)


@pytest.mark.parametrize(
    ("wrong", "good", "words"),
    [
        ({}, True, ""),
        ({"app_secret": "x"}, False, "app_secret"),
        ({"app_id": "wx000000"}, False, "app_id"),
    ],
)
async def test_the_doctor_asks_wechat_and_says_what_to_do(
    tmp_path: Path, wrong: dict[str, str], good: bool, words: str
) -> None:
    async with WechatApi.running() as api:
        found = {h.name: h for h in await _channels(_settings(tmp_path, api, **wrong))}
        assert found["wechat"].ok is good
        assert words in found["wechat"].detail
        assert found["telegram"].detail.startswith("off")
        assert not (tmp_path / "data" / "oculichat.db").exists(), "asking writes nothing"
