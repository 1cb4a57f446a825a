"""The command as an operator types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import ROOT, environment

PHOTO = ROOT / "tests/fixtures/fundus/idrid_grade2.jpg"
COMMAND = Path(sys.executable).with_name("oculichat")


def run(folder: Path, *arguments: str, said: str = "", **settings: str):
    return subprocess.run(
        [COMMAND, *arguments],
        input=said,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
        env={**environment(settings), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def test_help_names_the_commands(tmp_path):
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("serve", "demo", "chat", "migrate", "fundus", "reminders", "doctor"):
        assert command in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"SERVER__PORT": "many"}, "server.port"),
        ({"TELEGRAM__TOKEN": "not-a-token-and-secret"}, "telegram.token"),
        ({"TELEGRAM__TOKN": "12345:x"}, "telegram.tokn"),
        ({"TELLEGRAM__TOKEN": "12345:x"}, "tellegram"),
        ({"DIALOG__ZONE": "Mars/Olympus"}, "dialog.zone"),
    ],
)
def test_a_wrong_variable_ends_with_78_and_says_what_to_change(tmp_path, settings, key):
    done = run(tmp_path, "serve", **settings)
    assert done.returncode == 78
    (name,) = settings
    assert key in done.stderr
    assert f"OCULICHAT_{name}" in done.stderr
    assert "config.yaml" in done.stderr or "spelling" in done.stderr
    assert "not-a-token-and-secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("server: {port: 99999}", "server.port"),
        ("server:\n  prot: 80", "server.prot"),
        ("server: [", "not valid YAML"),
    ],
)
def test_a_wrong_file_ends_with_78_and_names_it(tmp_path, content, said):
    file = tmp_path / "clinic.yaml"
    file.write_text(content)
    done = run(tmp_path, "serve", "--config", str(file))
    assert done.returncode == 78
    assert said in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_conversation_with_a_photo_in_json_lines(tmp_path):
    lines = [
        {"text": "你好"},
        {"text": "/start"},
        {"photo": str(PHOTO), "text": "这是我的右眼"},
        {"photo": str(ROOT / "pyproject.toml")},
        {"text": "我左眼突然看不见了"},
    ]
    said = "\n".join(json.dumps(line) for line in lines) + "\n"
    done = run(tmp_path, "chat", "--json", said=said, CONSENT__REQUIRED="false")
    assert done.returncode == 0, done.stderr
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(reply) >= {"text", "buttons", "image", "kind"} for reply in replies)
    reading = next(r for r in replies if r["kind"] == "reading")
    assert "右眼" in reading["text"]
    assert (tmp_path / reading["image"]).read_bytes()[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    assert any("不是能打开的照片" in r["text"] for r in replies)
    card = next(r for r in replies if r["kind"] == "emergency")
    assert "120" in card["text"]
    assert "Traceback" not in done.stderr


def test_a_second_service_on_the_same_data_is_refused(tmp_path):
    with subprocess.Popen(
        [COMMAND, "chat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env=environment({"CONSENT__REQUIRED": "false"}),
        text=True,
    ) as first:
        first.stdin.write("/help\n")
        first.stdin.flush()
        assert first.stdout.readline()
        done = run(tmp_path, "chat")
        first.stdin.close()
        assert first.wait(240) == 0
    assert done.returncode == 78
    assert "data_dir" in done.stderr
