"""Turn a finished session into a signed receipt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Pipeline, Receipt, Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.protocol.receipts import require_addressed
from proofcompute.protocol.statement import Statement
from proofcompute.protocol.trace import trace_root

__all__ = ["Sealed", "make_receipt", "seal", "sign_claim"]


class Sealed(NamedTuple):
    """What a receipt says of a trace."""

    statement: Statement
    seals: list[bytes]
    """The sealed root of each committed group, 32 bytes each."""


def seal(session: Session, kernels: Kernels) -> Sealed:
    """Hash the committed rows of a finished session: the part of :func:`make_receipt` that uses the backend.

    The trace is hashed at once and not token by token, so that rows of many positions are hashed in parallel
    lanes. Raises InputError if the session is not finished.
    """
    statement = session.statement()
    return Sealed(statement, session.trace.seals(session.request.suite, statement.rows, kernels))


def make_receipt(
    model: Model,
    session: Session,
    kernels: Kernels,
    identity: NodeIdentity,
    *,
    retention: int | None = None,
    terms: Terms | None = None,
    sealed: Sealed | None = None,
) -> Receipt:
    """Hash the committed rows of a finished session and sign the claim, under the node's terms if it has any.

    ``retention`` None is the retention of the terms, or a week. ``sealed`` is what :func:`seal` returned for
    the session; None: it is called here.

    Raises MismatchError if the request addresses another node, and InputError if the session is not finished,
    or the terms are another node's or promise a longer retention than ``retention``.
    """
    require_addressed(session.request, identity.public)
    statement, seals = seal(session, kernels) if sealed is None else sealed
    return sign_claim(
        model,
        session.request,
        Sealed(statement, seals),
        session.reason or "",
        identity,
        retention=retention,
        terms=terms,
    )


def sign_claim(
    model: Model,
    request: Request,
    sealed: Sealed,
    reason: str,
    identity: NodeIdentity,
    *,
    retention: int | None,
    terms: Terms | None,
    pipeline: Pipeline | None = None,
    stage: int = 0,
) -> Receipt:
    """Sign what a run, or one stage of a pipeline, claims; the caller knows that the request addresses it.

    Raises InputError if the terms are another node's or promise a longer retention than ``retention``.
    """
    kept = retention_of(identity.public, terms, retention)
    program, statement = model.program, sealed.statement
    outputs = tuple(
        (n, np.ascontiguousarray(statement.outputs[n], program.specs[n].numpy).tobytes())
        for n in program.outputs
    )
    receipt = Receipt(
        suite=request.suite,
        model_id=model.model_id,
        request_digest=request.digest,
        outputs=outputs,
        rows=statement.rows,
        stop_reason=reason,
        trace_root=trace_root(request.suite, sealed.seals),
        terms_digest=terms.digest if terms else b"",
        retention=kept,
        node=identity.public,
        pipeline=pipeline,
        stage=stage,
    )
    return receipt.signed_by(identity.sign)
