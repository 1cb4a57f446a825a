"""The account's menu: at most three buttons, behind each at most five more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.wechat.official.api import ApiError, WechatApi
from core.message import Language
from core.texts import text

_MOST_BUTTONS, _MOST_BEHIND = 3, 5
_NO_MENU = 46003


def menu(names: Sequence[str], language: Language) -> dict[str, Any]:
    """Return the menu as WeChat wants it; what does not fit into three stands behind "more".

    Args:
        names: commands, in order; at most seven.
        language: everybody's, for WeChat shows one menu to all.
    """
    buttons = [_button(name, language) for name in names]
    if len(buttons) <= _MOST_BUTTONS:
        return {"button": buttons}
    first, rest = buttons[: _MOST_BUTTONS - 1], buttons[_MOST_BUTTONS - 1 :]
    more = {"name": text(language, "wechat.menu.more"), "sub_button": rest[:_MOST_BEHIND]}
    return {"button": [*first, more]}


def _button(name: str, language: Language) -> dict[str, str]:
    return {"type": "click", "name": text(language, f"wechat.menu.{name}"), "key": name}


async def publish(api: WechatApi, names: Sequence[str], language: Language) -> None:
    """Put the menu at WeChat in place; nobody sees it before a day or a new follow.

    Raises:
        ApiError, ConfigError, TransientError, SendUnknown: it is not in place.
    """
    await api.call("/cgi-bin/menu/create", menu(names, language))


async def shown(api: WechatApi) -> list[str]:
    """Return the names in the menu at WeChat, those behind others indented; [] without a menu.

    Raises:
        ApiError, ConfigError, TransientError, SendUnknown: WeChat did not say.
    """
    try:
        answer = await api.call("/cgi-bin/menu/get")
    except ApiError as error:
        if error.code == _NO_MENU:
            return []
        raise
    lines: list[str] = []
    buttons: list[dict[str, Any]] = answer.get("menu", {}).get("button", [])
    for button in buttons:
        lines.append(str(button.get("name", "")))
        behind: list[dict[str, Any]] = button.get("sub_button") or []
        lines += [f"  {inner.get('name', '')}" for inner in behind]
    return lines


async def remove(api: WechatApi) -> None:
    """Take the menu away.

    Raises:
        ApiError, ConfigError, TransientError, SendUnknown: it is still there.
    """
    await api.call("/cgi-bin/menu/delete")
