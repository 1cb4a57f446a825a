"""Signatures and encryption of WeChat's pushes, as developers.weixin.qq.com describes them.

Checked against `@wecom/crypto` and `wechatpy` in the tests. Every failure is the same `Forged`: who
sends rubbish learns nothing about which check it failed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK_BYTES = 32  # WeChat pads to 32, not to AES's 16
_HEAD_BYTES = 16 + 4  # random, then the length of the message


class Forged(Exception):
    """Not from WeChat, or not for this account."""


def sign(*parts: str) -> str:
    """Return WeChat's signature of these parts (SHA-1 over them, sorted)."""
    return hashlib.sha1("".join(sorted(parts)).encode(), usedforsecurity=False).hexdigest()


def is_signed(signature: str, *parts: str) -> bool:
    """Tell, in constant time, whether a signature belongs to these parts."""
    try:
        expected = sign(*parts)
    except UnicodeEncodeError:  # lone surrogates from a query
        return False
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape"))


class Envelope:
    """Encrypts and decrypts with one EncodingAESKey.

    Args:
        aes_key: its 43 characters.
        app_id: of the account; what was encrypted for another is refused.
    """

    def __init__(self, aes_key: str, app_id: str) -> None:
        # The last character's spare bits need not be zero; the lenient decoder takes them.
        self._key = base64.b64decode(aes_key + "=")
        self._app_id = app_id.encode()

    def open(self, encrypted: str) -> bytes:
        """Return the message.

        Raises:
            Forged: not encrypted with this key for this account, or changed on the way.
        """
        try:
            sealed = base64.b64decode(encrypted.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise Forged from None
        if not sealed or len(sealed) % 16:
            raise Forged
        decryptor = self._cipher().decryptor()
        padded = decryptor.update(sealed) + decryptor.finalize()
        pad = padded[-1]
        if not 1 <= pad <= _BLOCK_BYTES or padded[-pad:] != bytes([pad]) * pad:
            raise Forged
        plain = padded[:-pad]
        if len(plain) < _HEAD_BYTES:
            raise Forged
        (length,) = struct.unpack(">I", plain[16:20])
        message, app_id = plain[20 : 20 + length], plain[20 + length :]
        if len(message) != length or not hmac.compare_digest(app_id, self._app_id):
            raise Forged
        return message

    def seal(self, message: bytes) -> str:
        """Return the message encrypted, in base64."""
        plain = os.urandom(16) + struct.pack(">I", len(message)) + message + self._app_id
        pad = _BLOCK_BYTES - len(plain) % _BLOCK_BYTES
        encryptor = self._cipher().encryptor()
        sealed = encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()
        return base64.b64encode(sealed).decode()

    def _cipher(self) -> Cipher[modes.CBC]:
        return Cipher(algorithms.AES(self._key), modes.CBC(self._key[:16]))
