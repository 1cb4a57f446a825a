"""`oculichat lmdeploy`: run an LMDeploy server for a model, and ask a server what it can do."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from bot.settings import PREFIX, Settings
from core.errors import ConfigError
from models.llm.capabilities import Finding, examine
from models.llm.families import find_model
from models.llm.serving import Command, Serving, build, refuse_taken_port

# LMDeploy takes keys on its command line only, which every user of the machine can read. So its
# own entry point is called with a list that never was a command line.
_KEY = "OCULICHAT_LMDEPLOY_KEY"
_LAUNCH = (
    "import os, sys; from lmdeploy.cli import run; "
    f"key = os.environ.pop({_KEY!r}, ''); "
    "sys.argv = ['lmdeploy', *sys.argv[1:], *(['--api-keys', key] if key else [])]; run()"
)
_MISSING = (
    "LMDeploy is not installed here. It needs Linux, an NVIDIA GPU and some gigabytes: "
    "`uv sync --extra lmdeploy` or `pip install 'oculichat[lmdeploy]'`; if it has an environment "
    "of its own, name its Python with --python"
)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def serve(settings: Settings, serving: Serving, *, python: Path | None, is_dry_run: bool) -> None:
    """Become the LMDeploy server, or with `is_dry_run` only print its command.

    Raises:
        ConfigError: it cannot work; says why.
    """
    try:
        model = find_model(serving.model)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    secret = settings.llm.api_key
    key = secret.get_secret_value() if secret else None
    command = build(serving, model, api_key=key)
    for note in (*command.notes, *_differences(settings, serving)):
        sys.stderr.write(f"{note}\n")
    if is_dry_run:
        _say(_printable(command, has_key=key is not None))
        return
    refuse_taken_port(serving.host, serving.port)
    interpreter = _interpreter(python)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(  # noqa: S606 no shell: the model's name is one argument
        interpreter,
        [str(interpreter), "-c", _LAUNCH, *command.arguments],
        _environment(os.environ, key),
    )


def _differences(settings: Settings, serving: Serving) -> list[str]:
    """Tell which settings of the service do not fit what will be served."""
    llm, notes = settings.llm, list[str]()
    if llm.session_len != serving.session_len:
        notes.append(f"Set llm.session_len: {serving.session_len}; it is {llm.session_len} now.")
    if llm.model not in {None, serving.name}:
        notes.append(f"Set llm.model: {serving.name}, or null; it is {llm.model} now.")
    return notes


def _printable(command: Command, *, has_key: bool) -> str:
    line = shlex.join(["lmdeploy", *command.arguments])
    return f'{line} --api-keys "${PREFIX}LLM__API_KEY"' if has_key else line


def _environment(environment: Mapping[str, str], key: str | None) -> dict[str, str]:
    """Return what the server gets: our settings and tokens are none of its business."""
    kept = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    # Its 5 s would close connections between two questions of a patient.
    kept.setdefault("UVICORN_TIMEOUT_KEEP_ALIVE", "65")
    return kept | ({_KEY: key} if key else {})


def _interpreter(python: Path | None) -> Path:
    """Return a Python that has LMDeploy."""
    if python is not None:
        # Not resolved: the link itself tells which environment it belongs to.
        found = shutil.which(python)
        if found is None:
            raise ConfigError(f"--python {python}: there is no such program")
        code = "from importlib.util import find_spec; raise SystemExit(not find_spec('lmdeploy'))"
        done = subprocess.run([found, "-c", code], check=False, timeout=30)  # noqa: S603 as asked
        if done.returncode != 0:
            raise ConfigError(f"--python {python}: it has no lmdeploy")
        return Path(found).absolute()
    if find_spec("lmdeploy") is not None:
        return Path(sys.executable)
    raise ConfigError(_MISSING)


def check(settings: Settings, url: str, *, as_json: bool) -> int:
    """Ask the server at `url` what it can do; returns the exit status."""
    report = asyncio.run(examine(url, settings=settings.llm))
    if as_json:
        _say(json.dumps([asdict(finding) for finding in report], ensure_ascii=False))
    else:
        for finding in report:
            _say(_line(finding))
    return 0 if all(finding.grade != "fail" for finding in report) else 1


def _line(finding: Finding) -> str:
    mark = {"ok": "ok  ", "note": "note", "fail": "FAIL"}[finding.grade]
    advice = f"\n     → {finding.advice}" if finding.advice else ""
    return f"{mark} {finding.name:16} {finding.found}{advice}"
