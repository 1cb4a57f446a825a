"""Make .venv with uv in it, on a machine that has only Python ≥ 3.11.

Debian ships Python without pip and ensurepip; there uv's wheel is taken from the package index
and unpacked by hand (a wheel is a zip file).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

UV_VERSION = "0.13.9"
VENV = Path(".venv")


def _uv_works() -> bool:
    try:
        subprocess.run([VENV / "bin" / "uv", "--version"], check=True, capture_output=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _unpack_uv_wheel() -> None:
    """Take uv from the index without pip, checked by the sha256 that the index states."""
    index = os.environ.get("OCULICHAT_BOOTSTRAP_INDEX", "https://pypi.org/pypi")
    with urllib.request.urlopen(f"{index}/uv/{UV_VERSION}/json", timeout=60) as answer:  # noqa: S310
        files = json.load(answer)["urls"]
    machine = platform.machine()
    libc = "musllinux" if platform.libc_ver()[0] == "" else "manylinux"
    system = {"Linux": libc, "Darwin": "macosx"}.get(platform.system(), "win")
    wheel = next(
        (
            f
            for f in files
            if f["filename"].endswith(".whl")
            and system in f["filename"]
            and machine in f["filename"]
        ),
        None,
    )
    if wheel is None:
        sys.exit(f"no uv {UV_VERSION} wheel for {system} {machine}: install pip, then run again")
    with urllib.request.urlopen(wheel["url"], timeout=120) as answer:  # noqa: S310
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != wheel["digests"]["sha256"]:
        sys.exit("the downloaded uv wheel does not match the index's checksum: run again")
    path = VENV / "uv.whl"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("scripts/uv"):
                target = VENV / "bin" / "uv"
                target.write_bytes(archive.read(name))
                target.chmod(0o755)
    path.unlink()


def main() -> None:
    """Create the environment if it is not there yet."""
    if sys.version_info < (3, 11):  # noqa: UP036 any python3 may start this file
        sys.exit(f"Python 3.11 or newer is needed, this is {platform.python_version()}")
    if not (VENV / "bin" / "python").exists():
        try:
            venv.create(VENV, with_pip=True)
        except (subprocess.CalledProcessError, SystemExit):
            venv.create(VENV, with_pip=False, clear=True)
    if _uv_works():
        return
    pip = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", f"uv=={UV_VERSION}"]
    if subprocess.run(pip, check=False).returncode != 0:  # noqa: S603
        _unpack_uv_wheel()


main()
