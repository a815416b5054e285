"""Makes a compiled decoder show its logits, to compare them with those of the model it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32, I64
from proofcompute.engine import Engine
from proofcompute.errors import InputError
from proofcompute.models.model import Model
from proofcompute.program.operations import Sample
from proofcompute.protocol.messages import Request

__all__ = ["logits_of", "with_logits"]


def with_logits(model: Model) -> Model:
    """Return the same computation without the sampler: a program that emits the logits after each token.

    The weights are shared. Raises InputError unless the program ends with a sampler.
    """
    program = model.program
    *before, last = program.segments
    sample = last.nodes[-1]
    if not isinstance(sample.op, Sample):
        raise InputError("the program does not end with a sampler")
    shown = replace(
        program,
        outputs=(sample.inputs[0],),
        feedback=False,
        segments=(*before, replace(last, nodes=last.nodes[:-1])),
    )
    return Model(replace(model.card, program=shown), model.weights)


def logits_of(model: Model, kernels: Kernels, tokens: Sequence[int] | I64) -> F32:
    """Return the logits [t, v] after each token of a text, as the compiled model computes them.

    Raises InputError for tokens that the model does not have or more than its context, and the errors of
    running it.
    """
    shown = with_logits(model)
    data = np.asarray(tokens, "<i4").tobytes()
    engine = Engine(shown, kernels)
    session = engine.add(Request(shown.model_id, (("tokens", data),), bytes(32)))
    engine.run(session)
    if session.error is not None:
        raise session.error
    logits: F32 = kernels.host(session.outputs[shown.program.outputs[0]])
    return logits
