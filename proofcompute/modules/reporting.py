"""Says how a wrapped module was compiled, how near it is to the module, and what runs and audits cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from proofcompute.verifier.pricing import Price, Prices

__all__ = ["ModuleReport"]


@final
@dataclass(frozen=True)
class ModuleReport:
    """How a module was compiled.

    What is proved is a program of the same weights, with quantised products, and not PyTorch's own kernels:
    results differ from the module's by about :attr:`error`.
    """

    error: float
    """The greatest relative difference (L2) of a result to the module's in float32, for the example."""
    same_top: float | None
    """Share of the example's samples whose largest entry of the first result is where the module has it; None
    if that is no table of scores, [samples, classes]."""
    rows: int
    """Samples of the example."""
    precision: str
    """The precision that was asked for."""
    segments: int
    """Cells of one row."""
    row_bytes: int
    """Bytes of one row that are committed."""
    multiplications: int
    """Multiplications of one row in products with weights."""
    module_seconds: float
    """Seconds that the module takes for the example, the least of a few runs."""
    run_seconds: float
    """Seconds that the program takes for it."""
    proved_seconds: float
    """Seconds that the program takes for it, committing and signing included."""
    prices: Prices
    """What audits of one row cost; ``prices.cheaper`` says what an auditor should hold."""

    @property
    def slower(self) -> float:
        """How many times as long as the module a proved call takes."""
        return self.proved_seconds / self.module_seconds

    def __str__(self) -> str:
        """Return the report for people."""
        top = (
            "" if self.same_top is None else f", the largest score in the same place for {self.same_top:.0%}"
        )
        holds = {
            "key": "a key (it takes less time, though more is opened)",
            "weights": "the model (less is opened, and checking hints would save little time or none)",
            None: "a key or the model: there are no products with weights, so an audit computes all again",
        }[self.prices.cheaper]
        times = f"{_ms(self.proved_seconds)} ({self.slower:.2f} times), of it running {_ms(self.run_seconds)}"
        lines = (
            "a program of the same weights is proved, not PyTorch's own kernels",
            f"error: {self.error:.2g} of float32{top}, {self.rows} samples, precision {self.precision}",
            f"a row: {self.segments} segments, {self.row_bytes} bytes committed",
            f"a row: {self.multiplications} multiplications in products with weights",
            f"time of the example: module {_ms(self.module_seconds)}, proved {times}",
            f"full audit of a row with a key: {_audit(self.prices.key, self.prices.key_bytes)}",
            f"full audit of a row with the model: {_audit(self.prices.weights, self.prices.weight_bytes)}",
            f"better to hold: {holds}",
        )
        return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _audit(price: Price, held: int) -> str:
    opened = f"opens at most {price.nbytes} bytes"
    return f"{opened}, takes {price.time:.2g} of the time of running, holds {held} bytes"
