"""`python -m tests.contract.lmdeploy`: LMDeploy's api_server on a CPU, with scripted output.

    .venv-lmdeploy/bin/python -m tests.contract.lmdeploy --family qwen3 --port 23333 \
        -- --session-len 4096 --reasoning-parser default

What follows ``--`` is handed to ``lmdeploy serve api_server`` as it is. The first line on standard
output is ``{"control": PORT}``: there, ``PUT /rules`` takes a JSON list of `script.Rule` and
forgets the calls so far, ``GET /state`` tells which calls the engine has seen. The process ends
when its standard input does, so it cannot outlive whoever started it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.contract.lmdeploy.families import FAMILIES, make
from tests.contract.lmdeploy.script import Rule

MODEL = "tiny-eye"


def _control(journal: Any) -> int:
    """Serve the control interface on a free port and return it."""

    class Control(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(journal.state())

        def do_PUT(self) -> None:
            rules = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with journal.lock:
                journal.rules = tuple(Rule(**rule) for rule in rules)
                journal.calls = [call for call in journal.calls if call.ended is None]
            self._answer({})

        def _answer(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Control)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def _die_with_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _serve(options: argparse.Namespace, folder: str, control_port_to: int) -> None:
    # Heavy, and only in the server's environment.
    from lmdeploy.cli import run  # noqa: PLC0415
    from lmdeploy.serve.core.async_engine import AsyncEngine  # noqa: PLC0415

    from tests.contract.lmdeploy.scripted_engine import Journal, ScriptedEngine  # noqa: PLC0415

    journal = Journal()

    def build(_: Any, model_path: str, backend_config: Any = None, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(model_path, backend_config, journal)

    AsyncEngine._build_pytorch = build  # the only thing replaced
    control = json.dumps({"control": _control(journal)})
    os.write(control_port_to, control.encode() + b"\n")
    sys.argv = [
        *("lmdeploy", "serve", "api_server", folder),
        *("--backend", "pytorch"),
        *("--server-name", "127.0.0.1", "--server-port", str(options.port)),
        *("--model-name", MODEL),
        *options.flags,
    ]
    if options.family != "none":
        sys.argv += ["--tool-call-parser", FAMILIES[options.family].parser]
    if "--max-batch-size" not in options.flags:
        sys.argv += ["--max-batch-size", "8"]  # otherwise it asks CUDA for the device's name
    run()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.contract.lmdeploy", description=__doc__)
    parser.add_argument("--family", default="qwen3", choices=[*FAMILIES, "none"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    _die_with_parent()
    # The server's own words on standard output must not mix with ours.
    control_port_to = os.dup(1)
    os.dup2(2, 1)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), FAMILIES.get(options.family) or FAMILIES["qwen3"])
        _serve(options, folder, control_port_to)


if __name__ == "__main__":
    main()
