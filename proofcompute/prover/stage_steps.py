"""Compute the rows of a stage step by step, for several requests at once, and sign what is handed on
(docs/spec/pipelines.md#boundary).

What a stage is handed is checked before it is computed with, and so is what a client says comes next. The
steps that wait are computed together; what is wrong with one of them is an error of that one alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine.stages import StageEngine, StageRun, StageStep
from proofcompute.errors import (
    ExecutionError,
    FormatError,
    InputError,
    ProofcomputeError,
    VerificationError,
    about,
)
from proofcompute.protocol.boundaries import check_boundary
from proofcompute.protocol.messages import Boundary, Pipeline, Request
from proofcompute.protocol.receipts import require_pipeline
from proofcompute.protocol.stage_calls import StepCall
from proofcompute.protocol.stages import StagePlan
from proofcompute.prover.stage_runs import StageRuns
from proofcompute.prover.stored import StoredTrace

__all__ = ["RUNS", "Begun", "Failure", "StageAnswer", "StageSteps"]

RUNS: Final = 16
"""Most requests that a node of a stage has begun and not signed."""
Failure = ProofcomputeError | MemoryError
"""Why a request has no next step."""
_FAILURES: Final = (VerificationError, ExecutionError, InputError, MemoryError)
"""Errors that a request's own rows can cause; any other DeviceError is no request's fault."""


class StageAnswer(NamedTuple):
    """What a stage gives for a step."""

    boundary: bytes
    """The encoded boundary over all rows so far; empty if the stage hands nothing on."""
    handed: Mapping[int, bytes]
    """Leaf data of the step's rows of each group that it hands on."""
    emitted: Mapping[str, Array]
    """Rows of public outputs that the step emitted, by name."""


@dataclass(eq=False)
class Begun:
    """A request that the node has begun."""

    run: StageRun
    boundaries: dict[int, bytes] = field(default_factory=dict)
    """The last boundary of each earlier stage that hands rows to this one."""
    trace: StoredTrace | None = None
    """The finished trace, once the outputs are known."""
    reason: str = ""


@final
class StageSteps:
    """The requests that one stage has begun and not signed. Only one thread at a time may use it."""

    def __init__(
        self,
        engine: StageEngine,
        identity: NodeIdentity,
        pipeline: Pipeline,
        plans: Sequence[StagePlan],
        nbytes: int,
    ) -> None:
        """Hold at most ``nbytes`` bytes of rows; ``plans`` are those of all stages."""
        self.engine, self.identity, self.pipeline = engine, identity, pipeline
        self.model, self.plan = engine.model, engine.plan
        self.before = [
            (plan, tuple(g for g in plan.hands if g in self.plan.reads))
            for plan in plans[: self.plan.stage]
            if set(plan.hands) & set(self.plan.reads)
        ]
        """The earlier stages that hand rows to this one, with the groups that they hand to it."""
        self.begun: StageRuns[Begun] = StageRuns(RUNS, nbytes, lambda one: engine.remove(one.run))
        """The requests, by their digest."""

    def begin(self, request: Request) -> None:
        """Begin a request, anew if it was begun before. Raises as :meth:`.StageNode.begin`."""
        require_pipeline(request, self.pipeline, len(self.model.program.segments))
        nbytes = self.engine.most_bytes(request)
        self.begun.begin(request.digest, nbytes, lambda: Begun(self.engine.begin(request)))

    def compute(self, calls: Sequence[StepCall]) -> list[StageAnswer | Failure]:
        """Compute rows of different requests together. Raises as :meth:`.StageNode.steps`."""
        digests = [call.digest for call in calls]
        if len(set(digests)) != len(digests):
            raise InputError("a request has one step at a time")
        found: dict[bytes, StageAnswer | Failure] = {}
        try:
            for call in calls:
                try:
                    self._take(self.begun.get(call.digest), call)
                except _FAILURES as e:
                    found[call.digest] = e
            taken = [digest for digest in digests if digest not in found]
            runs = [self.begun.get(digest).run for digest in taken]
            for digest, run, step in zip(taken, runs, self._computed(runs), strict=True):
                if isinstance(step, Exception):
                    found[digest] = step
                else:
                    found[digest] = StageAnswer(self._boundary(run), step.handed, step.emitted)
        finally:
            for digest in digests:
                if not isinstance(found.get(digest), StageAnswer):
                    self.begun.drop(digest)
        return [found[digest] for digest in digests]

    def _computed(self, runs: Sequence[StageRun]) -> list[StageStep | Failure]:
        """Compute what was taken of some requests, each by itself if they have no result together."""
        if not runs:
            return []
        try:
            return list(self.engine.compute(runs))
        except _FAILURES as e:
            if len(runs) == 1:
                return [e]
        return [step for run in runs for step in self._computed([run])]

    def _take(self, begun: Begun, call: StepCall) -> None:
        """Check what other stages hand on for a step, and take it."""
        run, request, handed = begun.run, begun.run.request, call.handed
        if len(handed) != len(self.before):
            raise InputError(f"{len(handed)} stages hand rows on where {len(self.before)} do")
        given: dict[int, bytes] = {}
        boundaries: list[Boundary] = []
        for (plan, groups), one in zip(self.before, handed, strict=True):
            boundaries.append(
                check_boundary(one.boundary, self.model.model_id, request, self.pipeline, plan, call.end)
            )
            if len(one.rows) != len(groups):
                raise FormatError(f"stage {plan.stage} hands {len(one.rows)} groups on, not {len(groups)}")
            given |= zip(groups, one.rows, strict=True)
        self.engine.take(run, call.end, call.tokens, given)
        for (plan, groups), boundary in zip(self.before, boundaries, strict=True):
            with about(node=boundary.node):
                for group in groups:
                    if run.roots[group].root() != boundary.roots[plan.hands.index(group)]:
                        raise VerificationError(
                            7,
                            f"rows of {self.model.program.committed[group].name} were changed on their way, "
                            "or their node signed another root",
                        )
        begun.boundaries = {
            plan.stage: one.boundary for (plan, _), one in zip(self.before, handed, strict=True)
        }

    def _boundary(self, run: StageRun) -> bytes:
        if not self.plan.hands:
            return b""
        boundary = Boundary(
            suite=run.request.suite,
            model_id=self.model.model_id,
            request_digest=run.request.digest,
            stage=self.plan.stage,
            rows=run.rows,
            roots=tuple(run.roots[group].root() for group in self.plan.hands),
            node=self.identity.public,
        )
        return boundary.signed(self.identity).encode()
