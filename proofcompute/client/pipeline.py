"""Ask the nodes of a pipeline, step by step, and check what they sign together
(docs/spec/pipelines.md#running).

The client carries rows from stage to stage and needs no weights. It need not be trusted by the nodes: rows
that it changes have another root than their node signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from proofcompute.arrays import Array
from proofcompute.commitments.frontier import Frontier
from proofcompute.commitments.hashing import hash_rows
from proofcompute.errors import InputError, VerificationError, about
from proofcompute.models.card import HasCard
from proofcompute.protocol.boundaries import Handed, check_boundary
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Generation, Pipeline, Request
from proofcompute.protocol.receipts import require_pipeline
from proofcompute.protocol.requests import check_indices, inputs_of
from proofcompute.protocol.stages import StagePlan, stage_plans
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import group_leaves
from proofcompute.prover.stages import HandedError, StageAnswer
from proofcompute.verifier.claim import check_receipt
from proofcompute.verifier.stages import check_handed, check_stages

__all__ = ["PipelineAnswer", "StageLink", "ask_pipeline"]

CHUNK: Final = 256
"""Most rows of a prompt in one step."""


class StageLink(Protocol):
    """A way to the node of a stage; :class:`proofcompute.prover.stages.StageNode` is one itself."""

    def begin(self, request: Request) -> None:
        """Begin a request."""
        ...

    def step(self, digest: bytes, end: int, tokens: Sequence[int], handed: Sequence[Handed]) -> StageAnswer:
        """Compute the rows of a request up to ``end``."""
        ...

    def finish(self, digest: bytes, outputs: Mapping[str, Array]) -> Sequence[bytes]:
        """Take the whole answer, and return the root of each group that the stage wrote."""
        ...

    def sign(self, digest: bytes, roots: Sequence[bytes]) -> bytes:
        """Sign the receipt over the roots of all groups, and return it, encoded."""
        ...


@dataclass(frozen=True, eq=False)
class PipelineAnswer:
    """What the nodes of a pipeline answered together."""

    receipts: tuple[bytes, ...]
    """The receipt of each stage, encoded, in order."""
    roots: tuple[bytes, ...]
    """The root of each committed group, in program order."""
    claims: tuple[Claim, ...]
    """The claim of each stage, which passed steps 1 to 5."""
    outputs: Mapping[str, Array]
    """Rows of each public output."""
    handed: Mapping[int, bytes]
    """Leaf data of all rows of each group that a stage handed on, by group; empty if it was not to be kept.

    With it, a stage opens its receipt whatever became of it and of the stages before it
    (:class:`proofcompute.client.StageOpener`)."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Generated tokens; empty if the program does not generate."""
        program = self.claims[0].statement.program
        return tuple(self.outputs[program.outputs[0]].tolist()) if program.feedback else ()


def ask_pipeline(
    holds: HasCard,
    request: Request,
    pipeline: Pipeline,
    links: Sequence[StageLink],
    *,
    keep: bool = True,
) -> PipelineAnswer:
    """Let the nodes of a pipeline answer a request, and check their receipts (steps 1 to 5).

    Args:
        holds: card, key or model that the request is for.
        request: the request, which addresses the pipeline.
        pipeline: the pipeline.
        links: a way to the node of each stage, in order.
        keep: whether the answer has the rows that stages handed on. Without them, a stage that no longer has
            its trace can open its receipt only as long as the stages before it answer.

    Raises:
        InputError: request, model, pipeline and links do not fit together.
        VerificationError: what a node sent is not what it must be; ``node`` is the one that is at fault, and
            ``attributable`` says whether it signed what shows that.
        ProofcomputeError: a node refused or could not be reached.
    """
    program = holds.card.program
    require_pipeline(request, pipeline, len(program.segments))
    if len(links) != len(pipeline.stages):
        raise InputError(f"{len(links)} links to {len(pipeline.stages)} stages")
    run = _Run(holds, request, pipeline, stage_plans(program, pipeline), links, keep=keep)
    with about(model_id=holds.card.model_id, request_digest=request.digest):
        run.compute()
        return run.signed()


class _Run:
    """One request while the nodes of a pipeline run it."""

    def __init__(
        self,
        holds: HasCard,
        request: Request,
        pipeline: Pipeline,
        plans: Sequence[StagePlan],
        links: Sequence[StageLink],
        *,
        keep: bool,
    ) -> None:
        self.holds, self.request, self.pipeline = holds, request, pipeline
        self.plans, self.links, self.program = plans, links, holds.card.program
        inputs = inputs_of(request, self.program, holds.card.model_id)
        self.prompt = next(iter(inputs.values())).shape[0]
        self.emitted: dict[str, list[Array]] = {name: [] for name in self.program.outputs}
        self.emitting = next(plan for plan in plans if plan.emits)
        """The first stage that emits; of a program that generates, the only one."""
        self.roots = {g: Frontier(request.suite) for plan in plans for g in plan.hands}
        self.handed: dict[int, list[bytes]] = {g: [] for g in self.roots} if keep else {}
        """The rows that were handed on, if they are kept."""

    def compute(self) -> None:
        """Run all steps."""
        generation, done = self.request.generation, 0
        answer: list[int] = []
        fresh: list[int] = []
        for link in self.links:
            link.begin(self.request)
        while True:
            known = self.prompt + len(answer)
            end = known if self.program.reads_all else min(known, done + CHUNK)
            fresh = self.step(end, fresh)
            done = end
            if generation is None:
                if done == self.prompt:
                    return
            elif fresh:
                with self.of(self.emitting):
                    if done < known:  # the prompt goes on
                        raise VerificationError(5, "a token was emitted before the prompt's end")
                    answer += fresh
                    if self.ends(generation, answer):
                        return
            elif done == known:  # asked again, the stages could go on like this for ever
                raise VerificationError(5, "no stage emitted the next token")

    def ends(self, generation: Generation, answer: Sequence[int]) -> bool:
        """Whether an answer ends after its last token.

        Raises VerificationError (step 5) if that is no token: no stage may be asked to read it.
        """
        last = np.array(answer[-1:], np.int64)
        try:
            check_indices(self.program, {self.program.inputs[0][0]: last})
            return stop_reason(generation, answer, self.holds.card.vocabulary) is not None
        except InputError as e:
            raise VerificationError(5, f"a stage emitted what is no token: {e}") from e

    def step(self, end: int, tokens: Sequence[int]) -> list[int]:
        """Let every stage compute the rows up to ``end``, and return the tokens that were emitted."""
        handed: list[StageAnswer] = []
        emitted: list[int] = []
        for plan, link in zip(self.plans, self.links, strict=True):
            given = [
                Handed(one.boundary, tuple(one.handed[g] for g in crossing))
                for before, one in zip(self.plans, handed, strict=False)
                if (crossing := [g for g in before.hands if g in plan.reads])
            ]
            with self.of(plan):
                found = link.step(self.request.digest, end, tokens, given)
                self.require(plan, end, found)
            handed.append(found)
            for name, rows in found.emitted.items():
                self.emitted[name].append(rows)
                if self.program.feedback:
                    emitted = [int(token) for token in rows]
        return emitted

    def require(self, plan: StagePlan, end: int, found: StageAnswer) -> None:
        """Check what a stage gave for the rows up to ``end``.

        Raises VerificationError unless it gave the groups and outputs that it can give (step 1), and signed
        for the rows that it hands on (steps 1 to 5 and 7).
        """
        program = self.program
        if tuple(sorted(found.handed)) != plan.hands or not set(found.emitted) <= set(plan.emits):
            raise VerificationError(1, f"stage {plan.stage} gave other groups or outputs than it has")
        for name, rows in found.emitted.items():
            spec = program.specs[name]
            many = program.feedback and len(rows) != 1
            if rows.dtype != spec.numpy or rows.shape[1:] != spec.shape or many:
                raise VerificationError(1, f"stage {plan.stage} gave rows that {name} has not")
        if not plan.hands:
            return
        request, model_id = self.request, self.holds.card.model_id
        boundary = check_boundary(found.boundary, model_id, request, self.pipeline, plan, end)
        for group, root in zip(plan.hands, boundary.roots, strict=True):
            data, grown = found.handed[group], self.roots[group]
            if len(data) != (end - grown.size) * program.group_bytes(group):
                raise VerificationError(1, f"stage {plan.stage} gave other rows than were asked")
            rows = np.frombuffer(data, np.uint8).reshape(end - grown.size, -1)
            grown.add(group_leaves(program, request.suite, group, rows, hash_rows))
            if grown.root() != root:
                raise VerificationError(
                    7, f"stage {plan.stage} signed another root than that of the rows it hands on"
                )
            if self.handed:
                self.handed[group].append(data)

    def signed(self) -> PipelineAnswer:
        """Let every stage sign, and check what they signed."""
        digest, program = self.request.digest, self.program
        for plan in self.plans:
            with self.of(plan):
                if any(not self.emitted[name] for name in plan.emits):
                    raise VerificationError(5, f"stage {plan.stage} emitted nothing")
        outputs = {name: np.concatenate(self.emitted[name]) for name in program.outputs}
        roots = [b""] * len(program.committed)
        for plan, link in zip(self.plans, self.links, strict=True):
            with self.of(plan):
                found = link.finish(digest, outputs)
                if len(found) != len(plan.writes):
                    raise VerificationError(
                        1, f"stage {plan.stage} gave {len(found)} roots for {len(plan.writes)} groups"
                    )
            for group, root in zip(plan.writes, found, strict=True):
                roots[group] = root
        receipts: list[bytes] = []
        for plan, link in zip(self.plans, self.links, strict=True):
            with self.of(plan):
                try:
                    receipts.append(link.sign(digest, roots))
                except HandedError as e:
                    raise self.blamed(plan, receipts, roots, e) from e
        claims = check_stages(self.holds, self.request, self.pipeline, receipts, roots)
        handed = {group: b"".join(parts) for group, parts in self.handed.items()}
        return PipelineAnswer(tuple(receipts), tuple(roots), claims, outputs, handed)

    def blamed(
        self, plan: StagePlan, receipts: Sequence[bytes], roots: Sequence[bytes], error: HandedError
    ) -> VerificationError:
        """Return the rejection of the stage that is at fault when another one refuses to sign.

        It is an earlier stage if what is shown proves that, and else the one that refuses.
        """
        for before, data in zip(self.plans, receipts, strict=False):
            if not set(before.hands) & set(plan.reads):
                continue
            try:
                claim = check_receipt(self.holds, self.request, data, pipeline=self.pipeline)
                check_handed(self.holds, self.request, self.pipeline, claim, roots, error.boundary)
            except VerificationError as e:
                return e
            except InputError:
                continue  # it is another stage's, or nobody's
        return VerificationError(
            10, f"stage {plan.stage} refuses to sign, and shows nothing that another stage signed: {error}"
        )

    def of(self, plan: StagePlan) -> AbstractContextManager[None]:
        """Add the node of a stage to a VerificationError that is raised inside the block."""
        return about(node=self.pipeline.stages[plan.stage].node)
