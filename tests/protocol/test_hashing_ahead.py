"""A backend that hashes rows while later ones are computed commits to what one that waits commits to."""

from __future__ import annotations

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.errors import NonFiniteError
from proofcompute.protocol import trace as trace_module

LONG = "a prompt of several steps"


def ahead(rows: int) -> NumpyKernels:
    """The definition, which hashes as soon as so many rows are finished."""
    kernels = NumpyKernels()
    kernels.ahead = rows
    return kernels


@pytest.mark.parametrize("together", [1, 100_000])
@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_rows_that_were_hashed_ahead(rows: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are hashed one by one or after the last one of a step, or all rows at the end."""
    monkeypatch.setattr(trace_module, "TOGETHER", together)
    m = synthetic.model()
    request = synthetic.request(m, LONG, max_tokens=6)
    node = synthetic.node(m, ahead(rows), chunk=7)
    session = node.run(request)
    assert node.commit(session).encode() == synthetic.prove(m, request).data


def test_rows_of_a_step_that_failed_are_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of both requests wrote and hashed rows before it failed; the next attempt writes again."""
    monkeypatch.setattr(trace_module, "TOGETHER", 1)
    m = synthetic.model()
    node = synthetic.node(m, ahead(1), chunk=6)
    engine = node.engine
    bad, fine = (engine.add(synthetic.request(m, p, max_tokens=3)) for p in (LONG, "Hello, world"))
    engine.step()
    bad.trace.arrays["k_scale.1"][2] = np.float32(np.nan)
    engine.step()
    assert isinstance(bad.error, NonFiniteError)
    engine.run(fine)
    assert node.commit(fine, keep=False).encode() == synthetic.prove(m, fine.request).data
