"""`wechat menu`: the menu below the chat of an Official Account."""

from __future__ import annotations

import asyncio
import sys

from adapters.wechat.official import menu
from adapters.wechat.official.api import ApiError, WechatApi, remedy
from bot import log
from bot.settings import Settings
from core.clock import SystemClock
from core.errors import ConfigError, OculiChatError
from core.store.keycheck import open_keyring
from core.store.store import Store
from migrations.schema import prepare


def set_menu(settings: Settings, *, show: bool, delete: bool) -> int:
    """Publish the menu of `wechat.official.menu`, or show or delete the present one; 0 = done."""
    log.set_up(settings.log.model_copy(update={"level": "warning"}))
    if settings.wechat.official.app_secret is None:
        raise ConfigError("wechat.official.app_secret is not set: the menu needs it")
    return asyncio.run(_set_menu(settings, show=show, delete=delete))


async def _set_menu(settings: Settings, *, show: bool, delete: bool) -> int:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    url = settings.database_url
    prepare(url, backup_folder=settings.data_dir / "backups")
    store = Store(url, open_keyring(url, settings.key_file))
    official = settings.wechat.official
    api = WechatApi(official, store, SystemClock())
    await api.start()
    try:
        if delete:
            await menu.remove(api)
        elif not show:
            await menu.publish(api, official.menu, settings.dialog.language)
        lines = await menu.shown(api)
    except ApiError as error:
        _say(remedy(error.code))
        return 1
    except OculiChatError as error:
        _say(str(error))
        return 1
    finally:
        await api.stop()
        store.close()
    for line in lines or ["no menu"]:
        _say(line)
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
