"""Measure what audits of a model cost on this machine, in some seconds to minutes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from secrets import token_bytes
from statistics import median
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.models.model import Model
from proofcompute.planning.figures import Figures, fitted
from proofcompute.planning.trace import Lengths, Trace
from proofcompute.planning.work import of_cells, running
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.requests import array_request
from proofcompute.protocol.samples import Sample
from proofcompute.prover.node import Node
from proofcompute.verifier import keygen
from proofcompute.verifier.auditor import Auditor, Cells

__all__ = ["OPENING", "VERIFYING", "measure"]

OPENING: Final = ("audits", "cells", "rows", "products", "besides")
"""Counts of which a node's time is made up."""
VERIFYING: Final = ("audits", "cells", "rows", "checks", "besides")
"""The same of a verifier's."""


def measure(
    model: Model,
    lengths: Lengths,
    kernels: Kernels,
    *,
    rounds: int = 3,
    machine: dict[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Figures:
    """Run a request, commit to it, and audit it in several shapes.

    Args:
        model: the model.
        lengths: rows of the request, whose inputs are random.
        kernels: the backend of node and verifier.
        rounds: measurements per median.
        machine: facts about the machine, to keep with the figures.
        progress: is called with 1 after each round of everything.

    Raises InputError if the request does not fit the model.
    """
    if rounds < 1:
        raise InputError(f"{rounds} rounds measure nothing")
    request, trace = _request(model, lengths), Trace(model.program, lengths)
    identity = NodeIdentity.new()
    node = Node(model, identity, device=kernels)
    forgetful = Node(model, identity, device=kernels, trace_bytes=0)
    auditor = Auditor(keygen(model, kernels), device=kernels)
    shapes = _shapes(trace)
    times: dict[str, list[float]] = {name: [] for name in ("run", "commit", "again")}
    opening: list[list[float]] = [[] for _ in shapes]
    verifying: list[list[float]] = [[] for _ in shapes]
    sizes: list[list[float]] = [[] for _ in shapes]
    counted = [[of_cells(trace, ())] for _ in shapes]
    for round_ in range(-1, rounds):  # the first one compiles kernels and makes keys of what is used
        gc.collect()
        spent: dict[str, float] = {}
        session = _timed(spent, "run", lambda: node.run(request))
        receipt = _timed(spent, "commit", lambda s=session: node.commit(s))  # type: ignore[misc]
        data = receipt.encode()
        one = auditor.challenge(request, data, 1)
        _timed(spent, "again", lambda d=data, a=one: forgetful.open(request, d, a))  # type: ignore[misc]
        for i, shape in enumerate(shapes):
            asked = auditor.challenge(request, data, shape)
            opened = _timed(spent, "open", lambda a=asked, d=data: node.open(request, d, a))  # type: ignore[misc]
            _timed(spent, "check", lambda a=asked, d=data, o=opened: auditor.check(request, d, a, o))  # type: ignore[misc]
            if round_ >= 0:
                opening[i].append(spent["open"])
                verifying[i].append(spent["check"])
                sizes[i].append(len(opened))
                counted[i].append(of_cells(trace, asked.cells))
        if round_ >= 0:
            for name, found in times.items():
                found.append(spent[name])
        if progress is not None:
            progress(1)
    run = median(times["run"])
    audits = [c for each in counted for c in each[1:]]
    nodes, worst = fitted(audits, _smoothed(opening), OPENING)
    checks, worse = fitted(audits, _smoothed(verifying), VERIFYING)
    opened_bytes = [float(x) for each in sizes for x in each]
    nbytes, error = fitted(audits, opened_bytes, ("audits", "cells", "rows", "hints"))
    return Figures(
        source=f"measured on this machine, {lengths} rows of model {model.model_id.hex()[:16]}",
        running=run / running(trace),
        committing=median(times["commit"]) / run,
        again=median(times["again"]) / run,
        opening=nodes,
        verifying=checks,
        nbytes=nbytes,
        machine=machine or {},
        fit=max(worst, worse, error),
    )


def _smoothed(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Return for every measurement the median of its shape: a disturbance of one round is none of its own."""
    return [median(each) for each in rounds for _ in each]


def _shapes(trace: Trace) -> list[Cells]:
    """Return audits that differ in all that is counted."""
    most, segments = max(trace.segments), len(trace.segments)
    runs = {(min(segments, g), max(1, most // r)) for g, r in ((1, 1), (2, 2), (segments, 4), (segments, 16))}
    cells = [Sample(cells=n) for n in (1, 16) if n < trace.statement.cells]
    return ["all", *(Sample(g, r) for g, r in sorted(runs)), *cells]


def _timed(spent: dict[str, float], name: str, action: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    found = action()
    spent[name] = time.perf_counter() - start
    return found


def _request(model: Model, lengths: Lengths) -> Request:
    """Return a request of random rows. Raises InputError if the model takes no such rows."""
    rng, program = np.random.default_rng(0), model.program
    arrays: dict[str, Array] = {}
    for name, spec in program.inputs:
        shape = (lengths.prompt, *spec.shape)
        if spec.dtype == "f32":
            arrays[name] = rng.standard_normal(shape).astype(spec.numpy)
        else:
            arrays[name] = rng.integers(0, program.index_limits.get(name, 2), shape).astype(spec.numpy)
    if not program.feedback:
        return array_request(model, arrays)
    given = tuple((name, a.astype(a.dtype.newbyteorder("<")).tobytes()) for name, a in arrays.items())
    return Request(model.model_id, given, token_bytes(32), Generation(lengths.tokens, ignore_end=True))
