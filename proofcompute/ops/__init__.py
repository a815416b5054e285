"""The operations of programs, and their canonical encoding (design, sections 3 and 4)."""

from __future__ import annotations

from proofcompute.ops.attention import Attention, QuantiseHeads, Rope
from proofcompute.ops.codec import decode_program, encode_program
from proofcompute.ops.linear import Embed, Linear
from proofcompute.ops.pointwise import Add, Gate, Gelu, LayerNorm, Relu, RmsNorm, Split
from proofcompute.ops.sample import Sample

__all__ = [
    "Add",
    "Attention",
    "Embed",
    "Gate",
    "Gelu",
    "LayerNorm",
    "Linear",
    "QuantiseHeads",
    "Relu",
    "RmsNorm",
    "Rope",
    "Sample",
    "Split",
    "decode_program",
    "encode_program",
]
