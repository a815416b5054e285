"""The scalar functions of primitives against vectors of an oracle that computes them without the package."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel_cases.expressions import signatures
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.primitives import ELEMENTS, Expression, Term, infer
from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors" / "primitives.json"
KERNELS = NumpyKernels()


@cache
def vectors() -> list[Any]:
    found: list[Any] = json.loads(VECTORS.read_text(encoding="ascii"))
    return found


def column(values: list[int], dtype: str) -> Array:
    if dtype == "f32":
        return np.array(values, np.uint32).view(np.float32)
    return np.array(values, dtype=ELEMENTS[dtype])


def test_the_vectors_are_what_the_oracle_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oracle.make_primitive_vectors", str(tmp_path)]
    subprocess.run(command, cwd=TESTS, check=True, timeout=120)
    assert (tmp_path / "primitives.json").read_bytes() == VECTORS.read_bytes()


def test_the_oracle_imports_nothing_from_the_package() -> None:
    found = "any(name in sys.modules for name in ('proofcompute', 'numpy'))"
    code = f"import sys, oracle.make_primitive_vectors; sys.exit({found})"
    subprocess.run([sys.executable, "-c", code], cwd=TESTS, check=True, timeout=60)


def test_every_function_of_every_types_has_vectors() -> None:
    found = {(case["function"], tuple(case["types"]), case["to"]) for case in vectors()}
    wanted = {(function, of, infer(function, of, to)) for function, of, to in signatures()}
    assert found == wanted | {("sin", ("f32",), "f32"), ("cos", ("f32",), "f32")}


@pytest.mark.parametrize("number", range(len(vectors())))
def test_a_function(number: int) -> None:
    case = vectors()[number]
    of, to = case["types"], case["to"]
    e = Expression(tuple(of), (Term(case["function"], tuple(range(len(of))), to),))
    good = [point for point in case["points"] if point[-1] is not None]
    assert good
    args = [column(list(values), dtype) for values, dtype in zip(zip(*good, strict=True), of, strict=False)]
    found = KERNELS.evaluate(e, [x[np.newaxis] for x in args], 1, (len(good),))[0]
    expected = column([point[-1] for point in good], to)
    assert found.dtype == expected.dtype
    if to == "f32":
        found, expected = (np.where(np.isnan(x), np.float32(np.nan), x) for x in (found, expected))
    assert found.tobytes() == expected.tobytes()
    for point in case["points"]:
        if point[-1] is None:
            args = [column([x], dtype)[np.newaxis] for x, dtype in zip(point, of, strict=False)]
            with pytest.raises(ExecutionError):
                KERNELS.evaluate(e, args, 1, (1,))
