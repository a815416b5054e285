"""The results of a benchmark run: the schema of ``results.json``.

Every row keeps the seconds of all its rounds, and each time, rate and ratio in it follows from these.
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
"""By what was timed, the seconds of each round."""


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


@dataclass(frozen=True)
class Step:
    """One measurement of a run, and what others did meanwhile."""

    name: str
    seconds: float
    """Its whole time, making models and warming up included."""
    others: float | None
    """Cores that others used meanwhile; None where it was too short to tell."""
    stolen: float | None
    """Cores that the host took away meanwhile."""


@dataclass(frozen=True)
class Load:
    """What others used of the machine's cores."""

    around: float
    """While this process slept just before its start or just after its end, the larger of both."""
    during: float
    """While it measured: the most in one step."""
    stolen: float
    """The most that the host took away, in a step or around."""


@dataclass(frozen=True)
class SizeRow:
    """One model at one precision: a request run, committed to, opened as a whole, and verified as a whole.

    Rounds: ``prefill`` and ``commit prefill`` (a request that generates one token), ``run`` and ``commit``
    (the whole request), ``run beside`` and ``verify`` (in turn).
    """

    step: str
    model: str
    precision: str
    prompt: int
    """Tokens of the prompt."""
    tokens: int
    """Tokens generated; the end of a text does not end the answer."""
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
    """One audit budget: uniform cells of one row each. Rounds: ``run beside``, ``verify``."""

    step: str
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
    rounds: Rounds


@dataclass(frozen=True)
class ScalingRow:
    """Growth of verification in one size; exponents are slopes of log time over log size (least squares).

    Rounds: ``verify N`` for each size N, and ``run N`` where running grows with it too.
    """

    step: str
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
    """All of one run, or of its beginning: a run that was interrupted goes on from its results."""

    command: str
    note: str
    """What the person who ran it says about the machine; may be empty."""
    settings: dict[str, Any]
    """What was asked for: the fields of Settings."""
    machine: Machine
    code: str
    """The start of a digest over the sources that were measured."""
    load: Load
    seconds: float
    """Time that all steps took."""
    complete: bool
    """False while steps are left to be measured."""
    steps: list[Step]
    sizes: list[SizeRow]
    suites: list[SuiteRow]
    columns: list[ColumnsRow]
    budgets: list[BudgetRow]
    scaling: list[ScalingRow]
    left_out: list[str]
    """What was asked for and could not be measured, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the schema's version.

        Rates and ratios keep four significant digits, rounds every nanosecond; beside the rounds of each row
        stands their spread.
        """
        plain = {"schema": SCHEMA, **rounded(asdict(self))}
        for section in SECTIONS:
            for row in plain[section]:
                row["spread"] = {what: rounded(spread(times)) for what, times in row["rounds"].items()}
        return plain

    def to_text(self) -> str:
        """The file: indented, with the numbers of one list on one line."""
        text = json.dumps(self.to_json(), indent=1)
        return _NUMBERS.sub(lambda m: f"[{', '.join(m[1].replace(',', ' ').split())}]", text) + "\n"

    @staticmethod
    def from_json(data: object) -> Results:
        """What :meth:`to_json` wrote; InputError if it is of another form or version."""
        if not isinstance(data, dict) or "schema" not in data:
            raise InputError("no results of a benchmark")
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
            raise InputError("results of another form") from e
        return found


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    """A dataclass of these values; TypeError unless they are its fields, each of its outer type."""
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
    """Plain data with four significant digits in each float, but for rounds, which are kept as they are."""
    if isinstance(value, dict):
        return {k: v if k == "rounds" else rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
