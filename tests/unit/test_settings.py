"""Settings: file, environment, secret files, and what a wrong one says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.settings import load
from core.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OCULICHAT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_shipped_file_says_exactly_the_defaults() -> None:
    assert load(ROOT / "config.yaml") == load(None)


def test_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("server: {port: 9000, host: 127.0.0.2}\nllm: {base_urls: [http://a]}\n")
    monkeypatch.setenv("OCULICHAT_SERVER__PORT", "9001")
    monkeypatch.setenv("OCULICHAT_LLM__BASE_URLS", "http://b/v1, http://c")
    settings = load(file)
    assert (settings.server.host, settings.server.port) == ("127.0.0.2", 9001)
    assert settings.llm.base_urls == ("http://b", "http://c")


def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "token"
    secret.write_text("12345:abcdefghij\n")
    monkeypatch.setenv("OCULICHAT_TELEGRAM__TOKEN_FILE", str(secret))
    monkeypatch.setenv("OCULICHAT_DATABASE__KEY_FILE", "/keys/here.json")
    settings = load(None)
    assert settings.telegram.token is not None
    assert settings.telegram.token.get_secret_value() == "12345:abcdefghij"
    assert str(settings.key_file) == "/keys/here.json"
    assert "abcdefghij" not in repr(settings)
    assert "OCULICHAT_TELEGRAM__TOKEN" not in os.environ, "a secret does not stay there"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OCULICHAT_SERVER__PORT", "eighty", ["server.port", "OCULICHAT_SERVER__PORT"]),
        ("OCULICHAT_TELEGRAM__TOKN", "secret-value", ["telegram.tokn", "spelling"]),
        ("OCULICHAT_DATADIR", "x", ["datadir", "OCULICHAT_DATADIR", "spelling"]),
        ("OCULICHAT_DIALOG__ZONE", "Mars/Olympus", ["dialog.zone", "IANA"]),
        ("OCULICHAT_TELEGRAM__TOKEN", "secret-value", ["telegram.token", "BotFather"]),
        ("OCULICHAT_TELEGRAM__TOKEN_FILE", "/nowhere", ["OCULICHAT_TELEGRAM__TOKEN_FILE"]),
        ("OCULICHAT_LLM__BASE_URLS", "ftp://x", ["llm.base_urls", "http"]),
    ],
)
def test_a_wrong_setting_names_itself_its_place_and_the_remedy(
    name: str, value: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load(None)
    for word in words:
        assert word in str(caught.value)
    assert "secret-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("server: {port: 99999}", ["server.port", "mine.yaml"]),
        ("serverr: {}", ["serverr", "mine.yaml", "spelling"]),
        ("server: [", ["mine.yaml", "YAML"]),
        ("- a\n- b", ["mine.yaml"]),
    ],
)
def test_a_wrong_file_is_named(content: str, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")
