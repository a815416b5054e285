"""Cases: circle codes, the extension field, and hints that are summed up under random rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from kernel_cases.data import Case, columns, floats, full, int8s, rng_of
from proofcompute.arithmetic.definition.bitpack import pack
from proofcompute.codes.circle import CircleCode
from proofcompute.errors import FormatError, InputError
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.hint import WeighedHint


def _code(rows: int, length: int, rho: int, coset: int, value: int | None = None) -> tuple[Any, ...]:
    circle = CircleCode.of_rate(length, rho)
    messages = int8s(rows, length) if value is None else full(value, rows, length)
    return messages, circle.bits, circle.twiddles(coset)


def _elements(*shape: int) -> Any:
    rng = rng_of("elements", *shape)
    x = rng.integers(0, P31, shape, dtype=np.uint64)
    return np.where(rng.integers(0, 4, shape) == 0, np.uint64(P31 - 1), x)


def _hint(
    n: int, m: int, widths: tuple[int, ...], change: dict[str, Any] | None = None
) -> tuple[WeighedHint]:
    """A hint of sets of these widths, which hold the extremes of their widths."""
    packed = []
    for bits in widths:
        rng, most = rng_of("weighed", n, m, bits), 1 << (bits - 1)
        values = rng.integers(-most, most, (n, m)).astype(np.int32)
        values[0, 0], values[-1, -1] = -most, most - 1
        packed.append((bits, pack(values, bits)))
    r = np.ascontiguousarray(np.stack([columns(6, n) for _ in widths]))
    r[:, 0], r[:, 1], r[:, 2] = P31 - 1, P31 >> 1, (P31 >> 1) + 1
    sx, sw, bias = floats("mixed", n), floats("mixed", m), floats("mixed", m)
    made = WeighedHint(
        packed, [8 * i for i in range(len(widths))][::-1], r, sx, sw, bias, floats("mixed", n, m)
    )
    return (made._replace(**change) if change else made,)


def _least(n: int, m: int, bits: int) -> tuple[WeighedHint]:
    """A hint of one set whose sums of products are as far from zero as they can be, in both directions."""
    values = np.full((n, m), -(1 << (bits - 1)), np.int32)
    r = np.repeat(np.array([P31 >> 1, (P31 >> 1) + 1] * 3, np.uint32)[None, :, None], n, axis=2)
    return _hint(n, m, (bits,), {"packed": [(bits, pack(values, bits))], "r": r})


def _parts(d: int, *rows: int, k: int = 6) -> tuple[Any, Any]:
    return [int8s(m, d) for m in rows], columns(k, sum(rows))


def cases() -> Iterator[Case]:
    heights: tuple[tuple[int, tuple[int, ...]], ...] = (
        (1, (1,)),
        (5, (3, 1)),
        (70, (2, 0, 9)),
        (1030, (300, 5)),
        (4100, (1, 2, 3)),
    )
    for d, some in heights:
        yield Case("fold_parts", f"{d}-{some}", lambda a=(d, *some): _parts(*a))
    yield Case("fold_parts", "one-column", lambda: _parts(9, 4, 4, k=1))
    largest = np.full((6, 600), P31 >> 1, np.uint32)
    yield Case("fold_parts", "all-128", lambda: ([full(-128, 599, 3), full(-128, 1, 3)], largest))
    parts, s = _parts(6, 4, 5)
    unfit: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("no-parts", ([], s[:, :0])),
        ("few-rows", (parts[:1], s)),
        ("many-rows", ([*parts, parts[0]], s)),
        ("width", ([parts[0], parts[1][:, :5]], s)),
        ("type", ([parts[0], parts[1].astype(np.int16)], s)),
        ("columns", (parts, s.astype(np.int64))),
        ("not-canonical", (parts, np.full((6, 9), P31, np.uint32))),
    )
    for name, given in unfit:
        yield Case("fold_parts", f"wrong-{name}", lambda a=given: a, InputError)
    for rows, length, rho in (
        (0, 5, 1),
        (1, 1, 2),
        (1, 2, 1),
        (3, 5, 2),
        (16, 64, 1),
        (17, 100, 3),
        (33, 4097, 1),
    ):
        cosets = CircleCode.of_rate(length, rho).cosets
        for coset in sorted({0, cosets - 1}):
            name = f"{rows}x{length}-{rho}-{coset}"
            yield Case("circle_words", name, lambda a=(rows, length, rho, coset): _code(*a))
    for value in (-128, 127, 0):
        yield Case("circle_words", f"all{value}", lambda v=value: _code(19, 70, 2, 1, v))
    words, bits, twiddles = _code(2, 9, 1, 0)
    for name, wrong in (
        ("factors", (words, bits, twiddles[1:])),
        ("types", (words.astype(np.int16), bits, twiddles)),
        ("few-positions", (words, bits - 1, twiddles[:7])),
        ("no-values", (words[:, :0], bits, twiddles)),
        ("no-bits", (words, -1, twiddles)),
    ):
        yield Case("circle_words", f"wrong-{name}", lambda a=wrong: a, InputError)
    for n in (0, 1, 2, 7, 5000):
        yield Case("multiply_extension", f"{n}", lambda n=n: (_elements(6, n), _elements(6, n)))
        yield Case("multiply_extension", f"{n}-by-one", lambda n=n: (_elements(6, n), _elements(6, 1)))
        yield Case("multiply_extension", f"one-by-{n}", lambda n=n: (_elements(6, 1), _elements(6, n)))
    most = np.full((6, 9), P31 - 1, np.uint64)
    yield Case("multiply_extension", "largest", lambda: (most, most))
    yield Case("multiply_extension", "wrong-counts", lambda: (most, most[:, :2]), InputError)
    yield Case("multiply_extension", "wrong-degree", lambda: (most[:5], most[:5]), InputError)
    yield Case("multiply_extension", "wrong-type", lambda: (most, most.astype(np.uint32)), InputError)
    for n, m, widths in (
        (1, 1, (1,)),
        (1, 5, (31,)),
        (3, 7, (30, 2)),
        (4, 512, (24,)),
        (5, 513, (25,)),
        (9, 1030, (17, 24, 25, 31)),
        (600, 33, (24, 30)),
    ):
        name = f"{n}x{m}-{'-'.join(map(str, widths))}"
        yield Case("sum_hint", name, lambda a=(n, m, widths): _hint(*a))
        plain = {"bias": None, "residual": None}
        yield Case("sum_hint", f"{name}-plain", lambda a=(n, m, widths, plain): _hint(*a))
        none = {"r": np.zeros((len(widths), 0, n), np.uint32)}
        yield Case("sum_hint", f"{name}-no-rows", lambda a=(n, m, widths, none): _hint(*a))
    for n, m, bits in ((13, 40, 31), (70, 17, 30), (300, 9, 28), (9, 16, 32)):
        name = f"{n}x{m}-least-{bits}"
        yield Case("sum_hint", name, lambda a=(n, m, bits): _least(*a))
    short = pack(np.zeros(14, np.int32), 3)
    for name, change, error in (
        ("length", {"packed": [(3, short + b"\0")]}, FormatError),
        ("padding", {"packed": [(3, short[:-1] + b"\xf0")]}, FormatError),
        ("shift", {"shifts": [8]}, InputError),
        ("shifts", {"shifts": [0, 0]}, InputError),
        ("rows", {"r": np.zeros((1, 6, 3), np.uint32)}, InputError),
        ("sets", {"r": np.zeros((2, 6, 2), np.uint32)}, InputError),
        ("type", {"r": np.zeros((1, 6, 2), np.uint64)}, InputError),
        ("not-canonical", {"r": np.full((1, 6, 2), P31, np.uint32)}, InputError),
        ("bias", {"bias": np.zeros(3, np.float32)}, InputError),
        ("residual", {"residual": np.zeros((2, 3), np.float32)}, InputError),
    ):
        yield Case("sum_hint", f"wrong-{name}", lambda a=(2, 7, (3,), change): _hint(*a), error)
