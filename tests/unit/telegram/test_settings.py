from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from adapters.telegram.menu import COMMANDS, commands
from adapters.telegram.settings import TelegramSettings

TOKEN = "4242:AAsecret_part-of-it"


def test_the_account_is_known_without_the_network():
    assert TelegramSettings(token=TOKEN).bot_id == "4242"
    assert TelegramSettings().bot_id == ""


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"token": "AAsecret_part-of-it"}, "BotFather"),
        ({"token": TOKEN, "mode": "webhook"}, "webhook_url"),
        (
            {"mode": "webhook", "webhook_url": "https://x", "webhook_secret": "AAsecret part"},
            "A-Z",
        ),
        ({"proxy": "socks5://AAsecret:p@x:1"}, "http://"),
        ({"poll_timeout_s": 0}, "poll_timeout_s"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_setting_says_the_remedy_and_keeps_the_secret(wrong: dict, remedy: str):
    with pytest.raises(ValidationError) as caught:
        TelegramSettings.model_validate(wrong)
    assert remedy in str(caught.value)
    assert "AAsecret" not in str(caught.value)


def test_secrets_are_not_printed():
    settings = TelegramSettings(token=TOKEN, webhook_secret="of-the-hook")
    assert "AAsecret" not in repr(settings)
    assert "of-the-hook" not in repr(settings)


def test_settings_import_nothing_heavy():
    code = "import sys, adapters.telegram.settings; print('telegram' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("language", ["zh-Hans", "en"])
def test_the_menu_has_a_text_for_every_command(language):
    menu = commands(language)
    assert [c.command for c in menu] == list(COMMANDS)
    assert all(1 <= len(c.description) <= 256 for c in menu)
