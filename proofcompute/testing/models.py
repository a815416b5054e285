"""Random models that are made in memory in a moment, so that a test needs no download.

:func:`random_chat_model` has a vocabulary of single bytes, so it takes and gives text. :func:`random_decoder`
has no vocabulary and any shape; its int8 weights are drawn directly, so large ones are made fast.
:func:`random_network` is no language model. Every model is a function of its arguments, model id included.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import F32
from proofcompute.importers import rope_scaling
from proofcompute.importers.architecture import Arch, Attention, Block, Mlp, Norm, Rope, tensor_shapes
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import PRECISIONS, compile_decoder, decoder_program
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.card import Weight
from proofcompute.models.model import Model
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.vocabulary import CONTROL, NORMAL, Vocabulary
from proofcompute.program.types import WeightSpec

__all__ = [
    "TINY",
    "Shape",
    "byte_vocabulary",
    "random_chat_model",
    "random_checkpoint",
    "random_decoder",
    "random_network",
    "random_weight",
]

_EPS: Final = float(np.float32(1e-5))


@dataclass(frozen=True)
class Shape:
    """The shape of a decoder of the Llama kind, whose blocks are all alike."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn_width: int
    vocabulary: int
    context: int = 8192
    head_dim: int = 0
    """Columns of a head; 0 for width / heads."""
    rope_base: float = 10_000.0
    interleaved: bool = False
    """Whether rotary pairs are neighbours, as in GGUF files of the Llama kind."""
    tied: bool = True
    bias: bool = False
    """Whether queries, keys and values have biases."""
    window: int = 0

    @property
    def arch(self) -> Arch:
        """The description of the network."""
        columns, norm = self.head_dim or self.width // self.heads, Norm("rms", _EPS)
        freqs = rope_scaling.plain(self.rope_base, columns)
        attention = Attention(
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=columns,
            v_dim=columns,
            scale=rope_scaling.inverse_root(columns),
            rope=Rope(freqs, self.interleaved),
            window=self.window,
            bias=self.bias,
        )
        return Arch(
            family="llama",
            width=self.width,
            vocabulary=self.vocabulary,
            context=self.context,
            blocks=(Block(attention, Mlp(self.ffn_width, "silu"), norm),) * self.layers,
            norm=norm,
            tied=self.tied,
        )


TINY: Final = Shape(
    layers=2,
    width=32,
    heads=4,
    kv_heads=2,
    ffn_width=48,
    vocabulary=260,
    context=96,
    head_dim=8,
    interleaved=True,
)
"""Two layers of width 32: a request and its audit take milliseconds, even with the NumPy backend."""

_SPREAD: Final = np.sqrt((256**2 - 1) / 12)
"""Standard deviation of uniform int8 weights."""


# -- models that take text ---------------------------------------------------------------------------------
def byte_vocabulary() -> Vocabulary:
    """Return a vocabulary of the 256 single bytes and four control tokens, of which 257 ends a text."""
    names = [bytes([b]) for b in range(256)] + [b"<begin>", b"<end>", b"<a>", b"<b>"]
    return Vocabulary(
        "bpe",
        tuple(names),
        bytes([NORMAL] * 256 + [CONTROL] * 4),
        NAMED_RULES["gpt-2"].splitters,
        bos=256,
        eos=257,
        end_ids=(257,),
    )


def random_checkpoint(seed: int = 0, of: Shape | Arch = TINY) -> Checkpoint:
    """Return a float32 checkpoint of random weights, scaled so that activations stay of order one.

    Its vocabulary must be 260, the number of tokens of :func:`byte_vocabulary`.
    """
    arch = of.arch if isinstance(of, Shape) else of
    rng = np.random.default_rng(seed)
    tensors: dict[str, F32] = {}
    for name, shape in tensor_shapes(arch).items():
        scale = 1.0 if len(shape) == 1 else 1.5 / np.sqrt(shape[1])
        noise = rng.standard_normal(shape)
        tensors[name] = (1 + 0.1 * noise if len(shape) == 1 else scale * noise).astype(np.float32)
    return Checkpoint(
        arch,
        byte_vocabulary(),
        None,
        "synthetic",
        "Apache-2.0",
        bytes(32),
        lambda n, a, b: tensors[n][a:b],
    )


def random_chat_model(
    kernels: Kernels, seed: int = 0, precision: str = "w8a16", of: Shape | Arch = TINY
) -> Model:
    """Compile :func:`random_checkpoint` as an imported file would be. It has no chat template."""
    return compile_decoder(random_checkpoint(seed, of), kernels, precision)


# -- models of any shape -----------------------------------------------------------------------------------
def random_decoder(of: Shape | Arch, precision: str, kernels: Kernels) -> Model:
    """Return a decoder with uniform int8 weights, scaled so that activations stay of order one.

    It has no vocabulary: its requests are token ids.
    """
    arch = of.arch if isinstance(of, Shape) else of
    program = decoder_program(arch, PRECISIONS[precision])
    rng = np.random.default_rng(0)
    weights = {spec.name: random_weight(spec, rng) for spec in program.weights}
    return Model.build(program, weights, kernels.hash_rows, manifest={"origin": "random weights"})


def random_weight(spec: WeightSpec, rng: np.random.Generator) -> Weight:
    """Return a matrix of scaled int8 weights, uniform over all 256 values, or a constant.

    A constant is of ones, or 0, 1, ... if it is of integers; a bias is of zeros.
    """
    if spec.kind == "constant":
        ones = np.ones(spec.shape, ELEMENTS[spec.dtype])
        return ones if spec.dtype == "f32" else (np.cumsum(ones) - 1).reshape(spec.shape).astype(ones.dtype)
    size = spec.limbs * spec.rows * spec.width
    words = rng.integers(0, 1 << 64, -(-size // 8), np.uint64)  # several times as fast as integers of a byte
    q = words.view(np.int8)[:size].reshape(*spec.shape[:-2], spec.limbs, *spec.shape[-2:])
    scale = 1 / (_SPREAD * np.sqrt(spec.width) * 256 ** (spec.limbs - 1))
    bias = np.zeros(spec.shape[:-1], np.float32) if spec.bias else None
    return Matrix(q, np.full(spec.shape[:-1], scale, np.float32), bias)


def random_network(widths: Sequence[int], *, limbs: int = 2, relu: bool = True) -> Model:
    """Return a multi-layer perceptron with random weights: one segment for each layer."""
    rng = np.random.default_rng(0)
    b = ProgramBuilder()
    x = b.input("x", widths[0])
    for i, (d, m) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        w = (rng.standard_normal((m, d), np.float32) / np.float32(d**0.5)).astype(np.float32)
        x = b.linear(x, w, limbs=limbs, name="y" if last else None)
        if not last:
            x = b.relu(x) if relu else x
            b.cut(x)
    b.output(x)
    return b.model()
