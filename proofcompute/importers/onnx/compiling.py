"""Compiles an ONNX file into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.importers.lowering.finishing import finish
from proofcompute.importers.lowering.pictures import Pixels
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.importers.onnx.batches import check_rows
from proofcompute.importers.onnx.choosing import chosen_limbs
from proofcompute.importers.onnx.opening import OnnxFile
from proofcompute.importers.onnx.rows import CONTEXT, inputs_of, lowered
from proofcompute.models.model import Model
from proofcompute.version import __version__

__all__ = ["compile_onnx"]


def compile_onnx(
    file: OnnxFile,
    kernels: Kernels,
    precision: str | Recipe = "w16a16",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Array] | None = None,
    examples: Mapping[str, Array] | None = None,
    whole: bool = False,
    pixels: Mapping[str, Pixels] | None = None,
    context: int = CONTEXT,
    device: str = "auto",
) -> Model:
    """Compile an opened file into a model whose rows are samples, or whole batches.

    ``precision`` is ``w8a8``, ``w8a16``, ``w16a16``, or ``auto``: chosen for each product, so that outputs
    are within 0.3 % of those of floats, for ``examples`` [samples, ...] or random inputs. Or it is the recipe
    of another import, which the model's manifest holds.
    ``shapes``, ``values`` and ``whole`` are those of :func:`inputs_of`. ``pixels`` says of inputs by name
    that they are made of pictures, and how; ``examples`` are what they become.

    Raises RefusedError naming the node that cannot be lowered and the reason, and as :func:`inputs_of`;
    LimitError if the program is larger than one may be.
    """
    inputs = inputs_of(file, shapes, values, whole=whole)
    for name in pixels or {}:
        if name not in inputs.batch or not _takes_floats(file, name):
            raise InputError(f"pixels are for an input of float32 samples, which {name[:80]!r} is not")
    if isinstance(precision, Recipe):
        recipe = precision
    elif precision == "auto":
        recipe = Recipe.of(precision, chosen_limbs(file, inputs, examples))
    else:
        recipe = Recipe.uniform(precision)
    g, outputs = lowered(file, inputs, recipe.limbs, context, device, pixels=pixels)
    recipe.check(name for name, _ in g.products)
    check_rows(file, inputs, sum(count for _, count in g.products))
    manifest = {
        "checkpoint_sha256": file.digest.hex(),
        "importer": f"proofcompute {__version__}",
        "name": file.name[:200],
        "precision": recipe.name,
        "recipe": recipe.text(),
    }
    return finish(g, outputs, kernels, context, manifest)


def _takes_floats(file: OnnxFile, name: str) -> bool:
    return any(d.name == name and d.dtype == "f32" for d in file.inputs)
