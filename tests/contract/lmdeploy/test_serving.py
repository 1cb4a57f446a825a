"""`oculichat lmdeploy` against LMDeploy: its command line, its servers, and a drain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.ports import ChatMessage, ChatRequest, Completed, TextDelta
from models.llm.capabilities import Finding, examine
from models.llm.client import LlmClient
from models.llm.families import find_model
from models.llm.serving import REASONING_PARSERS, TOOL_PARSERS, Serving, build
from models.llm.settings import LlmSettings
from tests.contract.lmdeploy.script import Rule
from tests.contract.lmdeploy.server import PYTHON, ROOT, LmdeployServer, free_port

pytestmark = [pytest.mark.lmdeploy, pytest.mark.usefixtures("servers")]

MODELS = (
    *("internlm/internlm2_5-7b-chat", "internlm/internlm3-8b-instruct", "internlm/Intern-S1-mini"),
    *("internlm/Intern-S2-Preview", "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-8B", "Qwen/QwQ-32B"),
    *("Qwen/Qwen3-Coder-30B-A3B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
    *("deepseek-ai/DeepSeek-V3.1", "deepseek-ai/DeepSeek-V3.2-Exp", "deepseek-ai/DeepSeek-V4"),
    *("zai-org/GLM-4.5-Air", "moonshotai/Kimi-K2-Instruct", "mistralai/Mistral-7B"),
)
# Parses command lines with LMDeploy's own parser, checks the parsers' names as its server does at
# its start, and makes the engine's configuration, which refuses what the engine cannot do.
_PARSE = """
import json, sys
from lmdeploy.cli.serve import SubCliServe
from lmdeploy.messages import PytorchEngineConfig, TurbomindEngineConfig
from lmdeploy.serve.parsers import validate_parser_names
SubCliServe.add_parsers()
parser = SubCliServe.subparsers.choices["api_server"]
said = []
for arguments in json.load(sys.stdin):
    options = parser.parse_args(arguments[2:])
    validate_parser_names(options.reasoning_parser, options.tool_call_parser)
    engine = PytorchEngineConfig if options.backend == "pytorch" else TurbomindEngineConfig
    engine(tp=options.tp, session_len=options.session_len, quant_policy=options.quant_policy,
           cache_max_entry_count=options.cache_max_entry_count,
           enable_prefix_caching=options.enable_prefix_caching)
    said.append({k: str(v) for k, v in vars(options).items()})
flags = sorted(o for a in parser._actions for o in a.option_strings if o.startswith("--"))
print(json.dumps({"options": said, "flags": flags}), file=sys.stderr)
"""
_MAKE = """
import sys
from pathlib import Path
from tests.contract.lmdeploy.families import FAMILIES, make
make(Path(sys.argv[1]), FAMILIES["qwen3"])
"""
# Put on the server's path: the engine, and only it, is scripted.
_SITE = """
from lmdeploy.serve.core.async_engine import AsyncEngine
from tests.contract.lmdeploy.script import Rule
from tests.contract.lmdeploy.scripted_engine import Journal, ScriptedEngine
def build(_, model_path, backend_config=None, **__):
    return ScriptedEngine(model_path, backend_config, Journal((Rule("好的。"),)))
AsyncEngine._build_pytorch = build
"""


def parsed(commands: list[tuple[str, ...]]) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, "-c", _PARSE],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stderr.splitlines()[-1])


def test_every_command_is_accepted_and_the_recorded_flags_are_the_real_ones() -> None:
    commands: list[tuple[str, ...]] = []
    for name in MODELS:
        model = find_model(name)
        for policy in ("none", "int4", "int8", "fp8", "fp8_e5m2", "turbo_quant"):
            serving = Serving(
                name, "eye", quant_policy=policy, tp=2, trust_remote_code=model.has_own_code
            )
            commands.append(build(serving, model, api_key=None).arguments)
    with_parsers = [
        *(Serving("x/y", "eye", tool_parser=parser) for parser in TOOL_PARSERS),
        *(Serving("x/y", "eye", reasoning_parser=parser) for parser in REASONING_PARSERS),
    ]
    commands += [build(s, find_model("x/y"), api_key=None).arguments for s in with_parsers]
    said = parsed(commands)
    assert len(said["options"]) == len(commands)
    first = said["options"][0]
    assert (first["server_name"], first["model_name"]) == ("127.0.0.1", "eye")
    assert (first["enable_prefix_caching"], first["session_len"]) == ("True", "8192")
    assert (first["tool_call_parser"], first["tp"]) == ("internlm", "2")
    recorded = (Path(__file__).parent / "flags.txt").read_text("utf-8").split()
    assert said["flags"] == recorded


@asynccontextmanager
async def served(tmp_path: Path, *options: str, key: str) -> AsyncGenerator[tuple[str, int]]:
    """Run `oculichat lmdeploy serve` on a small model, with a scripted engine."""
    (tmp_path / "sitecustomize.py").write_text(_SITE, "utf-8")
    folder = tmp_path / "eye-model"
    subprocess.run([PYTHON, "-c", _MAKE, folder], cwd=ROOT, check=True, timeout=60)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "lmdeploy", "serve", str(folder)),
        *("--port", str(port), "--python", str(PYTHON), *options, "--", "--max-batch-size", "8"),
        cwd=tmp_path,
        env=os.environ
        | {
            "OCULICHAT_LLM__API_KEY": key,
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "HF_HUB_OFFLINE": "1",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
            while True:
                with suppress(httpx.HTTPError):
                    if (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                        break
                assert process.returncode is None, "it ended at its start"
                await asyncio.sleep(0.2)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_serve_becomes_lmdeploy_and_keeps_the_key_out_of_sight(tmp_path: Path) -> None:
    key = "a-key-of-the-clinic"
    async with served(tmp_path, "--session-len", "2048", key=key) as (url, pid):
        for name in ("cmdline", "environ"):
            said = Path(f"/proc/{pid}/{name}").read_bytes()
            # The environment as it was at the start is the owner's alone to read.
            assert (key.encode() in said) == (name == "environ"), name
        assert b"api_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/v1/models")).status_code == 401
        found = {f.name: f for f in await examine(url, settings=LlmSettings(api_key=key))}
    assert found["models"].found == "eye-model (LMDeploy)"
    assert found["chat"].grade == "ok"
    assert found["context_length"].found == "2048 tokens"


class TestExamine:
    async def test_a_server_with_every_parser(self) -> None:
        call = (
            '<tool_call>\n{"name": "get_clinic_hours", "arguments": {"weekday": "Monday"}}\n'
            "</tool_call>"
        )
        flags = ("--session-len", "4096", "--reasoning-parser", "default")
        async with LmdeployServer.running("qwen3", *flags) as server:
            await server.say(
                Rule(call, match="get_clinic_hours"),
                Rule('{"eye": "left"}', match="as JSON"),
                Rule("1\n" * 250, match="Count from", step_s=0.02),
                Rule("left", match="<think>\n\n</think>"),
                Rule("嗯</think>left"),
            )
            found = _by_name(await examine(server.url, settings=LlmSettings()))
        assert {n: f.found for n, f in found.items() if n not in {"chat"}} == {
            "reach": "/health says 200",
            "models": "tiny-eye (LMDeploy)",
            "tools": "native call of get_clinic_hours",
            "thinking": "can be switched; thoughts come apart",
            "json_schema": "output follows a JSON schema",
            "context_length": "4096 tokens",
            # The gauge of running requests is the engine's, which is scripted here.
            "abort": "cannot be seen: /metrics shows no running request",
            "encode": "/v1/encode counts tokens (4 characters: 12)",
        }
        assert "usage counted" in found["chat"].found

    async def test_a_server_without_parsers(self) -> None:
        async with LmdeployServer.running("none") as server:
            found = _by_name(await examine(server.url, settings=LlmSettings()))
        assert found["tools"].found.startswith("refused (400): Please launch the api_server with")
        assert found["context_length"].found == "takes more than 8192 tokens"


def _by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


async def test_stopping_one_of_two_is_a_drain() -> None:
    """SIGTERM: what LMDeploy has begun it finishes, and what comes next goes to the other."""
    async with LmdeployServer.running() as one, LmdeployServer.running() as two:
        for server in (one, two):
            await server.say(Rule("请闭眼休息。" * 3, step_s=0.02))
        client = LlmClient(LlmSettings(base_urls=(one.url, two.url)))
        await client.start()
        try:
            await client.probe()
            patients = [f"P{n}" for n in range(40)]
            at_one = [p for p in patients if client.servers.choose(p) is client.servers.all[0]]
            async with aclosing(client.stream(_request(at_one[0]))) as events:
                assert isinstance(await anext(events), TextDelta)
                os.kill(one.pid, signal.SIGTERM)
                await asyncio.sleep(0.1)
                started = time.monotonic()
                answer = [e async for e in client.stream(_request(at_one[1]))][-1]
                assert isinstance(answer, Completed)
                assert time.monotonic() - started < 5
                rest = [event async for event in events]
            assert isinstance(rest[-1], Completed)
            assert rest[-1].text == "请闭眼休息。" * 3
        finally:
            await client.stop()
        assert len(await two.calls()) == 1


def _request(patient: str) -> ChatRequest:
    return ChatRequest([ChatMessage("user", "眼睛干")], affinity=patient)
