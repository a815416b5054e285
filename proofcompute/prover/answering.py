"""Turn a finished session into a trace that can be opened, and a receipt into what it states."""

from __future__ import annotations

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.engine import Session
from proofcompute.errors import FormatError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.protocol.requests import inputs_of, statement_of
from proofcompute.protocol.statement import Statement, rows_from_bytes
from proofcompute.prover.stored import StoredTrace

__all__ = ["claimed", "store"]


def store(session: Session, kernels: Kernels) -> StoredTrace:
    """Return the trace of a finished session for :func:`proofcompute.prover.open_cells`.

    It has the trees that the receipt's root was made of, or that it will be made of.

    Raises InputError if the session failed or is not finished.
    """
    statement = session.statement()
    groups = [session.trace.group(g, 0, statement.rows) for g in range(len(statement.program.committed))]
    trace = StoredTrace(statement, session.request.suite, groups, kernels, session.trace.homes)
    trace.forests = session.trace.grow(session.request.suite, statement.rows, kernels)
    return trace


def claimed(model: Model, request: Request, receipt: Receipt) -> Statement:
    """Return what a node's own receipt states about its request.

    Raises MismatchError if the request is for another model, and FormatError or InputError if the outputs are
    none that the model has for it.
    """
    program = model.program
    inputs = inputs_of(request, program, model.model_id)
    if tuple(name for name, _ in receipt.outputs) != program.outputs:
        raise FormatError("the receipt has other outputs than the program")
    outputs: dict[str, Array] = {
        name: rows_from_bytes(program.specs[name], data, f"output {name}") for name, data in receipt.outputs
    }
    statement = statement_of(request, program, inputs, outputs)
    if receipt.rows != statement.rows:
        raise FormatError(f"the receipt states {receipt.rows} rows for {statement.rows}")
    return statement
