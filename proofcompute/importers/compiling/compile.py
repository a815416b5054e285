"""Compiles a decoder-only transformer: turns a checkpoint into a program and quantised weights.

Nothing here depends on the checkpoint's file format. Compilation uses canonical arithmetic only, so the same
checkpoint gives the same model id on every machine (docs/spec/arithmetic.md#compiled-models).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32, I8, Array
from proofcompute.errors import UnsupportedError
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.calibration import smoothed
from proofcompute.importers.compiling.draft import Recipe
from proofcompute.importers.compiling.precision import PRECISIONS
from proofcompute.importers.compiling.program import plan_decoder
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
    precision: str = "w8a16",
    progress: Callable[[int, int], None] | None = None,
) -> Model:
    """Quantise a checkpoint's weights and return the model, hashed.

    One-limb weights are scaled first (:mod:`.calibration`), which runs the model on a short text.

    Args:
        checkpoint: description and weights.
        kernels: the backend; every backend gives the same model id.
        precision: one of :data:`PRECISIONS`.
        progress: called with (weights quantised, all weights to quantise).

    Raises UnsupportedError for an unknown precision or a decoder that this version cannot express, and the
    errors of reading the checkpoint.
    """
    if precision not in PRECISIONS:
        raise UnsupportedError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    limbs = PRECISIONS[precision]
    plan = plan_decoder(checkpoint.arch, limbs)
    program = plan.program
    count = len(program.weights)
    passes = 2 if limbs.w_limbs == 1 else 1
    done = 0

    def quantised(source: Checkpoint) -> dict[str, Weight]:
        nonlocal done
        weights: dict[str, Weight] = {}
        for spec in program.weights:
            weights[spec.name] = _weight(source, spec, plan.recipes[spec.name], kernels)
            done += 1
            if progress is not None:
                progress(done, passes * count)
        return weights

    if limbs.w_limbs == 1:
        plain = ModelCard(program, checkpoint.vocabulary.encode(), "", (bytes(32),) * count)
        model = Model(plain, quantised(checkpoint))
        checkpoint = smoothed(checkpoint, model, kernels, limbs.x_limbs == 1)
    weights = quantised(checkpoint)
    manifest = {
        "checkpoint_sha256": checkpoint.digest.hex(),
        "importer": f"proofcompute {__version__}",
        "licence": checkpoint.licence,
        "name": checkpoint.name,
        "precision": precision,
    }
    return Model.build(
        program,
        weights,
        kernels.hash_rows,
        tokenizer=checkpoint.vocabulary.encode(),
        template=checkpoint.chat_template or "",
        manifest=manifest,
    )


def _weight(checkpoint: Checkpoint, spec: WeightSpec, recipe: Recipe, kernels: Kernels) -> Weight:
    if spec.kind == "constant":
        return checkpoint.tensor(recipe.tensors[0])
    q: list[I8] = []
    scale: list[F32] = []
    for name in recipe.tensors:
        rows = checkpoint.shapes[name][0]
        for a in range(0, rows, ROWS_AT_ONCE):
            limbs, s = kernels.quantise(checkpoint.rows(name, a, min(a + ROWS_AT_ONCE, rows)), spec.limbs)
            q.append(limbs)
            scale.append(s)
    bias = np.concatenate([checkpoint.tensor(f"{n}.bias") for n in recipe.tensors]) if spec.bias else None
    joined: Array = np.concatenate(q, axis=1)
    return Matrix(np.ascontiguousarray(joined), np.concatenate(scale), bias)
