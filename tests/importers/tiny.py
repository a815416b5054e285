"""A tiny random checkpoint in the GGUF format, complete with tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType

from importers.gguf_writer import ARRAY, F32, GgufFile, Stored, Typed
from proofcompute.importers.checkpoint import Decoder, Rope, tensor_shapes
from proofcompute.importers.gguf import stored_name
from proofcompute.models.vocabulary import CONTROL, NORMAL, USER_DEFINED, byte_alphabet

CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER = "<tool>"
MERGES = (
    "Ġ t|h e|Ġt he|i n|e r|a n|Ġ a|r e|o n|Ġ s|e n|o r|Ġ w|Ġ o|a t|e s|i t|Ġ c|o u|Ġa n|Ġan d|l l|e d|Ġ b|"
    "i s|Ġ f|a r|Ġ p|a l|in g|Ġ h|Ġ m|l o|H e|He l|Hel lo|Ġ Ġ|Ċ Ċ|e l|Ġ in"
).split("|")
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VOCABULARY = len(CONTROLS) + 256 + len(MERGES) + 1


def tokenizer_metadata() -> dict[str, Any]:
    """Three control tokens, 256 bytes, 40 merges, one user-defined token: 300."""
    names = [*CONTROLS, *byte_alphabet(), *(m.replace(" ", "") for m in MERGES), USER]
    kinds = [CONTROL] * len(CONTROLS) + [NORMAL] * (256 + len(MERGES)) + [USER_DEFINED]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": Typed(ARRAY, kinds, 5),
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def tiny_decoder(
    *,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 16,
    ffn_width: int = 96,
    context: int = 256,
    tied: bool = True,
    qkv_bias: bool = False,
    interleaved: bool = True,
    factors: tuple[float, ...] | None = None,
) -> Decoder:
    return Decoder(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_width=ffn_width,
        context=context,
        vocabulary=VOCABULARY,
        eps=float(np.float32(1e-5)),
        rope=Rope(base=10_000.0, dimensions=head_dim, interleaved=interleaved, factors=factors),
        tied=tied,
        qkv_bias=qkv_bias,
    )


def tiny_weights(decoder: Decoder, seed: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Random weights of a size that keeps activations near 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in tensor_shapes(decoder).items():
        if name.endswith("norm"):
            found = rng.uniform(0.5, 1.5, shape)
        else:
            found = rng.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) == 2 else 100)
        weights[name] = found.astype(np.float32)
    return weights


def tiny_file(*, seed: int = 0, storage: str = "F32", architecture: str = "llama", **shape: Any) -> GgufFile:
    """A valid file; ``shape`` as in :func:`tiny_decoder`, matrices stored as ``storage``."""
    decoder = tiny_decoder(interleaved=architecture == "llama", **shape)
    a = architecture
    metadata: dict[str, Any] = {
        "general.architecture": a,
        "general.name": f"tiny {seed}",
        "general.license": "apache-2.0",
        f"{a}.block_count": decoder.layers,
        f"{a}.context_length": decoder.context,
        f"{a}.embedding_length": decoder.width,
        f"{a}.feed_forward_length": decoder.ffn_width,
        f"{a}.attention.head_count": decoder.heads,
        f"{a}.attention.head_count_kv": decoder.kv_heads,
        f"{a}.attention.key_length": decoder.head_dim,
        f"{a}.attention.value_length": decoder.head_dim,
        f"{a}.attention.layer_norm_rms_epsilon": Typed(F32, decoder.eps),
        f"{a}.rope.freq_base": decoder.rope.base,
        f"{a}.rope.dimension_count": decoder.rope.dimensions,
        f"{a}.vocab_size": decoder.vocabulary,
        **tokenizer_metadata(),
    }
    tensors = []
    for name, value in tiny_weights(decoder, seed).items():
        kind = GGMLQuantizationType[storage if value.ndim == 2 else "F32"]
        tensors.append(
            Stored(stored_name(name), value.shape, quants.quantize(value, kind).tobytes(), int(kind))
        )
    if decoder.rope.factors is not None:
        factors = np.array(decoder.rope.factors, np.float32)
        tensors.append(Stored("rope_freqs.weight", factors.shape, factors.tobytes()))
    return GgufFile(metadata, tensors)


def write_tiny_gguf(path: Path, *, seed: int = 0, **options: Any) -> Path:
    """Write a tiny model (2 layers, width 64, 300 tokens) to ``path``; ``options``: :func:`tiny_file`."""
    path.write_bytes(tiny_file(seed=seed, **options).build())
    return path
