"""Runs the node tests that ship in the ``onnx`` package as programs, and says how each ends.

A test is one graph with inputs and expected outputs. Its whole inputs are one row of a program. Inputs whose
values reach a shape must be constants of a program, so they are frozen: integers and bools, and floats of at
most :data:`SMALL` elements (scales, ratios). Everything else stays an input.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import onnx

from proofcompute import ProgramBuilder
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import Array, Span
from proofcompute.errors import ProofcomputeError
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import STORED, Constant, RefusedError, Row, Value
from proofcompute.importers.onnx.calls import Given, Listed
from proofcompute.importers.onnx.running import Runner
from proofcompute.importers.onnx.tensors import dtype_of, tensor_of
from proofcompute.program.interpreter import run
from proofcompute.program.source import ComputeProducts, Source

SMALL: Final = 8
RELATIVE: Final = 1e-3
ABSOLUTE: Final = 1e-4
"""Of the largest reference."""
HALF: Final = 1e-2
"""Relative tolerance of results in 16-bit floats."""


@dataclass(frozen=True)
class Outcome:
    """How a test ended."""

    name: str
    result: str
    """``passed``, ``failed`` or ``refused``."""
    reason: str
    frozen: tuple[str, ...]
    """Inputs that became constants."""
    folded: bool
    """Whether nothing was left to run."""


@cache
def cases() -> dict[str, Any]:
    """Return the package's node tests by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name: case for case in load_model_tests(kind="node")}


class Rows:
    """One row of each input."""

    def __init__(self, inputs: dict[str, Array]) -> None:
        self.inputs = inputs

    def read(self, name: str, span: Span) -> Array:
        return self.inputs[name]

    def prefix(self, name: str, span: Span) -> Array:
        raise NotImplementedError

    def whole(self, name: str, span: Span) -> Array:
        raise NotImplementedError

    def write(self, name: str, span: Span, rows: Array) -> None:
        pass

    def sampling(self, trace: int) -> Any:
        raise NotImplementedError

    def draws(self, span: Span) -> Any:
        raise NotImplementedError


def run_case(case: Any) -> Outcome:
    """Lower a test, run it, and compare."""
    frozen: set[str] = set()
    while True:
        try:
            results = _results(case, frozen)
        except RefusedError as e:
            names = [i.name for i in case.model.graph.input]
            new = {n for n in e.inputs if n not in frozen}
            values = dict(zip(names, case.data_sets[0][0], strict=False))
            if new and all(_may_freeze(values.get(n)) for n in new):
                frozen |= new
                continue
            return Outcome(case.name, "refused", str(e), tuple(sorted(frozen)), folded=False)
        except ProofcomputeError as e:
            return Outcome(
                case.name, "refused", f"{type(e).__name__}: {e}", tuple(sorted(frozen)), folded=False
            )
        made, folded = results
        wrong = _wrong(case, made)
        result = "failed" if wrong else "passed"
        return Outcome(case.name, result, wrong, tuple(sorted(frozen)), folded)


def _may_freeze(value: Any) -> bool:
    if not isinstance(value, np.ndarray | np.generic):
        return False
    return value.dtype.kind in "iub" or value.size <= SMALL


def _given(b: ProgramBuilder, g: Graph, name: str, value: Any, frozen: bool, rows: dict[str, Array]) -> Given:
    if value is None:
        return None
    if isinstance(value, list):
        items = [_given(b, g, f"{name}.{i}", v, frozen, rows) for i, v in enumerate(value)]
        return Listed(tuple(v for v in items if isinstance(v, Constant | Row)))
    array, dtype = as_stored(value)
    if frozen or array.size == 0:
        return Constant(array, dtype)
    rows[name] = np.ascontiguousarray(array).reshape(1, *array.shape)
    return g.row(b.input(name, array.shape, STORED[dtype]), dtype, frozenset({name}))


def as_stored(value: Any) -> tuple[Array, str]:
    """Return an array as its elements are held, and the type's name."""
    if isinstance(value, onnx.TensorProto):
        held = tensor_of(value)
        return held.array, held.dtype
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        raise RefusedError("strings")
    dtype = dtype_of(onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
    return array.astype(ELEMENTS[STORED[dtype]]), dtype


def _results(case: Any, frozen: set[str]) -> tuple[list[Any], bool]:
    model = case.model
    b = ProgramBuilder(context=1, device="numpy")
    g = Graph(b)
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    runner = Runner(g, opsets, {(f.domain, f.name): f for f in model.functions})
    rows: dict[str, Array] = {}
    given: dict[str, Given] = {}
    initial = {t.name for t in model.graph.initializer}
    names = [i.name for i in model.graph.input if i.name not in initial]
    for name, value in zip(names, case.data_sets[0][0], strict=False):
        given[name] = _given(b, g, name, value, name in frozen, rows)
    for name in names:
        given.setdefault(name, None)
    outputs = runner.graph(model.graph, {}, given)
    flat: list[Value] = []
    for out in outputs:
        flat.extend(out.items if isinstance(out, Listed) else [] if out is None else [out])
    wanted: dict[int, str] = {}
    for i, value in enumerate(flat):
        if isinstance(value, Row):
            tensor = g.tensor(value)
            wanted[i] = f"result.{i}"
            b.output(b.reshape(tensor, tensor.shape, name=wanted[i]))
    found: dict[str, Array] = {}
    if wanted:
        compiled = b.model()
        k = kernels_for("numpy")
        source = Source(Rows(rows), compiled, ComputeProducts(compiled.matrix))
        found = run(compiled.program, 0, [Span(0, 0, 1)], source, k)
    at = iter(range(len(flat)))

    def value_of(v: Value) -> Array:
        i = next(at)
        return found[wanted[i]][0] if i in wanted else v.array  # type: ignore[union-attr]

    made: list[Any] = []
    for out in outputs:
        if isinstance(out, Listed):
            made.append([(value_of(v), v.dtype) for v in out.items])
        else:
            made.append(None if out is None else (value_of(out), out.dtype))
    return made, not wanted


def _wrong(case: Any, made: Sequence[Any]) -> str:
    """Return what differs from the expected outputs; empty if nothing does."""
    expected = case.data_sets[0][1]
    if len(made) != len(expected):
        return f"{len(made)} outputs, not {len(expected)}"
    for i, (found, right) in enumerate(zip(made, expected, strict=True)):
        pairs = list(zip(found, right, strict=True)) if isinstance(right, list) else [(found, right)]
        if isinstance(right, list) and len(found) != len(right):
            return f"output {i} has another length"
        for got, want in pairs:
            if (got is None) != (want is None):
                return f"output {i} is there, or not"
            if got is not None and (wrong := _differs(got[0], got[1], want)):
                return f"output {i}: {wrong}"
    return ""


def _differs(array: Array, dtype: str, right: Any) -> str:
    want, kind = as_stored(right)
    if dtype != kind:
        return f"{dtype}, not {kind}"
    if array.shape != want.shape:
        return f"shape {array.shape}, not {want.shape}"
    if kind in ("f32", "f64", "f16", "bf16"):
        a, b = np.asarray(array, np.float64), np.asarray(want, np.float64)
        finite = b[np.isfinite(b)]
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        relative = RELATIVE if kind in ("f32", "f64") else HALF
        close = np.isclose(a, b, rtol=relative, atol=ABSOLUTE * largest, equal_nan=True)
        if not close.all():
            return f"{int((~close).sum())} of {close.size} differ"
        return ""
    return "" if np.array_equal(array, want) else f"{int((array != want).sum())} of {want.size} differ"


def names() -> Iterator[str]:
    """Yield the names of all tests."""
    yield from cases()
