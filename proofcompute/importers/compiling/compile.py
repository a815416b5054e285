"""Compiles a transformer, a decoder or an encoder: turns a checkpoint into a program and quantised weights.

Nothing here depends on the checkpoint's file format. Compilation uses canonical arithmetic only, so the same
checkpoint gives the same model id on every machine (docs/spec/arithmetic.md#compiled-models).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from proofcompute.arithmetic.devices import host_kernels
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32, I8, Array
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.calibration import Scales, smoothed
from proofcompute.importers.compiling.choosing import choose
from proofcompute.importers.compiling.draft import Recipe
from proofcompute.importers.compiling.encoders import plan_encoder
from proofcompute.importers.compiling.known import known_choice
from proofcompute.importers.compiling.precision import (
    AUTO,
    COMPENSATED,
    PRECISIONS,
    Precision,
    check_precision,
)
from proofcompute.importers.compiling.program import plan_decoder
from proofcompute.importers.compiling.rounded import Rounding
from proofcompute.importers.compiling.rounding import Factor, compensated
from proofcompute.importers.compiling.steps import Steps
from proofcompute.models.card import ModelCard, Weight
from proofcompute.models.model import Model
from proofcompute.program.types import WeightSpec
from proofcompute.version import __version__

__all__ = ["compile_decoder"]

ROWS_AT_ONCE = 4096
"""Rows of a matrix that are dequantised and quantised together, so that memory stays small."""


def compile_decoder(
    checkpoint: Checkpoint,
    kernels: Kernels,
    precision: str | Precision | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Quantise a checkpoint's weights and return the model, hashed.

    One-limb weights are scaled first (:mod:`.calibration`, :mod:`.rounded`), which runs the model on a short
    text.

    Args:
        checkpoint: description and weights.
        kernels: the backend; every backend gives the same model id.
        precision: one of :data:`PRECISIONS`; ``auto``, which chooses the limbs of each matrix
            (:mod:`.choosing`); or limbs that were chosen before. None: ``auto``. For an encoder that is
            w16a16.
        progress: called with (steps done, all steps that are expected).

    Raises UnsupportedError for an unknown precision or a decoder that this version cannot express,
    FormatError for a precision that names a matrix which the decoder does not have, DeviceError where this
    thread computes in another way, and the errors of reading the checkpoint.
    """
    encoder = checkpoint.arch.encoder
    if precision is None or (precision == AUTO and encoder is not None):
        precision = AUTO if encoder is None else "w16a16"
    check_precision(precision)
    require_ieee()  # before any bits of a constant are made
    found: dict[str, str] = {}
    rounding: Rounding | None = None
    steps = Steps() if progress is None else Steps(progress)
    if precision == AUTO:
        if (known := known_choice(checkpoint)) is not None:
            limbs, found = known
        else:
            choice = choose(checkpoint, kernels, _weight, steps)
            limbs, found, rounding = choice.precision, choice.facts(), choice.rounding
    elif isinstance(precision, Precision):
        limbs = precision
    else:
        limbs = PRECISIONS[precision]
    arch = checkpoint.arch
    plan = plan_decoder(arch, limbs) if encoder is None else plan_encoder(arch, encoder, limbs)
    program = plan.program
    # a head of as many limbs as the embedding that it is made of is no matrix of its own
    if unknown := sorted(limbs.exact - program.weight.keys() - {"head"}):
        raise FormatError(f"the precision names {unknown[0]!r}, which is no matrix of this decoder")
    count = len(program.weights)
    nearest = limbs.rounding != COMPENSATED
    if encoder is not None and not nearest:
        raise UnsupportedError("weights of an encoder are rounded to the nearest")
    steps.expect(count * (2 if nearest and limbs.w_limbs == 1 and plan.folds else 1))

    def quantised(rounding: Rounding) -> dict[str, Weight]:
        weights: dict[str, Weight] = {}
        for spec in program.weights:
            weights[spec.name] = _weight(checkpoint, spec, plan.recipes[spec.name], rounding, kernels)
            steps.advance()
        return weights

    if rounding is None and not nearest:
        rounding = Rounding.of_checkpoint(checkpoint, limbs, kernels, _weight, steps)
    elif rounding is None:
        rounding = Rounding()
        if limbs.w_limbs == 1 and plan.folds:
            plain = ModelCard(program, checkpoint.vocabulary.encode(), "", (bytes(32),) * count)
            model = Model(plain, quantised(rounding))
            scales = smoothed(checkpoint, plan.folds, model, kernels, limbs.x_limbs == 1)
            rounding = Rounding(scales)
    weights = quantised(rounding)
    manifest = {
        "checkpoint_sha256": checkpoint.digest.hex(),
        "importer": f"proofcompute {__version__}",
        "licence": checkpoint.licence,
        "name": checkpoint.name,
        "precision": limbs.name,
        "recipe": limbs.recipe(),
        **found,
    }
    return Model.build(
        program,
        weights,
        kernels.hash_rows,
        tokenizer=b"" if checkpoint.words is None else checkpoint.words.encode(),
        template=checkpoint.chat_template or "",
        manifest=manifest,
    )


def _weight(
    checkpoint: Checkpoint, spec: WeightSpec, recipe: Recipe, rounding: Rounding, kernels: Kernels
) -> Weight:
    scales = rounding.scales
    factors = None
    if spec.limbs == 1 and spec.kind == "matrix":
        if spec.name in rounding.made:
            return rounding.made[spec.name]
        factors = rounding.take_factors(spec.name, host_kernels(kernels))
    if spec.kind == "constant":
        return _constant(checkpoint, spec, recipe, scales)
    if recipe.groups:
        return _matrices(checkpoint, spec, recipe, scales, kernels)
    q: list[I8] = []
    scale: list[F32] = []
    for name in recipe.tensors:
        count = checkpoint.shapes[name][0]
        for a in range(0, count, ROWS_AT_ONCE):
            b = min(a + ROWS_AT_ONCE, count)
            own = recipe.own or name
            limbs, s = _quantised(checkpoint, name, own, a, b, spec.limbs, scales, kernels, factors)
            q.append(limbs)
            scale.append(_times(s, recipe.factor))
    bias = None
    if spec.bias:
        biases = ((f"{name}.bias", checkpoint.tensor(f"{name}.bias")) for name in recipe.tensors)
        bias = np.concatenate([_times(scales.apply(n, v, 0, len(v)), recipe.factor) for n, v in biases])
    joined: Array = np.concatenate(q, axis=1)
    return Matrix(np.ascontiguousarray(joined), np.concatenate(scale), bias)


def _matrices(
    checkpoint: Checkpoint, spec: WeightSpec, recipe: Recipe, scales: Scales, kernels: Kernels
) -> Matrix:
    """Return the matrices of all groups; those of one are in memory as float32 at a time."""
    q = np.empty((spec.groups, spec.limbs, spec.m, spec.width), np.int8)
    scale = np.empty((spec.groups, spec.m), np.float32)
    bias = np.empty_like(scale) if spec.bias else None
    for group in range(spec.groups):
        at = 0
        for name in recipe.tensors:
            each = checkpoint.shapes[name][0] // spec.groups
            a, b = (group * each + row for row in recipe.part or (0, each))
            if recipe.transposed:
                columns = scales.apply(name, checkpoint.rows(name, a, b), a, b).T
                limbs, s = kernels.quantise(np.ascontiguousarray(columns), spec.limbs)
            else:
                limbs, s = _quantised(checkpoint, name, name, a, b, spec.limbs, scales, kernels)
            part = slice(at, at + len(s))
            q[group, :, part], scale[group, part] = limbs, _times(s, recipe.factor)
            if bias is not None:
                values = scales.apply(f"{name}.bias", checkpoint.rows(f"{name}.bias", a, b), a, b)
                bias[group, part] = _times(values, recipe.factor)
            at = part.stop
    return Matrix(q, scale, bias)


def _quantised(
    checkpoint: Checkpoint,
    name: str,
    own: str,
    a: int,
    b: int,
    limbs: int,
    scales: Scales,
    kernels: Kernels,
    factors: Sequence[Factor] | None = None,
) -> tuple[I8, F32]:
    """Return rows a..b of a matrix in limbs [limbs, b - a, d], and their scales [b - a].

    ``own`` is the name of the matrix' scales. Rows that are stored as int8 stay as they are, if one limb is
    wanted. With ``factors``, the errors of columns compensate each other.
    """
    if limbs == 1 and own not in scales.of and (stored := checkpoint.quantised(name, a, b)) is not None:
        q, s = stored
        return q[np.newaxis], s
    rows = checkpoint.rows(name, a, b).reshape(b - a, -1)  # of patches, a row has several axes
    x = scales.apply(own, rows, a, b)
    q, s = kernels.quantise(x, limbs)
    return (q if factors is None else compensated(x, s, factors, host_kernels(kernels))), s


def _constant(checkpoint: Checkpoint, spec: WeightSpec, recipe: Recipe, scales: Scales) -> Array:
    if spec.dtype == "i32":
        return np.arange(*spec.shape, dtype=np.int32)
    name = recipe.tensors[0] if recipe.tensors else ""
    values: F32 = checkpoint.tensor(name) if name else np.zeros(spec.shape, np.float32)
    if recipe.offset or recipe.factor != 1:
        wide = (values.astype(np.float64) + recipe.offset) * recipe.factor
        with np.errstate(over="ignore"):
            values = wide.astype(np.float32)
        if not np.isfinite(values).all():
            raise FormatError(f"{spec.name}: a weight is infinite once it is scaled")
    return scales.apply(name, values, 0, len(values)).reshape(spec.shape)


def _times(values: F32, factor: float) -> F32:
    """Return values * factor, one rounding each."""
    return values if factor == 1 else values * np.float32(factor)
