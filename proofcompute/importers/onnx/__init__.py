"""Reads ONNX files (extra ``onnx``): the graph is lowered into a program, and nothing in it is executed.

Whatever a file holds, opening and compiling it raise InputError or a kind of it: a graph that cannot be
lowered is a :class:`~proofcompute.importers.lowering.values.RefusedError` that names the node and the reason.
"""

from proofcompute.importers.lowering.pictures import Pixels
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.importers.lowering.values import RefusedError
from proofcompute.importers.onnx.compiling import compile_onnx
from proofcompute.importers.onnx.opening import OnnxFile, open_onnx
from proofcompute.importers.onnx.rows import CONTEXT, inputs_of, specs_of

__all__ = [
    "CONTEXT",
    "OnnxFile",
    "Pixels",
    "Recipe",
    "RefusedError",
    "compile_onnx",
    "inputs_of",
    "open_onnx",
    "specs_of",
]
