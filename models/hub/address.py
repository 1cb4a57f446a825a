"""Where a file lies: a plain address, or its place on Hugging Face or ModelScope.

``hf:OWNER/REPO/PATH[@REVISION]`` and ``modelscope:OWNER/REPO/PATH[@REVISION]``. `HF_ENDPOINT` names
a mirror of Hugging Face and `HF_TOKEN` opens what is not public, as they do for their own tools.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from core.errors import ConfigError

_PLACE = re.compile(r"^(hf|modelscope):([\w.-]+/[\w.-]+)/([^@]+?)(?:@([\w./-]+))?$")


def resolve(address: str, *, environment: Mapping[str, str] = os.environ) -> str:
    """Return the http(s) address of a file.

    Raises:
        ConfigError: it is none of the forms.
    """
    if found := _PLACE.match(address):
        hub, repository, path, revision = found.groups()
        if hub == "hf":
            base = environment.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
            return f"{base}/{repository}/resolve/{quote(revision or 'main')}/{quote(path)}"
        base = "https://modelscope.cn/models"
        return f"{base}/{repository}/resolve/{quote(revision or 'master')}/{quote(path)}"
    parts = urlsplit(address)
    if parts.scheme in {"http", "https"} and parts.hostname:
        return address
    raise ConfigError(
        f"{address!r} is no address; write https://…, hf:OWNER/REPO/PATH[@REVISION] or"
        " modelscope:OWNER/REPO/PATH[@REVISION]"
    )


def authorization(address: str, *, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the header that opens a place on Hugging Face, if there is a token; else nothing."""
    token = environment.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token and address.startswith("hf:") else {}


def shown(address: str) -> str:
    """Return an address as it may be printed: without user, password and query."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"}:
        return address
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
