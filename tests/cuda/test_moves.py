"""Tests that moves of rows are launched together if their order does not matter, and before any use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cuda_rig import EmulatedDevice, why_not
from kernel_cases.data import floats, int8s
from proofcompute.arithmetic.backends.cuda import Buffer, CudaKernels
from proofcompute.arithmetic.backends.cuda.moves import MOST, Move, conflict

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def moves(device: EmulatedDevice) -> list[int]:
    """Returns the number of moves of each launch."""
    return [grid[1] for name, grid in device.launches if name == "move_rows"]


def test_moves_that_do_not_touch_are_one_launch() -> None:
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    host = int8s(5, 24)
    x = kernels.array(host)
    parts = [kernels.slice_columns(x, a, a + 1) for a in range(11)]
    assert moves(device) == [MOST]
    for a, part in enumerate(parts):
        assert part.tobytes() == host[:, a : a + 1].tobytes()
    assert moves(device) == [MOST, 3]


def test_order_is_kept_where_it_matters() -> None:
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    host = floats("normal", 6, 4)
    x: Any = kernels.array(host)
    first = kernels.concatenate([x[0:1], x[1:2]])
    second = kernels.concatenate([first, x[2:3]])  # reads what was written
    third = kernels.concatenate([second, first])
    assert moves(device) == [2, 2]
    assert third.tobytes() == np.concatenate([host[:3], host[:2]]).tobytes()
    assert moves(device) == [2, 2, 2]


@pytest.mark.parametrize(
    "then",
    [
        lambda k, x, y: k.add(y, y),
        lambda k, x, y: y.copy(),
        lambda k, x, y: x.__setitem__(slice(0, 1), np.zeros((1, 4), np.float32)),
        lambda k, x, y: k.host(y),
        lambda k, x, y: k.side_stream().__enter__(),
        lambda k, x, y: np.from_dlpack(y),
        lambda k, x, y: k.zeros((1,), np.int8),
        lambda k, x, y: k._on.device.replay([]),
        lambda k, x, y: CudaKernels(EmulatedDevice()).array(y),
    ],
)
def test_moves_are_made_before_anything_else(then: Callable[[Any, Any, Any], object]) -> None:
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    host = floats("normal", 3, 4)
    x: Any = kernels.array(host)
    y = kernels.concatenate([x[0:1], x[2:3]])
    assert moves(device) == []
    then(kernels, x, y)
    assert moves(device) == [2]
    assert y.tobytes() == host[::2].tobytes()


def test_moves_beside_the_main_stream_stay_there() -> None:
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    host = floats("normal", 3, 4)
    x: Any = kernels.array(host)
    streams = []
    inner = device.launch

    def launch(kernel: str, grid: Any, threads: int, arguments: Any, stream: int = 0) -> None:
        streams.append(stream)
        inner(kernel, grid, threads, arguments, stream)

    device.launch = launch  # type: ignore[method-assign]
    with kernels.side_stream():
        y = kernels.slice_columns(x, 1, 3)
    assert streams == [1]
    assert y.tobytes() == np.ascontiguousarray(host[:, 1:3]).tobytes()


def test_conflicts() -> None:
    def move(source: Buffer, target: Buffer) -> Move:
        return Move(source, 4, None, target, 4, None, 1, 4)

    a, b, c = (Buffer(object(), 0, 16) for _ in range(3))
    assert not conflict(move(a, b), move(a, c))
    assert not conflict(move(a, b.part(0, 8)), move(a, b.part(8, 8)))
    assert conflict(move(a, b.part(0, 9)), move(a, b.part(8, 8)))
    assert conflict(move(a, b), move(b, c))
    assert conflict(move(b, c), move(a, b))


@pytest.mark.parametrize(
    ("first", "second", "pitches"),
    [
        ((0, 4), (4, 8), (12, 12)),
        ((4, 8), (0, 4), (12, 12)),
        ((0, 5), (4, 8), (12, 12)),
        ((0, 4), (4, 9), (12, 12)),
        ((0, 4), (4, 8), (12, 8)),
        ((2, 4), (24, 2), (12, 12)),
        ((2, 4), (25, 2), (12, 12)),
        ((0, 12), (12, 12), (12, 12)),
        ((0, 1), (1, 1), (0, 0)),
    ],
)
def test_columns_of_one_matrix(
    first: tuple[int, int], second: tuple[int, int], pitches: tuple[int, int]
) -> None:
    """Moves to interleaved rows conflict only if both may write the same byte."""
    memory, source = Buffer(object(), 0, 96), Buffer(object(), 0, 96)

    def written(place: tuple[int, int], pitch: int) -> tuple[Move, set[int]]:
        (start, width), rows = place, 4
        move = Move(source, width, None, memory.part(start, 96 - start), pitch, None, rows, width)
        return move, {start + row * pitch + i for row in range(rows) for i in range(width)}

    (a, bytes_a), (b, bytes_b) = written(first, pitches[0]), written(second, pitches[1])
    assert conflict(a, b) == conflict(b, a)
    if bytes_a & bytes_b:
        assert conflict(a, b)
    elif pitches[0] == pitches[1] == 12 and sum(w for _, w in (first, second)) <= 12:
        assert not conflict(a, b)
