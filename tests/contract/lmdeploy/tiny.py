"""`python -m tests.contract.lmdeploy.tiny gguf|hf PATH`: a real model of half a megabyte that
knows one sentence.

Its embedding tells which token came last, nothing is added to it, and the output matrix names the
token that follows: after the end of any prompt it says `SENTENCE`, whatever the sampling. So real
inference servers can be tested on their words without a download.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

# No character twice: each has to name the next one by itself.
SENTENCE = "请闭眼休息，少看屏幕。"
CONTEXT = 512
_HIDDEN = 320
# Logit of the right token before the norm's factor of about 18; every other token has 0.
_SURE = 3.0
_END = "<|im_end|>"
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _follows(ids: dict[str, int], newline: str, end: str) -> dict[int, int]:
    path = [newline, *SENTENCE, end]
    return {ids[a]: ids[b] for a, b in itertools.pairwise(path)}


def hf(folder: Path) -> None:
    """Write it as transformers reads it: Qwen2, byte-level vocabulary."""
    import torch  # noqa: PLC0415 only in the servers' environment
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", _END)])
    bpe.add_tokens([AddedToken(c, normalized=False) for c in SENTENCE])
    ids = {t: bpe.token_to_id(t) for t in (*SENTENCE, _END)} | {"\n": bpe.encode("\n").ids[0]}
    config = Qwen2Config(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=_HIDDEN,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        eos_token_id=ids[_END],
        bos_token_id=None,
        pad_token_id=ids[_END],
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        model.model.embed_tokens.weight[:, : config.vocab_size] = torch.eye(config.vocab_size)
        for last, following in _follows(ids, "\n", _END).items():
            model.lm_head.weight[following, last] = _SURE
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=_END, pad_token=_END)
    tokenizer.chat_template = _TEMPLATE
    tokenizer.model_max_length = CONTEXT
    tokenizer.save_pretrained(folder)
    sampling = {"eos_token_id": ids[_END], "pad_token_id": ids[_END], "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(sampling), "utf-8")


def gguf(path: Path) -> None:
    """Write it as llama.cpp reads it: Llama, vocabulary of bytes and a few characters."""
    import numpy as np  # noqa: PLC0415 only in the servers' environment
    from gguf import GGUFWriter, TokenType  # noqa: PLC0415

    tokens = ["<unk>", "<s>", _END, "<|im_start|>", *(f"<0x{b:02X}>" for b in range(256))]
    kinds = [TokenType.UNKNOWN, *[TokenType.CONTROL] * 3, *[TokenType.BYTE] * 256]
    tokens += SENTENCE
    kinds += [TokenType.NORMAL] * len(SENTENCE)
    ids = {token: n for n, token in enumerate(tokens)}
    eye = np.zeros((len(tokens), _HIDDEN), np.float32)
    eye[:, : len(tokens)] = np.eye(len(tokens))
    output = np.zeros_like(eye)
    for last, following in _follows(ids, "<0x0A>", _END).items():
        output[following, last] = _SURE
    ones, square = np.ones(_HIDDEN, np.float32), np.zeros((_HIDDEN, _HIDDEN), np.float32)
    narrow = np.zeros((32, _HIDDEN), np.float32)
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(_HIDDEN // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_TEMPLATE)
    for name, weights in {
        "token_embd": eye,
        "output_norm": ones,
        "output": output,
        "blk.0.attn_norm": ones,
        "blk.0.ffn_norm": ones,
        **{f"blk.0.attn_{part}": square for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": narrow,
        "blk.0.ffn_up": narrow,
        "blk.0.ffn_down": narrow.T.copy(),
    }.items():
        writer.add_tensor(f"{name}.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    {"hf": hf, "gguf": gguf}[sys.argv[1]](Path(sys.argv[2]))
