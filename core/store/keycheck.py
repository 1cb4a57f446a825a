"""Does the key file belong to this database? Asked once at start, before anything is written.

A wrong or fresh key file would seal new rows with keys that the old ones do not open with, so the
service refuses to start instead.
"""

from __future__ import annotations

import base64
from pathlib import Path

from sqlalchemy import select

from core.errors import ConfigError
from core.store.dialect import insert_ignore
from core.store.engine import make_engine, parse_url
from core.store.keyring import Keyring, load_or_create
from core.store.tables import fact

_NAME = "key_check"
_COLUMN = "fact.value"
_WORD = b"these keys belong to this database"


def open_keyring(url: str, key_file: Path) -> Keyring:
    """Load the key file of a database, or make one for a database that has none yet.

    Raises:
        ConfigError: the file is missing although the database has one, or it is another's.
    """
    engine = make_engine(parse_url(url), "write")
    try:
        with engine.begin() as connection:
            known = connection.execute(
                select(fact.c.value).where(fact.c.name == _NAME)
            ).scalar_one_or_none()
            if known is not None and not key_file.exists():
                raise ConfigError(
                    f"key file {key_file}: missing, and this database was written with one; "
                    "restore it from your backup"
                )
            keys = load_or_create(key_file)
            if known is None:
                sealed = base64.b64encode(keys.seal(_COLUMN, _WORD)).decode()
                connection.execute(
                    insert_ignore(connection, fact), {"name": _NAME, "value": sealed}
                )
            else:
                keys.open(_COLUMN, base64.b64decode(known))
            return keys
    finally:
        engine.dispose()
