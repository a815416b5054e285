"""Defines the results of a benchmark run, which are the schema of ``results.json``.

Every row keeps the seconds of all its rounds; each time, rate and ratio in it follows from these.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

from proofcompute.bench.timing import spread
from proofcompute.errors import InputError

__all__ = [
    "SCHEMA",
    "SECTIONS",
    "BudgetRow",
    "ColumnsRow",
    "Load",
    "Machine",
    "Results",
    "Row",
    "ScalingRow",
    "SizeRow",
    "Step",
    "SuiteRow",
    "rounded",
]

SCHEMA = 2
_NUMBERS = re.compile(r"\[([-+.e\d,\s]+)\]")

Rounds = dict[str, list[float]]
"""Name of a measured action -> seconds of each round."""


@dataclass(frozen=True)
class Machine:
    """Facts that a reader needs to judge the figures, without host names and paths."""

    cpu: str
    cores: int
    """Number of cores that this process may use."""
    memory_gib: float
    system: str
    versions: dict[str, str]
    backend: str
    threads: int
    blas: str
    """Library, version and the kernel that it uses."""


@dataclass(frozen=True)
class Step:
    """One measurement of a run, and the load by others meanwhile."""

    name: str
    seconds: float
    """Its whole time, including that of making models and warming up."""
    others: float | None
    """Cores that others used meanwhile; None if the step was too short to tell."""
    stolen: float | None
    """Cores that the host took away meanwhile."""


@dataclass(frozen=True)
class Load:
    """Cores of the machine that others used."""

    around: float
    """The larger of the loads just before the start and just after the end, while this process slept."""
    during: float
    """The largest load in one step."""
    stolen: float
    """The most cores that the host took away, in a step or around the run."""


@dataclass(frozen=True)
class SizeRow:
    """One model at one precision: a request is run, committed to, opened completely and verified completely.

    Rounds: ``prefill`` and ``commit prefill`` (a request that generates one token), ``run`` and ``commit``
    (the whole request), ``run beside`` and ``verify`` (in turn).
    """

    step: str
    model: str
    precision: str
    prompt: int
    """Number of tokens of the prompt."""
    tokens: int
    """Number of generated tokens; tokens that end an answer do not end it here."""
    weights: int
    """Number of elements of all weight matrices."""
    key_bytes: int
    """Bytes of the verifier's key."""
    rows: int
    """Number of rows of the trace."""
    cells: int
    receipt_bytes: int
    opening_bytes: int
    """Bytes of an opening of every cell."""
    execute_seconds: float
    """Seconds of running the request without committing."""
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    commit_overhead_prefill: float
    """The share that committing adds to a request that generates one token."""
    commit_overhead: float
    """The share that committing adds to the whole request."""
    verify_over_execute: float
    """The time of verifying every cell divided by that of running the request."""
    rounds: Rounds


@dataclass(frozen=True)
class SuiteRow:
    """One hash suite; rounds as in :class:`SizeRow`."""

    step: str
    suite: str
    model: str
    commit_overhead_prefill: float
    commit_overhead: float
    verify_over_execute: float
    rounds: Rounds


@dataclass(frozen=True)
class ColumnsRow:
    """One number of Freivalds columns. Rounds: ``run beside``, ``verify``, ``keygen``."""

    step: str
    columns: int
    model: str
    soundness_bits: float
    key_bytes: int
    keygen_seconds: float
    verify_over_execute: float
    rounds: Rounds


@dataclass(frozen=True)
class BudgetRow:
    """One audit budget: uniform cells of one row each. Rounds: ``run beside`` and ``verify``."""

    step: str
    cells: int
    total: int
    """Number of all cells."""
    model: str
    opening_bytes: int
    verify_over_execute: float
    detects_one: float
    """Probability that the audit includes one altered cell."""
    detects_1_percent: float
    detects_10_percent: float
    detects_50_percent: float
    rounds: Rounds


@dataclass(frozen=True)
class ScalingRow:
    """Growth of verification with one size; exponents are slopes of log time over log size (least squares).

    Rounds: ``verify N`` for each size N, and ``run N`` if running grows with it too.
    """

    step: str
    name: str
    sizes: list[int]
    verify_seconds: list[float]
    verify_exponent: float
    tail_exponent: float
    """The slope between the two largest sizes, where fixed costs matter least."""
    formula: str
    """The formula for the multiplications of a verification."""
    formula_exponent: float
    """The slope of these multiplications, counted from the program at the same sizes."""
    formula_tail_exponent: float
    execute_seconds: list[float]
    """Seconds of running the same request; empty if the size is not one of the request's."""
    execute_exponent: float | None
    execute_formula_exponent: float | None
    rounds: Rounds


Row = SizeRow | SuiteRow | ColumnsRow | BudgetRow | ScalingRow
SECTIONS: dict[str, type[Row]] = {
    "sizes": SizeRow,
    "suites": SuiteRow,
    "columns": ColumnsRow,
    "budgets": BudgetRow,
    "scaling": ScalingRow,
}
"""The sweeps by name, in the order in which they run."""


@dataclass(frozen=True)
class Results:
    """The results of one run, or of its beginning, from which an interrupted run continues."""

    command: str
    note: str
    """A remark about the machine by the person who ran it; may be empty."""
    settings: dict[str, Any]
    """The fields of Settings."""
    machine: Machine
    code: str
    """The start of a digest over the sources that were measured."""
    load: Load
    seconds: float
    """Time of all steps together."""
    complete: bool
    """Whether no step is left to be measured."""
    steps: list[Step]
    sizes: list[SizeRow]
    suites: list[SuiteRow]
    columns: list[ColumnsRow]
    budgets: list[BudgetRow]
    scaling: list[ScalingRow]
    left_out: list[str]
    """Steps that could not be measured, with the reasons."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data with the schema's version.

        Rates and ratios have four significant digits, rounds whole nanoseconds. Each row also has the spread
        of its rounds.
        """
        plain = {"schema": SCHEMA, **rounded(asdict(self))}
        for section in SECTIONS:
            for row in plain[section]:
                row["spread"] = {what: rounded(spread(times)) for what, times in row["rounds"].items()}
        return plain

    def to_text(self) -> str:
        """Return the text of the file: indented, with the numbers of a list on one line."""
        text = json.dumps(self.to_json(), indent=1)
        return _NUMBERS.sub(lambda m: f"[{', '.join(m[1].replace(',', ' ').split())}]", text) + "\n"

    @staticmethod
    def from_json(data: object) -> Results:
        """Invert :meth:`to_json`; InputError for data of another form or version."""
        if not isinstance(data, dict) or "schema" not in data:
            raise InputError("these are not results of a benchmark")
        if data["schema"] != SCHEMA:
            raise InputError(f"results of version {data['schema']}, not {SCHEMA}")
        try:
            plain = {k: v for k, v in data.items() if k != "schema"}
            for section, kind in SECTIONS.items():
                rows = [{k: v for k, v in row.items() if k != "spread"} for row in plain[section]]
                plain[section] = [_made(kind, row) for row in rows]
                for row in plain[section]:
                    _check_rounds(row.rounds)
            plain["steps"] = [_made(Step, step) for step in plain["steps"]]
            plain["machine"] = _made(Machine, plain["machine"])
            plain["load"] = _made(Load, plain["load"])
            found: Results = _made(Results, plain)
        except (TypeError, KeyError, AttributeError) as e:
            raise InputError("these results have another form") from e
        return found


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make a dataclass of these values; TypeError unless they are its fields, each of its outer type."""
    hints = get_type_hints(kind)
    if set(values) != {f.name for f in fields(kind)}:
        raise TypeError(kind.__name__)
    for name, value in values.items():
        hint = hints[name]
        outer = getattr(hint, "__origin__", hint)
        wanted = (int, float) if outer is float else outer
        if not isinstance(value, wanted) or (isinstance(value, bool) and outer is not bool):
            raise TypeError(f"{kind.__name__}.{name}")
    return kind(**values)


def _check_rounds(rounds: dict[str, Any]) -> None:
    for times in rounds.values():
        if not (isinstance(times, list) and times and all(isinstance(t, (int, float)) for t in times)):
            raise TypeError("rounds")


def rounded(value: Any) -> Any:
    """Return plain data with four significant digits in each float, except rounds, which stay unchanged."""
    if isinstance(value, dict):
        return {k: v if k == "rounds" else rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
