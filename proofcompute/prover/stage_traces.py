"""Bring the trace of a stage's receipt back, from rows that are given to it (docs/spec/pipelines.md#opening).

A stage keeps its newest traces in memory, and no state anywhere else. What its segments read comes from
request and receipt, and from the rows that earlier stages handed to it. Its receipt commits to those rows, so
anybody may give them: rows with the committed root are the committed ones, and the trace that follows from
them has the root that the node signed, or its own machine is at fault. Nothing is computed from other rows,
and nothing for a receipt that this node did not sign, so only who asked can make it compute again, and only
what it computed before.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn, final

import numpy as np

from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine.stages import ROWS, StageEngine, StageRun
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError
from proofcompute.limits import MIB
from proofcompute.logs import service_log, short
from proofcompute.protocol.boundaries import root_of
from proofcompute.protocol.frames import require_signer
from proofcompute.protocol.messages import Pipeline, Receipt, Request
from proofcompute.protocol.needs import GroupRows
from proofcompute.protocol.statement import Statement
from proofcompute.prover.answering import claimed
from proofcompute.prover.opener import Opener
from proofcompute.prover.stage_runs import StageRuns
from proofcompute.prover.stored import StoredTrace

__all__ = ["AGAIN", "NotKeptError", "StageTraces", "not_kept", "stage_trace"]

_log = service_log(__name__)

AGAIN: Final = 4
"""Most traces that are brought back at a time."""
_ROWS_BYTES: Final = 64 * MIB
"""Most bytes of rows that are handed on again at a time."""


class NotKeptError(InputError):
    """A stage no longer has the trace of a receipt: it takes the rows that were handed to the stage."""


def not_kept(request: Request, answer: Sequence[int]) -> NoReturn:
    """Refuse to compute a trace again, which takes rows of the stages before this one."""
    raise NotKeptError("the trace of this receipt is no longer kept: give the stage what was handed to it")


def stage_trace(engine: StageEngine, run: StageRun, statement: Statement) -> StoredTrace:
    """Return the trace of a run of which all rows are computed; it has the stage's own groups."""
    program, plan, trace = engine.model.program, engine.plan, run.session.trace
    groups = [
        trace.group(g, 0, statement.rows) if g in plan.holds else np.zeros((0, 0), np.uint8)
        for g in range(len(program.committed))
    ]
    part = replace(statement, part=plan.segments)
    stored = StoredTrace(part, run.request.suite, groups, engine.kernels, trace.homes)
    stored.elsewhere = {g: b"" for g in range(len(groups)) if g not in plan.holds}
    return stored


@dataclass(frozen=True, eq=False)
class _Again:
    """A trace that is being brought back."""

    run: StageRun
    receipt: Receipt
    statement: Statement
    roots: tuple[bytes, ...]
    """The root of each committed group."""


@final
class StageTraces:
    """Traces of one stage's receipts that are computed again. Only one thread at a time may use it."""

    def __init__(
        self, engine: StageEngine, opener: Opener, identity: NodeIdentity, pipeline: Pipeline, nbytes: int
    ) -> None:
        """Bring traces back for ``opener``, in at most ``nbytes`` bytes until they are there."""
        self._engine, self._opener, self._identity, self._pipeline = engine, opener, identity, pipeline
        self._plan, self._model = engine.plan, engine.model
        self._runs: StageRuns[_Again] = StageRuns(AGAIN, nbytes, lambda again: engine.remove(again.run))

    def again(self, request: Request, receipt: bytes, roots: Sequence[bytes]) -> bytes:
        """Begin to compute the trace of one of this stage's receipts again, and return a handle of it.

        ``roots`` are those of all committed groups, in program order.

        Raises FormatError or LimitError if the receipt is malformed, MismatchError if it is not this node's
        receipt of this stage for this request or the roots are not those that it commits to, LimitError if
        its trace takes too many bytes, and BusyError if too many are computed again.
        """
        known, program = Receipt.decode(receipt), self._model.program
        if (known.request_digest, known.model_id) != (request.digest, self._model.model_id):
            raise MismatchError("the receipt is not for this request and this model")
        if (known.pipeline, known.stage) != (self._pipeline, self._plan.stage):
            raise MismatchError("the receipt is not of this stage of this pipeline")
        require_signer(known, self._identity)
        statement = claimed(self._model, request, known)
        whole = len(roots) == len(program.committed) and all(len(root) == DIGEST for root in roots)
        if not whole or root_of(program, known.suite, known.rows, roots) != known.trace_root:
            raise MismatchError("the roots are not those that the receipt commits to")
        answer = None
        if request.generation is not None:
            answer = [int(token) for token in statement.outputs[program.outputs[0]]]
        handle = secrets.token_bytes(DIGEST)
        self._runs.begin(
            handle,
            self._engine.most_bytes(request, answer),
            lambda: _Again(self._engine.begin(request, answer), known, statement, tuple(roots)),
        )
        return handle

    def give(self, handle: bytes, end: int, rows: Sequence[bytes]) -> None:
        """Take the leaf data of the rows up to ``end`` of each group that the stage reads.

        The handle is forgotten if this raises: InputError (FormatError) if they are not the rows that come
        next, or no rows that a node may commit.
        """
        again = self._runs.get(handle)
        try:
            if len(rows) != len(self._plan.reads):
                raise FormatError(f"{len(rows)} groups are given of {len(self._plan.reads)} that are read")
            if end > again.statement.rows:
                raise InputError(f"row {end} of a receipt of {again.statement.rows} rows")
            self._engine.take(again.run, end, (), dict(zip(self._plan.reads, rows, strict=True)))
        except BaseException:
            self._runs.drop(handle)
            raise

    def keep(self, handle: bytes) -> bool:
        """Compute some rows from those that were given, and return whether the trace is there.

        Until then, call this again; other requests may be computed meanwhile. The handle is forgotten when
        the trace is there, and if this raises: InputError if rows are missing, MismatchError if those that
        were given are not those that the receipt commits to, and ExecutionError if the stage now gives
        something else than it signed, which means a fault in this machine's own memory or device.
        """
        again = self._runs.get(handle)
        try:
            done = self._kept(again)
        except BaseException:
            self._runs.drop(handle)
            raise
        if done:
            self._runs.drop(handle)
        return done

    def _kept(self, again: _Again) -> bool:
        run, program, rows = again.run, self._model.program, again.statement.rows
        if run.rows == 0:
            if not self._plan.reads and not run.taken:
                self._engine.take(run, rows, (), {})
            if run.taken != rows:
                raise InputError(f"{run.taken} of {rows} rows were given")
            for group in self._plan.reads:
                if run.roots[group].root() != again.roots[group]:
                    name = program.committed[group].name
                    raise MismatchError(f"the rows of {name} are not those that the receipt commits to")
        self._engine.compute([run], None if program.reads_all else ROWS)
        if run.rows < rows:
            return False
        trace = stage_trace(self._engine, run, again.statement)
        trace.elsewhere = {group: again.roots[group] for group in trace.elsewhere}
        outputs = again.statement.outputs
        same = all(np.array_equal(x, outputs[name]) for name, x in self._engine.answered(run).items())
        if not same or trace.root() != again.receipt.trace_root:
            raise self._opener.mismatch(again.receipt)
        self._opener.remember(again.receipt, trace)
        _log.info("brought the trace of receipt %s back: %d rows", short(again.receipt.digest), rows)
        return True

    def rows(self, request: Request, receipt: bytes, a: int, b: int) -> tuple[bytes, ...]:
        """Return the leaf data of rows a..b of each group that the stage hands on, from a trace that is kept.

        Raises MismatchError if the receipt is not this node's for this request, NotKeptError if the trace is
        not kept, and InputError or LimitError if there are no such rows or they take too many bytes.
        """
        trace = self._opener.trace(request, Receipt.decode(receipt))
        if not 0 <= a < b <= trace.statement.rows:
            raise InputError(f"rows {a}..{b} of a receipt of {trace.statement.rows} rows")
        size = (b - a) * sum(self._model.program.group_bytes(group) for group in self._plan.hands)
        if size > _ROWS_BYTES:
            raise LimitError(f"{size} bytes of rows, of at most {_ROWS_BYTES} at a time")
        return tuple(bytes(part) for part in trace.rows([GroupRows(g, a, b) for g in self._plan.hands]))
