"""Cases: the memory part of a backend."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kernel_cases.data import Case, floats, int8s, scales
from proofcompute.errors import FormatError


def cases() -> Iterator[Case]:
    for n, d in ((0, 5), (1, 1), (3, 7), (5, 129), (300, 8)):
        for a, b in sorted({(0, d), (0, 1), (d // 2, d), (d // 3, d // 3 + 1), (d, d)}):
            yield Case(
                "slice_columns", f"float-{n}x{d}-{a}-{b}", lambda s=(n, d), c=(a, b): (floats("wide", *s), *c)
            )
            yield Case("slice_columns", f"int8-{n}x{d}-{a}-{b}", lambda s=(n, d), c=(a, b): (int8s(*s), *c))
        yield Case("row_bytes", f"one-{n}x{d}", lambda s=(n, d): ([floats("wide", *s)],))
        yield Case(
            "row_bytes",
            f"three-{n}x{d}",
            lambda n=n, d=d: ([int8s(n, 2, d), scales(n, 2), floats("wide", n, d)],),
        )
        yield Case("concatenate", f"one-{n}x{d}", lambda s=(n, d): ([int8s(*s)],))
        yield Case(
            "concatenate",
            f"three-{n}x{d}",
            lambda n=n, d=d: ([floats("wide", n, d), floats("wide", 2, d), floats("normal", 1, d)],),
        )
    for ids in ([], [0], [6, 0, 6, 3]):
        yield Case("gather", f"{ids}-rows", lambda i=ids: (int8s(7, 5), np.array(i, np.int32)))
        yield Case("gather", f"{ids}-scales", lambda i=ids: (scales(7), np.array(i, np.int32)))
    for bad in (-1, 7, 2**31 - 1, -(2**31)):
        yield Case(
            "gather", f"no-{bad}", lambda i=bad: (int8s(7, 5), np.array([1, i], np.int32)), FormatError
        )
