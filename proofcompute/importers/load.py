"""Opens checkpoints of every format, and compiles one into a model in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import check_precision, compile_decoder
from proofcompute.importers.gguf import open_gguf
from proofcompute.importers.huggingface import open_huggingface
from proofcompute.models.model import Model

__all__ = ["import_checkpoint", "open_checkpoint"]


def open_checkpoint(path: StrPath, *, context: int | None = None) -> Checkpoint:
    """Open a folder in the layout of Hugging Face, or a GGUF file (the first of several).

    ``context`` is the most positions that are wanted, where a model rotates long texts otherwise.
    Raises as :func:`open_huggingface` and :func:`open_gguf`.
    """
    found = path_of(path)
    return open_huggingface(found, context=context) if found.is_dir() else open_gguf(found, context)


def import_checkpoint(
    path: StrPath,
    kernels: Kernels,
    precision: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    context: int | None = None,
) -> Model:
    """Compile a GGUF file, or a folder in the layout of Hugging Face, into a model.

    ``precision`` is one of :data:`PRECISIONS` or ``auto``, which None means too.
    ``progress`` is called with (weights done, all weights). Guesses and corrections are issued as warnings.
    Raises as :func:`open_checkpoint` and :func:`compile_decoder`.
    """
    if precision is not None:
        check_precision(precision)  # before a long read
    checkpoint = open_checkpoint(path, context=context)
    for note in checkpoint.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return compile_decoder(checkpoint, kernels, precision, progress)
