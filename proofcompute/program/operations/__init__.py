"""The operations of programs, and their canonical encoding (docs/spec/programs.md#operations)."""

from __future__ import annotations

from proofcompute.program.operations.attention import Attention, QuantiseHeads, Rope
from proofcompute.program.operations.codec import decode_program, encode_program
from proofcompute.program.operations.composites import Pool, Silu, Softmax
from proofcompute.program.operations.contract import Contract
from proofcompute.program.operations.linear import Embed, Experts, Linear
from proofcompute.program.operations.mapping import Constant, Map, Position
from proofcompute.program.operations.moving import Concat, Put, Split, Take, View, contiguous, reshape
from proofcompute.program.operations.pointwise import Add, Gate, Gelu, LayerNorm, Relu, RmsNorm
from proofcompute.program.operations.recurrent import Gru, Lstm
from proofcompute.program.operations.reducing import Cumulate, Order, Reduce
from proofcompute.program.operations.routing import Mix, Route
from proofcompute.program.operations.sample import Sample
from proofcompute.program.operations.scan import Scan
from proofcompute.program.operations.whole import PoolRows

__all__ = [
    "Add",
    "Attention",
    "Concat",
    "Constant",
    "Contract",
    "Cumulate",
    "Embed",
    "Experts",
    "Gate",
    "Gelu",
    "Gru",
    "LayerNorm",
    "Linear",
    "Lstm",
    "Map",
    "Mix",
    "Order",
    "Pool",
    "PoolRows",
    "Position",
    "Put",
    "QuantiseHeads",
    "Reduce",
    "Relu",
    "RmsNorm",
    "Rope",
    "Route",
    "Sample",
    "Scan",
    "Silu",
    "Softmax",
    "Split",
    "Take",
    "View",
    "contiguous",
    "decode_program",
    "encode_program",
    "reshape",
]
