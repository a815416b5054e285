"""Families of encoders: BERT, RoBERTa, DistilBERT, ModernBERT, and ViT for pictures."""

from __future__ import annotations

from typing import Any, Final

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.architecture import (
    Arch,
    Attention,
    Block,
    Encoder,
    Mlp,
    Norm,
    Patches,
    Rope,
)
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families.common import (
    Family,
    Sizes,
    activation,
    attention,
    layer,
    plain,
    sizes,
    sliding,
)
from proofcompute.importers.huggingface.pieces import Names, Piece, Rule, Want, fused
from proofcompute.importers.rope_scaling import plain as turns
from proofcompute.limits import MAX_ROWS, MAX_SEGMENTS, MAX_VOCABULARY, MAX_WIDTH

__all__ = ["ENCODERS"]


def _encoder(
    c: Config,
    family: str,
    s: Sizes,
    blocks: list[Block],
    norm: Norm,
    context: int,
    kind: Encoder,
    **more: Any,
) -> Arch:
    """Return the encoder; ``more`` are fields of :class:`Arch`."""
    c.no("is_decoder")
    c.ignore("tie_word_embeddings")  # it is about a head that is not read
    wanted = context if c.context is None else min(context, c.context)
    return Arch(family, s.width, s.vocabulary, wanted, tuple(blocks), norm, tied=False, encoder=kind, **more)


def bert(c: Config) -> Arch:
    """Learned positions, token types, norms behind each sum."""
    return _bert(c, "bert", 0)


def roberta(c: Config) -> Arch:
    """BERT whose positions begin behind that of padding."""
    return _bert(c, "roberta", c.integer("pad_token_id", 0, MAX_VOCABULARY) + 1)


def _bert(c: Config, family: str, first: int) -> Arch:
    s, norm = sizes(c, head_dim=False), layer(c)
    if s.kv_heads != s.heads:
        raise UnsupportedError(f"{c.key('num_key_value_heads')} is {s.kv_heads}, not {s.heads}")
    c.must("position_embedding_type", "absolute")
    c.ignore("pad_token_id", "attention_probs_dropout_prob", "hidden_dropout_prob")
    positions = c.integer("max_position_embeddings", 1, 1 << 20)
    if positions <= first:
        raise FormatError(f"{c.key('max_position_embeddings')} is {positions}, not more than {first}")
    mixer = attention(s, bias=True, o_bias=True, ahead=MAX_ROWS)
    kind = Encoder(embedding_norm=True, types=c.integer("type_vocab_size", 0, 1 << 10), first_position=first)
    blocks = [Block(mixer, plain(c), norm, norms="after")] * s.layers
    return _encoder(c, family, s, blocks, norm, positions - first, kind, positions=positions)


def distilbert(c: Config) -> Arch:
    """BERT without types, and with half of its layers."""
    width, heads = c.integer("dim", hi=MAX_WIDTH), c.integer("n_heads", hi=1 << 14)
    if width % heads:
        raise FormatError(f"{c.key('dim')} is {width}, which {heads} heads do not divide")
    c.no("sinusoidal_pos_embds")  # such files hold other positions than the configuration says
    c.ignore("pad_token_id", "qa_dropout", "seq_classif_dropout")
    s = Sizes(
        width,
        c.integer("n_layers", hi=MAX_SEGMENTS),
        heads,
        heads,
        width // heads,
        c.integer("vocab_size", hi=MAX_VOCABULARY),
    )
    positions = c.integer("max_position_embeddings", 1, 1 << 20)
    mixer = attention(s, bias=True, o_bias=True, ahead=MAX_ROWS)
    ffn = Mlp(c.integer("hidden_dim", hi=MAX_WIDTH), activation(c, "activation"), gated=False, bias=True)
    norm = Norm("layer", c.rounded("layer_norm_eps"), bias=True)
    blocks = [Block(mixer, ffn, norm, norms="after")] * s.layers
    kind = Encoder(embedding_norm=True)
    return _encoder(c, "distilbert", s, blocks, norm, positions, kind, positions=positions)


def modernbert(c: Config) -> Arch:
    """Rotations, near windows on both sides in most layers, gated layers, norms before, one at the end."""
    s, norm = sizes(c, head_dim=False), layer(c, "norm_eps", bias=c.flag("norm_bias"))
    if s.kv_heads != s.heads:
        raise UnsupportedError(f"{c.key('num_key_value_heads')} is {s.kv_heads}, not {s.heads}")
    every, local = c.integer("global_attn_every_n_layers"), c.integer("local_attention", 2, 1 << 20) // 2
    if others := set(c.section("rope_parameters").keys()) - {kind for kind, *_ in _TURNS.values()}:
        raise UnsupportedError(
            f"{c.key('rope_parameters')} has {sorted(others)[0][:80]!r}, which is not supported"
        )
    near = sliding(c, s.layers, lambda i: bool(i % every))
    context = c.integer("max_position_embeddings", 1, 1 << 20)
    ropes = {name: _rope(c, s, *keys) for name, keys in _TURNS.items()}
    bias = c.flag("attention_bias")
    ffn = Mlp(
        c.integer("intermediate_size", hi=MAX_WIDTH),
        activation(c, "hidden_activation"),
        bias=c.flag("mlp_bias"),
    )
    c.ignore(
        "pad_token_id", "cls_token_id", "sep_token_id", "initializer_cutoff_factor", "decoder_bias",
        "classifier_pooling", "classifier_bias", "classifier_activation", "deterministic_flash_attn",
        "sparse_prediction", "sparse_pred_ignore_index", "reference_compile", "repad_logits_with_grad",
        "position_embedding_type", "layer_norm_eps", "global_rope_theta", "local_rope_theta",
    )  # fmt: skip
    mixers: dict[bool, Attention] = {
        False: attention(s, rope=ropes[False], bias=bias, o_bias=bias, ahead=MAX_ROWS),
        True: attention(s, rope=ropes[True], bias=bias, o_bias=bias, window=local + 1, ahead=local),
    }
    blocks = [Block(mixers[n], ffn, norm, norms="pre" if i else "ffn") for i, n in enumerate(near)]
    return _encoder(c, "modernbert", s, blocks, norm, context, Encoder(embedding_norm=True, final_norm=True))


def vit(c: Config) -> Arch:
    """Patches of a picture of one size behind a class token, whose last state stands for the picture."""
    width, heads = c.integer("hidden_size", hi=MAX_WIDTH), c.integer("num_attention_heads", hi=1 << 14)
    if width % heads:
        raise FormatError(f"{c.key('hidden_size')} is {width}, which {heads} heads do not divide")
    whole, size = c.integer("image_size", 1, 1 << 14), c.integer("patch_size", 1, 1 << 10)
    if whole % size:
        raise UnsupportedError(f"{c.key('image_size')} is {whole}, no multiple of patch_size, {size}")
    c.ignore("attention_probs_dropout_prob", "hidden_dropout_prob", "encoder_stride", "pooler_act")
    c.ignore("pooler_output_size", "pad_token_id")
    s = Sizes(width, c.integer("num_hidden_layers", hi=MAX_SEGMENTS), heads, heads, width // heads, 0)
    count, norm = (whole // size) ** 2, layer(c)
    mixer = attention(s, bias=c.flag("qkv_bias"), o_bias=True, ahead=MAX_ROWS)
    kind = Encoder(
        final_norm=True, pool="first", patches=Patches(count, c.integer("num_channels", 1, 64), size)
    )
    blocks = [Block(mixer, plain(c), norm)] * s.layers
    return _encoder(c, "vit", s, blocks, norm, count + 1, kind, positions=count + 1)


def _stacked(stored: str) -> Rule:
    """Rows of a tensor without a suffix that has an axis of one element more."""

    def rule(want: Want) -> tuple[Piece, ...]:
        return (Piece(stored, (1, *want.shape), want.shape[0], index=0),)

    return rule


_TURNS: Final = {
    False: ("full_attention", "global_rope_theta", 160_000.0),
    True: ("sliding_attention", "local_rope_theta", 10_000.0),
}
"""For near attention or not: the key of its rotations, the older key of their base, and its default."""


def _rope(c: Config, s: Sizes, kind: str, key: str, theta: float) -> Rope:
    """Return the rotations of one kind of layers."""
    p = c.section("rope_parameters").section(kind)
    p.must("rope_type", "default")
    base = p.positive("rope_theta") if "rope_theta" in p else c.positive(key) if key in c else theta
    p.finish()
    if base <= 1 or s.head_dim % 2:
        raise FormatError(f"{c.key(key)} is {base}, and heads have {s.head_dim} columns")
    return Rope(turns(base, s.head_dim), interleaved=False)


_BERT_BLOCK: Final = {
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.o": "attention.output.dense",
    "attention.post": "attention.output.LayerNorm",
    "ffn.up": "intermediate.dense",
    "ffn.down": "output.dense",
    "ffn.post": "output.LayerNorm",
}
_EMBEDDINGS: Final = {
    "embedding": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "embedding.norm": "embeddings.LayerNorm",
}
_GAMMA: Final = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
_BERT: Final = Names(_EMBEDDINGS, _BERT_BLOCK, prefix="encoder.layer.{}.")
_BERT_DEFAULTS: Final[dict[str, Any]] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_HEADS: Final = (r"pooler\..*", r"cls\..*", r"lm_head\..*", r"embeddings\.position_ids")
"""Stored names of heads for training, and of what follows from the configuration."""

_ROBERTA: Final = Family(
    roberta,
    _BERT,
    {**_BERT_DEFAULTS, "vocab_size": 50265, "pad_token_id": 1},
    ignored=_HEADS,
    aliases=((r"^roberta\.", ""), *_GAMMA),
)
ENCODERS: Final = {
    "bert": Family(bert, _BERT, _BERT_DEFAULTS, ignored=_HEADS, aliases=((r"^bert\.", ""), *_GAMMA)),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": Family(
        distilbert,
        Names(
            _EMBEDDINGS,
            {
                **{f"attention.{x}": f"attention.{x}_lin" for x in "qkv"},
                "attention.o": "attention.out_lin",
                "attention.post": "sa_layer_norm",
                "ffn.up": "ffn.lin1",
                "ffn.down": "ffn.lin2",
                "ffn.post": "output_layer_norm",
            },
            prefix="transformer.layer.{}.",
        ),
        {
            "vocab_size": 30522,
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
            "activation": "gelu",
            "max_position_embeddings": 512,
            "layer_norm_eps": 1e-12,
        },
        ignored=(r"vocab_.*", r"embeddings\.position_ids"),
        aliases=((r"^distilbert\.", ""), *_GAMMA),
        spellings={"hidden_size": "dim", "num_attention_heads": "n_heads", "intermediate_size": "hidden_dim"},
    ),
    "modernbert": Family(
        modernbert,
        Names(
            {
                "embedding": "embeddings.tok_embeddings",
                "embedding.norm": "embeddings.norm",
                "norm": "final_norm",
            },
            {
                "attention.norm": "attn_norm",
                **{f"attention.{x}": fused("attn.Wqkv", x) for x in "qkv"},
                "attention.o": "attn.Wo",
                "ffn.norm": "mlp_norm",
                "ffn.gate": fused("mlp.Wi", "gate"),
                "ffn.up": fused("mlp.Wi", "up"),
                "ffn.down": "mlp.Wo",
            },
            prefix="layers.{}.",
        ),
        {
            "vocab_size": 50368,
            "hidden_size": 768,
            "intermediate_size": 1152,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "hidden_activation": "gelu",
            "max_position_embeddings": 8192,
            "norm_eps": 1e-5,
            "norm_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "local_attention": 128,
            "global_attn_every_n_layers": 3,
        },
        ignored=(r"head\..*", r"decoder\..*"),
        aliases=((r"^model\.", ""),),
    ),
    "vit": Family(
        vit,
        Names(
            {
                "patches": "embeddings.patch_embeddings.projection",
                "cls": _stacked("embeddings.cls_token"),
                "positions": _stacked("embeddings.position_embeddings"),
                "norm": "layernorm",
            },
            {
                "attention.norm": "layernorm_before",
                **{f"attention.{x[0]}": f"attention.attention.{x}" for x in ("query", "key", "value")},
                "attention.o": "attention.output.dense",
                "ffn.norm": "layernorm_after",
                "ffn.up": "intermediate.dense",
                "ffn.down": "output.dense",
            },
            prefix="encoder.layer.{}.",
        ),
        {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "image_size": 224,
            "patch_size": 16,
            "num_channels": 3,
            "qkv_bias": True,
        },
        ignored=(r"pooler\..*", r"classifier\..*", r"embeddings\.mask_token"),
        aliases=((r"^vit\.", ""),),
    ),
}
"""Families of encoders by ``model_type``."""
