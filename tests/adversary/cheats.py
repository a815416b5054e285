"""Cheating provers of docs/spec/adversary.md on the small model, and how many cells each alters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adversary.setting import PROMPT, ROWS, target
from proofcompute.attacks.answers import ANSWERS
from proofcompute.attacks.programs import PROGRAMS
from proofcompute.attacks.target import NotApplicable
from proofcompute.attacks.values import VALUES, edit_rows
from proofcompute.attacks.weights import WEIGHTS
from proofcompute.errors import Cell
from proofcompute.testing.forging import Forgery

__all__ = ["ABSENT", "CHEATS", "Cheat", "edit_rows"]


@dataclass(frozen=True)
class Cheat:
    """A cheating prover and what becomes of it."""

    name: str
    where: Callable[[Cell], bool]
    """Cells that may be rejected; no other is."""
    least: int
    """Cells that are rejected, at least."""
    own: tuple[int, ...]
    """Steps of which one rejects it when it opens the products that it made; with true ones it is 9."""

    def build(self) -> Forgery:
        return ALL[self.name].build(target())


ALL = {**WEIGHTS, **PROGRAMS, **VALUES, **ANSWERS}
ABSENT = {
    "one limb of queries",
    "softcap ignored",
    "sink dropped",
    "rotation not scaled",
    "window widened",
    "window dropped",
    "low limbs of keys dropped",
}
"""Cheats with what the small model does not have."""
LEAST = {
    "another model of the same shape": 3 * ROWS,
    "weights rounded to four bits": 2 * ROWS,
    "one-limb activations": 2 * ROWS,
    "one matrix zeroed": ROWS,
    "one weight off by one": ROWS - 4,
    "one head zeroed": ROWS - 1,
    "one layer skipped": ROWS,
    "one layer of another model": ROWS,
    "layers swapped": 2 * ROWS,
    "fine-tuned weights": 2 * ROWS,
    "half of the weights pruned": 2 * ROWS,
    "norm variance replaced": 2 * ROWS,
    "shortened context": ROWS,
    "wrong offset in RoPE": 2 * ROWS,
    "stale keys and values committed": len(PROMPT) - 1,
    "stale keys and values used": ROWS,
    "keys quantised to zero": 2 * ROWS,
    "low bits of activations cleared": 2 * ROWS,
    "residual stream inflated": ROWS,
    "answer edited over the old trace": 2,
    "answer of another run": 2,
    "trace of another prompt": 10,
}


def _bound(name: str) -> Cheat:
    made = ALL[name]
    return Cheat(name, lambda cell: made.where(target(), cell), LEAST.get(name, 1), made.own_steps(target()))


CHEATS: dict[str, Cheat] = {name: _bound(name) for name in ALL if name not in ABSENT}


def absent(name: str) -> bool:
    """Whether a cheat says that the small model lacks what it is about."""
    try:
        ALL[name].build(target())
    except NotApplicable:
        return True
    return False
