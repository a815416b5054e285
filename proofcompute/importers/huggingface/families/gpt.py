"""Families with layer norms: GPT-2, GPT-NeoX, StarCoder2, StableLM."""

from __future__ import annotations

from typing import Final

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.architecture import Arch, Block, Mlp, Norm
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    LLAMA_BLOCK,
    LLAMA_MODEL,
    Family,
    Sizes,
    activation,
    arch,
    attention,
    gated,
    layer,
    plain,
    sizes,
)
from proofcompute.importers.huggingface.pieces import Names, fused, one_per_head, per_head_qkv, transposed
from proofcompute.importers.huggingface.rope import read_rope
from proofcompute.importers.rope_scaling import inverse_root
from proofcompute.limits import MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH

__all__ = ["GPTS"]


def gpt2(c: Config) -> Arch:
    """Learned positions; biases everywhere."""
    width, heads = c.integer("n_embd", hi=MAX_WIDTH), c.integer("n_head", hi=1 << 14)
    if width % heads:
        raise FormatError(f"{c.key('n_embd')} is {width}, which {heads} heads do not divide")
    layers, vocabulary = c.integer("n_layer", hi=MAX_SEGMENTS), c.integer("vocab_size", hi=MAX_VOCABULARY)
    s = Sizes(width, layers, heads, heads, width // heads, vocabulary)
    positions = c.integer("n_positions", hi=1 << 20)
    c.must("n_ctx", positions)
    norm = layer(c, "layer_norm_epsilon")
    mlp = Mlp(c.optional_integer("n_inner", hi=MAX_WIDTH) or 4 * width, activation(c, "activation_function"))
    mlp = Mlp(mlp.width, mlp.act, gated=False, bias=True)
    root, by_layer = c.flag("scale_attn_weights"), c.flag("scale_attn_by_inverse_layer_idx")
    columns = s.head_dim if root else 1
    blocks = [
        Block(
            # 1 / (i sqrt(c)) is the inverse root of i^2 c
            attention(
                s, scale=inverse_root(columns * (i + 1) ** 2 if by_layer else columns), bias=True, o_bias=True
            ),
            mlp,
            norm,
        )
        for i in range(layers)
    ]
    return arch(c, "gpt2", s, blocks, norm, positions, positions=positions)


def gpt_neox(c: Config) -> Arch:
    """Parallel blocks with a norm for each half."""
    s, norm, bias = sizes(c, head_dim=False), layer(c), c.flag("attention_bias")
    if s.kv_heads != s.heads:
        raise UnsupportedError(f"{c.key('num_key_value_heads')} is {s.kv_heads}, not {s.heads}")
    rotary = read_rope(c, s.head_dim, partial=0.25, keys=("rotary_emb_base", "rotary_pct"))
    mixer = attention(s, rope=rotary.rope, bias=bias, o_bias=bias)
    parallel = "two" if c.flag("use_parallel_residual") else ""
    block = Block(mixer, plain(c), norm, parallel=parallel)
    return arch(c, "gpt_neox", s, [block] * s.layers, norm, rotary.context)


def starcoder2(c: Config) -> Arch:
    """Rotations, biases and a layer without a gate; optionally one window for all layers."""
    s, norm, bias = sizes(c), layer(c, "norm_epsilon"), c.flag("use_bias")
    c.must("mlp_type", "default")
    c.must("norm_type", "layer_norm")
    c.must("scale_attn_weights", True)  # noqa: FBT003  # the value that it must have
    # the model reads norm_epsilon, and computes the softmax in float32 in any case
    c.ignore("layer_norm_eps", "layer_norm_epsilon")
    c.ignore("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    rotary = read_rope(c, s.head_dim)
    size = c.optional_integer("sliding_window")
    mixer = attention(s, rope=rotary.rope, window=size, bias=bias, o_bias=bias)
    return arch(
        c, "starcoder2", s, [Block(mixer, plain(c, bias=bias), norm)] * s.layers, norm, rotary.context
    )


def stablelm(c: Config) -> Arch:
    """Gated layers; optionally parallel blocks with one norm, and a norm of each head of its own."""
    s, norm = sizes(c, head_dim=False), layer(c)
    rotary = read_rope(c, s.head_dim, partial=0.25)
    per_head = c.flag("qk_layernorm")
    mixer = attention(
        s,
        rope=rotary.rope,
        bias=c.flag("use_qkv_bias"),
        qk_norm="heads" if per_head else "",
        norm=Norm("layer", norm.eps) if per_head else None,
    )
    parallel = "one" if c.flag("use_parallel_residual") else ""
    block = Block(mixer, gated(c), norm, parallel=parallel)
    return arch(c, "stablelm", s, [block] * s.layers, norm, rotary.context)


GPTS: Final = {
    "gpt2": Family(
        gpt2,
        Names(
            {
                "embedding": "transformer.wte",
                "positions": "transformer.wpe",
                "norm": "transformer.ln_f",
                "head": "lm_head",
            },
            {
                "attention.norm": "ln_1",
                "ffn.norm": "ln_2",
                **{f"attention.{x}": fused("attn.c_attn", x, turned=True) for x in "qkv"},
                "attention.o": transposed("attn.c_proj"),
                "ffn.up": transposed("mlp.c_fc"),
                "ffn.down": transposed("mlp.c_proj"),
            },
            prefix="transformer.h.{}.",
        ),
        {
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "tie_word_embeddings": True,
        },
        ignored=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
        spellings={
            "hidden_size": "n_embd",
            "num_attention_heads": "n_head",
            "num_key_value_heads": "n_head",
            "head_dim": "",
            "intermediate_size": "n_inner",
            "max_position_embeddings": "n_positions",
        },
        aliases=((r"^(?=(h|wte|wpe|ln_f)\.)", "transformer."),),
    ),
    "gpt_neox": Family(
        gpt_neox,
        Names(
            {"embedding": "gpt_neox.embed_in", "norm": "gpt_neox.final_layer_norm", "head": "lm_head"},
            {
                "attention.norm": "input_layernorm",
                "ffn.norm": "post_attention_layernorm",
                **{f"attention.{x}": per_head_qkv("attention.query_key_value", x) for x in "qkv"},
                "attention.o": "attention.dense",
                "ffn.up": "mlp.dense_h_to_4h",
                "ffn.down": "mlp.dense_4h_to_h",
            },
            prefix="gpt_neox.layers.{}.",
        ),
        {
            "vocab_size": 50432,
            "hidden_size": 6144,
            "num_hidden_layers": 44,
            "num_attention_heads": 64,
            "intermediate_size": 24576,
            "hidden_act": "gelu",
            "max_position_embeddings": 2048,
            "layer_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "use_parallel_residual": True,
            "attention_bias": True,
        },
        aliases=((r"^embed_out\.", "lm_head."),),
        ignored=(r"gpt_neox\.layers\.\d+\.attention\.((masked_)?bias|rotary_emb\.inv_freq)",),
    ),
    "starcoder2": Family(
        starcoder2,
        Names(LLAMA_MODEL, {**LLAMA_BLOCK, "ffn.up": "mlp.c_fc", "ffn.down": "mlp.c_proj"}),
        {
            "vocab_size": 49152,
            "hidden_size": 3072,
            "intermediate_size": 12288,
            "num_hidden_layers": 30,
            "num_attention_heads": 24,
            "num_key_value_heads": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "max_position_embeddings": 4096,
            "norm_epsilon": 1e-5,
            "use_bias": True,
            "tie_word_embeddings": True,
        },
    ),
    "stablelm": Family(
        stablelm,
        Names(
            LLAMA_MODEL,
            {
                **LLAMA_BLOCK,
                "attention.q_norm": one_per_head("self_attn.q_layernorm.norms.{}"),
                "attention.k_norm": one_per_head("self_attn.k_layernorm.norms.{}"),
            },
        ),
        {
            "vocab_size": 50304,
            "intermediate_size": 6912,
            "hidden_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "hidden_act": "silu",
            "max_position_embeddings": 4096,
            "layer_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "use_qkv_bias": False,
            "qk_layernorm": False,
            "use_parallel_residual": False,
        },
    ),
}
"""Families by ``model_type``."""
