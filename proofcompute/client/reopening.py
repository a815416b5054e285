"""Open cells of the stages of an answer, also long after it, when a stage keeps nothing of it any more
(docs/spec/pipelines.md#opening).

A stage needs the rows that it was handed to compute its trace again. Who asked may have kept them. Otherwise
the stages before it compute theirs again, the first one from the request alone, and hand them on once more.
The receipts commit to all of these rows, so nobody need be trusted for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Protocol, final

import numpy as np

from proofcompute.commitments.frontier import Frontier
from proofcompute.commitments.hashing import hash_rows
from proofcompute.errors import InputError, ServiceError, VerificationError, about
from proofcompute.limits import MIB
from proofcompute.models.card import HasCard
from proofcompute.protocol.messages import Challenge, Pipeline, Request
from proofcompute.protocol.stages import stage_plans
from proofcompute.protocol.trace import group_leaves
from proofcompute.prover.stages import NotKeptError
from proofcompute.verifier.stages import check_stages

__all__ = ["StageOpener", "TraceLink"]

CHUNK: Final = 256
"""Most rows that are given or asked for at a time."""
_PIECE: Final = 16 * MIB
"""Most bytes of rows at a time, unless a single row has more."""
_TRIES: Final = 3
"""How often a trace is brought back that is gone again at once, since the node has others to keep."""


class TraceLink(Protocol):
    """A way to the node of a stage and its traces; :class:`.StageNode` is one itself."""

    def open(self, request: Request, receipt: bytes, challenge: Challenge) -> bytes:
        """Return the opening of a challenge. Raises NotKeptError if the trace is no longer kept."""
        ...

    def again(self, request: Request, receipt: bytes, roots: Sequence[bytes]) -> bytes:
        """Begin to bring the trace of a receipt back, and return a handle of it."""
        ...

    def give(self, handle: bytes, end: int, rows: Sequence[bytes]) -> None:
        """Give the rows up to ``end`` of each group that the stage reads."""
        ...

    def keep(self, handle: bytes) -> bool:
        """Have some rows computed, and return whether the trace is there; else this is called again."""
        ...

    def rows(self, request: Request, receipt: bytes, a: int, b: int) -> Sequence[bytes]:
        """Return rows a..b of each group that the stage hands on. Raises NotKeptError as :meth:`open`."""
        ...


@final
class StageOpener:
    """Opens cells of the stages of one answer.

    Args:
        holds: card, key or model that the request is for.
        request: the request, which addresses the pipeline.
        pipeline: the pipeline.
        links: a way to the node of each stage, in order.
        receipts: the receipt of each stage, encoded, in order.
        roots: the root of each committed group, in program order.
        handed: leaf data of all rows of groups that stages handed on, by group
            (:attr:`.PipelineAnswer.handed`). What is missing is asked of the stages that handed it on.

    Raises InputError if these do not fit together, and VerificationError as
    :func:`proofcompute.check_stages`.
    """

    def __init__(
        self,
        holds: HasCard,
        request: Request,
        pipeline: Pipeline,
        links: Sequence[TraceLink],
        receipts: Sequence[bytes],
        roots: Sequence[bytes],
        handed: Mapping[int, bytes] | None = None,
    ) -> None:
        if len(links) != len(pipeline.stages):
            raise InputError(f"{len(links)} links to {len(pipeline.stages)} stages")
        claims = check_stages(holds, request, pipeline, receipts, roots)
        self._request, self._pipeline, self._links = request, pipeline, links
        self._receipts, self._roots = receipts, roots
        self._program, self._rows = holds.card.program, claims[0].receipt.rows
        self._plans = stage_plans(self._program, pipeline)
        self._handed = dict(handed or {})

    def open(self, stage: int, challenge: Challenge) -> bytes:
        """Return a stage's opening of a challenge, and bring its trace back before if it is gone.

        Raises VerificationError if a stage before it hands on other rows than it committed to (step 7) or
        others than it was asked for (step 1), ServiceError if a node cannot be reached, refuses, or has
        nothing to open although it was given all rows, and InputError if the challenge is for another
        receipt, or ``handed`` had other rows than those that were handed on.
        """
        link, receipt = self._links[stage], self._receipts[stage]
        for _ in range(_TRIES):
            try:
                return link.open(self._request, receipt, challenge)
            except NotKeptError:
                self._bring_back(stage)
        raise ServiceError(f"stage {stage} does not open a receipt, although it was given all rows of it")

    def _bring_back(self, stage: int) -> None:
        """Have a stage compute its trace again."""
        plan, link = self._plans[stage], self._links[stage]
        widths = [self._program.group_bytes(group) for group in plan.reads]
        given = [self._rows_of(group) for group in plan.reads]
        handle = link.again(self._request, self._receipts[stage], self._roots)
        for a, b in self._pieces(sum(widths)) if given else ():
            link.give(handle, b, [rows[a * w : b * w] for rows, w in zip(given, widths, strict=True)])
        while not link.keep(handle):
            pass

    def _pieces(self, width: int) -> Iterator[tuple[int, int]]:
        """Yield the rows of the answer in pieces of a bounded number of bytes, of ``width`` in a row."""
        step = max(1, min(CHUNK, _PIECE // width))
        for a in range(0, self._rows, step):
            yield a, min(self._rows, a + step)

    def _rows_of(self, group: int) -> bytes:
        """Return all rows of a group, which the stage that wrote it may have to hand on again."""
        if group not in self._handed:
            stage = next(plan.stage for plan in self._plans if group in plan.hands)
            with about(node=self._pipeline.stages[stage].node):
                self._handed |= self._handed_again(stage)
        return self._handed[group]

    def _handed_again(self, stage: int) -> dict[int, bytes]:
        for _ in range(_TRIES):
            try:
                return self._asked(stage)
            except NotKeptError:
                self._bring_back(stage)
        raise ServiceError(f"stage {stage} does not hand rows on that it committed to")

    def _asked(self, stage: int) -> dict[int, bytes]:
        """Ask a stage for all rows that it handed on, and check that they are those that it committed to."""
        plan, program, link = self._plans[stage], self._program, self._links[stage]
        grown = {group: Frontier(self._request.suite) for group in plan.hands}
        parts: dict[int, list[bytes]] = {group: [] for group in plan.hands}
        for a, b in self._pieces(sum(program.group_bytes(group) for group in plan.hands)):
            found = link.rows(self._request, self._receipts[stage], a, b)
            if [len(part) for part in found] != [(b - a) * program.group_bytes(g) for g in plan.hands]:
                raise VerificationError(1, f"stage {stage} gave other rows than were asked for")
            for group, part in zip(plan.hands, found, strict=True):
                rows = np.frombuffer(part, np.uint8).reshape(b - a, -1)
                grown[group].add(group_leaves(program, self._request.suite, group, rows, hash_rows))
                parts[group].append(part)
        for group in plan.hands:
            if grown[group].root() != self._roots[group]:
                raise VerificationError(
                    7,
                    f"stage {stage} hands on other rows than it committed to",
                    operation=program.committed[group].name,
                )
        return {group: b"".join(some) for group, some in parts.items()}
