"""The bot's command menu, in both languages, written only when it differs."""

from __future__ import annotations

from telegram import Bot, BotCommand

from core.message import Language
from core.texts import text

COMMANDS = (
    *("start", "help", "new", "lang", "privacy", "human"),
    *("reminders", "stop", "resume", "link", "zone"),
)

# Telegram's two-letter codes; "" is what everybody else sees.
_AUDIENCES: tuple[tuple[str, Language], ...] = (("", "en"), ("zh", "zh-Hans"), ("en", "en"))


def commands(language: Language) -> list[BotCommand]:
    """Return the menu in one language."""
    return [BotCommand(name, text(language, f"telegram.menu.{name}")) for name in COMMANDS]


async def publish(bot: Bot) -> None:
    """Bring the menu at Telegram up to date.

    Raises:
        TelegramError: it could not; the old menu stays and the next start tries again.
    """
    for code, language in _AUDIENCES:
        wanted = commands(language)
        if list(await bot.get_my_commands(language_code=code or None)) != wanted:
            await bot.set_my_commands(wanted, language_code=code or None)
