"""A tiny random checkpoint in the GGUF format, complete with tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import quants
from gguf.constants import GGMLQuantizationType

from importers.gguf_writer import ARRAY, F32, GgufFile, Stored, Typed
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Arch, Attention, Block, Mlp, Norm, Rope, tensor_shapes
from proofcompute.importers.gguf_names import Run, places
from proofcompute.models.vocabulary import CONTROL, NORMAL, USER_DEFINED
from proofcompute.models.writing import byte_alphabet

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


def tiny_arch(
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
) -> Arch:
    norm = Norm("rms", float(np.float32(1e-5)))
    freqs = rope_scaling.longrope(10_000.0, head_dim, factors or (1.0,) * (head_dim // 2))
    attention = Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        v_dim=head_dim,
        scale=rope_scaling.inverse_root(head_dim),
        rope=Rope(freqs, interleaved),
        bias=qkv_bias,
    )
    return Arch(
        family="llama" if interleaved else "qwen2",
        width=width,
        vocabulary=VOCABULARY,
        context=context,
        blocks=(Block(attention, Mlp(ffn_width, "silu"), norm),) * layers,
        norm=norm,
        tied=tied,
    )


def tiny_weights(arch: Arch, seed: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Random weights of a size that keeps activations near 1."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in tensor_shapes(arch).items():
        if name.endswith("norm"):
            found = rng.uniform(0.5, 1.5, shape)
        else:
            found = rng.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) == 2 else 100)
        weights[name] = found.astype(np.float32)
    return weights


def tiny_file(*, seed: int = 0, storage: str = "F32", architecture: str = "llama", **shape: Any) -> GgufFile:
    """A valid file; ``shape`` as in :func:`tiny_arch`, matrices stored as ``storage``."""
    arch = tiny_arch(interleaved=architecture == "llama", **shape)
    block, factors = arch.blocks[0], shape.get("factors")
    attention, ffn = block.attention, block.ffn
    assert isinstance(ffn, Mlp)
    a = architecture
    metadata: dict[str, Any] = {
        "general.architecture": a,
        "general.name": f"tiny {seed}",
        "general.license": "apache-2.0",
        f"{a}.block_count": len(arch.blocks),
        f"{a}.context_length": arch.context,
        f"{a}.embedding_length": arch.width,
        f"{a}.feed_forward_length": ffn.width,
        f"{a}.attention.head_count": attention.heads,
        f"{a}.attention.head_count_kv": attention.kv_heads,
        f"{a}.attention.key_length": attention.head_dim,
        f"{a}.attention.value_length": attention.head_dim,
        f"{a}.attention.layer_norm_rms_epsilon": Typed(F32, arch.norm.eps),
        f"{a}.rope.freq_base": 10_000.0,
        f"{a}.rope.dimension_count": attention.head_dim,
        f"{a}.vocab_size": arch.vocabulary,
        **tokenizer_metadata(),
    }
    tensors, where = [], places(arch, ())
    for name, value in tiny_weights(arch, seed).items():
        kind = GGMLQuantizationType[storage if value.ndim == 2 else "F32"]
        place = where[name]
        assert isinstance(place, Run)
        tensors.append(Stored(place.tensor, value.shape, quants.quantize(value, kind).tobytes(), int(kind)))
    if factors is not None:
        divisors = np.array(factors, np.float32)
        tensors.append(Stored("rope_freqs.weight", divisors.shape, divisors.tobytes()))
    return GgufFile(metadata, tensors)


def write_tiny_gguf(path: Path, *, seed: int = 0, **options: Any) -> Path:
    """Write a tiny model (2 layers, width 64, 300 tokens) to ``path``; ``options``: :func:`tiny_file`."""
    path.write_bytes(tiny_file(seed=seed, **options).build())
    return path
