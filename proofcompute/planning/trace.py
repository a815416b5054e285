"""Say which cells the trace of a request has, before anything has run, from its program and lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import Cell, InputError
from proofcompute.limits import MAX_ROWS
from proofcompute.program.program import Program
from proofcompute.protocol.cells import covering, drawn_from, segment_rows
from proofcompute.protocol.samples import Sample
from proofcompute.protocol.statement import Statement

__all__ = ["Lengths", "Trace"]

_TEXT: Final = re.compile(r"([1-9][0-9]{0,7})(?:\+([1-9][0-9]{0,7}))?", re.ASCII)


@dataclass(frozen=True)
class Lengths:
    """Rows of a request."""

    prompt: int
    """Tokens of the prompt; samples, if the model takes arrays."""
    tokens: int
    """Tokens of the answer; 0 if the model generates none."""

    @staticmethod
    def parse(text: str, program: Program) -> Lengths:
        """Parse ``prompt+generated``, or the number of samples of a model that generates nothing.

        Raises InputError for any other text, or more rows than a request has.
        """
        found = _TEXT.fullmatch(text)
        if found is None or bool(found[2]) != bool(program.feedback):
            wanted = "prompt+generated, such as 64+448" if program.feedback else "one number of rows"
            raise InputError(f"lengths of this model are {wanted}, not {text[:40]!r}")
        made = Lengths(int(found[1]), int(found[2] or 0))
        if made.rows > MAX_ROWS:
            raise InputError(f"{made.rows} rows are more than {MAX_ROWS}")
        return made

    @property
    def rows(self) -> int:
        """Rows of the trace: the last token is given to no layer."""
        return self.prompt + max(0, self.tokens - 1)

    @property
    def units(self) -> int:
        """Rows of the answer that are paid for: tokens, prompt included, or samples."""
        return self.prompt + self.tokens

    def __str__(self) -> str:
        return f"{self.prompt}+{self.tokens}" if self.tokens else str(self.prompt)


@dataclass(frozen=True, eq=False)
class Trace:
    """The cells of a trace."""

    program: Program
    lengths: Lengths

    @cached_property
    def statement(self) -> Statement:
        """The facts from which cells follow; it has no inputs and no outputs."""
        return Statement(self.program, self.lengths.prompt, self.lengths.rows, {}, {}, Sampling(), b"")

    @cached_property
    def segments(self) -> tuple[int, ...]:
        """Rows of each segment."""
        return segment_rows(self.statement)

    @cached_property
    def full(self) -> tuple[Cell, ...]:
        """The cells of a full audit. Raises LimitError if a challenge cannot name so many."""
        return covering(self.statement)

    def draw(self, sample: Sample, digest: bytes, seed: bytes) -> tuple[Cell, ...]:
        """Draw cells as an auditor does for a receipt of this signed digest."""
        return drawn_from(self.statement, digest, sample, seed)
