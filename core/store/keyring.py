"""Encryption at rest: AES-256-GCM with key ids, the keys in a file outside the database.

A sealed value is ``version (1) | key id (4) | nonce (12) | ciphertext and tag``. The associated
data names the column, so a value copied into another column does not open.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import Bug, ConfigError

_VERSION = b"\x01"
_PACK_FROM_BYTES = 512


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    cipher: AESGCM


class Keyring:
    """Seals and opens values; the newest key seals, every key opens.

    Args:
        keys: key id (4 bytes) and 32-byte key, newest first.
        path: where they came from, for messages.
    """

    def __init__(self, keys: list[tuple[bytes, bytes]], path: Path) -> None:
        self._keys = {key_id: _Key(key_id, AESGCM(key)) for key_id, key in keys}
        self._newest = self._keys[keys[0][0]]
        # Fingerprints must not change with rotation, so they hang on the oldest key.
        self._fingerprint_key = hashlib.sha256(b"fingerprint" + keys[-1][1]).digest()
        self._path = path

    def seal(self, column: str, value: bytes) -> bytes:
        """Encrypt `value` for `column` (``table.column``)."""
        nonce = os.urandom(12)
        sealed = self._newest.cipher.encrypt(nonce, value, column.encode())
        return _VERSION + self._newest.id + nonce + sealed

    def open(self, column: str, sealed: bytes) -> bytes:
        """Decrypt what `seal` made for the same column.

        Raises:
            ConfigError: the key is not in the key file (a restored database needs its key file).
            Bug: the value was changed or moved.
        """
        key = self._keys.get(sealed[1:5])
        if sealed[:1] != _VERSION or key is None:
            raise ConfigError(
                f"{column}: no key {sealed[1:5].hex()} in {self._path}; put back the key file that "
                "belongs to this database"
            )
        try:
            return key.cipher.decrypt(sealed[5:17], sealed[17:], column.encode())
        except InvalidTag:
            raise Bug(f"{column}: a sealed value was changed or moved") from None

    def seal_json(self, column: str, value: Any) -> bytes:
        """Seal a JSON value, compressed when that pays."""
        raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        packed = b"z" + zlib.compress(raw, 1) if len(raw) > _PACK_FROM_BYTES else b"j" + raw
        return self.seal(column, packed)

    def open_json(self, column: str, sealed: bytes) -> Any:
        """Open what `seal_json` sealed."""
        packed = self.open(column, sealed)
        return json.loads(zlib.decompress(packed[1:]) if packed[:1] == b"z" else packed[1:])

    def fingerprint(self, data: bytes) -> str:
        """Return a keyed hash (64 hex digits): equal files are recognised, guessed ones are not."""
        return hmac.new(self._fingerprint_key, data, hashlib.sha256).hexdigest()


def load_or_create(path: Path) -> Keyring:
    """Read the key file, or make one (mode 600) with one fresh key.

    Raises:
        ConfigError: the file is there but cannot be understood.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(
            {
                "keys": [
                    {
                        "id": secrets.token_hex(4),
                        "key": base64.b64encode(secrets.token_bytes(32)).decode(),
                    }
                ]
            },
            indent=1,
        )
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
    try:
        entries = json.loads(path.read_text())["keys"]
        keys = [
            (bytes.fromhex(e["id"]), base64.b64decode(e["key"], validate=True)) for e in entries
        ]
        return Keyring(keys, path)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ConfigError(
            f"key file {path}: cannot be read ({type(error).__name__}); restore it from your "
            "backup, a new one cannot open the old data"
        ) from None
