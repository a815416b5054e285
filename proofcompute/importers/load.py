"""Compiles a checkpoint file into a model in one call."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.importers.compiling import compile_decoder
from proofcompute.importers.gguf import open_gguf
from proofcompute.models.model import Model

__all__ = ["import_gguf"]


def import_gguf(
    path: str | os.PathLike[str],
    kernels: Kernels,
    precision: str = "w8a16",
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Compile a GGUF file into a model. Raises as :func:`open_gguf` and :func:`compile_decoder`.

    ``progress`` is called with (weights done, all weights). Guesses and corrections are issued as warnings.
    """
    checkpoint = open_gguf(path)
    for note in checkpoint.notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return compile_decoder(checkpoint, kernels, precision, progress)
