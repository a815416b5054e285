"""One verification with all that it gets, and the cells of a forgery that do not hold."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.attacks.taken_apart import Opening, opened, opened_bytes
from proofcompute.attacks.target import Target
from proofcompute.errors import Cell, VerificationError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, OpeningHead, Part, Request, Terms
from proofcompute.protocol.promises import require_within
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Key, Verified, check_card, check_receipt, verify

__all__ = ["MOST", "Build", "Case", "bad_cells", "case", "single_cells", "step_of"]

MOST: Final = 3600.0
"""Seconds that the verifier waits for an opening, whatever terms say."""


@dataclass(frozen=True)
class Case:
    """Everything that one verification gets."""

    holder: Key | Model
    request: Request
    receipt: bytes
    challenge: Challenge
    opening: bytes
    node: bytes | None = None
    terms: Terms | None = None
    """Those that the verifier holds."""
    retention: int = 0
    """What the verifier wants, in seconds."""
    waited: float = 0.0
    """Seconds until it had the opening."""
    evidence: bool = False
    """Whether the verifier wants evidence of what it accepts."""
    card: bytes | None = None
    """What somebody sent as the card of the model."""

    def verify(
        self, kernels: Kernels | None = None, progress: Callable[[int], None] | None = None
    ) -> Verified:
        """Verify, with the definition in NumPy unless a backend is given. Raises VerificationError."""
        if self.card is not None:
            check_card(self.card, self.holder.card.model_id)
        claim = check_receipt(
            self.holder, self.request, self.receipt, self.node, terms=self.terms, retention=self.retention
        )
        if self.terms is not None:
            require_within(self.waited, self.terms.deadline(claim.statement.rows, MOST))
        return verify(
            self.holder,
            self.request,
            self.receipt,
            self.challenge,
            io.BytesIO(self.opening),
            kernels=kernels or NumpyKernels(),
            node=self.node,
            progress=progress,
            evidence=self.evidence,
        )

    def rejection(self, kernels: Kernels | None = None) -> VerificationError:
        """Return the error of a verification that must fail. Raises AssertionError if it passes."""
        try:
            self.verify(kernels)
        except VerificationError as e:
            return e
        raise AssertionError("the verification passed")


Build = Callable[[Target], Case]
"""Prepares one verification that must fail."""


def case(
    t: Target,
    forgery: Forgery,
    *cells: Cell,
    holder: Key | Model | None = None,
    using: Model | None = None,
    edit: Callable[[Opening], Opening] | None = None,
) -> Case:
    """Return a whole audit of a forgery, of all cells or of some.

    Args:
        t: the target, whose key the auditor holds unless ``holder`` is given.
        forgery: what the node has committed to.
        cells: the cells that are asked for; none: all.
        holder: what the auditor holds.
        using: the model whose products the node opens; None: of the one that ran.
        edit: changes the opening, which is then signed.
    """
    holder = holder or t.key()
    challenge = forgery.challenge(*cells, hints=isinstance(holder, Key))
    if edit is None:
        opening = opened_bytes(forgery, challenge, using)
    else:
        opening = edit(opened(forgery, challenge, using)).encode()
    return Case(holder, forgery.request, forgery.receipt.encode(), challenge, opening)


def single_cells(forgery: Forgery) -> list[Cell]:
    """Return every cell of one row."""
    return [
        Cell(segment, row, row + 1)
        for segment, first in enumerate(forgery.statement.first_rows)
        for row in range(first, forgery.statement.rows)
    ]


def bad_cells(t: Target, forgery: Forgery, using: Model | None = None) -> dict[Cell, int]:
    """Return the cells that an audit of just them rejects, and the step of each."""
    cells = single_cells(forgery)
    opening = opened(forgery, forgery.challenge(*cells), using)
    parts = dict(zip(cells, opening.parts, strict=True))
    found: dict[Cell, int] = {}
    for segment in range(len(forgery.statement.first_rows)):
        mine = [c for c in cells if c.segment == segment]
        if step_of(t, forgery, opening.head, {c: parts[c] for c in mine}) is None:
            continue
        for cell in mine:
            step = step_of(t, forgery, opening.head, {cell: parts[cell]})
            if step is not None:
                found[cell] = step
    return found


def step_of(t: Target, forgery: Forgery, head: OpeningHead, parts: Mapping[Cell, Part]) -> int | None:
    """Return the step that rejects an audit of these cells, or None if they pass."""
    challenge = forgery.challenge(*parts)
    opening = Opening(replace(head, challenge_digest=challenge.digest), tuple(parts.values())).encode()
    audit = Case(t.key(), forgery.request, forgery.receipt.encode(), challenge, opening)
    try:
        audit.verify(t.kernels)
    except VerificationError as e:
        return e.step
    return None
