"""The definition against vectors of an oracle that rounds exact fractions (``tests/oracle``)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernel_cases.data import draws
from proofcompute.arithmetic import definition as numerics
from proofcompute.arithmetic.definition import NumpyKernels, tree_sum
from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arithmetic.kernels import AttentionOptions, Matrix
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32
from proofcompute.errors import ExecutionError, FormatError

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors" / "numerics.json"
KERNELS = NumpyKernels()
Json = Any


@cache
def vectors() -> Json:
    return json.loads(VECTORS.read_text(encoding="ascii"))


def array(written: Json) -> Any:
    """An array as the oracle writes it; a shape of [] is a scalar."""
    [(kind, (shape, values))] = written.items()
    if kind == "f32":
        return (
            np.array([int(values[i : i + 8], 16) for i in range(0, len(values), 8)], np.uint32)
            .view(np.float32)
            .reshape(shape)
        )
    return np.array(values, dtype=kind).reshape(shape)


def same(found: F32, written: Json) -> bool:
    expected = array(written)
    both = (np.where(np.isnan(x), np.float32(np.nan), x).astype(np.float32) for x in (found, expected))
    return found.dtype == np.float32 and len({(x.shape, x.tobytes()) for x in both}) == 1


def test_the_vectors_are_what_the_oracle_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oracle.make_numerics_vectors", str(tmp_path)]
    subprocess.run(command, cwd=TESTS, check=True, timeout=120)
    assert (tmp_path / "numerics.json").read_bytes() == VECTORS.read_bytes()


def test_the_oracle_imports_nothing_from_the_package() -> None:
    found = "any(name in sys.modules for name in ('proofcompute', 'numpy'))"
    code = f"import sys, oracle.make_numerics_vectors; sys.exit({found})"
    subprocess.run([sys.executable, "-c", code], cwd=TESTS, check=True, timeout=60)


ELEMENTARY: dict[str, Callable[..., F32]] = {
    "add": np.add,
    "multiply": np.multiply,
    "divide": np.divide,
    "sqrt": np.sqrt,
    "rint": np.rint,
    "gelu": lambda x: KERNELS.gelu(x[np.newaxis])[0],
    **{n: getattr(numerics, n) for n in ("cos", "erf", "exp", "log", "power", "sigmoid", "sin", "tanh")},
}


@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary(name: str) -> None:
    vector = vectors()["elementary"][name]
    with np.errstate(all="ignore"):
        found = ELEMENTARY[name](*map(array, vector["args"]))
    assert same(found, vector["result"])


def test_every_elementary_vector_is_used() -> None:
    assert set(vectors()["elementary"]) == set(ELEMENTARY)


def _norm(case: Json, *more: str) -> list[Any]:
    return [array(case["x"]), *(array(case[name]) for name in more), np.float32(array(case["eps"]))]


def _linear(case: Json) -> F32:
    bias = None if case["bias"] is None else array(case["bias"])
    w = Matrix(array(case["w"]), array(case["scale"]), bias)
    return KERNELS.linear(array(case["x"]), w, case["limbs"])


def _rope(case: Json) -> F32:
    x, cos, sin = (array(case[name]) for name in ("x", "cos", "sin"))
    return KERNELS.rope(x, cos, sin, case["heads"], case["interleaved"])


ROWS: dict[str, Callable[[Json], F32]] = {
    "tree_sum": lambda case: tree_sum(array(case["x"])),
    "rms_norm": lambda case: KERNELS.rms_norm(*_norm(case, "w")),
    "layer_norm": lambda case: KERNELS.layer_norm(*_norm(case, "w", "b")),
    "gate": lambda case: KERNELS.gate(np.concatenate([array(case["x"]), array(case["u"])], axis=1)),
    "linear": _linear,
    "rope": _rope,
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    cases = vectors()["rows"][name]
    assert len(cases) > 5
    for case in cases:
        if case["result"] is None:
            with pytest.raises(ExecutionError):
                ROWS[name](case)
        else:
            assert same(ROWS[name](case), case["result"]), case["name"]


def test_quantise() -> None:
    for case in vectors()["rows"]["quantise"]:
        if case["result"] is None:
            with pytest.raises(ExecutionError):
                KERNELS.quantise(array(case["x"]), case["limbs"])
            continue
        q, s = KERNELS.quantise(array(case["x"]), case["limbs"])
        expected_q, expected_s = case["result"]
        assert q.dtype == np.int8
        assert np.array_equal(q, array(expected_q)), case["name"]
        assert same(s, expected_s), case["name"]


def test_all_rows_vectors_are_used() -> None:
    assert set(vectors()["rows"]) == {*ROWS, "quantise"}


@pytest.mark.parametrize("number", range(14))
def test_attention(number: int) -> None:
    assert len(vectors()["attention"]) == 14
    case = vectors()["attention"][number]
    q, kq, ks, vq, vs = (array(case[name]) for name in ("q", "kq", "ks", "vq", "vs"))
    first, scale, window = case["first"], np.float32(array(case["scale"])), case["window"]
    if case["result"] is None:
        with pytest.raises(ExecutionError):
            KERNELS.attention(q, kq, ks, vq, vs, first, scale, window)
    else:
        assert same(KERNELS.attention(q, kq, ks, vq, vs, first, scale, window), case["result"])


@pytest.mark.parametrize("number", range(13))
def test_attention_with_options(number: int) -> None:
    assert len(vectors()["attention_options"]) == 13
    case = vectors()["attention_options"][number]
    given: dict[str, Any] = {
        name: None if case[name] is None else array(case[name])
        for name in ("q", "kq", "ks", "vq", "vs", "sinks")
    }
    *five, sinks = given.values()
    options = AttentionOptions(case["limbs"], np.float32(array(case["softcap"])), sinks, case["latent"])
    where = [case["first"], np.float32(array(case["scale"])), case["window"]]
    arguments: list[Any] = [*five, *where, options]
    if case["result"] is None:
        with pytest.raises(ExecutionError):
            KERNELS.attention(*arguments)
    else:
        assert same(KERNELS.attention(*arguments), case["result"])


def test_sampler() -> None:
    chosen = set()
    for case in vectors()["sampler"]:
        logits, history = array(case["logits"]), np.array(case["history"], dtype=np.int32)
        how, draw = Sampling(*case["how"]), draws(int(case["draw"], 16))
        row = (logits[None], history, len(history) - 1, how, draw)
        if case["result"] is None:
            with pytest.raises(ExecutionError):
                KERNELS.sample(*row)
        else:
            chosen.add(case["result"])
            assert KERNELS.sample(*row).tolist() == [case["result"]], case
    assert len(chosen) > 6


def test_packing() -> None:
    for case in vectors()["packing"]:
        data, bits, values = bytes.fromhex(case["data"]), case["bits"], case["values"]
        if case.get("refused"):
            with pytest.raises(FormatError):
                unpack(data, bits, len(values))
        else:
            assert KERNELS.pack(np.array(values, np.int32), bits) == data
            assert unpack(data, bits, len(values)).tolist() == values
