"""Entries of compiled kernels: what they check, and what they give back."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from proofcompute.arithmetic.backends.numba.codegen.signatures import (
    Scalar,
    Signature,
    boolean,
    float32,
    int8,
    int32,
    int64,
    read,
    void,
    write,
)
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel, load


def fresh(*signatures: Signature) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As ``kernel``, but for the cache, whose key knows nothing of this file."""
    return lambda function: load(function, signatures, None)[0]


RECORD = np.dtype([("a", np.int64), ("b", np.float32)], align=True)


@fresh(
    int64(int64, read(int32, 2), float32, boolean, write(int32, 1), read(RECORD, 1)),
    int64(int64, read(int8, 2), float32, boolean, write(int32, 1), read(RECORD, 1)),
)
def taking(a: Any, x: Any, f: Any, yes: Any, out: Any, records: Any) -> Any:
    """Something of everything."""
    total = np.int64(a)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            total += x[i, j] * (j + 1)
    out[0] = np.int32(f)
    for i in range(records.size):
        total += records[i].a
    return -total if yes else total


def good() -> list[Any]:
    return [
        5,
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.float32(2.5),
        True,
        np.zeros(1, np.int32),
        np.zeros(2, RECORD),
    ]


def test_good_arguments() -> None:
    arguments = good()
    arguments[5]["a"] = 100, 1000
    expected = 5 + 0 + 2 + 6 + 3 + 8 + 15 + 1100
    assert taking(*arguments) == -expected
    assert arguments[4][0] == 2
    arguments[1] = arguments[1].astype(np.int8)  # the other signature
    arguments[3] = False
    assert taking(*arguments) == expected


class Sub(np.ndarray):
    """A subclass, such as numpy.memmap."""


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, np.int64(5)),
        (0, np.int32(5)),
        (1, np.frombuffer(b"\0" * 24, np.int32).reshape(2, 3)),  # read-only
        (1, np.frombuffer(b"\0" * 25, np.int32, offset=1, count=6).reshape(2, 3)),  # not aligned
        (1, np.zeros((0, 3), np.int32)),
        (1, np.zeros((2, 3), np.int32).view(Sub)),
        (1, np.zeros((2, 3), np.dtype(np.int32, metadata={"of": "a dtype"}))),
        (1, np.zeros((2, 3), np.intc)),
        (1, np.zeros((2, 3), np.dtype(np.int32).newbyteorder("<"))),  # not written as the native order
        (2, 2.5),
        (2, 2),
    ],
)
def test_what_else_is_taken(place: int, value: Any) -> None:
    arguments = good()
    arguments[place] = value
    taking(*arguments)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 5.0),
        (0, "5"),
        (0, None),
        (1, np.zeros((2, 3), np.int64)),
        (1, np.zeros((2, 3), np.uint32)),
        (1, np.zeros((2, 3), np.float32)),
        (1, np.zeros((2, 3), np.uint8)),
        (1, np.zeros((2, 3), np.bool_)),
        (1, np.zeros((2, 3), ">i4")),
        (1, np.zeros((2, 3), "M8[s]")),
        (1, np.zeros((2, 3), object)),
        (1, np.zeros((2, 3), "S4")),
        (1, np.zeros(6, np.int32)),
        (1, np.zeros((1, 2, 3), np.int32)),
        (1, np.zeros((2, 6), np.int32)[:, ::2]),
        (1, np.zeros((3, 2), np.int32).T),
        (1, np.zeros((2, 3), np.int32).tolist()),
        (1, b"\0" * 24),
        (1, memoryview(b"\0" * 24)),
        (1, None),
        (1, np.ndarray),
        (2, "2.5"),
        (2, None),
        (4, np.frombuffer(b"\0" * 4, np.int32)),  # read-only
        (4, np.zeros(5, np.int8)[1:].view(np.int32)),  # not aligned
        (4, np.zeros(4, np.int32)[::2]),
        (5, np.zeros(2, [("a", np.int64), ("b", np.float32)])),  # not padded
        (5, np.zeros(2, np.complex128)),
    ],
)
def test_other_arguments_are_refused(place: int, value: Any) -> None:
    arguments = good()
    arguments[place] = value
    with pytest.raises(TypeError):
        taking(*arguments)


@pytest.mark.parametrize("change", [lambda a: a[:-1], lambda a: [*a, 1], lambda a: []])
def test_another_number_of_arguments_is_refused(change: Callable[[list[Any]], list[Any]]) -> None:
    with pytest.raises(TypeError, match="taking: the arguments are not of the types"):
        taking(*change(good()))
    with pytest.raises(TypeError):
        taking(a=5)


def test_a_number_that_does_not_fit_is_refused() -> None:
    for a in (2**63, -(2**63) - 1):
        with pytest.raises(OverflowError):
            taking(a, *good()[1:])
    assert taking(-1, *good()[1:]) == -33  # what says that there was an error, and is none
    arguments = good()
    arguments[2] = np.float32(-1)
    taking(*arguments)
    assert arguments[4][0] == -1


def test_kernels_keep_no_reference() -> None:
    arguments = good()
    before = [sys.getrefcount(x) for x in arguments]
    for _ in range(1000):
        taking(*arguments)
        with pytest.raises(TypeError):
            taking(*arguments[:-1], None)
    after = [sys.getrefcount(x) for x in arguments]
    kept = [b - a for a, b in zip(before, after, strict=True)]
    assert [n for n, x in zip(kept, arguments, strict=True) if isinstance(x, np.ndarray)] == [0, 0, 0]
    assert all(abs(n) < 500 for n in kept)  # small integers and True are everybody's


@fresh(void(int64, write(int64, 1)))
def scratch(n: Any, out: Any) -> None:
    """Fills scratch memory."""
    wide = np.empty((n, 8), np.int64)
    flat = wide.reshape(n * 8)
    for i in range(flat.size):
        flat[i] = i
    total = np.int64(0)
    for i in range(n):
        total += wide[i, i % 8]
    out[0] = total


def test_scratch_memory_is_given_back() -> None:
    out = np.zeros(1, np.int64)
    scratch(1 << 17, out)
    assert out[0] == sum(8 * i + i % 8 for i in range(1 << 17))
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        scratch(1 << 17, out)  # 8 MiB each
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


def test_functions_of_a_kernel_are_never_loaded_and_those_of_others_are() -> None:
    import numba
    from numba.core.registry import cpu_target

    codegen = cpu_target.target_context.codegen()
    part = numba.njit(lambda x: x * 3)

    @fresh(int64(int64))
    def whole(x: Any) -> Any:
        return part(x) + 1

    assert whole(5) == 16
    (name,) = (o.fndesc.mangled_name for o in part.overloads.values())
    assert not codegen._engine.is_symbol_defined(name)
    other = numba.njit(lambda x: x * 5)
    assert other(7) == 35
    (name,) = (o.fndesc.mangled_name for o in other.overloads.values())
    assert codegen._engine.is_symbol_defined(name)


@fresh(void(read(int64, 1), write(int64, 1)))
def copying(x: Any, out: Any) -> None:
    """An assignment that Numba checks."""
    out[:] = x


def test_an_error_inside_a_kernel_is_an_error() -> None:
    out = np.zeros(3, np.int64)
    copying(np.arange(3), out)
    assert out.tolist() == [0, 1, 2]
    with pytest.raises(RuntimeError, match="copying: a kernel failed"):
        copying(np.arange(4), out)


@pytest.mark.parametrize("signature", [int64(int32), float32(int64), void(Scalar("float64"))])
def test_what_a_kernel_cannot_take_or_give(signature: Any) -> None:
    with pytest.raises(TypeError, match="a kernel cannot"):
        kernel(signature)


def test_kernels_refuse_other_types() -> None:
    from proofcompute.arithmetic.backends.numba.kernels import sampler

    with pytest.raises(TypeError):
        sampler._largest(np.zeros(3))  # binary64
