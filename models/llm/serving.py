"""The `lmdeploy serve api_server` command for a model, or why there is none."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from core.errors import ConfigError
from models.llm.families import Model

BACKENDS = ("auto", "pytorch", "turbomind")
QUANT_POLICIES = ("none", "int4", "int8", "fp8", "fp8_e5m2", "turbo_quant")
# LMDeploy 0.18: TurboMind asserts that it is not FP8, and its kernels know 4 and 8 bits only.
_PYTORCH_ONLY = frozenset({"fp8", "fp8_e5m2", "turbo_quant"})
TOOL_PARSERS = (
    *("deepseek-v32", "deepseek-v4", "glm47", "intern-s1", "internlm", "interns2-preview"),
    *("kimi-k2", "kimi_k2", "llama3", "qwen", "qwen2d5", "qwen3", "qwen3coder"),
)
REASONING_PARSERS = ("default", "deepseek-v3", "deepseek-v32", "deepseek-v3.2", "deepseek-v4")
# Flags that must not be passed on, and why.
_NOT_PASSED_ON = {
    "--api-keys": "everybody on the machine would see it in the list of processes; set llm.api_key",
    "--max-concurrent-requests": "it holds back /health as well, so a busy server would look dead; "
    "llm.max_in_flight limits the calls",
    "--server-name": "use --host",
    "--server-port": "use --port",
    "--model-name": "use --name",
    "--allow-terminate-by-client": "every client could stop the server",
}
_SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class Serving:
    """How to serve one model.

    Attributes:
        model: folder or name.
        name: the model's name for clients.
        host: address to listen on.
        port: to listen on.
        session_len: longest conversation in tokens.
        quant_policy: of the key-value cache; one of `QUANT_POLICIES`.
        tp: GPUs to split the model over.
        cache_share: of the GPU memory left beside the weights, for the key-value cache.
        backend: LMDeploy's engine; auto lets LMDeploy choose.
        tool_parser: auto = by the model's family, off = none, or LMDeploy's name of one.
        reasoning_parser: likewise.
        trust_remote_code: run the Python code that comes with the model.
        extra: further flags of LMDeploy, passed on as they are.
    """

    model: str
    name: str
    host: str = "127.0.0.1"
    port: int = 23333
    session_len: int = 8192
    quant_policy: str = "none"
    tp: int = 1
    cache_share: float = 0.8
    backend: str = "auto"
    tool_parser: str = "auto"
    reasoning_parser: str = "auto"
    trust_remote_code: bool = False
    extra: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Attributes:
        arguments: of the `lmdeploy` program, without keys.
        notes: what the operator must know, in sentences.
    """

    arguments: tuple[str, ...]
    notes: tuple[str, ...]


def build(serving: Serving, model: Model, *, api_key: str | None) -> Command:
    """Return the command for `serving`.

    Raises:
        ConfigError: the combination cannot work, or would be unsafe; says why and what to change.
    """
    _refuse(serving, model, api_key)
    notes: list[str] = []
    backend = serving.backend
    if backend == "auto" and serving.quant_policy in _PYTORCH_ONLY:
        backend = "pytorch"
        notes.append(f"PyTorch engine, because TurboMind has no {serving.quant_policy} cache.")
    arguments = [
        *("serve", "api_server", serving.model),
        *("--server-name", serving.host, "--server-port", str(serving.port)),
        *("--model-name", serving.name),
        *("--session-len", str(serving.session_len)),
        *("--cache-max-entry-count", f"{serving.cache_share:g}"),
        "--enable-prefix-caching",
        # By default every page in a browser on this machine could talk to the server.
        *("--allow-origins", "http://127.0.0.1"),
        "--disable-fastapi-docs",
    ]
    if backend != "auto":
        arguments += ["--backend", backend]
    if serving.quant_policy != "none":
        arguments += ["--quant-policy", serving.quant_policy]
    if serving.tp != 1:
        arguments += ["--tp", str(serving.tp)]
    if serving.trust_remote_code:
        arguments.append("--trust-remote-code")
    arguments += _parsers(serving, model, notes)
    return Command((*arguments, *serving.extra), tuple(notes))


def _parsers(serving: Serving, model: Model, notes: list[str]) -> list[str]:
    """Return the flags of both parsers, and say what the settings must be for them."""
    family = model.family
    flags: list[str] = []
    tools = family.tool_parser if serving.tool_parser == "auto" else serving.tool_parser
    if tools and tools != "off":
        flags += ["--tool-call-parser", tools]
        notes.append(f"Tools: parser {tools} ({_reason(serving.tool_parser, model)}).")
    else:
        why = "switched off" if serving.tool_parser == "off" else _no_parser(model)
        notes.append(f"Tools: no parser ({why}); set llm.tool_mode: text.")
    thoughts = family.reasoning_parser
    if serving.reasoning_parser != "auto":
        thoughts = serving.reasoning_parser
    if thoughts and thoughts != "off":
        flags += ["--reasoning-parser", thoughts]
    if family.always_thinks:
        notes.append("This model always thinks before it answers: set llm.thinking: true.")
    return flags


def _reason(given: str, model: Model) -> str:
    if given != "auto":
        return "as given"
    return f"{model.family.name}, known by its {model.known_by}"


def _no_parser(model: Model) -> str:
    if not model.known_by:
        return "the model's family is unknown; --tool-parser names one"
    return f"LMDeploy 0.18 has none for {model.family.name}"


def _refuse(serving: Serving, model: Model, api_key: str | None) -> None:
    policy = serving.quant_policy
    if serving.backend not in BACKENDS:
        raise ConfigError(f"--backend {serving.backend}: one of {', '.join(BACKENDS)}")
    if policy not in QUANT_POLICIES:
        raise ConfigError(f"--quant-policy {policy}: one of {', '.join(QUANT_POLICIES)}")
    if policy in _PYTORCH_ONLY and serving.backend == "turbomind":
        raise ConfigError(
            f"--quant-policy {policy}: TurboMind has only int4 and int8; leave --backend out, or "
            "take pytorch"
        )
    if serving.tp < 1 or serving.tp & (serving.tp - 1):
        raise ConfigError(f"--tp {serving.tp}: LMDeploy splits over 1, 2, 4, 8 … GPUs only")
    if not 0 < serving.cache_share < 1:
        raise ConfigError(f"--cache-share {serving.cache_share:g}: between 0 and 1")
    if model.context and serving.session_len > model.context:
        raise ConfigError(
            f"--session-len {serving.session_len}: the model knows {model.context} positions; "
            "beyond them it writes nonsense"
        )
    if model.has_own_code and not serving.trust_remote_code:
        raise ConfigError(
            f"{serving.model}: the model brings Python code that must run to load it; read it, "
            "and add --trust-remote-code if you trust its author"
        )
    for given, known, option in (
        (serving.tool_parser, TOOL_PARSERS, "--tool-parser"),
        (serving.reasoning_parser, REASONING_PARSERS, "--reasoning-parser"),
    ):
        if given not in {"auto", "off", *known}:
            raise ConfigError(f"{option} {given}: auto, off, or one of {', '.join(known)}")
    for flag in serving.extra:
        if why := _NOT_PASSED_ON.get(flag.partition("=")[0]):
            raise ConfigError(f"{flag.partition('=')[0]}: {why}")
    _refuse_exposure(serving.host, api_key)


def _refuse_exposure(host: str, api_key: str | None) -> None:
    if api_key is not None and any(c.isspace() for c in api_key):
        raise ConfigError("llm.api_key: a key must not contain blanks")
    if _is_loopback(host):
        return
    if not api_key:
        raise ConfigError(
            f"--host {host}: others could use the server, read its metrics and stop it from "
            "answering; set llm.api_key first, or stay on 127.0.0.1 behind a tunnel"
        )
    if len(api_key) < _SHORTEST_KEY:
        raise ConfigError(
            f"llm.api_key: with --host {host} it must have {_SHORTEST_KEY} characters at least"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_taken_port(host: str, port: int) -> None:
    """Raise `ConfigError` when nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--port {port}: cannot listen on {host} ({error.strerror}); is a server running "
                "already?"
            ) from None
