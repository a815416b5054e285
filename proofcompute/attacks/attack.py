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
    "another model": "substituted models: Sun et al. 2024 (SVIP), Cai et al. 2025 (arXiv:2504.04715)",
    "fine-tune": "modified models: Ong et al. 2025 (TOPLOC)",
    "lower precision": "quantised substitutes: Ong et al. 2025 (TOPLOC), Cai et al. 2025",
    "skipped layers": "audits that draw a few layers (Verathos draws 2 of 32)",
    "pruning": "modified models: Ong et al. 2025 (TOPLOC)",
    "architecture swap": "substituted models: Sun et al. 2024 (SVIP)",
    "norms": "gates that the audit of obelyzk lists as open: norm variance, missing norm proofs",
    "low bits": "gates that the audit of obelyzk lists as open: low bits of activations",
    "positions": "docs/spec/adversary.md",
    "shortened context": "systems that do not verify attention (CommitLLM)",
    "key-value reuse": "systems that do not verify attention (CommitLLM)",
    "experts": "docs/spec/adversary.md",
    "sampler": "samplers that are not bound: DiFR compares tokens under one seed",
    "seed": "samplers that are not bound: DiFR compares tokens under one seed",
    "early stop": "docs/spec/adversary.md",
    "edited answer": "docs/spec/adversary.md",
    "rows moved": "disputes that end in one operation (Verde, TAO)",
    "relay": "receipts of compute networks, which another node may have signed",
    "stale receipt": "receipts of compute networks, which may be replayed",
    "binding": "docs/spec/verification.md: everything that a receipt says",
    "retention": "commit and audit, where the trace may be gone",
    "challenge": "nonces and cells that are known before the commitment",
    "opening": "docs/spec/verification.md: the form of an opening",
    "Merkle": "RFC 6962, and the test data of its implementations",
    "hints": "Freivalds 1977, and lifts that are not unique",
    "public proof": "docs/spec/public-proofs.md: what must not be changed",
    "framing": "docs/spec/evidence.md: auditors that make things up",
    "denial": "docs/spec/evidence.md: nodes that deny",
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
    public: int = 0
    """The step that rejects a public proof of it; 0: the same."""
