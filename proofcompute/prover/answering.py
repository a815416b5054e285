"""From a finished session to what opening its cells needs."""

from __future__ import annotations

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Session
from proofcompute.prover.opening import StoredTrace

__all__ = ["store"]


def store(session: Session, kernels: Kernels) -> StoredTrace:
    """The trace of a finished session as :func:`proofcompute.prover.open_cells` wants it."""
    statement = session.statement()
    groups = [session.trace.group(g, 0, statement.rows) for g in range(len(statement.program.committed))]
    return StoredTrace(statement, session.request.suite, groups, kernels, session.trace.homes)
