"""The operations of programs, and their canonical encoding (docs/spec/programs.md#operations)."""

from __future__ import annotations

from proofcompute.program.operations.attention import Attention, QuantiseHeads, Rope
from proofcompute.program.operations.codec import decode_program, encode_program
from proofcompute.program.operations.linear import Embed, Linear
from proofcompute.program.operations.pointwise import Add, Gate, Gelu, LayerNorm, Relu, RmsNorm, Split
from proofcompute.program.operations.sample import Sample

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
