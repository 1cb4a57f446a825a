"""The `lmdeploy serve api_server` command for a model, and what is refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from models.llm.families import Model, find_model
from models.llm.serving import Command, Serving, build, refuse_taken_port

# What LMDeploy 0.18 accepts; tests/contract/lmdeploy compares it with the real command line.
FLAGS = frozenset(
    (Path(__file__).parents[2] / "contract/lmdeploy/flags.txt").read_text("utf-8").split()
)
KEY = "0123456789abcdef"
OF_FAMILIES = [
    ("internlm/internlm2-chat-7b", "internlm", None),
    ("internlm/internlm2_5-7b-chat", "internlm", None),
    ("internlm/internlm3-8b-instruct", "internlm", None),
    ("internlm/Intern-S1-mini", "intern-s1", "default"),
    ("internlm/Intern-S2-Preview", "interns2-preview", "default"),
    ("Qwen/Qwen2.5-7B-Instruct-AWQ", "qwen2d5", None),
    ("Qwen/Qwen3-8B", "qwen3", "default"),
    ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3", None),
    ("Qwen/Qwen3-4B-Thinking-2507", "qwen3", "default"),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3coder", None),
    ("Qwen/Qwen3.5-35B-A3B", "qwen3coder", "default"),
    ("Qwen/QwQ-32B", "qwen", "default"),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama3", None),
    ("meta-llama/Llama-3.3-70B-Instruct", "llama3", None),
    ("meta-llama/Meta-Llama-3-8B-Instruct", None, None),
    ("deepseek-ai/DeepSeek-V3", None, None),
    ("deepseek-ai/DeepSeek-V3.1", None, "deepseek-v3"),
    ("deepseek-ai/DeepSeek-V3.2-Exp", "deepseek-v32", "deepseek-v32"),
    ("deepseek-ai/DeepSeek-V4", "deepseek-v4", "deepseek-v4"),
    ("deepseek-ai/DeepSeek-R1", None, "default"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", None, "default"),
    ("zai-org/GLM-4.5-Air", "glm47", "default"),
    ("zai-org/GLM-4.7-Flash", "glm47", "default"),
    ("moonshotai/Kimi-K2-Instruct", "kimi_k2", None),
    ("Qwen/Qwen2-7B-Instruct", None, None),
    ("mistralai/Mistral-7B-Instruct-v0.3", None, None),
]


def a_command(
    model: str | Model = "Qwen/Qwen3-8B", *, key: str | None = None, **how: Any
) -> Command:
    found = find_model(model) if isinstance(model, str) else model
    name = model if isinstance(model, str) else "m"
    how = {"trust_remote_code": found.has_own_code} | how
    return build(Serving(name, "eye", **how), found, api_key=key)


def value(command: Command, flag: str) -> str | None:
    arguments = command.arguments
    return arguments[arguments.index(flag) + 1] if flag in arguments else None


def a_folder(
    tmp_path: Path, name: str, template: str = "", architecture: str = "XForCausalLM", **config: Any
) -> str:
    folder = tmp_path / name
    folder.mkdir()
    config = {"architectures": [architecture], "max_position_embeddings": 32768} | config
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return str(folder)


@pytest.mark.parametrize(("model", "tools", "thoughts"), OF_FAMILIES)
def test_parsers_fit_the_family(model: str, tools: str | None, thoughts: str | None) -> None:
    command = a_command(model)
    assert value(command, "--tool-call-parser") == tools
    assert value(command, "--reasoning-parser") == thoughts
    assert any("llm.tool_mode: text" in note for note in command.notes) == (tools is None)


@pytest.mark.parametrize("model", ["Qwen/Qwen3-4B-Thinking-2507", "Qwen/QwQ-32B"])
def test_models_that_always_think_need_a_setting(model: str) -> None:
    assert any("llm.thinking: true" in note for note in a_command(model).notes)


@pytest.mark.parametrize(
    ("name", "template", "tools", "thoughts"),
    [
        ("eye-7b", "… <tool_call> …", "qwen2d5", None),
        ("eye-7b", "… <tool_call> … enable_thinking …", "qwen3", "default"),
        ("eye-7b", "… <tool_call> <function=x> …", "qwen3coder", None),
        ("eye-7b", "… <arg_key> <tool_call> …", "glm47", "default"),
        ("eye-7b", "… <|plugin|> …", "internlm", None),
        ("eye-7b", "… <|python_tag|> …", "llama3", None),
        ("eye-7b", "… <｜tool▁calls▁begin｜> …", None, None),
        ("Qwen3-4B-Instruct-2507", "… <tool_call> … <think> …", "qwen3", None),
        ("Qwen3-8B-tuned-to-llama", "… <|python_tag|> …", "llama3", None),
        ("Qwen3-8B", "", "qwen3", "default"),
        ("eye-7b", "", None, None),
    ],
)
def test_a_folder_is_known_by_its_template_first(
    tmp_path: Path, name: str, template: str, tools: str | None, thoughts: str | None
) -> None:
    command = a_command(a_folder(tmp_path, name, template))
    assert value(command, "--tool-call-parser") == tools
    assert value(command, "--reasoning-parser") == thoughts


def test_a_folder_is_known_by_its_architecture_last(tmp_path: Path) -> None:
    model = find_model(a_folder(tmp_path, "eye-7b", architecture="InternLM2ForCausalLM"))
    assert (model.family.tool_parser, model.known_by) == ("internlm", "architecture")


@pytest.mark.parametrize("model", [m for m, _, _ in OF_FAMILIES])
@pytest.mark.parametrize("quant_policy", ["none", "int8", "fp8"])
def test_only_flags_that_lmdeploy_accepts(model: str, quant_policy: str) -> None:
    command = a_command(model, quant_policy=quant_policy, tp=2)
    flags = {a for a in command.arguments if a.startswith("--")}
    assert len(flags) > 8
    assert flags <= FLAGS


def test_safe_and_quick_by_default() -> None:
    command = a_command()
    assert command.arguments[:3] == ("serve", "api_server", "Qwen/Qwen3-8B")
    assert value(command, "--server-name") == "127.0.0.1"
    assert "--enable-prefix-caching" in command.arguments
    assert value(command, "--session-len") == "8192"
    assert value(command, "--allow-origins") == "http://127.0.0.1"
    assert "--backend" not in command.arguments


def test_the_key_is_never_an_argument() -> None:
    command = a_command(key=KEY, host="0.0.0.0")
    assert KEY not in " ".join(command.arguments)


def test_fp8_takes_the_engine_that_can() -> None:
    assert value(a_command(quant_policy="fp8"), "--backend") == "pytorch"
    assert value(a_command(quant_policy="int4", backend="turbomind"), "--backend") == "turbomind"


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"quant_policy": "fp8", "backend": "turbomind"}, "TurboMind has only int4 and int8"),
        ({"quant_policy": "turbo_quant", "backend": "turbomind"}, "only int4 and int8"),
        ({"quant_policy": "int2"}, "one of none, int4"),
        ({"backend": "vllm"}, "one of auto, pytorch, turbomind"),
        ({"tp": 3}, "1, 2, 4, 8"),
        ({"tp": 0}, "1, 2, 4, 8"),
        ({"cache_share": 1.0}, "between 0 and 1"),
        ({"tool_parser": "hermes"}, "auto, off, or one of"),
        ({"reasoning_parser": "qwen3"}, "auto, off, or one of"),
        ({"host": "0.0.0.0"}, "set llm.api_key first"),
        ({"host": "gpu.clinic.lan"}, "set llm.api_key first"),
        ({"host": "0.0.0.0", "key": "short"}, "16 characters"),
        ({"key": "two words of a key"}, "must not contain blanks"),
        ({"extra": ["--api-keys", "k"]}, "list of processes"),
        ({"extra": ["--max-concurrent-requests=4"]}, "holds back /health"),
        ({"model": "internlm/internlm3-8b-instruct", "trust_remote_code": False}, "Python code"),
    ],
)
def test_what_cannot_work_or_is_unsafe_is_refused(how: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        a_command(**how)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_alone_needs_no_key(host: str) -> None:
    assert value(a_command(host=host), "--server-name") == host


def test_more_context_than_the_model_has_is_refused(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, "Qwen3-8B")
    assert a_command(folder, session_len=32768)
    with pytest.raises(ConfigError, match="knows 32768 positions"):
        a_command(folder, session_len=40000)


def test_a_stretched_context_is_the_operators_business(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, "Qwen3-8B", rope_scaling={"rope_type": "yarn", "factor": 4})
    assert a_command(folder, session_len=100_000)


def test_own_code_of_a_folder_is_seen(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, "eye", auto_map={"AutoModelForCausalLM": "m.M"})
    with pytest.raises(ConfigError, match="trust its author"):
        a_command(folder, trust_remote_code=False)
    assert "--trust-remote-code" in a_command(folder, trust_remote_code=True).arguments


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/model", "~/nowhere", "a/b/c"])
def test_a_missing_folder_is_not_taken_for_a_name(path: str) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        find_model(path)


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        find_model(str(tmp_path))


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="is a server running already"):
            refuse_taken_port("127.0.0.1", port)
    refuse_taken_port("127.0.0.1", port)
