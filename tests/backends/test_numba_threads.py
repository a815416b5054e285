"""Several Python threads, forked children, errors in parts: results stay right and nothing deadlocks."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proofcompute.backends.numba import NumbaKernels, threads
from proofcompute.errors import NonFiniteError
from proofcompute.kernels import Matrix
from proofcompute.numerics import NumpyKernels

KERNELS, SLOW = NumbaKernels(), NumpyKernels()
RNG = np.random.default_rng(7)
WEIGHT = Matrix(RNG.integers(-127, 128, (1, 1200, 300)).astype(np.int8), np.ones(1200, np.float32))
INPUTS = [RNG.standard_normal((n, 300)).astype(np.float32) for n in (1, 2, 40, 1, 3, 70)]


def test_split_covers_every_unit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 2, 3, 7):
        monkeypatch.setattr(threads, "size", lambda size=size: size)
        for units in (0, 1, 2, 5, 100):
            for least in (0, 1, 3, 1000):
                seen = np.zeros(units, np.int64)

                def mark(a: int, b: int, seen: np.ndarray = seen) -> None:
                    seen[a:b] += 1

                assert threads.split(mark, units, least)
                assert (seen == 1).all()


def test_split_reports_one_bad_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 4)
    for bad in range(4):
        assert not threads.split(lambda a, b, bad=bad: not a <= bad < b, 4, 1)


def test_split_waits_for_what_has_begun_before_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 3)
    other = threading.Event()
    begun, done = [], []

    def part(a: int, b: int) -> None:
        if a == 0:
            assert other.wait(60)
            raise KeyError("first")
        begun.append(a)
        other.set()
        time.sleep(0.05)
        done.append(a)

    with pytest.raises(KeyError):
        threads.split(part, 3, 1)
    assert begun
    assert begun == done


def test_many_python_threads_at_once() -> None:
    expected = [KERNELS.linear(x, WEIGHT, 2).tobytes() for x in INPUTS]

    def work(i: int) -> bool:
        return KERNELS.linear(INPUTS[i % 6], WEIGHT, 2).tobytes() == expected[i % 6]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(200)))


@pytest.fixture(params=[2, 1])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: request.param)


@pytest.mark.usefixtures("cores")
def test_linear_on_one_core_and_two() -> None:
    for x in INPUTS:
        assert KERNELS.linear(x, WEIGHT, 2).tobytes() == SLOW.linear(x, WEIGHT, 2).tobytes()


@pytest.mark.usefixtures("cores")
def test_attention_on_one_core_and_two() -> None:
    q = RNG.standard_normal((1, 96)).astype(np.float32)
    k = RNG.integers(-127, 128, (300, 3, 16)).astype(np.int8)
    s = RNG.random((300, 3)).astype(np.float32)
    scale = np.float32(0.25)
    for window in (0, 100):
        arguments = (q, k, s, k, s, 299, scale, window)
        assert KERNELS.attention(*arguments).tobytes() == SLOW.attention(*arguments).tobytes()


def test_errors_come_out_of_parts() -> None:
    x = INPUTS[0].copy()
    x[0, 299] = np.nan
    with pytest.raises(NonFiniteError):
        KERNELS.linear(x, WEIGHT, 2)
    many = np.ones((500, 300), np.float32)
    many[499, 0] = np.inf
    with pytest.raises(NonFiniteError):
        KERNELS.linear(many, WEIGHT, 1)
    assert KERNELS.linear(INPUTS[0], WEIGHT, 2).shape == (1, 1200)


def _child(queue: multiprocessing.Queue[bytes]) -> None:
    queue.put(b"".join(KERNELS.linear(x, WEIGHT, 2).tobytes() for x in INPUTS))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_children_work() -> None:
    expected = b"".join(KERNELS.linear(x, WEIGHT, 2).tobytes() for x in INPUTS)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue,))
    process.start()
    found = queue.get(timeout=60)
    process.join(60)
    assert found == expected
    assert process.exitcode == 0
