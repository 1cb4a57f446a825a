from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bot.__main__ import app
from core.errors import ConfigError
from models.hub.address import resolve, shown
from models.hub.catalogue import load
from models.hub.download import TRIES, Wanted, fetch

DATA = np.random.default_rng(8).bytes(700_001)
SHA = hashlib.sha256(DATA).hexdigest()


@dataclass
class Hub:
    """A server that serves DATA, badly where it is told to."""

    server: ThreadingHTTPServer
    cut_after: list[int] = field(default_factory=list)  # bytes sent before each of the next cuts
    refuse: list[int] = field(default_factory=list)  # status of the next answers
    knows_ranges: bool = True
    data: bytes = DATA
    says_length: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)  # (path, Range)
    secrets: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            hub.asked.append((self.path, asked))
            hub.secrets.append(self.headers.get("Authorization"))
            if hub.refuse:
                self.send_response(hub.refuse.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", f"{hub.url}/file.onnx?signature=secret")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if self.path.startswith("/gone"):
                self.send_error(404)
                return
            start = 0
            if asked and hub.knows_ranges:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
                if start >= len(hub.data):
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                last = len(hub.data) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(hub.data)}")
            else:
                self.send_response(200)
            rest = hub.data[start:]
            if hub.says_length:
                self.send_header("Content-Length", str(len(rest)))
            else:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if hub.cut_after:
                self.wfile.write(rest[: hub.cut_after.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(rest)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def pull(hub: Hub, target: Path, *paths: str, **more: object) -> tuple[bool, list[float]]:
    slept: list[float] = []
    urls = [f"{hub.url}{path}" for path in paths or ("/file.onnx",)]
    wanted = Wanted(urls, SHA, target, **more)  # type: ignore[arg-type]
    return fetch(wanted, sleep=slept.append), slept


def test_a_file_comes_whole_and_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "new" / "w.onnx"
    told: list[tuple[int, int | None]] = []
    assert fetch(
        Wanted([f"{hub.url}/file.onnx"], SHA, target), progress=lambda *at: told.append(at)
    )
    assert target.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert list(target.parent.iterdir()) == [target]
    assert pull(hub, target) == (False, [])
    assert len(hub.asked) == 1


def test_a_cut_connection_goes_on_where_it_ended(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [300_000, 200_000, 0, 0]
    is_new, slept = pull(hub, tmp_path / "w.onnx")
    assert is_new
    assert (tmp_path / "w.onnx").read_bytes() == DATA
    ranges = [r for _, r in hub.asked]
    assert ranges == ["", "bytes=300000-", "bytes=500000-", "bytes=500000-", "bytes=500000-"]
    assert slept == [1.0, 1.0, 2.0, 4.0]  # gaining starts the count anew


def test_a_later_run_goes_on_from_the_part(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [300_000] + [0] * TRIES
    with pytest.raises(ConfigError, match="could not be fetched"):
        pull(hub, tmp_path / "w.onnx")
    assert not (tmp_path / "w.onnx").exists()
    assert (tmp_path / "w.onnx.part").stat().st_size == 300_000
    hub.cut_after.clear()
    assert pull(hub, tmp_path / "w.onnx")[0]
    assert hub.asked[-1][1] == "bytes=300000-"
    assert (tmp_path / "w.onnx").read_bytes() == DATA


def test_a_server_without_ranges_starts_over(hub: Hub, tmp_path: Path) -> None:
    hub.knows_ranges = False
    (tmp_path / "w.onnx.part").write_bytes(DATA[:1000])
    hub.cut_after = [400_000]
    assert pull(hub, tmp_path / "w.onnx")[0]
    assert (tmp_path / "w.onnx").read_bytes() == DATA


def test_a_wrong_file_is_refused_and_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.data = DATA[:-1] + b"?"
    with pytest.raises(ConfigError, match=f"should have {SHA}"):
        pull(hub, tmp_path / "w.onnx")
    assert list(tmp_path.iterdir()) == []
    assert len(hub.asked) == 1


def test_the_rest_of_another_version_is_thrown_away_and_fetched_anew(
    hub: Hub, tmp_path: Path
) -> None:
    (tmp_path / "w.onnx.part").write_bytes(b"x" * 5000)
    assert pull(hub, tmp_path / "w.onnx")[0]
    assert [r for _, r in hub.asked] == ["bytes=5000-", ""]
    assert (tmp_path / "w.onnx").read_bytes() == DATA
    (tmp_path / "v.onnx.part").write_bytes(b"x" * (len(DATA) + 9))  # longer than the file: 416
    assert pull(hub, tmp_path / "v.onnx")[0]
    (tmp_path / "u.onnx.part").write_bytes(DATA)  # whole, only never renamed
    assert pull(hub, tmp_path / "u.onnx", size_bytes=len(DATA))[0]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_of_another_size_is_refused(hub: Hub, tmp_path: Path, *, says_length: bool) -> None:
    hub.says_length = says_length
    with pytest.raises(ConfigError, match=r"500 bytes it should have|should have 500"):
        pull(hub, tmp_path / "w.onnx", size_bytes=500)
    assert list(tmp_path.iterdir()) == []


def test_redirects_are_followed_and_the_next_address_is_tried(hub: Hub, tmp_path: Path) -> None:
    assert pull(hub, tmp_path / "w.onnx", "/gone/w.onnx", "/moved/w.onnx")[0]
    assert [p for p, _ in hub.asked] == [
        "/gone/w.onnx", "/moved/w.onnx", "/file.onnx?signature=secret",
    ]  # fmt: skip
    with pytest.raises(ConfigError) as failed:
        pull(hub, tmp_path / "v.onnx", "/gone/a?token=secret", "/gone/b")
    assert "HTTP 404" in str(failed.value)
    assert "secret" not in str(failed.value)


def test_a_busy_server_is_asked_again_with_pauses_and_not_for_ever(
    hub: Hub, tmp_path: Path
) -> None:
    hub.refuse = [503, 429, 500]
    assert pull(hub, tmp_path / "w.onnx") == (True, [1.0, 2.0, 4.0])
    hub.refuse = [503] * 50
    with pytest.raises(ConfigError, match="HTTP 503"):
        pull(hub, tmp_path / "v.onnx")
    assert len(hub.refuse) == 50 - TRIES


def test_nobody_there_is_said(tmp_path: Path) -> None:
    wanted = Wanted(["http://127.0.0.1:1/w.onnx"], SHA, tmp_path / "w.onnx")
    with pytest.raises(ConfigError, match="could not be fetched"):
        fetch(wanted, sleep=lambda _: None)


def test_the_proxy_of_the_environment_is_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    monkeypatch.setenv("NO_PROXY", "")
    wanted = Wanted(["http://weights.example/file.onnx"], SHA, tmp_path / "w.onnx")
    assert fetch(wanted)
    assert hub.asked == [("http://weights.example/file.onnx", "")]


def test_a_token_goes_to_its_hub_and_to_nobody_else(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch(Wanted(["hf:a/b/w.onnx"], SHA, tmp_path / "w.onnx"))
    assert hub.secrets == ["Bearer secret"]
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url.replace('127.0.0.1', 'localhost')}/moved")
    assert fetch(Wanted(["hf:a/b/w.onnx"], SHA, tmp_path / "v.onnx"))
    assert hub.secrets[1:] == ["Bearer secret", None]  # sent on to another host
    assert pull(hub, tmp_path / "u.onnx")[0]
    assert hub.secrets[3:] == [None]


def test_two_at_once_do_not_write_into_each_other(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "w.onnx"

    def again(_done: int, _whole: int | None) -> None:
        with pytest.raises(ConfigError, match="another process"):
            pull(hub, target)

    assert fetch(Wanted([f"{hub.url}/file.onnx"], SHA, target), progress=again)


@pytest.mark.parametrize(
    ("address", "is_at"),
    [
        ("hf:a/b/c/d e.onnx", "https://huggingface.co/a/b/resolve/main/c/d%20e.onnx"),
        ("hf:a/b/w.onnx@v1.0", "https://huggingface.co/a/b/resolve/v1.0/w.onnx"),
        ("modelscope:a/b/w.onnx", "https://modelscope.cn/models/a/b/resolve/master/w.onnx"),
        ("https://x.example/y", "https://x.example/y"),
    ],
)
def test_addresses(address: str, is_at: str) -> None:
    assert resolve(address, environment={}) == is_at


def test_a_mirror_and_what_is_no_address() -> None:
    mirror = {"HF_ENDPOINT": "https://mirror.example/"}
    assert resolve("hf:a/b/w", environment=mirror) == "https://mirror.example/a/b/resolve/main/w"
    for wrong in ("ftp://x/y", "hf:a", "file:///etc/passwd", "", "https://"):
        with pytest.raises(ConfigError, match="is no address"):
            resolve(wrong)
    assert shown("https://user:pass@x.example:8/y?token=1") == "https://x.example:8/y"


def test_a_clinics_own_catalogue(tmp_path: Path) -> None:
    assert "oculichatda" in load()
    own = tmp_path / "catalogue.yaml"
    own.write_text(
        f"ours: {{about: a, licence: b, file: w.onnx, urls: ['hf:a/b/c'], sha256: '{SHA}'}}\n",
        "utf-8",
    )
    assert load(own)["ours"].sha256 == SHA
    assert "oculichatda" in load(own)
    for text, says in (
        ("ours: {about: a, licence: b, file: ../w}", "ours.file"),
        ("ours: {about: a, licence: b, file: w, urls: [hf:a/b/c]}", "without sha256"),
        ("'../x': {about: a, licence: b, file: w}", "match pattern"),
        ("a: [", "not valid YAML"),
    ):
        own.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=says):
            load(own)


def test_the_commands(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCULICHAT_DATA_DIR", str(tmp_path / "data"))
    run = CliRunner().invoke
    good = ["models", "pull", "oculichatda", "--url", f"{hub.url}/w.onnx", "--sha256", SHA.upper()]
    done = run(app, good)
    assert done.exit_code == 0, done.output
    assert "fundus.original_model" in done.output
    assert (tmp_path / "data/models/oculichatda/oculichatda.onnx").read_bytes() == DATA
    assert "already there" in run(app, good).output
    listed = run(app, ["models", "list"]).output
    assert str(tmp_path / "data/models/oculichatda/oculichatda.onnx") in listed
    for arguments, says in (
        (["unknown"], "not in the catalogue"),
        (["oculichatda"], "no address is known"),
        (["x", "--url", f"{hub.url}/w"], "needs --sha256"),
        (["x", "--url", f"{hub.url}/w", "--sha256", "12"], "64 hexadecimal"),
        (["../x", "--url", f"{hub.url}/w", "--sha256", SHA], "a name has"),
        (["oculichatda", "--sha256", SHA], "goes with --url"),
    ):
        failed = run(app, ["models", "pull", *arguments])
        assert isinstance(failed.exception, ConfigError)
        assert says in str(failed.exception)
