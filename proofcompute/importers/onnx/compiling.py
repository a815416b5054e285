"""Compiles an ONNX file into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.importers.lowering.finishing import finish, uniform
from proofcompute.importers.onnx.batches import check_rows
from proofcompute.importers.onnx.opening import OnnxFile
from proofcompute.importers.onnx.rows import CONTEXT, inputs_of, lowered
from proofcompute.models.model import Model
from proofcompute.version import __version__

__all__ = ["compile_onnx"]


def compile_onnx(
    file: OnnxFile,
    kernels: Kernels,
    precision: str = "w16a16",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Array] | None = None,
    whole: bool = False,
    context: int = CONTEXT,
    device: str = "auto",
) -> Model:
    """Compile an opened file into a model whose rows are samples, or whole batches.

    Raises RefusedError naming the node that cannot be lowered and the reason, and as :func:`inputs_of`;
    LimitError if the program is larger than one may be.
    """
    inputs = inputs_of(file, shapes, values, whole=whole)
    g, outputs = lowered(file, inputs, uniform(precision), context, device)
    check_rows(file, inputs, sum(count for _, count in g.products))
    manifest = {
        "checkpoint_sha256": file.digest.hex(),
        "importer": f"proofcompute {__version__}",
        "name": file.name[:200],
        "precision": precision,
        "recipe": "",
    }
    return finish(g, outputs, kernels, context, manifest)
