"""Defines what a benchmark run measures."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.bench.results import SECTIONS
from proofcompute.commitments.hashing import SUITES
from proofcompute.errors import InputError
from proofcompute.importers.compiling import PRECISIONS
from proofcompute.limits import MAX_COLUMNS
from proofcompute.testing.models import Shape

__all__ = ["OWN", "SHAPES", "Lengths", "Settings"]


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 192, 512),
    "small": Shape(4, 256, 4, 2, 768, 2_048),
    "medium": Shape(6, 512, 8, 4, 1_536, 8_192),
    "large": Shape(8, 1_024, 16, 4, 3_072, 16_384),
}
"""Synthetic models by name, of 0.2 to 120 million weights."""

OWN = "own"
"""The name of the caller's own model."""


@dataclass(frozen=True, order=True)
class Lengths:
    """Lengths of a request in tokens."""

    prompt: int
    """Tokens of the prompt."""
    tokens: int
    """Tokens that are generated."""

    def __str__(self) -> str:
        return f"{self.prompt}+{self.tokens}"

    @staticmethod
    def parse(text: str) -> Lengths:
        """Parse ``prompt+generated``, for instance 64+448; InputError for any other text."""
        prompt, plus, tokens = text.partition("+")
        if not (plus and prompt.strip().isdecimal() and tokens.strip().isdecimal()):
            raise InputError(f"lengths are written prompt+generated, for instance 64+448, not {text!r}")
        return Lengths(int(prompt), int(tokens))


@dataclass(frozen=True)
class Settings:
    """The sweeps of one run. Raises InputError for values that do not exist or exclude each other."""

    sizes: tuple[str, ...] = ("tiny", "small", "medium", "large", "demo")
    """Keys of :data:`SHAPES`, "demo" for the packaged demo model, :data:`OWN` for the caller's own."""
    precisions: tuple[str, ...] = ("w8a8", "w8a16", "w16a16")
    suites: tuple[str, ...] = SUITES
    columns: tuple[int, ...] = (1, 2, 4, 6)
    """Numbers of Freivalds columns, k."""
    budgets: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Numbers of cells of sampled audits."""
    sections: tuple[str, ...] = tuple(SECTIONS)
    rounds: int = 7
    """Measurements per median."""
    lengths: tuple[Lengths, ...] = (Lengths(64, 64),)
    """Lengths of the requests: models are measured at all of them; suites, columns, budgets at the first."""
    model: str = ""
    """Digest of the file of the caller's own model; empty without one."""
    prompt: str = ""
    """Digest of the caller's own prompt; empty for random tokens."""
    scale: int = 1
    """A power of two by which the sizes of the scaling sweeps are divided."""
    quick: bool = False

    def __post_init__(self) -> None:
        for what, values, allowed in (
            ("size", self.sizes, (*SHAPES, "demo", OWN)),
            ("precision", self.precisions, tuple(PRECISIONS)),
            ("hash suite", self.suites, SUITES),
            ("section", self.sections, tuple(SECTIONS)),
            ("number of columns", self.columns, tuple(range(1, MAX_COLUMNS + 1))),
            ("pair of lengths", self.lengths, self.lengths),
        ):
            if not values or len(set(values)) != len(values):
                raise InputError(f"give at least one {what}, and none twice")
            for value in values:
                if value not in allowed:
                    raise InputError(f"{what} {value!r} is none of {', '.join(map(str, allowed))}")
        if not self.budgets or min(self.budgets) < 1:
            raise InputError("an audit budget is at least one cell")
        if min(self.rounds, self.scale, *(n for x in self.lengths for n in (x.prompt, x.tokens))) < 1:
            raise InputError("rounds, lengths and scale are at least 1")
        if bool(self.model) != (OWN in self.sizes):
            raise InputError(f"the size {OWN!r} is a model of your own; name its file (--model FILE)")
        if self.prompt and (random := [s for s in self.sizes if s in SHAPES]):
            raise InputError(
                f"a prompt in words needs a model with a tokenizer, which {random[0]!r} has not: "
                "add --model FILE or --sizes demo"
            )

    @staticmethod
    def fast() -> Settings:
        """Return settings for a run of under 20 seconds once the kernels are compiled."""
        return Settings(
            sizes=("tiny", "small"),
            precisions=("w8a8", "w8a16"),
            columns=(1, 2, 4),
            budgets=(1, 4, 16, 64),
            rounds=3,
            lengths=(Lengths(32, 16),),
            scale=4,
            quick=True,
        )
