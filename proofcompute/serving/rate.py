"""Measure how fast a model's rows are computed again, for the node's terms."""

from __future__ import annotations

import secrets
import time
from typing import Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Engine
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Generation, Request
from proofcompute.prover.runner import RECOMPUTING

__all__ = ["busy_rate", "measured_rate", "stated"]

_ROWS: Final = 256
"""Rows of the prompt that is measured, if the context holds as many."""


def measured_rate(model: Model, kernels: Kernels, chunk: int = 256) -> float:
    """Return the rows per second of a prompt, after a first run that compiles what is needed.

    A step has at most ``chunk`` rows.
    """
    engine, seconds, rows = Engine(model, kernels, chunk=chunk), 0.0, 1
    for _ in range(2):
        session = engine.add(_probe(model))
        start = time.perf_counter()
        engine.run(session)
        seconds, rows = time.perf_counter() - start, session.done
    return rows / max(seconds, 1e-6)


def busy_rate(model: Model, kernels: Kernels, chunk: int = 256) -> float:
    """Return the rows that are computed again in a second while others keep the node busy.

    Recomputations then have the share RECOMPUTING of the time. Half of it is reserve, because rows late in a
    long context take longer.
    """
    return measured_rate(model, kernels, chunk) * RECOMPUTING / 2


def stated(measured: float) -> int:
    """Return the rate that terms state: half of what was measured, with one digit that is not zero.

    So the terms are mostly the same after a restart.
    """
    half = max(1, int(measured / 2))
    unit: int = 10 ** (len(str(half)) - 1)
    return half // unit * unit


def _probe(model: Model) -> Request:
    program = model.program
    rows = min(_ROWS, program.context)
    rng, inputs = np.random.default_rng(0), []
    for name, spec in program.inputs:
        if name in program.index_limits:
            data = rng.integers(0, program.index_limits[name], (rows, *spec.shape)).astype(spec.numpy)
        else:
            data = np.zeros((rows, *spec.shape), spec.numpy)
        inputs.append((name, data.tobytes()))
    generation = Generation(1) if program.feedback else None
    return Request(model.model_id, tuple(inputs), secrets.token_bytes(32), generation=generation)
