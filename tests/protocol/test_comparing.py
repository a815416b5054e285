"""Step 9: computed rows equal the committed ones in type, shape and every bit, wherever they are kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from proofcompute.arrays import Span
from proofcompute.errors import Cell, VerificationError
from proofcompute.protocol.statement import Statement
from proofcompute.verifier.sources import OpenedRows

NAN = np.float32(np.nan)


class Opaque:
    """Rows that are not in NumPy's memory."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows
        self.shape, self.dtype = rows.shape, rows.dtype

    def tobytes(self) -> bytes:
        return self._rows.tobytes()


def write(committed: np.ndarray, computed: Any) -> set[str]:
    program = SimpleNamespace(group_of={"x": 0})
    statement = cast(Statement, SimpleNamespace(program=program, outputs={}, inputs={}))
    rows = OpenedRows(statement, Cell(0, 0, len(committed)), {"x": (0, committed)})
    rows.write("x", Span(0, 0, len(committed)), computed)
    return rows.compared


@pytest.mark.parametrize("where", [np.asarray, Opaque])
@pytest.mark.parametrize(
    "rows",
    [
        np.array([[1, -0.0, NAN], [np.inf, 0, 3]], np.float32),
        np.arange(-4, 5, dtype=np.int8).reshape(3, 3),
        np.array([7, 8], "<i4"),
        np.zeros((2, 0), np.float32),
    ],
)
def test_equal_rows(rows: np.ndarray, where: Any) -> None:
    assert write(rows, where(rows.copy())) == {"x"}


@pytest.mark.parametrize("where", [np.asarray, Opaque])
@pytest.mark.parametrize(
    "computed",
    [
        np.array([[1, 0.0], [0, 3]], np.float32),
        np.array([[1, -0.0], [0, np.nextafter(np.float32(3), np.float32(4))]], np.float32),
        np.array([[1, -0.0]], np.float32),
        np.array([1, -0.0, 0, 3], np.float32),
        np.array([[1, -0.0], [0, 3]], np.float32).view(np.int32),
        np.array([[1, -0.0], [0, 3]], np.float64),
    ],
)
def test_rows_of_other_bits_types_or_shapes(computed: np.ndarray, where: Any) -> None:
    committed = np.array([[1, -0.0], [0, 3]], np.float32)
    with pytest.raises(VerificationError, match="the computed rows differ from the committed rows"):
        write(committed, where(computed))
