"""Define what a node may alter, and with which probability a policy finds it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from proofcompute.errors import InputError
from proofcompute.planning.trace import Trace
from proofcompute.protocol.samples import Sample
from proofcompute.verifier import chances
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["KINDS", "Alteration", "Kind"]

Kind = Literal["cell", "layer", "row", "share", "copy"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_NUMBER: Final = r"0?\.[0-9]{1,9}|[0-9]{1,2}(?:\.[0-9]{1,9})?%"
_TEXT: Final = re.compile(rf"(cell|layer|row|copy)|share:({_NUMBER})", re.ASCII)


@dataclass(frozen=True)
class Alteration:
    """What a node alters of an answer's trace."""

    kind: Kind
    """One cell; a whole layer (segment); one row in all layers; a share of all cells; or all that a copy of
    the model with other weights, such as an int4 one, gives otherwise: every segment that has products."""
    portion: float = 0.0
    """The share of all cells, above 0 and below 1; for the kind ``share``."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"{self.kind!r} is none of {', '.join(KINDS)}")
        if (self.kind == "share") != (0 < self.portion < 1) or (self.kind != "share" and self.portion):
            raise InputError("a share of cells is above 0 and below 1, and only the kind share has one")

    @staticmethod
    def parse(text: str) -> Alteration:
        """Parse ``cell``, ``layer``, ``row``, ``copy``, or a share as ``share:0.01`` or ``share:1%``."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise InputError(f"a cheat is cell, layer, row, copy or share:1%, not {text[:40]!r}")
        if found[1]:
            return Alteration(_kind(found[1]))
        number = found[2]
        return Alteration("share", float(number[:-1]) / 100 if number.endswith("%") else float(number))

    def finds(self, trace: Trace, sample: Sample) -> float:
        """Return the probability that a sample finds it, at the least, wherever the node places it."""
        rows = trace.segments
        if self.kind == "cell":
            return chances.one(rows, sample)
        if self.kind == "layer":
            return chances.segment(rows, sample)
        if self.kind == "row":
            return chances.row(rows, sample)
        if self.kind == "copy":
            return chances.where(rows, sample, self.placed(trace, sample))
        return chances.share(rows, sample, self.portion)

    def found(self, trace: Trace, policy: AuditPolicy) -> float:
        """Return the probability that an audit by a policy finds it."""
        sampled = policy.sampled * self.finds(trace, policy.sample) if policy.sample else 0.0
        return policy.whole + sampled

    def placed(self, trace: Trace, sample: Sample) -> list[tuple[int, int]]:
        """Return where simulations place it: of each segment, first and end row from its own first row on.

        One cell, layer or row lies where it is found least often. A share fills the first half of the rows
        of some segments, or more, which is one of many places; :meth:`finds` is the least over all of them.
        """
        rows = trace.segments
        if self.kind == "copy":
            plans = trace.program.plans
            altered = [(0, n if plan.sites else 0) for n, plan in zip(rows, plans, strict=True)]
            return altered if any(b for _, b in altered) else [(0, n) for n in rows]
        if self.kind == "row":
            return [(0, int(n == max(rows))) for n in rows]
        if self.kind == "share":
            left, spans = chances.altered_cells(self.portion, sum(rows)), [(0, 0)] * len(rows)
            for s in sorted(range(len(rows)), key=lambda s: -rows[s]):
                taken = min(left, math.ceil(max(0.5, self.portion) * rows[s]))
                spans[s], left = (0, taken), left - taken
            return spans
        places = [
            [(0, (n if self.kind == "layer" else 1)) if i == s else (0, 0) for i, n in enumerate(rows)]
            for s in sorted({rows.index(n) for n in set(rows)})
        ]
        return min(places, key=lambda spans: chances.where(rows, sample, spans))

    def __str__(self) -> str:
        names = {"cell": "one cell", "layer": "one layer", "row": "one row", "copy": "a copy, such as int4"}
        return names.get(self.kind, f"{self.portion:.4g} of the cells")


def _kind(text: str) -> Kind:
    return next(kind for kind in KINDS if kind == text)
