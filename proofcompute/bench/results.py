"""The results of a benchmark run: the schema of ``results.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BudgetRow", "ColumnsRow", "Machine", "Results", "ScalingRow", "SizeRow", "SuiteRow", "rounded"]

SCHEMA = 1


@dataclass(frozen=True)
class Machine:
    """Facts that a reader needs to judge the figures; nothing that names a host or a path."""

    cpu: str
    cores: int
    """Cores that this process may use."""
    memory_gib: float
    system: str
    versions: dict[str, str]
    backend: str
    threads: int
    blas: str
    """Library, version and the kernel that it chose."""
    load: float
    """Cores that others kept busy just before the start or just after the end, the larger of both."""


@dataclass(frozen=True)
class SizeRow:
    """One model at one precision: a request run, committed to, opened as a whole, and verified as a whole."""

    model: str
    precision: str
    weights: int
    """Elements of all weight matrices."""
    key_bytes: int
    """The verifier's key."""
    rows: int
    """Rows of the trace."""
    cells: int
    receipt_bytes: int
    opening_bytes: int
    """An opening of every cell."""
    execute_seconds: float
    """Running the request, without committing."""
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    commit_overhead_prefill: float
    """Share that committing adds to a request that generates one token."""
    commit_overhead: float
    """Share that committing adds to the whole request."""
    verify_over_execute: float
    """Time of verifying every cell over that of running the request."""


@dataclass(frozen=True)
class SuiteRow:
    """One hash suite."""

    suite: str
    model: str
    commit_overhead_prefill: float
    commit_overhead: float
    verify_over_execute: float


@dataclass(frozen=True)
class ColumnsRow:
    """One number of Freivalds columns."""

    columns: int
    model: str
    soundness_bits: float
    key_bytes: int
    keygen_seconds: float
    verify_over_execute: float


@dataclass(frozen=True)
class BudgetRow:
    """One audit budget: uniform cells of one row each."""

    cells: int
    total: int
    """Cells that exist."""
    model: str
    opening_bytes: int
    verify_over_execute: float
    detects_one: float
    """Probability that the audit names one altered cell."""
    detects_1_percent: float
    detects_10_percent: float
    detects_50_percent: float


@dataclass(frozen=True)
class ScalingRow:
    """Growth of verification in one size; exponents are slopes of log time over log size (least squares)."""

    name: str
    sizes: list[int]
    verify_seconds: list[float]
    verify_exponent: float
    tail_exponent: float
    """The slope between the two largest sizes, where fixed costs matter least."""
    formula: str
    """Multiplications of a verification by the design."""
    formula_exponent: float
    """The same slope of those multiplications, counted from the program at the same sizes."""
    formula_tail_exponent: float
    execute_seconds: list[float]
    """Running the same request; empty where the size is not one of the request's."""
    execute_exponent: float | None
    execute_formula_exponent: float | None


@dataclass(frozen=True)
class Results:
    """All of one run."""

    command: str
    note: str
    """What the person who ran it says about the machine; may be empty."""
    quick: bool
    rounds: int
    """Measurements behind each median."""
    prompt: int
    """Prompt tokens of the requests in all sweeps but the last."""
    tokens: int
    """Tokens that they generate."""
    machine: Machine
    seconds: float
    """Time that the whole run took."""
    sizes: list[SizeRow]
    suites: list[SuiteRow]
    columns: list[ColumnsRow]
    budgets: list[BudgetRow]
    scaling: list[ScalingRow]
    left_out: list[str]
    """What was asked for and could not be measured, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the schema's version; seconds and ratios keep four significant digits."""
        return {"schema": SCHEMA, **rounded(asdict(self))}


def rounded(value: Any) -> Any:
    """Plain data with four significant digits in each float."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
