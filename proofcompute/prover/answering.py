"""One request from start to end, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proofcompute.generation import Engine, Session
from proofcompute.kernels import Kernels
from proofcompute.messages import Receipt, Request
from proofcompute.model import Model
from proofcompute.prover.commit import RETENTION, make_receipt
from proofcompute.prover.opening import StoredTrace
from proofcompute.signing import NodeIdentity

__all__ = ["Proved", "prove", "store"]


@dataclass(frozen=True, eq=False)
class Proved:
    """An answered request: what the client gets, and what the node keeps to open cells."""

    session: Session
    """The finished run; ``session.answer`` holds the generated tokens."""
    receipt: Receipt
    trace: StoredTrace


def store(session: Session, kernels: Kernels) -> StoredTrace:
    """The trace of a finished session as :func:`proofcompute.prover.open_cells` wants it."""
    statement = session.statement()
    groups = [session.trace.group(g, 0, statement.rows) for g in range(len(statement.program.committed))]
    return StoredTrace(statement, session.request.suite, groups, kernels, session.trace.homes)


def prove(
    model: Model,
    request: Request,
    kernels: Kernels,
    identity: NodeIdentity,
    *,
    retention: int = RETENTION,
    on_step: Callable[[Session], None] | None = None,
) -> Proved:
    """Run a request, commit to its trace and sign the receipt.

    Args:
        model: the model that the request names.
        request: what to compute.
        kernels: backend.
        identity: the key that signs.
        retention: seconds for which the node promises to answer challenges.
        on_step: called with the session after each step in which it got tokens.

    Raises MismatchError or InputError if the request is not one for this model, ExecutionError if the
    arithmetic has no result.
    """
    engine = Engine(model, kernels)
    session = engine.add(request)
    engine.run(session, on_step)
    receipt = make_receipt(model, session, kernels, identity, retention=retention)
    return Proved(session, receipt, store(session, kernels))
