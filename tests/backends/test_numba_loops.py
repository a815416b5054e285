"""Loops that are generated for expressions: when they are compiled, and that they equal the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_cases import Case, outcome
from kernel_cases.expressions import MASKED, SWISH, every, long_expression, numbers, one, signatures
from proofcompute.arithmetic.backends.numba import NumbaKernels, mapping
from proofcompute.arithmetic.backends.numba.runtime import cache, threads
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.primitives import ARITY, ELEMENTS, Expression, Term, check_expression, infer
from proofcompute.errors import ExecutionError

KERNELS = NumbaKernels()
DEFINED = NumpyKernels()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of other tests are not known here."""
    monkeypatch.setattr(mapping, "_known", {})


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_WORTH", 0)


def compiled() -> int:
    return sum(known.function is not None for known in mapping._known.values())


def swish(n: int) -> Any:
    x = numbers("f32", 1, n)
    assert KERNELS.evaluate(SWISH, [x], 1, (n,)).tobytes() == DEFINED.evaluate(SWISH, [x], 1, (n,)).tobytes()


def test_an_expression_is_compiled_when_it_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(mapping, "_WORTH", 3 * 100 * len(SWISH.terms))
    monkeypatch.setattr(cache, "_directory", lambda kind: tmp_path)
    found = []
    for _ in range(4):
        swish(100)
        found.append(compiled())
    assert found == [0, 0, 1, 1]
    assert len(list(tmp_path.glob("*.kernel"))) == 1
    # another process finds the code, and need not think about worth
    monkeypatch.setattr(mapping, "_known", {})
    swish(2)
    assert compiled() == 1
    # what is damaged is compiled again, when it is worth it
    [file] = tmp_path.glob("*.kernel")
    file.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(mapping, "_known", {})
    swish(2)
    assert compiled() == 0


@pytest.mark.usefixtures("at_once")
def test_no_more_loops_are_made_than_one_process_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_MOST_LOOPS", 0)
    swish(100)
    assert mapping._known == {}


@pytest.mark.usefixtures("at_once")
def test_without_a_compiler_it_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "_compiles", lambda: False)
    swish(100)
    assert mapping._known == {}


@pytest.mark.usefixtures("at_once")
def test_a_long_expression_becomes_several_loops() -> None:
    e = long_expression(130, 3)
    x = [numbers("f32", 2, 37, key=j) for j in range(3)]
    case = Case("evaluate", "long", lambda: (e, x, 2, (37,)))
    assert outcome(KERNELS, case) == outcome(DEFINED, case)
    assert sorted(len(loop.terms) for loop in mapping._known) == [34, 48, 48]
    assert compiled() == 3


@pytest.mark.usefixtures("at_once")
def test_threads_share_rows_and_parts_of_an_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 3)
    monkeypatch.setattr(mapping, "_SPLIT", 1)
    monkeypatch.setattr(mapping, "_CHUNK", 64)
    for n, shape in ((1, (1000,)), (5, (7, 33)), (3, (1, 65)), (200, (3,))):
        x, columns = numbers("f32", n, *shape), np.arange(shape[-1], dtype=np.int32)[np.newaxis]
        args = (MASKED, [x, columns, x[::-1].copy()], n, shape)
        case = Case("evaluate", f"{n}", lambda args=args: args)
        assert outcome(KERNELS, case) == outcome(DEFINED, case)
    divide = one("div", ("i32", "i32"))
    y = np.ones((3, 500), np.int32)
    y[2, 499] = 0
    with pytest.raises(ExecutionError, match="divided by zero"):
        KERNELS.evaluate(divide, [y, y], 3, (500,))
    assert compiled() >= 2
    assert compiled() == len(mapping._known)


def test_every_function_is_in_an_expression_of_the_cases() -> None:
    found = {"constant", "sin", "cos"}  # which have cases of their own
    for dtype in ELEMENTS:
        for risky in (False, True):
            e, chosen = every(dtype, risky)
            assert check_expression(e) == dtype
            found |= {function for function, _, _ in chosen}
    assert found == set(ARITY)


@st.composite
def expressions(draw: st.DrawFn) -> Expression:
    """A random expression of up to 30 terms, of functions that have a result for all arguments or not."""
    inputs = draw(st.lists(st.sampled_from(sorted(ELEMENTS)), min_size=1, max_size=4))
    dtypes, terms = list(inputs), []
    table = [s for s in SIGNATURES if s[0] != "bitcast"]
    for _ in range(draw(st.integers(1, 30))):
        fitting = [s for s in table if set(s[1]) <= set(dtypes)]
        function, of, to = draw(st.sampled_from(fitting))
        args = tuple(draw(st.sampled_from([i for i, d in enumerate(dtypes) if d == want])) for want in of)
        terms.append(Term(function, args, infer(function, of, to)))
        dtypes.append(terms[-1].dtype)
    return Expression(tuple(inputs), tuple(terms))


SIGNATURES = sorted(signatures())


@pytest.mark.usefixtures("at_once")
@settings(max_examples=8)
@given(e=expressions(), rows=st.lists(st.booleans(), min_size=4, max_size=4), seed=st.integers(0, 99))
def test_random_expressions_equal_the_definition(e: Expression, rows: list[bool], seed: int) -> None:
    inputs = [
        numbers(dtype, 3 if many else 1, *((6, 11) if many else (11,)), key=seed)
        for dtype, many in zip(e.inputs, rows, strict=False)
    ]
    case = Case("evaluate", "random", lambda: (e, inputs, 3, (6, 11)))
    assert outcome(KERNELS, case) == outcome(DEFINED, case)
