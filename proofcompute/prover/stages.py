"""Serve one stage of a pipeline: compute its segments, sign what is handed on, sign and open its receipts.

A node signs a receipt only over roots that agree with what it was handed and with what it handed on
(docs/spec/pipelines.md#signing). So it answers for its own segments whatever the nodes before it did.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final, NamedTuple, NoReturn, final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine.stages import StageEngine, StageRun
from proofcompute.errors import (
    BusyError,
    FormatError,
    InputError,
    MismatchError,
    VerificationError,
    about,
)
from proofcompute.logs import service_log, short
from proofcompute.models.model import Model
from proofcompute.protocol.boundaries import Handed, check_boundary
from proofcompute.protocol.messages import Boundary, Challenge, Pipeline, Receipt, Request, Terms
from proofcompute.protocol.promises import retention_of
from proofcompute.protocol.receipts import require_pipeline
from proofcompute.protocol.requests import statement_of
from proofcompute.protocol.stages import stage_plans
from proofcompute.protocol.statement import Statement
from proofcompute.protocol.stop import check_answer
from proofcompute.protocol.trace import group_seal
from proofcompute.prover.commit import Sealed, sign_claim
from proofcompute.prover.opener import TRACE_BYTES, Opener
from proofcompute.prover.stored import StoredTrace

__all__ = ["HandedError", "StageAnswer", "StageNode"]

_log = service_log(__name__)

RUNS: Final = 16
"""Most requests that a node of a stage has begun and not signed."""


class HandedError(MismatchError):
    """A node that handed rows on commits to other rows.

    ``boundary`` is what it signed when it handed them on, encoded.
    """

    def __init__(self, reason: str, boundary: bytes) -> None:
        super().__init__(reason, boundary)
        self.boundary = boundary

    def __str__(self) -> str:
        return str(self.args[0])


class StageAnswer(NamedTuple):
    """What a stage gives for a step."""

    boundary: bytes
    """The encoded boundary over all rows so far; empty if the stage hands nothing on."""
    handed: Mapping[int, bytes]
    """Leaf data of the step's rows of each group that it hands on."""
    emitted: Mapping[str, Array]
    """Rows of public outputs that the step emitted, by name."""


@dataclass(eq=False)
class _Open:
    """A request that the node has begun."""

    run: StageRun
    boundaries: dict[int, bytes] = field(default_factory=dict)
    """The last boundary of each earlier stage that hands rows to this one."""
    trace: StoredTrace | None = None
    """The finished trace, once the outputs are known."""
    reason: str = ""


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
        trace_bytes: most bytes of traces kept besides the newest one's. A stage cannot compute a trace again
            without the stages before it, so what is dropped cannot be opened any more.

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
    ) -> None:
        if not 0 <= stage < len(pipeline.stages):
            raise InputError(f"stage {stage} of a pipeline of {len(pipeline.stages)}")
        if pipeline.stages[stage].node != identity.public:
            raise MismatchError(f"stage {stage} of the pipeline is another node's")
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
            compute=_dropped,
            trace_bytes=trace_bytes,
            challenges=None,
            segments=self.plan.segments,
        )
        self._before = [
            (plan, tuple(g for g in plan.hands if g in self.plan.reads))
            for plan in self.plans[:stage]
            if set(plan.hands) & set(self.plan.reads)
        ]
        """The earlier stages that hand rows to this one, with the groups that they hand to it."""
        self._open: OrderedDict[bytes, _Open] = OrderedDict()

    @property
    def public(self) -> bytes:
        """The node's public key, 32 bytes."""
        return self.identity.public

    # -- computing -----------------------------------------------------------------------------------------
    def begin(self, request: Request) -> None:
        """Begin a request, anew if it was begun before.

        Raises MismatchError or InputError if the request is not one for this model and pipeline, and
        BusyError if too many are begun and not signed.
        """
        require_pipeline(request, self.pipeline, len(self.model.program.segments))
        self.forget(request.digest)
        if len(self._open) >= RUNS:
            raise BusyError(f"{RUNS} requests are begun and not signed", 1.0)
        self._open[request.digest] = _Open(self.engine.begin(request))

    def forget(self, digest: bytes) -> None:
        """Forget a request that was begun, if it was."""
        found = self._open.pop(digest, None)
        if found is not None:
            self.engine.remove(found.run)

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
        opened = self._opened(digest)
        try:
            return self._step(opened, end, tokens, handed)
        except BaseException:
            self.forget(digest)
            raise

    def _step(self, opened: _Open, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        run, request = opened.run, opened.run.request
        if len(handed) != len(self._before):
            raise InputError(f"{len(handed)} stages hand rows on where {len(self._before)} do")
        given: dict[int, bytes] = {}
        boundaries: list[Boundary] = []
        for (plan, groups), one in zip(self._before, handed, strict=True):
            boundaries.append(
                check_boundary(one.boundary, self.model.model_id, request, self.pipeline, plan, end)
            )
            if len(one.rows) != len(groups):
                raise FormatError(f"stage {plan.stage} hands {len(one.rows)} groups on, not {len(groups)}")
            given |= zip(groups, one.rows, strict=True)
        self.engine.take(run, end, tokens, given)
        for (plan, groups), boundary in zip(self._before, boundaries, strict=True):
            with about(node=boundary.node):
                for group in groups:
                    if run.roots[group].root() != boundary.roots[plan.hands.index(group)]:
                        raise VerificationError(
                            7,
                            f"rows of {self.model.program.committed[group].name} were changed on their way, "
                            "or their node signed another root",
                        )
        opened.boundaries = {
            plan.stage: one.boundary for (plan, _), one in zip(self._before, handed, strict=True)
        }
        found = self.engine.compute(run)
        return StageAnswer(self._boundary(run), found.handed, found.emitted)

    def _boundary(self, run: StageRun) -> bytes:
        if not self.plan.hands:
            return b""
        boundary = Boundary(
            suite=run.request.suite,
            model_id=self.model.model_id,
            request_digest=run.request.digest,
            stage=self.stage,
            rows=run.rows,
            roots=tuple(run.roots[group].root() for group in self.plan.hands),
            node=self.public,
        )
        return boundary.signed(self.identity).encode()

    # -- signing -------------------------------------------------------------------------------------------
    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> list[bytes]:
        """Take the whole answer to a request, and return the root of each group that this stage wrote.

        Raises InputError (FormatError, MismatchError) if the answer is not one of as many rows as were
        computed, its tokens are not those that rows were computed from, or the stage emitted others.
        """
        opened = self._opened(digest)
        run, program = opened.run, self.model.program
        statement = self._statement(opened, outputs)
        for name, rows in self.engine.answered(run).items():
            if not np.array_equal(rows, outputs[name]):
                raise MismatchError(f"the answer is not what this stage emitted as {name}")
        trace, suite = run.session.trace, run.request.suite
        groups = [
            trace.group(g, 0, statement.rows) if g in self.plan.holds else np.zeros((0, 0), np.uint8)
            for g in range(len(program.committed))
        ]
        stored = StoredTrace(
            replace(statement, part=self.plan.segments), suite, groups, self.kernels, trace.homes
        )
        stored.elsewhere = {g: b"" for g in range(len(groups)) if g not in self.plan.holds}
        opened.trace = stored
        found = stored.roots()
        return [found[group] for group in self.plan.writes]

    def _statement(self, opened: _Open, outputs: Mapping[str, Array]) -> Statement:
        run, program = opened.run, self.model.program
        request, session = run.request, run.session
        if tuple(outputs) != program.outputs:
            raise MismatchError("the answer has other outputs than the program")
        statement = statement_of(request, program, session.inputs, outputs)
        opened.reason = "complete"
        if request.generation is not None:
            answer = [int(t) for t in outputs[program.outputs[0]]]
            opened.reason = check_answer(request.generation, answer, self.model.card.vocabulary)
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
        opened = self._opened(digest)
        stored, program = opened.trace, self.model.program
        if stored is None:
            raise InputError("the answer is not finished")
        if len(roots) != len(program.committed) or any(len(root) != DIGEST for root in roots):
            raise InputError(f"{len(roots)} roots of {len(program.committed)} groups")
        mine = stored.roots()
        for plan, groups in self._before:
            for group in groups:
                if roots[group] != mine[group]:
                    raise HandedError(
                        f"stage {plan.stage} handed on other rows of {program.committed[group].name} than "
                        "it commits to",
                        opened.boundaries[plan.stage],
                    )
        for group in self.plan.writes:
            if roots[group] != mine[group]:
                raise MismatchError(f"another root for {program.committed[group].name}, which is this node's")
        request, rows = opened.run.request, stored.statement.rows
        seals = [group_seal(program, request.suite, i, rows, root) for i, root in enumerate(roots)]
        receipt = sign_claim(
            self.model,
            request,
            Sealed(stored.statement, seals),
            opened.reason,
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
    def open(self, request: Request, receipt: bytes, challenge: Challenge, stream: BinaryIO) -> None:
        """Write the opening of cells of this stage to ``stream``; see :meth:`.Node.open`.

        Raises InputError besides if the trace was dropped.
        """
        self.opener.open(request, Receipt.decode(receipt), challenge, stream)

    def _opened(self, digest: bytes) -> _Open:
        found = self._open.get(digest)
        if found is None:
            raise InputError("this request was not begun, or it is signed already")
        return found


def _dropped(request: Request, answer: Sequence[int]) -> NoReturn:
    """Refuse to compute a trace again, which takes the stages before this one."""
    raise InputError("the trace of this stage is no longer kept")
