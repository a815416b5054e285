"""Runs the node tests of ``onnx`` and writes down how they end: `python scripts/onnx_coverage.py`.

It writes docs/onnx-coverage.md, and tests/importers/onnx_node_results.tsv, with which the tests compare.
"""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if TYPE_CHECKING:
    from importers.onnx_nodes import Outcome

PAGE = ROOT / "docs" / "onnx-coverage.md"
RESULTS = ROOT / "tests" / "importers" / "onnx_node_results.tsv"

TEXT = """# ONNX operators

`proofcompute import model.onnx` lowers a graph to the primitives of a program. This page says how
the node tests that ship in the `onnx` package (version {version}) end. `python
scripts/onnx_coverage.py` writes it.

| {total} tests | |
|---|---|
| passed | {passed} |
| of these, with inputs frozen | {frozen} |
| of these, with nothing left to run | {folded} |
| failed | {failed} |
| refused | {refused} |

How a test is run:

- Its whole inputs are one row of a program at w16a16. A result passes if each element is within
  1e-3 of the reference, or within 1e-4 of the largest element of the reference. Results in 16-bit
  floats may be off by 1e-2, as `f16`, `bf16` and `f64` are computed as binary32. Integers and
  booleans must be equal.
- Inputs that reach a shape must be constants of a program. The test's values of such inputs are
  frozen: integers, booleans, and floats of at most eight elements, such as scales. Where every
  input is frozen, nothing is left to run, and the test says only that folding is right.
- A graph without a program is refused by the name of its node and the reason. Values that leave a
  program must be finite, so tests whose results are infinite or NaN are refused when they run.
- `u64` is held in 64 bits with a sign: values from 2^63 on compare and shift right, but do not
  divide or convert right.
- Products of two activations are quantised with a scale for each row and each column, unless they
  are small (at most 32 terms and 2^18 multiplications). In a long attention, values behind a mask
  that are thousands of times larger than the others would cost accuracy.

## Operators

Operators whose tests all pass:

{good}.

| operator | passed | failed | refused | why |
|---|---|---|---|---|
{rows}
"""


def operator_of(name: str) -> str:
    """Return the operator that a test is about: that of its graph's only node, or the first one."""
    from importers.onnx_nodes import cases

    plain = name.removesuffix("_expanded")
    case = cases().get(plain, cases()[name])
    return str(case.model.graph.node[0].op_type)


def run_all() -> dict[str, Outcome]:
    """Run every test."""
    from importers.onnx_nodes import cases, run_case

    return {name: run_case(case) for name, case in cases().items()}


def page(outcomes: Mapping[str, Outcome]) -> str:
    """Return the page."""
    import onnx

    count = Counter(o.result for o in outcomes.values())
    passed = [o for o in outcomes.values() if o.result == "passed"]
    by: dict[str, list[Outcome]] = defaultdict(list)
    for name, outcome in outcomes.items():
        by[operator_of(name)].append(outcome)
    good = [op for op, found in sorted(by.items()) if all(o.result == "passed" for o in found)]
    rows = [_row(op, found) for op, found in sorted(by.items()) if op not in good]
    return TEXT.format(
        version=onnx.__version__,
        total=len(outcomes),
        passed=count["passed"],
        failed=count["failed"],
        refused=count["refused"],
        frozen=sum(bool(o.frozen) for o in passed),
        folded=sum(o.folded for o in passed),
        good="\n".join(textwrap.wrap(", ".join(good), 115)),
        rows="\n".join(rows),
    )


def _row(op: str, found: Sequence[Outcome]) -> str:
    count = Counter(o.result for o in found)
    reasons = Counter(_short(o.reason) for o in found if o.result != "passed")
    why = "; ".join(reason for reason, _ in reasons.most_common(2))
    return f"| {op} | {count['passed']} | {count['failed']} | {count['refused']} | {why} |"


def _short(reason: str) -> str:
    text = reason.rpartition("): ")[2].replace("|", "/")
    for error in ("NonFiniteError", "UnsupportedError", "InputError", "LimitError", "ExecutionError"):
        text = text.removeprefix(f"{error}: ")
    if "must be finite" in text:
        return "a result is infinite or NaN"
    return text[:90]


def results(outcomes: Mapping[str, Outcome]) -> str:
    """Return the tests that do not pass, one a line, and the number of all."""
    lines = [f"{o.name}\t{o.result}" for o in outcomes.values() if o.result != "passed"]
    return "\n".join((f"# {len(outcomes)} tests; those that do not pass", *lines, ""))


def main() -> None:
    warnings.simplefilter("ignore")
    outcomes = run_all()
    PAGE.write_text(page(outcomes), "utf-8")
    RESULTS.write_text(results(outcomes), "utf-8")
    print(dict(Counter(o.result for o in outcomes.values())))


if __name__ == "__main__":
    main()
