"""Which parsers of LMDeploy 0.18 fit a model: by its chat template, its name, its architecture."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Family:
    """Models that write calls and thoughts alike.

    Attributes:
        name: for people.
        tool_parser: value of ``--tool-call-parser``; None = LMDeploy 0.18 has none that fits, so
            tools are described in words (``llm.tool_mode: text``).
        reasoning_parser: value of ``--reasoning-parser``; None = the model does not think aloud.
        always_thinks: has no switch for its thoughts; ``llm.thinking`` must be true.
        has_own_code: the published model brings Python code that must run to load it.
    """

    name: str
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    always_thinks: bool = False
    has_own_code: bool = False


_QWEN = Family("Qwen2.5", "qwen2d5")
_QWEN3 = Family("Qwen3", "qwen3", "default")
_QWEN_CODER = Family("Qwen3-Coder", "qwen3coder")
_INTERNLM = Family("InternLM", "internlm", has_own_code=True)
_LLAMA = Family("Llama 3.1+", "llama3")
_GLM = Family("GLM-4.5+", "glm47", "default")
_DEEPSEEK_V32 = Family("DeepSeek-V3.2", "deepseek-v32", "deepseek-v32")
_KIMI = Family("Kimi K2", "kimi_k2")
UNKNOWN = Family("unknown")

# The first that is found in the lower-case name decides. Names are those on Hugging Face.
_BY_NAME: tuple[tuple[str, Family], ...] = (
    (r"r1-distill", Family("DeepSeek-R1-Distill", None, "default", always_thinks=True)),
    (r"qwen-?3-?coder", _QWEN_CODER),
    (r"qwen-?3\.[5-9]", Family("Qwen3.5", "qwen3coder", "default")),
    (r"qwen-?3.*thinking", replace(_QWEN3, name="Qwen3-Thinking", always_thinks=True)),
    (r"qwen-?3.*instruct", Family("Qwen3-Instruct", "qwen3")),
    (r"qwen-?3", _QWEN3),
    (r"qwq", Family("QwQ", "qwen", "default", always_thinks=True)),
    (r"qwen-?2\.5", _QWEN),
    (r"intern-?s2.*preview", Family("Intern-S2-Preview", "interns2-preview", "default")),
    (r"intern-?s1", Family("Intern-S1", "intern-s1", "default", has_own_code=True)),
    (r"internlm-?[23]", _INTERNLM),
    (r"llama-?3\.[1-9]", _LLAMA),
    (r"deepseek-?v4", Family("DeepSeek-V4", "deepseek-v4", "deepseek-v4")),
    (r"deepseek-?v3\.2", _DEEPSEEK_V32),
    (r"deepseek-?v3\.1", Family("DeepSeek-V3.1", None, "deepseek-v3")),
    (r"deepseek-?r1", Family("DeepSeek-R1", None, "default", always_thinks=True)),
    (r"deepseek-?v[23]", Family("DeepSeek-V3")),
    (r"glm-?4\.[5-9]", _GLM),
    (r"kimi-?k2.*thinking", replace(_KIMI, reasoning_parser="default", always_thinks=True)),
    (r"kimi-?k2", _KIMI),
)
# A marker that a chat template cannot do without when it renders calls in this form.
_BY_TEMPLATE: tuple[tuple[str, Family], ...] = (
    ("<|tool_calls_section_begin|>", _KIMI),
    ("<arg_key>", _GLM),
    ("<function=", _QWEN_CODER),
    ("｜DSML｜", _DEEPSEEK_V32),
    ("<｜tool▁calls▁begin｜>", Family("DeepSeek-V3")),
    ("<|plugin|>", _INTERNLM),
    ("<|python_tag|>", _LLAMA),
    ("<tool_call>", _QWEN),
)
# Names of one and the same parser.
_ALIASES = {"qwen": "qwen3", "qwen2d5": "qwen3", "intern-s1": "internlm"}
_BY_ARCHITECTURE = {
    "InternLM2ForCausalLM": _INTERNLM,
    "InternLM3ForCausalLM": _INTERNLM,
    "Qwen3ForCausalLM": _QWEN3,
    "Qwen3MoeForCausalLM": _QWEN3,
    "Glm4MoeForCausalLM": _GLM,
    "DeepseekV32ForCausalLM": _DEEPSEEK_V32,
}


@dataclass(frozen=True, slots=True)
class Model:
    """What can be told of a model before it is loaded.

    Attributes:
        family: see `Family`.
        known_by: name, template, architecture, or nothing.
        folder: where it is, or None for a name that LMDeploy downloads.
        context: longest conversation in tokens by its config.json, or None.
        has_own_code: it needs ``--trust-remote-code``.
    """

    family: Family
    known_by: str = ""
    folder: Path | None = None
    context: int | None = None
    has_own_code: bool = False


def find_model(model: str) -> Model:
    """Tell what `model`, a folder or a name on Hugging Face, is.

    Raises:
        ValueError: it is meant to be a folder, but there is no model in it; says what is missing.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise ValueError(f"{model!r} is no folder; give a model's folder or its name")
        family = _by_name(model) or UNKNOWN
        known_by = "name" if family is not UNKNOWN else ""
        return Model(family, known_by, has_own_code=family.has_own_code)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{model!r} has no config.json, so it is not a Hugging Face model")
    config = _json(folder / "config.json")
    family, known_by = _of_folder(folder, config)
    return Model(family, known_by, folder, _context(config), "auto_map" in config)


def _of_folder(folder: Path, config: dict[str, Any]) -> tuple[Family, str]:
    by_name = _by_name(folder.resolve().name)
    template = _template(folder)
    for marker, family in _BY_TEMPLATE:
        if marker in template:
            # A name that agrees knows more: whether the model thinks, for one.
            if by_name and _parser(by_name) == _parser(family):
                return by_name, "template"
            return _thinking(family, template), "template"
    if by_name:
        return by_name, "name"
    for architecture in config.get("architectures") or ():
        if architecture in _BY_ARCHITECTURE:
            return _BY_ARCHITECTURE[architecture], "architecture"
    return UNKNOWN, ""


def _parser(family: Family) -> str | None:
    return _ALIASES.get(family.tool_parser or "", family.tool_parser)


def _thinking(family: Family, template: str) -> Family:
    if "enable_thinking" in template and family is _QWEN:
        return _QWEN3
    if family.reasoning_parser is None and ("enable_thinking" in template or "<think>" in template):
        return replace(family, reasoning_parser="default")
    return family


def _by_name(name: str) -> Family | None:
    lower = name.rpartition("/")[2].lower().replace("_", ".")
    return next((family for pattern, family in _BY_NAME if re.search(pattern, lower)), None)


def _template(folder: Path) -> str:
    plain = folder / "chat_template.jinja"
    if plain.is_file():
        return plain.read_text("utf-8", errors="replace")
    said = _json(folder / "tokenizer_config.json").get("chat_template", "")
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def _context(config: dict[str, Any]) -> int | None:
    config = config.get("text_config") or config.get("llm_config") or config
    length = config.get("max_position_embeddings")
    is_stretched = bool(config.get("rope_scaling"))
    return length if isinstance(length, int) and not is_stretched else None


# Any: a file of somebody else's.
def _json(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
