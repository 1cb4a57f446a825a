from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
from typer.main import get_command

from bot.__main__ import app
from core.store.tables import metadata

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    p
    for top in ("*.md", "docs/**/*.md", "models/**/*.md", "training/**/*.md")
    for p in ROOT.glob(top)
    if "runs" not in p.parts
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`([\w.-]+(?:/[\w.-]+)+/?)`")
# Made at run time, or on other machines.
_NOT_OURS = ("data/", "data_dir/", "blobs/", "terminal/", "backups/", "training/fundus/runs/")
_FOLDERS = {p.name for p in ROOT.iterdir() if p.is_dir()} - {"data"}


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def _relative_links(page: Path) -> Iterator[str]:
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            yield target.partition("#")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    missing = [link for link in _relative_links(page) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_named_on_a_page_exists(page: Path) -> None:
    named = {
        path
        for path in _PATH.findall(page.read_text("utf-8"))
        if path.split("/")[0] in _FOLDERS and not path.startswith(_NOT_OURS)
    }
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_architecture_page_names_functions_where_they_are() -> None:
    """Each `file.py` (`name` …) and `name` in/of `file.py` must be defined in that file."""
    page = _text("ARCHITECTURE.md")
    found = [
        (path, name)
        for path, names in re.findall(r"`([\w/]+\.py)` \((`[^)]*`)\)", page)
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", names)
    ]
    found += [
        (path, name)
        for name, path in re.findall(r"`(?:\w+\.)?(\w+)` (?:in|of) `([\w/]+\.py)`", page)
    ]
    assert len(found) > 25
    wrong = [
        (path, name)
        for path, name in found
        if not re.search(rf"(?:def|class) {name}\b", _text(path))
    ]
    assert wrong == []


def test_the_readmes_are_short_and_alike() -> None:
    pages = [_text("README.md"), _text("README.zh.md")]
    assert all(len(page.splitlines()) <= 150 for page in pages)
    shapes = [re.findall(r"^(#+) ", page, re.MULTILINE) for page in pages]
    assert shapes[0] == shapes[1]
    targets = [[t.replace(".zh.md", ".md") for t in _LINK.findall(page)] for page in pages]
    assert sorted(targets[0]) == sorted(targets[1])
    assert len(_text("CONTRIBUTING.md").splitlines()) <= 100


def test_decisions_are_short_and_complete() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [p.name[:4] for p in pages] == [f"{n:04}" for n in range(1, len(pages) + 1)]
    for page in pages:
        lines = page.read_text("utf-8").splitlines()
        assert len(lines) <= 60, page.name
        assert lines[0].startswith(f"# {int(page.name[:4])}. ")
        assert {"## Context", "## Decision", "## Consequences"} <= set(lines), page.name


def _commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[tuple[str, set[str]]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, f"{name} ")
        else:
            yield f"{before}{name}", {o for p in command.params for o in p.opts if "--" in o}


def test_the_command_line_page_has_every_command_and_option() -> None:
    page = _text("docs/reference/command-line.md")
    sections = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", page, re.MULTILINE))
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    commands = dict(_commands(group))
    assert set(sections) == set(commands)
    for name, options in commands.items():
        said = sections[name] + page.partition("## ")[0]
        assert {o for o in options if o not in said} == set(), name


def test_the_database_page_has_every_table_and_state() -> None:
    page = _text("docs/reference/database.md")
    assert {name for name in metadata.tables if f"`{name}`" not in page} == set()
    states = {
        word
        for table in metadata.tables.values()
        for check in table.constraints
        if (text := str(getattr(check, "sqltext", "")))
        for word in re.findall(r"'(\w+)'", text)
    } - {"patient", "service", "staff"}  # authors
    assert len(states) > 15
    assert {word for word in states if word not in page} == set()


def test_log_events_on_the_health_page_are_really_written() -> None:
    _, _, page = _text("docs/reference/health.md").partition("## Logs")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", page, re.MULTILINE)
    events = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    code = "".join(
        p.read_text("utf-8")
        for top in ("bot", "adapters", "core", "models")
        for p in (ROOT / top).rglob("*.py")
    )
    written = set(
        re.findall(r"log\.(?:\w+)\(\s*(?:#[^\n]*\n\s*)?(?:_level\(state\), )?\"(\w+)\"", code)
    )
    assert len(events) > 20
    assert events - written == set(), "on the page, but nowhere in the code"
    assert written - events == set(), "in the code, but not on the page"


def test_the_health_page_has_every_metric() -> None:
    page = _text("docs/reference/health.md")
    code = _text("bot/metrics.py")
    parts = re.findall(r'^    "(\w+)": "', code, re.MULTILINE)
    names = set(re.findall(r'"(oculichat_\w+)"', code))
    names |= {f"oculichat_{part}_total" for part in parts}
    names |= {f"oculichat_{part}_oldest_seconds" for part in ("inbox", "outbox")}
    assert len(names) > 9
    assert {name for name in names if name not in page} == set()


def test_figures_on_the_safety_page_are_those_of_the_model_card() -> None:
    card: dict[str, list[str]] = {}
    head = ""
    for line in _text("models/fundus/weights/MODEL_CARD.md").splitlines():
        head = line.removeprefix("### ") if line.startswith("### ") else head
        card.setdefault(head, []).append(line)
    rows = re.findall(r"^\| (gate|dr|dme|pm) (\|.*\|)$", _text("docs/safety.md"), re.MULTILINE)
    assert len(rows) > 8
    assert [(name, row) for name, row in rows if row not in card[name]] == []


def test_the_pages_name_no_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "deploy", "docs"],
        cwd=ROOT, check=False, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    for name in {*listed, *(str(p.relative_to(ROOT)) for p in PAGES)}:
        if name.endswith((".md", ".service")):
            assert not re.search(r"/(?:work|root|home|Users)/", _text(name)), name
