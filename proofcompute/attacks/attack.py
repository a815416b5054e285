"""What an attack is: who lies about what, in which modes of trust, and what must stop it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from proofcompute.attacks.case import Build
from proofcompute.attacks.target import Target
from proofcompute.errors import Cell
from proofcompute.testing.forging import Forgery

__all__ = ["KINDS", "Cheat", "Forged", "Mode", "Where", "anywhere", "in_blocks", "in_first", "in_middle"]


class Mode(Enum):
    """How somebody who does not trust the node checks it."""

    PRIVATE = "private"
    """An auditor with a secret key challenges the node and checks what it opens."""
    PUBLIC = "public"
    """Anybody checks a public proof of all cells, without weights and without a secret."""
    REPLAY = "replay"
    """Who holds the model computes the answer again."""
    EVIDENCE = "evidence"
    """A judge, who trusts neither auditor nor node, decides again what a bundle of evidence says."""


KINDS: Final = {
    "another model": "Sun et al. 2024 (SVIP); Cai et al. 2025 (auditing model substitution)",
    "fine-tune": "Cai et al. 2025; Ong et al. 2025 (TOPLOC)",
    "lower precision": "Ong et al. 2025 (TOPLOC); DiFR",
    "skipped layers": "Verathos, whose audits draw 2 of 32 layers",
    "pruning": "CommitLLM",
    "architecture swap": "Sun et al. 2024 (SVIP)",
    "norms": "gates that the audit of obelyzk (stwo-ml) lists as open: norm variance, missing norm proofs",
    "low bits": "gates that the audit of obelyzk (stwo-ml) lists as open: low bits of activations",
    "positions": "mutants of this project's own arithmetic",
    "shortened context": "CommitLLM, which does not verify attention",
    "key-value reuse": "CommitLLM; VeriLLM",
    "experts": "mutants of this project's own arithmetic",
    "sampler": "DiFR; CommitLLM",
    "seed": "DiFR",
    "early stop": "CommitLLM",
    "edited answer": "CommitLLM",
    "rows moved": "TAO and Verde, where a dispute ends in one operation",
    "relay": "receipts that another node signed (gateways of compute networks)",
    "stale receipt": "receipts that are replayed (gateways of compute networks)",
    "binding": "statements whose parts are not bound (CommitLLM, Gensyn REE)",
    "retention": "commit-and-audit, where the trace is gone when it is asked for",
    "challenge": "nonces and cells that are known before the commitment",
    "opening": "mutants of this project's own format",
    "Merkle": "RFC 6962 and its test data",
    "hints": "Freivalds 1977; lifts that are not unique",
    "public proof": "docs/spec/public-proofs.md: what must not be changed",
    "framing": "evidence that was made up by an auditor",
    "denial": "evidence that a node wants to be nobody's",
}
"""The taxonomy: each kind of attack, and where it was published or found."""

Where = Callable[[Target, Cell], bool]


def anywhere(t: Target, cell: Cell) -> bool:
    """Return that any cell may be altered."""
    return True


def in_blocks(t: Target, cell: Cell) -> bool:
    """Return whether a cell is one of a block."""
    return cell.segment in t.blocks


def in_first(t: Target, cell: Cell) -> bool:
    """Return whether a cell is one of the first block."""
    return cell.segment == t.first


def in_middle(t: Target, cell: Cell) -> bool:
    """Return whether a cell is one of the middle block."""
    return cell.segment == t.middle


@dataclass(frozen=True)
class Cheat:
    """A node that computes something else, and commits to it consistently."""

    does: str
    """What the node does, and perhaps what it gains."""
    kind: str
    """One of :data:`KINDS`."""
    build: Callable[[Target], Forgery]
    where: Where = anywhere
    """Cells that may be altered; no other is."""
    own: int | tuple[int, ...] | Callable[[Target], int] = 9
    """Step that rejects it when it opens the products that it made; with true ones that is always 9.

    Several where that depends on what the program makes of the altered rows: a product of them (8), or first
    a row that is committed (9).
    """

    def own_steps(self, t: Target) -> tuple[int, ...]:
        """Return the steps of which one rejects it when it opens the products that it made."""
        if isinstance(self.own, tuple):
            return self.own
        return (self.own,) if isinstance(self.own, int) else (self.own(t),)


@dataclass(frozen=True)
class Forged:
    """A verification of which something is forged: receipt, challenge, opening, rows, proofs or hints."""

    build: Build
    step: int
    """The step that rejects it."""
    kind: str
    """One of :data:`KINDS`."""
    does: str = ""
    """What is forged, where the name does not say it."""
