"""What ``import`` does with an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proofcompute.errors import InputError
from proofcompute.errors.extras import lacking

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.models.model import Model

__all__ = ["import_onnx", "shapes_of"]


def import_onnx(
    source: Path,
    precision: str | None,
    shapes: Sequence[str],
    context: int | None,
    kernels: Kernels,
    *,
    whole: bool,
) -> Model:
    """Compile an ONNX file. Raises InputError, of which there are many kinds, if it cannot be."""
    said = shapes_of(shapes)
    try:
        from proofcompute.importers.onnx import CONTEXT, compile_onnx, open_onnx
    except ModuleNotFoundError as e:
        raise lacking(e, "importing an ONNX file") from e
    return compile_onnx(
        open_onnx(source),
        kernels,
        precision or "w16a16",
        shapes=said,
        whole=whole,
        context=CONTEXT if context is None else context,
    )


def shapes_of(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return shapes by input from words such as ``image=1,3,224,224``. Raises InputError for others."""
    found: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, equals, numbers = word.rpartition("=")
        try:
            found[name] = tuple(int(n) for n in numbers.split(",") if n)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"--shape {word!r} is not of the form NAME=1,3,224,224")
    return found
