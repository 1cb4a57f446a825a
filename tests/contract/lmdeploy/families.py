"""Model folders without weights, one per tool-call format that LMDeploy 0.18 can be told to read.

A byte-level vocabulary without merges: a Chinese character is three tokens, so the server's way
of holding back half a character is exercised. The markers of a format are whole tokens, as in the
real vocabularies: LMDeploy's parsers rely on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

# The parts into which DeepSeek's vocabulary cuts its tags, as LMDeploy's parser expects them.
_DSML = (
    *("\n\n", "</", "<", "｜DSML｜"),
    *("function", "tool", "_c", "alls", "inv", "oke", "parameter"),  # codespell:ignore alls
)
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_THINK = ("<think>", "</think>")
_TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n"
    "{%- if messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}# Tools\n"
    "{%- for t in tools %}\n{{ t | tojson }}{% endfor %}<|im_end|>\n"
    "{%- elif messages[0].role == 'system' %}<|im_start|>system\n"
    "{{ messages[0].content }}<|im_end|>\n{% endif %}"
    "{%- for m in messages %}{% if not (loop.first and m.role == 'system') %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{%- if m.tool_calls %}{% for c in m.tool_calls %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}{% endif %}<|im_end|>\n{% endif %}{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Family:
    """One tool-call format.

    Attributes:
        parser: ``--tool-call-parser``.
        special: tokens that the server hides unless it parses tools.
        markers: tokens that are ordinary text.
    """

    parser: str
    special: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()


FAMILIES = {
    "qwen3": Family("qwen3", markers=("<tool_call>", "</tool_call>")),
    "qwen3coder": Family(
        "qwen3coder",
        markers=(
            *("<tool_call>", "</tool_call>"),
            *("<function=", "</function>", "<parameter=", "</parameter>"),
        ),
    ),
    "internlm": Family(
        "internlm", special=("<|action_start|>", "<|action_end|>", "<|plugin|>", "<|interpreter|>")
    ),
    "interns2-preview": Family(
        "interns2-preview",
        markers=(
            *("<tool_call>", "</tool_call>"),
            *("<function=", "</function>", "<parameter=", "</parameter>"),
        ),
    ),
    "llama3": Family("llama3", special=("<|python_tag|>",)),
    "glm47": Family(
        "glm47",
        markers=(
            *("<tool_call>", "</tool_call>"),
            *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
        ),
    ),
    "deepseek-v32": Family("deepseek-v32", markers=_DSML),
    "deepseek-v4": Family("deepseek-v4", markers=_DSML),
    "kimi_k2": Family(
        "kimi_k2",
        special=(
            *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
            *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        ),
    ),
}


def make(folder: Path, family: Family) -> None:
    """Write what LMDeploy reads before it loads weights: tokenizer, template, configuration."""
    # Only the environment of the server has it.
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415

    special, markers = (*_CHATML, *family.special), (*_THINK, *family.markers)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in markers])
    end = tokenizer.token_to_id("<|im_end|>")
    files = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|im_end|>",
            "clean_up_tokenization_spaces": False,
            "chat_template": _TEMPLATE,
            # Otherwise transformers 5 does not strip them.
            "extra_special_tokens": list(special),
            "model_max_length": 32768,
        },
        "config.json": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": tokenizer.get_vocab_size(),
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "eos_token_id": end,
        },
        # Values of its own, to see that a request's sampling really overrides them.
        "generation_config.json": {
            "eos_token_id": [end],
            "do_sample": True,
            "temperature": 0.77,
            "top_p": 0.66,
            "top_k": 11,
            "repetition_penalty": 1.21,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1), "utf-8")
