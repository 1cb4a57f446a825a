"""`oculichat lmdeploy` as an operator meets it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.llm import FakeLlm

KEY = "a-key-of-the-clinic"


def oculichat(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OCULICHAT_")}
    return subprocess.run(
        [sys.executable, "-m", "bot", "lmdeploy", *words],
        cwd=folder,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_dry_run_prints_one_command_and_the_settings_that_go_with_it(tmp_path: Path) -> None:
    done = oculichat(
        tmp_path,
        *("serve", "Qwen/QwQ-32B", "--dry-run", "--session-len", "4096", "--", "--eager-mode"),
        OCULICHAT_LLM__API_KEY=KEY,
        OCULICHAT_LLM__MODEL="eye",
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("lmdeploy serve api_server Qwen/QwQ-32B --server-name 127.0.0.1 ")
    assert "--model-name eye " in line
    assert line.endswith('--eager-mode --api-keys "$OCULICHAT_LLM__API_KEY"')
    assert KEY not in done.stdout + done.stderr
    assert "Set llm.session_len: 4096" in done.stderr
    assert "set llm.thinking: true" in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("serve", "Qwen/Qwen3-8B", "--host", "0.0.0.0"), "set llm.api_key first"),
        (("serve", "./nowhere"), "is no folder"),
        (("serve", "Qwen/Qwen3-8B", "--python", "/nowhere/python"), "there is no such program"),
        (("serve", "Qwen/Qwen3-8B", "--python", sys.executable), "has no lmdeploy"),
    ],
)
def test_what_cannot_work_ends_with_its_reason(
    tmp_path: Path, unused_tcp_port: int, words: tuple[str, ...], why: str
) -> None:
    done = oculichat(tmp_path, *words, "--port", str(unused_tcp_port))
    assert done.returncode == 78
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_ends_with_its_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = oculichat(tmp_path, "serve", "Qwen/Qwen3-8B", "--port", port)
    assert done.returncode == 78
    assert f"--port {port}" in done.stderr


def test_serve_hands_over_the_key_and_nothing_else_of_ours(tmp_path: Path) -> None:
    """A stand-in for LMDeploy's Python writes down what it was given."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "if 'find_spec' in sys.argv[2]: raise SystemExit(0)\n"
        "print(json.dumps({'argv': sys.argv, 'environment': dict(os.environ)}))\n"
    )
    python.chmod(0o700)
    done = oculichat(
        tmp_path,
        *("serve", "Qwen/Qwen3-8B", "--python", str(python)),
        OCULICHAT_LLM__API_KEY=KEY,
        OCULICHAT_TELEGRAM__TOKEN="123456:abcdefghijklmnopqrstuvwxyz0123456789",
    )
    assert done.returncode == 0, done.stderr
    given = json.loads(done.stdout)
    assert KEY not in " ".join(given["argv"])
    ours = {k: v for k, v in given["environment"].items() if k.startswith("OCULICHAT_")}
    assert ours == {"OCULICHAT_LMDEPLOY_KEY": KEY}
    assert given["environment"]["UVICORN_TIMEOUT_KEEP_ALIVE"] == "65"


async def test_check_reports_and_fails_when_the_server_is_of_no_use(tmp_path: Path) -> None:
    async with FakeLlm(api_key=KEY) as llm:
        good = await asyncio.to_thread(
            oculichat, tmp_path, "check", llm.url, "--json", OCULICHAT_LLM__API_KEY=KEY
        )
        bad = await asyncio.to_thread(oculichat, tmp_path, "check", llm.url)
    assert good.returncode == 0, good.stderr
    report = json.loads(good.stdout)
    assert {f["name"]: f["grade"] for f in report}["chat"] == "ok"
    assert bad.returncode == 1
    assert "FAIL models" in bad.stdout
    assert "Set llm.api_key" in bad.stdout
