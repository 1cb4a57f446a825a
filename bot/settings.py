"""Settings: ``config.yaml``, then environment variables ``OCULICHAT_…`` (``__`` for nesting).

Every secret can also come from a file named by the same variable with ``_FILE`` behind it. A wrong
key or value ends the start with the key, the file and the remedy; no value is ever printed.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from adapters.console.settings import ConsoleSettings
from adapters.telegram.settings import TelegramSettings
from adapters.webchat.settings import WebChatSettings
from adapters.wechat.settings import WechatSettings
from core.errors import ConfigError
from core.message import Language
from models.embeddings.settings import KnowledgeSettings
from models.fundus.settings import FundusSettings
from models.llm.settings import LlmSettings

PREFIX = "OCULICHAT_"
CONFIG_VARIABLE = "OCULICHAT_CONFIG"
# Variables of our own that are no settings.
_NOT_SETTINGS = frozenset({CONFIG_VARIABLE, "OCULICHAT_SHARED", "OCULICHAT_SCREENSHOTS"})


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(_Part):
    """The HTTP server.

    Attributes:
        host: address to listen on; 127.0.0.1 unless you put a TLS proxy in front.
        port: port to listen on.
        trusted_proxies: addresses whose ``X-Forwarded-*`` headers are believed.
        public_url: where patients reach these pages, for example ``https://eyes.example.org``;
            with it the answer to a booking has a link to a page and file for their calendar.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    public_url: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] | None = None


class DatabaseSettings(_Part):
    """Where messages are kept.

    Attributes:
        url: ``sqlite:///file`` or ``postgresql://user:password@host/name``; None = an SQLite file
            ``oculichat.db`` in the data folder.
        key_file: keys of the encryption at rest; None = ``keys.json`` in the data folder. Without
            it the data cannot be read, so back it up apart from the database.
    """

    url: str | None = None
    key_file: Path | None = None


class ConsentSettings(_Part):
    """Consent.

    Attributes:
        required: ask before anything medical. Switch off only for trials without real patients.
    """

    required: bool = True


class DialogSettings(_Part):
    """How conversations run.

    Attributes:
        merge_window_ms: texts at most this far apart are answered together; 0 = one by one.
        language: for people whose language nothing shows.
        zone: IANA zone of the clinic; reminders keep to its day.
        turns_at_once: conversations answered at the same time.
        lease_s: how long a replica that fell silent keeps its conversations.
    """

    merge_window_ms: Annotated[int, Field(ge=0, le=5_000)] = 1_000
    language: Language = "zh-Hans"
    zone: str = "Asia/Shanghai"
    turns_at_once: Annotated[int, Field(ge=1, le=10_000)] = 256
    lease_s: Annotated[float, Field(ge=2, le=600)] = 30.0

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("is not an IANA time zone such as Asia/Shanghai") from None
        return zone


class ClinicSettings(_Part):
    """The clinic behind the service.

    Attributes:
        emergency_place: nearest eye emergency department, shown on emergency cards.
    """

    emergency_place: str | None = None


class FollowUpSettings(_Part):
    """Plans and reminders.

    Attributes:
        intervals: the clinic's own rows of the interval table (YAML); None = the shipped table.
        closed_days: days without outpatients (YAML); None = public holidays of China.
        closed_weekdays: days of the week without outpatients, Monday is 1.
        compare: cadences to compare; each new plan is drawn one of them. Empty = no comparison.
        compare_seed: of the draw; a new one begins a new comparison.
        digest_at: local time of the morning message to the staff chats; None = none.
    """

    intervals: Path | None = None
    closed_days: Path | None = None
    closed_weekdays: tuple[Annotated[int, Field(ge=1, le=7)], ...] = ()
    compare: tuple[Literal["standard", "lighter"], ...] = ()
    compare_seed: str = ""
    digest_at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = "08:00"


class StaffSettings(_Part):
    """How staff hear of an emergency besides the console.

    Attributes:
        alert_chats: staff chats as ``<channel>:<chat id>``, for example ``telegram:123456``, in
            the order in which they are tried. Whoever reads there must have started the bot.
        repeat_after_minutes: a task nobody took for so long is announced in the next chat.
        console_url: address of the staff console, for the link in an alert.
        takeover_nudge_min: staff are reminded when a patient whose conversation they took over
            has waited for so long, and again after as long.
        takeover_idle_min: after so long without a sign of them the assistant answers again.
    """

    alert_chats: tuple[Annotated[str, Field(pattern=r"^[a-z]+:[A-Za-z0-9_@.-]{1,128}$")], ...] = ()
    repeat_after_minutes: Annotated[float, Field(ge=0.1, le=240)] = 5.0
    console_url: Annotated[str, Field(pattern=r"^https?://[!-~]+$")] | None = None
    takeover_nudge_min: Annotated[float, Field(ge=0.5, le=240)] = 3.0
    takeover_idle_min: Annotated[float, Field(ge=1, le=1_440)] = 30.0


class LogSettings(_Part):
    """Logging to standard error.

    Attributes:
        format: ``json`` for machines, ``text`` for eyes, ``auto`` = text on a terminal.
        level: debug shows more of our own events; libraries stay at warning.
    """

    format: Literal["auto", "json", "text"] = "auto"
    level: Literal["debug", "info", "warning"] = "info"


class Settings(BaseSettings):
    """Everything an operator can set; see ``config.yaml`` for each with a comment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,  # `NAME=` in an environment file means: not set
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Path("data")
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    consent: ConsentSettings = ConsentSettings()
    dialog: DialogSettings = DialogSettings()
    clinic: ClinicSettings = ClinicSettings()
    staff: StaffSettings = StaffSettings()
    followups: FollowUpSettings = FollowUpSettings()
    telegram: TelegramSettings = TelegramSettings()
    wechat: WechatSettings = WechatSettings()
    webchat: WebChatSettings = WebChatSettings()
    console: ConsoleSettings = ConsoleSettings()
    llm: LlmSettings = LlmSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    fundus: FundusSettings = FundusSettings()
    log: LogSettings = LogSettings()

    @property
    def library_dir(self) -> Path:
        """Where the clinic's own books lie, and vectors."""
        return self.data_dir / "library"

    @property
    def database_url(self) -> str:
        """The database URL that is really used."""
        return self.database.url or f"sqlite:///{self.data_dir.absolute() / 'oculichat.db'}"

    @property
    def key_file(self) -> Path:
        """Where the keyring lies."""
        return self.database.key_file or self.data_dir / "keys.json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before the values of the file, which come in as arguments."""
        return env_settings, init_settings


def load(config: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        config: the file; None = what ``OCULICHAT_CONFIG`` names, else ``config.yaml`` in the
            working directory, else defaults alone.

    Raises:
        ConfigError: names the key, where it stands and the remedy.
    """
    path = config or (Path(os.environ[CONFIG_VARIABLE]) if CONFIG_VARIABLE in os.environ else None)
    if path is None and Path("config.yaml").exists():
        path = Path("config.yaml")
    values = _read_yaml(path) if path else {}
    with _secrets_from_files():
        _refuse_unknown_variables()
        try:
            return Settings(**values)
        except ValidationError as error:
            raise ConfigError(_explain(error, path)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{path}:{line} is not valid YAML; check indentation and quotes"
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold keys and values at its top level")
    return cast("dict[str, Any]", content)


def _refuse_unknown_variables() -> None:
    """Complain about misspelt top-level names, which would otherwise be ignored in silence."""
    for name in os.environ:
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            key = name.removeprefix(PREFIX).partition("__")[0].lower()
            if key not in Settings.model_fields:
                raise ConfigError(
                    f"{key} (environment variable {name}): no such setting; remove the variable or "
                    "correct its spelling"
                )


@contextmanager
def _secrets_from_files() -> Generator[None]:
    """Put the content of each ``OCULICHAT_…_FILE`` where the plain variable is looked for.

    Only while the settings are read: a secret does not stay in the environment, where child
    processes and crash reports would find it.
    """
    before = dict(os.environ)
    try:
        for name, path in before.items():
            plain = name.removesuffix("_FILE")
            # `database.key_file` is a path itself, not a secret.
            if not name.startswith(PREFIX) or name in (plain, f"{PREFIX}DATABASE__KEY_FILE"):
                continue
            try:
                os.environ[plain] = Path(path).read_text("utf-8").strip()
            except OSError as error:
                raise ConfigError(
                    f"{name}: the file cannot be read ({error.strerror}); check path and "
                    "permissions"
                ) from None
            del os.environ[name]
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _explain(error: ValidationError, path: Path | None) -> str:
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_input=False):
        parts = [str(part) for part in problem["loc"]]
        key = ".".join(parts)
        variable = PREFIX + "__".join(parts).upper()
        where = f"environment variable {variable}" if variable in os.environ else str(path or "")
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key} ({where}): no such setting; remove it or correct its spelling")
        else:
            lines.append(f"{key} ({where}): {problem['msg']}; see config.yaml for what is allowed")
    return "\n".join(lines)
