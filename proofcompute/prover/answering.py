"""Turn a finished session into a trace whose cells can be opened."""

from __future__ import annotations

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Session
from proofcompute.prover.opening import StoredTrace

__all__ = ["store"]


def store(session: Session, kernels: Kernels) -> StoredTrace:
    """Return the trace of a finished session for :func:`proofcompute.prover.open_cells`.

    Raises InputError if the session failed or is not finished.
    """
    statement = session.statement()
    groups = [session.trace.group(g, 0, statement.rows) for g in range(len(statement.program.committed))]
    return StoredTrace(statement, session.request.suite, groups, kernels, session.trace.homes)
