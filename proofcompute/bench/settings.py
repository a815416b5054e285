"""What a benchmark run measures."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.errors import InputError
from proofcompute.hashing import SUITES
from proofcompute.importers.decoder import PRECISIONS
from proofcompute.limits import MAX_COLUMNS

__all__ = ["SECTIONS", "SHAPES", "Settings", "Shape"]


@dataclass(frozen=True)
class Shape:
    """A decoder of the Llama kind, filled with random int8 weights."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn_width: int
    vocabulary: int


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 192, 512),
    "small": Shape(4, 256, 4, 2, 768, 2_048),
    "medium": Shape(6, 512, 8, 4, 1_536, 8_192),
    "large": Shape(8, 1_024, 16, 4, 3_072, 16_384),
}
"""Synthetic models by name, 0.2 to 120 million weights."""

SECTIONS = ("sizes", "suites", "columns", "budgets", "scaling")
"""Sweeps, in the order in which they run."""


@dataclass(frozen=True)
class Settings:
    """The sweeps of one run. Raises InputError for values that do not exist."""

    sizes: tuple[str, ...] = ("tiny", "small", "medium", "large", "demo")
    """Keys of :data:`SHAPES`, or "demo" for the packaged demo model."""
    precisions: tuple[str, ...] = ("w8a8", "w8a16", "w16a16")
    suites: tuple[str, ...] = SUITES
    columns: tuple[int, ...] = (1, 2, 4, 6)
    """Freivalds columns k."""
    budgets: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    """Cells of a sampled audit."""
    sections: tuple[str, ...] = SECTIONS
    rounds: int = 7
    """Measurements behind each median."""
    prompt: int = 64
    """Prompt tokens of each request."""
    tokens: int = 64
    """Tokens generated."""
    scale: int = 1
    """Sizes of the scaling sweeps are divided by this power of two."""
    quick: bool = False

    def __post_init__(self) -> None:
        for what, values, allowed in (
            ("size", self.sizes, (*SHAPES, "demo")),
            ("precision", self.precisions, tuple(PRECISIONS)),
            ("hash suite", self.suites, SUITES),
            ("section", self.sections, SECTIONS),
            ("number of columns", self.columns, tuple(range(1, MAX_COLUMNS + 1))),
        ):
            if not values or len(set(values)) != len(values):
                raise InputError(f"give at least one {what}, and none twice")
            for value in values:
                if value not in allowed:
                    raise InputError(f"{what} {value!r} is none of {', '.join(map(str, allowed))}")
        if not self.budgets or min(self.budgets) < 1:
            raise InputError("an audit budget is at least one cell")
        if min(self.rounds, self.prompt, self.tokens, self.scale) < 1:
            raise InputError("rounds, prompt, tokens and scale are at least 1")

    @staticmethod
    def fast() -> Settings:
        """Settings for a run of under 20 seconds once the kernels are compiled."""
        return Settings(
            sizes=("tiny", "small"),
            precisions=("w8a8", "w8a16"),
            columns=(1, 2, 4),
            budgets=(1, 4, 16, 64),
            rounds=3,
            prompt=32,
            tokens=16,
            scale=4,
            quick=True,
        )
