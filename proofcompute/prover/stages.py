"""Serve one stage of a pipeline: compute its segments, sign what is handed on, sign and open its receipts.

A node signs a receipt only over roots that agree with what it was handed and with what it handed on
(docs/spec/pipelines.md#signing). So it answers for its own segments whatever the nodes before it did.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import BinaryIO, final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine.stages import StageEngine
from proofcompute.errors import InputError, MismatchError
from proofcompute.logs import service_log, short
from proofcompute.models.model import Model
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import Challenge, Pipeline, Receipt, Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.protocol.requests import statement_of
from proofcompute.protocol.stage_calls import StepCall
from proofcompute.protocol.stages import stage_plans
from proofcompute.protocol.statement import Statement
from proofcompute.protocol.stop import check_answer
from proofcompute.protocol.trace import group_seal
from proofcompute.prover.commit import Sealed, sign_claim
from proofcompute.prover.opener import TRACE_BYTES, Opener
from proofcompute.prover.stage_steps import Begun, Failure, StageAnswer, StageSteps
from proofcompute.prover.stage_traces import NotKeptError, StageTraces, not_kept, stage_trace

__all__ = ["HandedError", "NotKeptError", "StageAnswer", "StageNode"]

_log = service_log(__name__)


class HandedError(MismatchError):
    """A node that handed rows on commits to other rows.

    ``boundary`` is what it signed when it handed them on, encoded.
    """

    def __init__(self, reason: str, boundary: bytes) -> None:
        super().__init__(reason, boundary)
        self.boundary = boundary

    def __str__(self) -> str:
        return str(self.args[0])


@final
class StageNode:
    """One stage of a pipeline.

    Args:
        model: the model, with the weights of the stage's segments at least (:meth:`proofcompute.Model.load`).
        identity: the key pair that signs; the pipeline names it for this stage.
        pipeline: the nodes that serve the model together.
        stage: the number of this node's stage, from 0.
        device: name of a device, or a backend.
        retention: seconds for which every receipt promises that challenges are answered; None: those of the
            terms, or a week.
        terms: this node's signed terms, which every receipt names.
        trace_bytes: most bytes of traces kept besides the newest one's, 1 or more. One that is dropped
            comes back from the rows that were handed to the stage (:meth:`again`).
        run_bytes: most bytes of the rows of requests that are begun and not signed, and as many again of
            traces that are brought back.

    Only one thread may use a node at a time. Raises MismatchError if the pipeline has another node for this
    stage or another number of segments than the program, and InputError as :class:`.Node` does.
    """

    def __init__(
        self,
        model: Model,
        identity: NodeIdentity,
        pipeline: Pipeline,
        stage: int,
        *,
        device: str | Kernels = "auto",
        retention: int | None = None,
        terms: Terms | None = None,
        trace_bytes: int = TRACE_BYTES,
        run_bytes: int = TRACE_BYTES,
    ) -> None:
        if not 0 <= stage < len(pipeline.stages):
            raise InputError(f"stage {stage} of a pipeline of {len(pipeline.stages)}")
        if pipeline.stages[stage].node != identity.public:
            raise MismatchError(f"stage {stage} of the pipeline is another node's")
        if trace_bytes < 1:
            raise InputError("a stage that keeps no trace at all opens nothing")
        self.model, self.identity, self.pipeline, self.stage = model, identity, pipeline, stage
        self.plans = stage_plans(model.program, pipeline)
        self.plan = self.plans[stage]
        self.kernels = kernels_for(device) if isinstance(device, str) else device
        self.terms = terms
        self.retention = retention_of(identity.public, terms, retention)
        self.engine = StageEngine(model, self.kernels, self.plan)
        self.opener = Opener(
            model,
            self.kernels,
            identity,
            compute=not_kept,
            trace_bytes=trace_bytes,
            challenges=None,
            segments=self.plan.segments,
        )
        self._steps = StageSteps(self.engine, identity, pipeline, self.plans, run_bytes)
        self._traces = StageTraces(self.engine, self.opener, identity, pipeline, run_bytes)

    @property
    def public(self) -> bytes:
        """The node's public key, 32 bytes."""
        return self.identity.public

    # -- computing -----------------------------------------------------------------------------------------
    def begin(self, request: Request) -> None:
        """Begin a request, anew if it was begun before.

        Raises MismatchError or InputError if the request is not one for this model and pipeline, LimitError
        if its rows may take too many bytes, and BusyError if too many are begun and not signed.
        """
        self._steps.begin(request)

    def forget(self, digest: bytes) -> None:
        """Forget a request that was begun, if it was."""
        self._steps.begun.drop(digest)

    def step(self, digest: bytes, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        """Compute the rows of a request up to ``end``.

        Args:
            digest: the request's digest.
            end: the row after the last one.
            tokens: answer tokens that follow those given so far.
            handed: what each earlier stage hands to this one, in the order of stages.

        The request is forgotten if this raises: VerificationError if a boundary is not that of its stage, or
        its rows have another root (step 7), InputError if rows or tokens are not those that come next, and
        ExecutionError if the arithmetic has no result.
        """
        (found,) = self.steps([StepCall(digest, end, tuple(tokens), tuple(handed))])
        if isinstance(found, Exception):
            raise found
        return found

    def steps(self, calls: Sequence[StepCall]) -> list[StageAnswer | Failure]:
        """Compute rows of different requests together, and return what :meth:`step` gives or raises for each.

        A request whose rows have no result fails alone. Raises InputError if one has two calls, and
        DeviceError if the device is at fault; all of these requests are forgotten then.
        """
        return self._steps.compute(calls)

    # -- signing -------------------------------------------------------------------------------------------
    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> list[bytes]:
        """Take the whole answer to a request, and return the root of each group that this stage wrote.

        Raises InputError (FormatError, MismatchError) if the answer is not one of as many rows as were
        computed, its tokens are not those that rows were computed from, or the stage emitted others.
        """
        begun = self._steps.begun.get(digest)
        run = begun.run
        statement = self._statement(begun, outputs)
        for name, rows in self.engine.answered(run).items():
            if not np.array_equal(rows, outputs[name]):
                raise MismatchError(f"the answer is not what this stage emitted as {name}")
        stored = stage_trace(self.engine, run, statement)
        begun.trace = stored
        found = stored.roots()
        return [found[group] for group in self.plan.writes]

    def _statement(self, begun: Begun, outputs: Mapping[str, Array]) -> Statement:
        run, program = begun.run, self.model.program
        request, session = run.request, run.session
        if tuple(outputs) != program.outputs:
            raise MismatchError("the answer has other outputs than the program")
        statement = statement_of(request, program, session.inputs, outputs)
        begun.reason = "complete"
        if request.generation is not None:
            answer = [int(t) for t in outputs[program.outputs[0]]]
            begun.reason = check_answer(request.generation, answer, self.model.card.vocabulary)
            if session.answer[: len(answer) - 1] != answer[:-1]:
                raise MismatchError("the answer is not the tokens from which rows were computed")
        if statement.rows != run.rows:
            raise MismatchError(f"the answer has {statement.rows} rows, of which {run.rows} were computed")
        return statement

    def sign(self, digest: bytes, roots: Sequence[bytes]) -> bytes:
        """Sign the receipt of a finished request over the roots of all groups, and return it, encoded.

        Raises MismatchError if a root is not that of the rows that this stage wrote, and HandedError if a
        root of rows that an earlier stage handed to it is not what that stage signed then: both mean that
        no honest node signs these roots.
        """
        begun = self._steps.begun.get(digest)
        stored, program = begun.trace, self.model.program
        if stored is None:
            raise InputError("the answer is not finished")
        if len(roots) != len(program.committed) or any(len(root) != DIGEST for root in roots):
            raise InputError(f"{len(roots)} roots of {len(program.committed)} groups")
        mine = stored.roots()
        for plan, groups in self._steps.before:
            for group in groups:
                if roots[group] != mine[group]:
                    raise HandedError(
                        f"stage {plan.stage} handed on other rows of {program.committed[group].name} than "
                        "it commits to",
                        begun.boundaries[plan.stage],
                    )
        for group in self.plan.writes:
            if roots[group] != mine[group]:
                raise MismatchError(f"another root for {program.committed[group].name}, which is this node's")
        request, rows = begun.run.request, stored.statement.rows
        seals = [group_seal(program, request.suite, i, rows, root) for i, root in enumerate(roots)]
        receipt = sign_claim(
            self.model,
            request,
            Sealed(stored.statement, seals),
            begun.reason,
            self.identity,
            retention=self.retention,
            terms=self.terms,
            pipeline=self.pipeline,
            stage=self.stage,
        )
        stored.elsewhere = {group: roots[group] for group in stored.elsewhere}
        self.opener.remember(receipt, stored)
        self.forget(digest)
        _log.info("signed stage %d of request %s: %d rows", self.stage, short(digest), rows)
        return receipt.encode()

    # -- opening -------------------------------------------------------------------------------------------
    def open(
        self, request: Request, receipt: bytes, challenge: Challenge, stream: BinaryIO | None = None
    ) -> bytes:
        """Open cells of this stage; see :meth:`.Node.open`.

        Returns the opening, or nothing if ``stream`` is given, to which it is written then. Raises
        NotKeptError besides if the trace is no longer kept; :meth:`again` brings it back.
        """
        out = io.BytesIO() if stream is None else stream
        self.opener.open(request, Receipt.decode(receipt), challenge, out)
        return out.getvalue() if isinstance(out, io.BytesIO) and stream is None else b""

    def again(self, request: Request, receipt: bytes, roots: Sequence[bytes]) -> bytes:
        """Begin to bring the trace of a receipt back; see :meth:`.StageTraces.again`."""
        return self._traces.again(request, receipt, roots)

    def give(self, handle: bytes, end: int, rows: Sequence[bytes]) -> None:
        """Take rows that were handed to this stage; see :meth:`.StageTraces.give`."""
        self._traces.give(handle, end, rows)

    def keep(self, handle: bytes) -> bool:
        """Compute some rows again, and return whether the trace is there; see :meth:`.StageTraces.keep`."""
        return self._traces.keep(handle)

    def rows(self, request: Request, receipt: bytes, a: int, b: int) -> tuple[bytes, ...]:
        """Return rows that this stage handed on; see :meth:`.StageTraces.rows`."""
        return self._traces.rows(request, receipt, a, b)
