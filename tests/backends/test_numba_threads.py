"""Several Python threads, forked children, errors in parts: results stay right and nothing deadlocks."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.errors import NonFiniteError

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


def test_nothing_is_kept_of_what_was_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 2)
    for _ in range(20):
        large = np.zeros(1000)
        gone = weakref.ref(large)
        threads.split(lambda a, b, x: time.sleep(0.001), 6, 1, large)
        del large
        last = time.monotonic() + 10
        while gone() is not None:
            assert time.monotonic() < last
            time.sleep(0.001)


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


def test_an_interrupt_waits_for_the_parts_that_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part reads memory that its caller may free: it must not outlive the call, whatever ends that."""
    monkeypatch.setattr(threads, "size", lambda: 2)
    main, begun, ended = threading.main_thread(), threading.Event(), threading.Event()

    def part(a: int, b: int) -> None:
        if threading.current_thread() is main:
            assert begun.wait(10)
            return
        if not begun.is_set():
            begun.set()
            time.sleep(0.1)  # the caller waits for this part by now
            signal.pthread_kill(main.ident or 0, signal.SIGINT)
            time.sleep(0.3)
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        threads.split(part, 4, 1)
    assert ended.is_set()


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


@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_returns_results_in_order_and_takes_few_items_ahead(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "size", lambda: size)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    def work(i: int) -> int:
        time.sleep(0.002 * (i % 3 == 0))  # some are overtaken
        return i * i

    for i, found in enumerate(threads.ordered_map(work, items())):
        assert found == i * i
        assert len(taken) <= i + threads.map_depth()
    assert taken == list(range(20))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_each_raises_the_first_error_in_order(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: size)
    running: list[int] = []

    def work(i: int) -> int:
        running.append(i)
        try:
            time.sleep(0.05 if i == 3 else 0.0)
            if i >= 3:
                raise KeyError(i)
        finally:
            running.remove(i)
        return i

    results = threads.ordered_map(work, iter(range(100)))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="3"):
        next(results)
    assert not running


@pytest.mark.parametrize("size", [1, 2])
def test_each_passes_on_what_taking_an_item_raises(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: size)
    begun, done = list[int](), list[int]()
    started = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert size == 1 or started.wait(60)
        raise OSError("gone")

    def work(i: int) -> None:
        begun.append(i)
        started.set()
        time.sleep(0.02)
        done.append(i)

    with pytest.raises(OSError, match="gone"):
        list(threads.ordered_map(work, items()))
    assert begun == done == [0]


def test_an_abandoned_each_ends_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 2)
    running: list[int] = []

    def work(i: int) -> int:
        running.append(i)
        time.sleep(0.02)
        running.remove(i)
        return i

    results = threads.ordered_map(work, iter(range(50)))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert not running


def test_an_interrupt_waits_for_the_items_that_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 2)
    ended: list[int] = []

    def item(i: int) -> None:
        if i == 0:
            time.sleep(0.1)  # the caller waits for this item by now
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.2)
        ended.append(i)

    with pytest.raises(KeyboardInterrupt):
        list(threads.ordered_map(item, range(2)))
    assert sorted(ended) == [0, 1]


def test_nothing_is_split_inside_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 2)
    monkeypatch.setattr(threads, "limit", lambda: 2)
    parts: list[tuple[int, int]] = []

    def part(a: int, b: int) -> None:
        threads.split(lambda c, d: parts.append((c, d)), 100, 1)

    assert threads.split(part, 4, 1)
    assert parts == [(0, 100)] * 4
    parts.clear()
    assert threads.split(lambda c, d: parts.append((c, d)), 100, 1)  # and outside of it as before
    assert len(parts) > 1


def test_nothing_is_split_inside_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 3)

    def item(i: int) -> tuple[int, set[str]]:
        names: set[str] = set()
        parts: list[tuple[int, int]] = []

        def part(a: int, b: int) -> None:
            names.add(threading.current_thread().name)
            parts.append((a, b))

        assert threads.split(part, 90, 1)
        assert list(threads.ordered_map(lambda j: j, iter(range(4)))) == [0, 1, 2, 3]
        assert parts == [(0, 90)]
        return i, names

    found = list(threads.ordered_map(item, iter(range(6))))
    assert [i for i, _ in found] == list(range(6))
    assert all(len(names) == 1 and next(iter(names)).startswith("proofcompute-item") for _, names in found)
    spread: list[tuple[int, int]] = []
    threads.split(lambda a, b: spread.append((a, b)), 90, 1)
    assert len(spread) > 1


_AT_THE_END = """
import atexit
import threading

def last():
    names = [t.name for t in threading.enumerate() if t.name.startswith("proofcompute-part")]
    split()
    print(names, out.sum())

atexit.register(last)  # so early that it is called after all others
import numpy as np
from proofcompute.arithmetic.backends.numba.kernels import field
from proofcompute.arithmetic.backends.numba.runtime import threads

y, s = np.ones((64, 64), np.int8), np.ones((2, 64), np.uint32)
halves = field._in_halves(s)
out = np.zeros((64, 2), np.uint32)
threads.size = lambda: 2
threads.limit = lambda: 2

def split():
    assert threads.split(field._project_bytes, 64, 1, y, halves, out)

for _ in range(2000):
    split()
assert any(t.name.startswith("proofcompute-part") for t in threading.enumerate())
"""


def test_a_process_ends_without_threads_in_kernels() -> None:
    """One that comes back from a kernel into an interpreter that is being taken down would crash it."""
    done = subprocess.run([sys.executable, "-c", _AT_THE_END], check=True, capture_output=True, text=True)
    assert done.stdout == f"[] {64 * 2 * 64}\n"
