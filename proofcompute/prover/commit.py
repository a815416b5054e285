"""From a finished session to a signed receipt."""

from __future__ import annotations

import numpy as np

from proofcompute.generation import Session
from proofcompute.kernels import Kernels
from proofcompute.messages import Receipt
from proofcompute.model import Model
from proofcompute.signing import NodeIdentity
from proofcompute.trace import trace_root

__all__ = ["make_receipt"]

RETENTION = 7 * 24 * 3600
"""Seconds for which a node keeps a trace unless told otherwise."""


def make_receipt(
    model: Model, session: Session, kernels: Kernels, identity: NodeIdentity, *, retention: int = RETENTION
) -> Receipt:
    """Hash the committed rows of a finished session and sign the claim.

    The trace is hashed here in one go and not token by token: rows of many positions hash in parallel lanes.
    """
    statement = session.statement()
    suite = session.request.suite
    seals = session.trace.seals(suite, statement.rows, kernels)
    program = model.program
    outputs = tuple(
        (n, np.ascontiguousarray(statement.outputs[n], program.specs[n].numpy).tobytes())
        for n in program.outputs
    )
    receipt = Receipt(
        suite=suite,
        model_id=model.model_id,
        request_digest=session.request.digest,
        outputs=outputs,
        rows=statement.rows,
        layout=statement.layout,
        stop_reason=session.reason or "",
        trace_root=trace_root(suite, seals),
        retention=retention,
        node=identity.public,
        signature=bytes(64),
    )
    return receipt.signed(identity.sign(receipt.signed_digest))
