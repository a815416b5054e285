"""Writes a network and its weights as a GGUF file in the form that llama.cpp's converters give it.

The facts are those of llama.cpp's ``conversion/*.py``. They are written down here once more, apart from what
the reader knows, so that a test that compares the two shows a mistake in either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from importers.gguf_writer import ARRAY, BOOL, F32, GgufFile, Stored, Typed
from proofcompute.importers.architecture import Arch, Mlp, Moe
from proofcompute.models.vocabulary import NORMAL

Array = np.ndarray[Any, np.dtype[np.float32]]

PERMUTED = ("llama", "smollm3", "granite")
"""The converters of these put the two halves of each query and key head side by side."""
FUSED_QKV = ("phi3", "gpt2", "gptneox")
FUSED_UP = ("phi3", "glm4")
LAYER_NORM = ("phi2", "command-r", "cohere2", "stablelm", "starcoder2", "gpt2", "gptneox")
NAMES = {
    "embedding": "token_embd",
    "positions": "position_embd",
    "norm": "output_norm",
    "head": "output",
    "attention.norm": "attn_norm",
    "attention.post": "post_attention_norm",
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.qkv": "attn_qkv",
    "attention.o": "attn_output",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "attention.sinks": "attn_sinks",
    "attention.q_a": "attn_q_a",
    "attention.q_a_norm": "attn_q_a_norm",
    "attention.q_b": "attn_q_b",
    "attention.kv_a": "attn_kv_a_mqa",
    "attention.kv_a_norm": "attn_kv_a_norm",
    "attention.k_b": "attn_k_b",
    "attention.v_b": "attn_v_b",
    "ffn.norm": "ffn_norm",
    "ffn.post": "post_ffw_norm",
    "ffn.gate": "ffn_gate",
    "ffn.up": "ffn_up",
    "ffn.down": "ffn_down",
    "ffn.router": "ffn_gate_inp",
    "ffn.correction": "exp_probs_b",
    "ffn.experts.gate": "ffn_gate_exps",
    "ffn.experts.up": "ffn_up_exps",
    "ffn.experts.down": "ffn_down_exps",
    "ffn.shared.gate": "ffn_gate_shexp",
    "ffn.shared.up": "ffn_up_shexp",
    "ffn.shared.down": "ffn_down_shexp",
    "ffn.shared.router": "ffn_gate_inp_shexp",
}


def permuted(rows: Array, heads: int) -> Array:
    """Rows [2 half, ...] of each head, its halves beside each other."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def llama3_divisors(
    base: float, columns: int, factor: float, low: float, high: float, original: int
) -> tuple[float, ...]:
    """What ``rope_freqs.weight`` holds for the scaling of Llama 3."""
    freqs = 1.0 / (base ** (np.arange(0, columns, 2, dtype=np.float32) / columns))
    found = []
    for freq in freqs:
        turns = original * float(freq) / (2 * math.pi)
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        found.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(found)


def converted(
    arch: Arch,
    read: Callable[[str], Array],
    names: list[str],
    architecture: str,
    *,
    rope: Mapping[str, Any] | None = None,
    divisors: Mapping[str, tuple[float, ...]] | None = None,
    context: int = 0,
) -> GgufFile:
    """Return the file of a network whose canonical weights ``read`` returns.

    Args:
        arch: the network.
        read: the weights, by name.
        names: the names of all weights.
        architecture: as which it is written.
        rope: keys about rotation, without ``rope.``.
        divisors: tensors that divide frequencies.
        context: the positions that the file states; 0 for those of the description.
    """
    weights = {name: read(name) for name in names}
    for i, block in enumerate(arch.blocks):
        _convert_layer(weights, f"layers.{i}.", block, architecture)
    tensors = []
    for name, value in weights.items():
        if name.removesuffix(".bias").endswith("norm") or ".post" in name:
            norm = arch.norm if name.startswith("norm") else arch.blocks[0].norm
            offset = norm.offset if "q_norm" not in name and "k_norm" not in name else _qk_offset(arch)
            value = (value.astype(np.float64) + (0 if name.endswith(".bias") else offset)).astype(np.float32)
        tensors.append(Stored(_name(name, architecture), value.shape, value.tobytes()))
    for name, factors in (divisors or {}).items():
        tensors.append(Stored(f"{name}.weight", (len(factors),), np.array(factors, "<f4").tobytes()))
    metadata = {
        "general.architecture": architecture,
        **_metadata(arch, architecture),
        **({f"{architecture}.context_length": context} if context else {}),
        **{f"{architecture}.rope.{k}": _typed(v) for k, v in (rope or {}).items()},
        **_tokens(arch.vocabulary),
    }
    return GgufFile(metadata, tensors)


def _qk_offset(arch: Arch) -> float:
    norm = arch.blocks[0].attention.norm
    return 0.0 if norm is None else norm.offset


def _name(name: str, architecture: str) -> str:
    base, suffix = name.removesuffix(".bias"), ".bias" if name.endswith(".bias") else ".weight"
    if not base.startswith("layers."):
        return NAMES[base] + suffix
    _, layer, rest = base.split(".", 2)
    stored = NAMES[rest]
    if architecture == "gpt-oss" and rest == "ffn.norm":
        stored = "post_attention_norm"
    if rest == "ffn.correction":
        suffix = ".bias"
    return f"blk.{layer}.{stored}{suffix}"


def _convert_layer(weights: dict[str, Array], at: str, block: Any, architecture: str) -> None:
    a = block.attention
    for kind, heads in (("q", a.heads), ("k", a.kv_heads)):
        for suffix in ("", ".bias"):
            name = f"{at}attention.{kind}{suffix}"
            if architecture in PERMUTED and name in weights:
                weights[name] = permuted(weights[name], heads)
    for suffix in ("", ".bias"):
        parts = [f"{at}attention.{kind}{suffix}" for kind in "qkv"]
        if architecture in FUSED_QKV and parts[0] in weights:
            weights[f"{at}attention.qkv{suffix}"] = np.concatenate([weights.pop(p) for p in parts])
        parts = [f"{at}ffn.{kind}{suffix}" for kind in ("gate", "up")]
        if architecture in FUSED_UP and parts[0] in weights:
            weights[parts[1]] = np.concatenate([weights.pop(parts[0]), weights[parts[1]]])
    if a.qk_norm == "heads":
        for kind in ("q_norm", "k_norm"):
            weights[f"{at}attention.{kind}"] = weights[f"{at}attention.{kind}"].reshape(-1, a.head_dim)
    if isinstance(block.ffn, Moe):
        for name in [n for n in weights if n.startswith(f"{at}ffn.experts.")]:
            found = weights[name]
            experts = block.ffn.experts
            weights[name] = found.reshape(experts, len(found) // experts, *found.shape[1:])
    if f"{at}ffn.shared.router" in weights:
        weights[f"{at}ffn.shared.router"] = weights[f"{at}ffn.shared.router"].reshape(-1)
    if a.latent is not None:
        whole = weights.pop(f"{at}attention.kv_b")
        whole = whole.reshape(a.heads, a.latent.nope + a.v_dim, a.latent.kv_rank)
        keys, values = whole[:, : a.latent.nope], whole[:, a.latent.nope :]
        weights[f"{at}attention.k_b"] = np.ascontiguousarray(keys.transpose(0, 2, 1))
        weights[f"{at}attention.v_b"] = np.ascontiguousarray(values)


def _typed(value: Any) -> Any:
    return Typed(F32, value) if isinstance(value, float) else value


def _metadata(arch: Arch, architecture: str) -> dict[str, Any]:
    a = arch.blocks[0].attention
    facts: dict[str, Any] = {
        "block_count": len(arch.blocks),
        "context_length": arch.context,
        "embedding_length": arch.width,
        "attention.head_count": a.heads,
        "attention.head_count_kv": 1 if a.latent else a.kv_heads,
    }
    eps = "layer_norm_epsilon" if architecture in LAYER_NORM else "layer_norm_rms_epsilon"
    facts[f"attention.{eps}"] = arch.norm.eps
    if a.latent is None:
        facts |= {"attention.key_length": a.head_dim, "attention.value_length": a.v_dim}
        if a.rope is not None or architecture in ("smollm3", "cohere2", "exaone4"):
            ropes = [b.attention.rope for b in arch.blocks if b.attention.rope is not None]
            facts["rope.dimension_count"] = 2 * len(ropes[0].freqs)
    else:
        facts |= {
            "attention.kv_lora_rank": a.latent.kv_rank,
            "attention.key_length": a.latent.kv_rank + a.latent.rope,
            "attention.value_length": a.latent.kv_rank,
            "attention.key_length_mla": a.head_dim,
            "attention.value_length_mla": a.v_dim,
            "rope.dimension_count": a.latent.rope,
            **({"attention.q_lora_rank": a.latent.q_rank} if a.latent.q_rank else {}),
        }
    if architecture != "starcoder2" and any(b.attention.window for b in arch.blocks):
        facts["attention.sliding_window"] = max(b.attention.window for b in arch.blocks)
        if architecture not in ("phi3", "gemma2"):
            pattern = [bool(b.attention.window) for b in arch.blocks]
            facts["attention.sliding_window_pattern"] = Typed(ARRAY, pattern, BOOL)
    elif architecture in ("phi3", "cohere2", "gpt-oss"):
        facts["attention.sliding_window"] = 0
    if architecture == "gemma2":
        facts |= {
            "attn_logit_softcapping": a.softcap,
            "final_logit_softcapping": arch.final_softcap,
        }
    if architecture == "gptneox":
        facts["use_parallel_residual"] = arch.blocks[0].parallel == "two"
    if architecture == "stablelm":
        facts["use_parallel_residual"] = arch.blocks[0].parallel == "one"
    if architecture in ("command-r", "cohere2"):
        facts["logit_scale"] = arch.logit_scale
    if architecture == "granite":
        facts |= {
            "attention.scale": a.scale,
            "embedding_scale": arch.embed_scale,
            "residual_scale": arch.blocks[0].residual,
            "logit_scale": float(np.float32(1) / np.float32(arch.logit_scale)),
        }
    facts |= _ffn(arch, architecture)
    return {f"{architecture}.{k}": _typed(v) for k, v in facts.items()}


def _ffn(arch: Arch, architecture: str) -> dict[str, Any]:
    last = arch.blocks[-1].ffn
    if isinstance(last, Mlp):
        return {"feed_forward_length": last.width}
    first = arch.blocks[0].ffn
    facts: dict[str, Any] = {
        "feed_forward_length": first.width if isinstance(first, Mlp) else last.expert.width,
        "expert_count": last.experts,
        "expert_used_count": last.top_k,
    }
    if architecture != "llama":
        facts["expert_feed_forward_length"] = last.expert.width
    if architecture == "qwen2moe" and last.shared is not None:
        facts["expert_shared_feed_forward_length"] = last.shared.width
    if architecture == "deepseek2":
        facts |= {
            "leading_dense_block_count": sum(isinstance(b.ffn, Mlp) for b in arch.blocks),
            "expert_shared_count": 0 if last.shared is None else last.shared.width // last.expert.width,
            "expert_weights_scale": last.scaling,
            "expert_weights_norm": last.normalise,
            "expert_gating_func": 2 if last.score == "sigmoid" else 1,
            "expert_group_count": last.groups,
            "expert_group_used_count": last.top_groups,
        }
    return facts


def _tokens(n: int) -> dict[str, Any]:
    """A vocabulary of n words of letters without merges."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    length = max(1, math.ceil(math.log(n, 26)))
    names = ["".join(letters[i // 26**k % 26] for k in range(length)) for i in range(n)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": Typed(ARRAY, [NORMAL] * n, 5),
        "tokenizer.ggml.merges": Typed(ARRAY, [], 8),
    }
