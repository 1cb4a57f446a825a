"""Which weights can be pulled by name: ours, and a clinic's own beside them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from core.errors import ConfigError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Entry(BaseModel):
    """One file of weights.

    Attributes:
        about: what it is.
        licence: of the file.
        setting: what to set to the pulled file; "" when that is not one setting.
        file: name of the file that is kept.
        urls: tried in order; see `models.hub.address`. Empty when no source is known.
        sha256: of the file, lower case; goes with `urls`.
        size_bytes: of the file, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    licence: str
    setting: str = ""
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    urls: tuple[str, ...] = ()
    sha256: Sha256 | None = None
    size_bytes: Annotated[int, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _urls_have_a_hash(self) -> Entry:
        if self.urls and self.sha256 is None:
            raise ValueError("urls without sha256: nobody could tell the right file from another")
        return self


_Catalogue = TypeAdapter(dict[Name, Entry])


def load(own: Path | None = None) -> dict[str, Entry]:
    """Return every entry by name.

    Args:
        own: a clinic's own catalogue; it need not exist. Its entries win.

    Raises:
        ConfigError: a catalogue cannot be read, or is not in the form.
    """
    shipped = files("models.hub") / "catalogue.yaml"
    entries = _parse(shipped.read_text("utf-8"), "the shipped catalogue")
    if own is not None and own.exists():
        try:
            text = own.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{own}: cannot be read ({type(error).__name__})") from None
        entries |= _parse(text, str(own))
    return entries


def _parse(text: str, where: str) -> dict[str, Entry]:
    try:
        content: Any = yaml.safe_load(text) or {}
        return _Catalogue.validate_python(content)
    except yaml.YAMLError:
        raise ConfigError(f"{where} is not valid YAML; check indentation and quotes") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {at}: {first['msg']}") from None
