"""Compiles a decoder-only transformer: turns a checkpoint into a program and quantised weights.

Nothing here depends on the checkpoint's file format. Compilation uses canonical arithmetic only, so the same
checkpoint gives the same model id on every machine (docs/spec/arithmetic.md#compiled-models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from proofcompute.arithmetic.definition import rope_frequencies
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32, I8, Array
from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import UnsupportedError
from proofcompute.importers.calibration import smoothed
from proofcompute.importers.checkpoint import Checkpoint, Decoder
from proofcompute.limits import MAX_CONTEXT
from proofcompute.models.card import ModelCard, Weight
from proofcompute.models.model import Model
from proofcompute.program.operations import (
    Add,
    Attention,
    Embed,
    Gate,
    Linear,
    QuantiseHeads,
    RmsNorm,
    Rope,
    Sample,
    Split,
)
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec
from proofcompute.version import __version__

__all__ = ["PRECISIONS", "Precision", "compile_decoder", "decoder_program"]


@dataclass(frozen=True)
class Precision:
    """Numbers of limbs of weights and activations.

    The head's activations always have two limbs: the head runs once per generated token, and one limb loses
    more accuracy there than in a whole block.
    """

    name: str
    """The name, such as w8a16."""
    w_limbs: int
    """Limbs of the weights."""
    x_limbs: int
    """Limbs of the activations in the blocks."""
    head_limbs: int = 2
    """Limbs of the head's activations."""


PRECISIONS: Mapping[str, Precision] = {
    p.name: p for p in (Precision("w8a8", 1, 1), Precision("w8a16", 1, 2), Precision("w16a16", 2, 2))
}
"""Precisions by name; w8a16 is the default."""

ROWS_AT_ONCE = 4096
"""Rows of a matrix that are dequantised and quantised together, so that memory stays small."""


def decoder_program(d: Decoder, precision: Precision) -> Program:
    """Return the program of a Llama-like decoder: an embedding segment, a segment per block, a head segment.

    Raises UnsupportedError for another norm or activation.
    """
    if d.norm != "rms" or d.activation != "silu":
        raise UnsupportedError(f"a decoder with {d.norm} norm and {d.activation} activation")
    weights = _weight_specs(d, precision)
    width = [Node("embed", Embed("embedding"), ("tokens",), ("x.0",))]
    segments = [Segment("embedding", tuple(width))]
    committed = [Committed("x.0", ("x.0",))]
    for i in range(d.layers):
        segments.append(Segment(f"block.{i}", _block(d, precision, i)))
        committed.append(Committed(f"kv.{i}", (f"k.{i}", f"k_scale.{i}", f"v.{i}", f"v_scale.{i}")))
        committed.append(Committed(f"x.{i + 1}", (f"x.{i + 1}",)))
    head = "embedding" if "head" not in {w.name for w in weights} else "head"
    last = f"x.{d.layers}"
    segments.append(
        Segment(
            "head",
            (
                Node("norm", RmsNorm("norm", f32_bits(d.eps)), (last,), ("final",)),
                Node("logits", Linear(head, precision.head_limbs), ("final",), ("logits",)),
                Node("sample", Sample(), ("logits", "tokens"), ("next",)),
            ),
        )
    )
    return Program(
        inputs=(("tokens", Spec("i32", ())),),
        outputs=("next",),
        feedback=True,
        context=min(d.context, MAX_CONTEXT),
        weights=weights,
        committed=tuple(committed),
        segments=tuple(segments),
    )


def _weight_specs(d: Decoder, precision: Precision) -> tuple[WeightSpec, ...]:
    q, kv, w = d.heads * d.head_dim, d.kv_heads * d.head_dim, precision.w_limbs
    specs = [WeightSpec("embedding", "matrix", d.vocabulary, d.width)]
    for i in range(d.layers):
        specs += [
            WeightSpec(f"block.{i}.attention.norm", "vector", 1, d.width),
            WeightSpec(f"block.{i}.attention.qkv", "matrix", q + 2 * kv, d.width, w, d.qkv_bias),
            WeightSpec(f"block.{i}.attention.o", "matrix", d.width, q, w),
            WeightSpec(f"block.{i}.ffn.norm", "vector", 1, d.width),
            WeightSpec(f"block.{i}.ffn.gate_up", "matrix", 2 * d.ffn_width, d.width, w),
            WeightSpec(f"block.{i}.ffn.down", "matrix", d.width, d.ffn_width, w),
        ]
    specs.append(WeightSpec("norm", "vector", 1, d.width))
    if not d.tied or w == 2:  # a table has one limb, so a two-limb head needs a matrix of its own
        specs.append(WeightSpec("head", "matrix", d.vocabulary, d.width, w))
    return tuple(specs)


def _block(d: Decoder, precision: Precision, i: int) -> tuple[Node, ...]:
    limbs, eps = precision.x_limbs, f32_bits(d.eps)
    q, kv = d.heads * d.head_dim, d.kv_heads * d.head_dim
    freqs = rope_frequencies(d.rope.base, d.rope.dimensions, d.rope.factors)
    bits = tuple(int(b) for b in freqs.view(np.uint32))
    scale = f32_bits(np.float32(1) / np.sqrt(np.float32(d.head_dim)))
    turn = int(d.rope.interleaved)
    x, w = f"x.{i}", f"block.{i}"
    steps: list[tuple[str, Op, tuple[str, ...], tuple[str, ...]]] = [
        ("attention.norm", RmsNorm(f"{w}.attention.norm", eps), (x,), ("a",)),
        ("attention.qkv", Linear(f"{w}.attention.qkv", limbs), ("a",), ("qkv",)),
        ("attention.split", Split((q, kv, kv)), ("qkv",), ("q0", "k0", "v0")),
        ("attention.rope_q", Rope(d.heads, bits, turn), ("q0",), ("q",)),
        ("attention.rope_k", Rope(d.kv_heads, bits, turn), ("k0",), ("k1",)),
        ("attention.k", QuantiseHeads(d.kv_heads), ("k1",), ("k", "k_scale")),
        ("attention.v", QuantiseHeads(d.kv_heads), ("v0",), ("v", "v_scale")),
        ("attention.mix", Attention(d.heads, scale, d.window), ("q", "k", "k_scale", "v", "v_scale"), ("m",)),
        ("attention.o", Linear(f"{w}.attention.o", limbs), ("m",), ("o",)),
        ("attention.add", Add(), (x, "o"), ("y",)),
        ("ffn.norm", RmsNorm(f"{w}.ffn.norm", eps), ("y",), ("f",)),
        ("ffn.gate_up", Linear(f"{w}.ffn.gate_up", limbs), ("f",), ("gu",)),
        ("ffn.gate", Gate(), ("gu",), ("g",)),
        ("ffn.down", Linear(f"{w}.ffn.down", limbs), ("g",), ("dn",)),
        ("ffn.add", Add(), ("y", "dn"), (f"x.{i + 1}",)),
    ]
    boundary = {x, f"x.{i + 1}"}

    def local(name: str) -> str:
        return name if name in boundary else f"{name}.{i}"

    return tuple(
        Node(name, op, tuple(local(n) for n in ins), tuple(local(n) for n in outs))
        for name, op, ins, outs in steps
    )


def compile_decoder(
    checkpoint: Checkpoint,
    kernels: Kernels,
    precision: str = "w8a16",
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Quantise a checkpoint's weights and return the model, hashed.

    One-limb weights are scaled first (:mod:`.calibration`), which runs the model on a short text.

    Args:
        checkpoint: description and weights.
        kernels: the backend; every backend gives the same model id.
        precision: one of :data:`PRECISIONS`.
        progress: called with (weights quantised, all weights to quantise).

    Raises UnsupportedError for an unknown precision or a decoder that this version cannot express, and the
    errors of reading the checkpoint.
    """
    if precision not in PRECISIONS:
        raise UnsupportedError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    limbs = PRECISIONS[precision]
    program = decoder_program(checkpoint.decoder, limbs)
    count = len(program.weights)
    passes = 2 if limbs.w_limbs == 1 else 1
    done = 0

    def quantised(source: Checkpoint) -> dict[str, Weight]:
        nonlocal done
        weights: dict[str, Weight] = {}
        for spec in program.weights:
            weights[spec.name] = _weight(source, spec, kernels)
            done += 1
            if progress is not None:
                progress(done, passes * count)
        return weights

    if limbs.w_limbs == 1:
        plain = ModelCard(program, checkpoint.vocabulary.encode(), "", (bytes(32),) * count)
        model = Model(plain, quantised(checkpoint))
        checkpoint = smoothed(checkpoint, model, kernels, limbs.x_limbs == 1)
    weights = quantised(checkpoint)
    manifest = {
        "checkpoint_sha256": checkpoint.digest.hex(),
        "importer": f"proofcompute {__version__}",
        "licence": checkpoint.licence,
        "name": checkpoint.name,
        "precision": precision,
    }
    return Model.build(
        program,
        weights,
        kernels.hash_rows,
        tokenizer=checkpoint.vocabulary.encode(),
        template=checkpoint.chat_template or "",
        manifest=manifest,
    )


def _weight(checkpoint: Checkpoint, spec: WeightSpec, kernels: Kernels) -> Weight:
    sources = _sources(checkpoint, spec.name)
    if spec.kind == "vector":
        return checkpoint.tensor(sources[0])
    q: list[I8] = []
    scale: list[F32] = []
    for name in sources:
        rows = checkpoint.shapes[name][0]
        for a in range(0, rows, ROWS_AT_ONCE):
            limbs, s = kernels.quantise(checkpoint.rows(name, a, min(a + ROWS_AT_ONCE, rows)), spec.limbs)
            q.append(limbs)
            scale.append(s)
    bias = np.concatenate([checkpoint.tensor(f"{n}.bias") for n in sources]) if spec.bias else None
    joined: Array = np.concatenate(q, axis=1)
    return Matrix(np.ascontiguousarray(joined), np.concatenate(scale), bias)


def _sources(checkpoint: Checkpoint, name: str) -> list[str]:
    """Return the canonical names of the checkpoint's tensors that make up a weight of the program."""
    if name == "head" and checkpoint.decoder.tied:
        return ["embedding"]
    base = name.replace("block.", "layers.", 1)
    if base.endswith(".qkv"):
        return [base.removesuffix("qkv") + part for part in "qkv"]
    if base.endswith(".gate_up"):
        return [base.removesuffix("gate_up") + part for part in ("gate", "up")]
    return [base]
