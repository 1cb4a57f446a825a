"""Files through WeChat's CDN: AES-128-ECB with PKCS#7 padding, as the protocol prescribes.

ECB is WeChat's choice, not ours; every file has a key of its own. What we send is encrypted anew
each time, and what we fetch is decrypted only when it is needed and never longer than asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7

from adapters.wechat.ilink.api import Access, IlinkApi, NoAnswer, NotSent
from adapters.wechat.ilink.wire import Media
from core.errors import PatientError, TransientError

_BLOCK_BYTES = 16
_IMAGE = 1  # UploadMediaType
_UPLOAD_ATTEMPTS = 3
_UPLOAD_PAUSE_S = 0.3  # longer before each further attempt
_OFF_LOOP_FROM_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file in the CDN: what it is called there, its key and its encrypted size."""

    param: str
    key: bytes
    cipher_bytes: int


def encrypt(data: bytes, key: bytes) -> bytes:
    """Encrypt a file."""
    padder = PKCS7(_BLOCK_BYTES * 8).padder()
    encryptor = Cipher(AES(key), modes.ECB()).encryptor()  # noqa: S305 the protocol's mode
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


def decrypt(data: bytes, key: bytes) -> bytes:
    """Decrypt a file.

    Raises:
        ValueError: it was not encrypted with this key.
    """
    decryptor = Cipher(AES(key), modes.ECB()).decryptor()  # noqa: S305 the protocol's mode
    unpadder = PKCS7(_BLOCK_BYTES * 8).unpadder()
    return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()


def to_ref(media: Media) -> str:
    """Return a reference as `core.message.Attachment.ref` keeps it (sealed with its message)."""
    return json.dumps({"url": media.url, "param": media.param, "key": media.key.hex()})


def from_ref(ref: str) -> Media:
    """Read back what `to_ref` wrote.

    Raises:
        PatientError: it is none of ours.
    """
    try:
        data = json.loads(ref)
        return Media(bytes.fromhex(data["key"]), str(data["url"]), str(data["param"]))
    except (ValueError, KeyError, TypeError):
        raise PatientError("ilink.file_gone") from None


async def fetch(api: IlinkApi, cdn_url: str, ref: str, *, limit_bytes: int) -> bytes:
    """Fetch and decrypt a file, reading no more than `limit_bytes` and its padding.

    Raises:
        PatientError: longer, no longer there, or not openable with its key.
        TransientError: try again.
    """
    media = from_ref(ref)
    url = media.url or f"{cdn_url}/download?encrypted_query_param={quote(media.param, safe='')}"
    data = bytearray()
    try:
        async with api.download(url) as response:
            if response.status_code >= 500:
                raise TransientError(f"the CDN says {response.status_code}")
            if response.status_code != 200:
                raise PatientError("ilink.file_gone")
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > limit_bytes + _BLOCK_BYTES:
                    raise _too_large(limit_bytes)
    except (NotSent, NoAnswer) as error:
        raise TransientError(f"fetching failed: {error}") from None
    try:
        plain = await _off_loop(decrypt, bytes(data), media.key)
    except ValueError:
        # WeChat names a wrong key for a file (not a picture) that somebody sent before.
        raise PatientError("ilink.file_gone") from None
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    return plain


def _too_large(limit_bytes: int) -> PatientError:
    return PatientError("ilink.too_large", limit_mb=limit_bytes // (1024 * 1024))


async def upload_image(
    api: IlinkApi, access: Access, cdn_url: str, *, to: str, data: bytes
) -> Uploaded:
    """Encrypt a picture and put it into the CDN, for one person to see.

    Raises:
        NotSent: it is not there; repeating is safe.
        Refused: WeChat says no.
    """
    key = os.urandom(16)
    cipher = await _off_loop(encrypt, data, key)
    name = os.urandom(16).hex()
    request = {
        "filekey": name,
        "media_type": _IMAGE,
        "to_user_id": to,
        "rawsize": len(data),
        "rawfilemd5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        "filesize": len(cipher),
        "no_need_thumb": True,
        "aeskey": key.hex(),
    }
    try:
        answer = await api.call(access, "getuploadurl", request)
    except NoAnswer as error:  # asking twice for a place is harmless
        raise NotSent(str(error)) from None
    url = str(answer.get("upload_full_url") or "").strip()
    if not url:
        place = str(answer.get("upload_param") or "")
        if not place:
            raise NotSent("WeChat names no place for the picture")
        query = f"encrypted_query_param={quote(place, safe='')}&filekey={name}"
        url = f"{cdn_url}/upload?{query}"
    return Uploaded(await _put(api, url, cipher), key, len(cipher))


async def _put(api: IlinkApi, url: str, cipher: bytes) -> str:
    """Upload, again when it fails: the same bytes under the same name do no harm."""
    failure = ""
    for attempt in range(_UPLOAD_ATTEMPTS):
        await asyncio.sleep(_UPLOAD_PAUSE_S * attempt)
        try:
            return await api.upload(url, cipher)
        except (NotSent, NoAnswer) as error:
            failure = str(error)
    raise NotSent(failure)


async def _off_loop(function: Callable[[bytes, bytes], bytes], data: bytes, key: bytes) -> bytes:
    if len(data) < _OFF_LOOP_FROM_BYTES:
        return function(data, key)
    return await asyncio.to_thread(function, data, key)
