"""Draws configurations of every family at random, so that combinations of options are compared too.

Where torch and transformers are installed beside what importing a checkpoint needs, ``python -m
oracle.random_decoders COUNT [SEED]`` in ``tests/`` compares the float32 forward pass with transformers.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["FAMILIES", "draw"]

Json = dict[str, Any]
Choices = Mapping[str, Sequence[Any]]
WINDOWS: Final = (3, 5, 30)
BOOLS: Final = (True, False)
ACTIVATIONS: Final = ("silu", "gelu", "gelu_new", "relu", "gelu_pytorch_tanh", "relu2")
RMS: Final[Choices] = {"rms_norm_eps": (1e-5, 1e-3), "hidden_act": ACTIVATIONS, "tie_word_embeddings": BOOLS}
LAYER: Final[Choices] = {"hidden_act": ACTIVATIONS, "tie_word_embeddings": BOOLS}
MIXTURE: Final[Choices] = {"norm_topk_prob": BOOLS}
FAMILIES: Final[Mapping[str, Choices]] = {
    "llama": {**RMS, "attention_bias": BOOLS, "mlp_bias": BOOLS},
    "mistral": {**RMS, "sliding_window": (*WINDOWS, None)},
    "mixtral": {**RMS, "sliding_window": (*WINDOWS, None)},
    "qwen2": {**RMS, "max_window_layers": (0, 1, 2, 28)},
    "qwen3": {**RMS, "attention_bias": BOOLS, "max_window_layers": (0, 1, 2, 28)},
    "qwen2_moe": {
        **RMS,
        **MIXTURE,
        "qkv_bias": BOOLS,
        "decoder_sparse_step": (1, 2, 3),
        "mlp_only_layers": ([], [0], [1]),
        "max_window_layers": (0, 2, 28),
    },
    "qwen3_moe": {
        **RMS,
        **MIXTURE,
        "attention_bias": BOOLS,
        "decoder_sparse_step": (1, 2, 3),
        "mlp_only_layers": ([], [0], [1]),
    },
    "gemma": {"attention_bias": BOOLS, "hidden_act": ("gelu", "gelu_pytorch_tanh"), "rms_norm_eps": (1e-5,)},
    "gemma2": {
        "attention_bias": BOOLS,
        "query_pre_attn_scalar": (7, 16),
        "final_logit_softcapping": (None, 2.0),
        "attn_logit_softcapping": (None, 1.5),
        "hidden_activation": ("gelu", "silu", "gelu_pytorch_tanh"),
    },
    "gemma3_text": {
        "attention_bias": BOOLS,
        "query_pre_attn_scalar": (7, 16),
        "final_logit_softcapping": (None, 2.0),
        "sliding_window_pattern": (2, 3),
        "rope_theta": (1e6, 2e5),
        "rope_local_base_freq": (1e4, 500.0),
        "rope_scaling": ({"rope_type": "linear", "factor": 4.0},),
    },
    "phi": {**LAYER, "qk_layernorm": BOOLS},
    "phi3": {**RMS, "sliding_window": (*WINDOWS, None)},
    "olmo2": {**RMS, "attention_bias": BOOLS},
    "olmoe": {**RMS, **MIXTURE, "attention_bias": BOOLS, "clip_qkv": (0.5, None)},
    "smollm3": {**RMS, "attention_bias": BOOLS, "mlp_bias": BOOLS, "no_rope_layer_interval": (2, 3)},
    "granite": {
        **RMS,
        "attention_bias": BOOLS,
        "mlp_bias": BOOLS,
        "embedding_multiplier": (12.0, 3),
        "logits_scaling": (8.0, 3),
        "residual_multiplier": (0.22,),
        "attention_multiplier": (0.1,),
    },
    "cohere": {**LAYER, "attention_bias": BOOLS, "use_qk_norm": BOOLS, "logit_scale": (0.25, 1.0)},
    "cohere2": {**LAYER, "attention_bias": BOOLS, "sliding_window_pattern": (2, 3, 4)},
    "stablelm": {**LAYER, "use_qkv_bias": BOOLS, "qk_layernorm": BOOLS, "use_parallel_residual": BOOLS},
    "starcoder2": {**LAYER, "use_bias": BOOLS, "norm_epsilon": (1e-4,), "sliding_window": (*WINDOWS, None)},
    "gpt_neox": {**LAYER, "attention_bias": BOOLS, "use_parallel_residual": BOOLS, "rotary_emb_base": (500,)},
    "glm": {**RMS, "attention_bias": BOOLS},
    "glm4": {**RMS, "attention_bias": BOOLS},
    "exaone4": {**RMS, "sliding_window_pattern": (2, 3, 4)},
    "gpt_oss": {"attention_bias": BOOLS, "swiglu_limit": (0.3, 7.0), "swiglu_alpha": (1.0, 1.702)},
    "deepseek_v2": {**RMS, "attention_bias": BOOLS, "routed_scaling_factor": (2.5,), "mlp_bias": BOOLS},
    "deepseek_v3": {
        **RMS,
        **MIXTURE,
        "attention_bias": BOOLS,
        "routed_scaling_factor": (1.0, 2.5),
        "rope_interleave": BOOLS,
    },
}
"""Family -> options, of which each is given in half of the configurations."""
OWN_HEADS: Final = frozenset(
    ("gemma", "gemma2", "gemma3_text", "qwen3", "qwen3_moe", "gpt_oss", "glm", "glm4", "mixtral")
)
"""Families with a default of ``head_dim``, and one whose rotation transformers scales only if it is given."""
NO_HEAD_DIM: Final = frozenset(
    ("phi", "stablelm", "gpt_neox", "qwen2_moe", "olmoe", "deepseek_v2", "deepseek_v3")
)
PARTIAL: Final = frozenset(("phi", "phi3", "stablelm", "glm", "glm4", "gpt_neox"))
SWITCHED: Final = frozenset(("qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "smollm3"))
"""Families in which ``use_sliding_window`` says whether there are windows."""
TYPED: Final = frozenset(
    ("qwen2", "qwen3", "qwen2_moe", "gemma2", "gemma3_text", "cohere2", "exaone4", "gpt_oss")
)
"""Families that read ``layer_types``."""
WINDOWED: Final = frozenset(("gemma2", "gemma3_text", "cohere2", "gpt_oss", "exaone4"))


def draw(family: str, r: random.Random) -> Json:
    """Return the contents of a config.json of a family."""
    heads = r.choice([1, 2, 3, 4, 6])
    layers = r.choice([1, 2, 3, 4, 5])
    c: Json = {
        "model_type": family,
        "vocab_size": r.choice([37, 61, 64]),
        "hidden_size": heads * r.choice([6, 8, 10, 12]),
        "intermediate_size": r.choice([17, 32, 43]),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": r.choice([g for g in range(1, heads + 1) if heads % g == 0]),
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    c |= {key: r.choice(values) for key, values in FAMILIES[family].items() if r.random() < 0.5}
    columns = c["hidden_size"] // heads
    if family in OWN_HEADS or (family not in NO_HEAD_DIM and r.random() < 0.5):
        columns = c["head_dim"] = r.choice([6, 8, 10, 14])
    _windows(family, c, r)
    _experts(family, c, r)
    if family.startswith("deepseek"):
        _latent(family, c, r)
        columns = c["qk_rope_head_dim"]
    if family == "gpt_neox":
        del c["num_key_value_heads"]
    if family in PARTIAL:
        shares = [
            share for share in (0.25, 0.5, 0.75, 1.0) if columns * share >= 2 and columns * share % 2 == 0
        ]
        share = r.choice(shares)
        if family == "phi3":  # its own check counts columns of another size than head_dim
            share = 1.0
        else:
            c["rotary_pct" if family == "gpt_neox" else "partial_rotary_factor"] = share
        columns = int(columns * share)
    if family not in ("gemma3_text", "gpt_neox", "phi3"):
        c |= _rotation(columns, r, r.choice(["none", "theta", "linear", "llama3", "yarn", "longrope"]))
    return c


def _windows(family: str, c: Json, r: random.Random) -> None:
    layers = c["num_hidden_layers"]
    if family in WINDOWED:
        c["sliding_window"] = r.choice(WINDOWS)
        if family == "exaone4" and r.random() < 0.3:
            c |= {"sliding_window": None, "layer_types": ["full_attention"] * layers}
    if family in SWITCHED and r.random() < 0.6:
        c |= {"use_sliding_window": True, "sliding_window": r.choice(WINDOWS)}
    if family in TYPED and c.get("sliding_window") and r.random() < 0.4:
        c["layer_types"] = [r.choice(["sliding_attention", "full_attention"]) for _ in range(layers)]
    if family == "smollm3" and r.random() < 0.5:
        c["no_rope_layers"] = [r.choice([0, 1]) for _ in range(layers)]


def _experts(family: str, c: Json, r: random.Random) -> None:
    if family in ("mixtral", "gpt_oss"):
        c |= {"num_local_experts": r.choice([2, 5]), "num_experts_per_tok": r.choice([1, 2])}
    if family in ("qwen2_moe", "qwen3_moe", "olmoe"):
        c |= {"num_experts": r.choice([3, 6]), "num_experts_per_tok": r.choice([1, 2, 3])}
    if family in ("qwen2_moe", "qwen3_moe"):
        c["moe_intermediate_size"] = r.choice([5, 12])
    if family == "qwen2_moe":
        c["shared_expert_intermediate_size"] = 9


def _latent(family: str, c: Json, r: random.Random) -> None:
    experts = r.choice([4, 6, 8])
    c |= {
        "num_key_value_heads": c["num_attention_heads"],
        "kv_lora_rank": r.choice([8, 14]),
        "q_lora_rank": r.choice([None, 9]),
        "qk_nope_head_dim": r.choice([4, 8]),
        "qk_rope_head_dim": r.choice([2, 4, 6]),
        "v_head_dim": r.choice([5, 8]),
        "n_routed_experts": experts,
        "num_experts_per_tok": r.choice([1, 2]),
        "moe_intermediate_size": 7,
        "n_shared_experts": r.choice([1, 2]),
        "first_k_dense_replace": r.choice([0, 1]),
    }
    if family == "deepseek_v3" or r.random() < 0.5:
        c |= {"n_group": 2, "topk_group": r.choice([1, 2])}
        if family == "deepseek_v2":
            c["topk_method"] = "group_limited_greedy"


def _rotation(columns: int, r: random.Random, kind: str) -> Json:
    """Return keys of a scaling, in the old or the new form."""
    base = r.choice([1e4, 5e5, 123.0])
    if kind in ("none", "theta"):
        return {"rope_theta": base} if kind == "theta" else {}
    makers: dict[str, Callable[[], Json]] = {
        "linear": lambda: {"factor": r.choice([1.0, 2.0, 3.5])},
        "llama3": lambda: {
            "factor": r.choice([2.0, 8.0]),
            "low_freq_factor": 1.0,
            "high_freq_factor": r.choice([2.0, 4.0]),
            "original_max_position_embeddings": r.choice([8, 32]),
        },
        "yarn": lambda: {
            "factor": r.choice([2.0, 4.0, 40.0]),
            "original_max_position_embeddings": r.choice([8, 16, 64]),
            **{
                key: r.choice(values)
                for key, values in {
                    "beta_fast": (16, 32.0),
                    "beta_slow": (1, 2.0),
                    "truncate": BOOLS,
                    "attention_factor": (1.3,),
                    "mscale": (0.7,),
                    "mscale_all_dim": (0.4,),
                }.items()
                if r.random() < 0.3
            },
        },
        "longrope": lambda: {
            "short_factor": [r.choice([1.0, 1.5, 2.0]) for _ in range(columns // 2)],
            "long_factor": [r.choice([1.0, 4.0, 9.0]) for _ in range(columns // 2)],
            "original_max_position_embeddings": 32,
        },
    }
    scaling = makers[kind]()
    if r.random() < 0.5:
        return {"rope_parameters": {"rope_type": kind, "rope_theta": base, **scaling}}
    return {"rope_scaling": {r.choice(["type", "rope_type"]): kind, **scaling}, "rope_theta": base}


def differences(count: int, seed: int) -> Iterator[tuple[float, Json]]:
    """Yield how far our logits are from those of transformers, of the largest, for each configuration."""
    import numpy as np

    from importers import families
    from oracle.make_decoder_vectors import compute
    from proofcompute.importers.float_model import FloatModel
    from proofcompute.importers.huggingface import open_huggingface
    from proofcompute.models.vocabulary import NORMAL, Vocabulary

    r = random.Random(seed)
    for i in range(count):
        config = draw(list(FAMILIES)[i % len(FAMILIES)], r)
        dtype = "F32" if config["model_type"].startswith("gemma") else r.choice(["F32", "F16", "BF16"])
        with tempfile.TemporaryDirectory() as temporary:
            folder, size = Path(temporary), config["vocab_size"]
            _, expected = compute(config, dtype, 1, folder)
            words = tuple(f"t{token}".encode() for token in range(size))
            vocabulary = Vocabulary("bpe", words, bytes([NORMAL]) * size)
            checkpoint = open_huggingface(folder / "folder", vocabulary)
            found = FloatModel(checkpoint.arch, checkpoint.rows).logits(families.text(size))
        yield float(np.abs(found - expected).max() / np.abs(expected).max()), config


if __name__ == "__main__":
    worst = max(differences(int(sys.argv[1]), int((*sys.argv[2:], "0")[0])), key=lambda found: found[0])
    print(*worst)
