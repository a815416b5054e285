"""Compiles the description of a decoder and its weights into a model: a program and quantised weights."""

from proofcompute.importers.compiling.compile import compile_decoder
from proofcompute.importers.compiling.precision import PRECISIONS, Precision, check_precision
from proofcompute.importers.compiling.program import decoder_program

__all__ = ["PRECISIONS", "Precision", "check_precision", "compile_decoder", "decoder_program"]
