"""Whose turn it is on a backend that is for one thread: pieces of openings between steps, by their share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.errors import DeviceError, DeviceMemoryError, InputError, StoppedError
from proofcompute.prover import turns
from proofcompute.prover.fairness import Share, Turn, turn_of
from proofcompute.prover.turns import AnyThread, OneThread, turns_for

SOON = 60


class Clock:
    """Time that passes only when a piece says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Owner:
    """A runner's thread, played by the test's: it is woken, and does what waits."""

    def __init__(self) -> None:
        self.woken = threading.Semaphore(0)
        self.turns = OneThread(NumpyKernels(), threading.current_thread(), self.woken.release)
        self.pool = ThreadPoolExecutor(4)

    def given(self, call: Callable[[], Any], count: int = 1) -> Future[Any]:
        """Let another thread call something, and wait until it has given pieces."""
        made = self.pool.submit(call)
        for _ in range(count):
            assert self.woken.acquire(timeout=SOON)
        return made


@pytest.fixture
def owner() -> Iterator[Owner]:
    made = Owner()
    yield made
    made.turns.end(StoppedError("the test is over"))
    made.pool.shutdown()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(turns, "time", made)
    return made


def pieces(clock: Clock, seconds: float, made: list[float], count: int = 1 << 30) -> Iterator[int]:
    """Pieces that take so long each, and note when they are made."""
    for number in range(count):
        clock.now += seconds
        made.append(clock.now)
        yield number


def test_a_backend_of_many_threads_needs_no_turns() -> None:
    made = turns_for(NumpyKernels(), threading.current_thread(), lambda: None)
    assert isinstance(made, AnyThread)
    assert made.call(lambda: 3) == 3
    assert list(made.each(iter("abc"))) == ["a", "b", "c"]
    made.end(StoppedError("closed"))
    assert made.call(lambda: 3) == 3


def test_pieces_are_made_by_the_owner(owner: Owner) -> None:
    where = owner.given(lambda: owner.turns.call(threading.get_ident))
    owner.turns.work(0.001)
    assert where.result(SOON) == threading.get_ident()
    assert not owner.turns.waiting
    found = owner.given(lambda: list(owner.turns.each(iter("abcdefg"))))
    while not found.done():
        owner.turns.work(None)
    assert found.result() == list("abcdefg")


def test_the_owner_cannot_wait_for_itself(owner: Owner) -> None:
    with pytest.raises(InputError, match="own thread"):
        owner.turns.call(lambda: 0)
    with pytest.raises(InputError, match="own thread"):
        next(owner.turns.each(iter("a")))


@pytest.mark.parametrize("seconds", [0.002, 0.03, 0.7])
def test_openings_have_their_share_of_the_time(owner: Owner, clock: Clock, seconds: float) -> None:
    """Steps take 10 ms; short pieces come several to a step, long ones are made up for by more steps."""
    made: list[float] = []
    taken = owner.given(lambda: sum(owner.turns.each(pieces(clock, seconds, made, 200))))
    before = 0.0
    for _ in range(1000):
        clock.now += 0.010
        before += 0.010
        owner.turns.work(0.010)
        if len(made) == 200:
            break
        while not owner.turns.waiting:  # what was made is taken by the other thread
            assert not taken.done()
    spent = clock.now - before
    assert spent <= turns.OPENING * clock.now + seconds
    assert spent >= 0.7 * turns.OPENING * clock.now


def test_answers_do_not_wait_for_openings(owner: Owner, clock: Clock) -> None:
    """A piece of a second uses up the share for long; short pieces of answers are made after each step."""
    made: list[float] = []
    opens = owner.given(lambda: list(owner.turns.each(pieces(clock, 1.0, made, 2))))
    owner.turns.work(0.01)
    assert len(made) == 1
    for number in range(5):
        found = owner.given(lambda number=number: owner.turns.call(lambda: number))  # type: ignore[misc]
        owner.turns.work(0.01)
        assert found.result(SOON) == number
    assert len(made) == 1
    while not opens.done():
        owner.turns.work(None)  # nobody waits for tokens any more
    assert opens.result(SOON) == [0, 1]


def test_openings_take_turns(owner: Owner, clock: Clock) -> None:
    order: list[str] = []

    def named(name: str) -> Iterator[str]:
        for _ in range(3):
            order.append(name)
            yield name

    found = [owner.given(lambda n=n: list(owner.turns.each(named(n)))) for n in "ab"]  # type: ignore[misc]
    while not all(f.done() for f in found):
        owner.turns.work(None)
    assert order == list("ababab")


def test_pieces_ahead_are_few(owner: Owner) -> None:
    made: list[int] = []

    def several() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    go = threading.Event()

    def slow() -> int:
        total = 0
        for number in owner.turns.each(several()):
            assert go.wait(SOON)
            total += number
        return total

    found = owner.given(slow)
    for _ in range(50):
        owner.turns.work(None)
    assert len(made) <= turns._AHEAD + 1
    go.set()
    while not found.done():
        owner.turns.work(None)
    assert found.result() == 4950


def test_a_caller_that_leaves_ends_its_pieces(owner: Owner) -> None:
    def left() -> int:
        with closing(owner.turns.each(iter(range(100)))) as items:
            return next(items)

    found = owner.given(left)
    owner.turns.work(None)
    assert found.result(SOON) == 0
    assert not owner.turns.waiting


@pytest.mark.parametrize(
    "error", [ValueError("x"), InputError("x"), DeviceMemoryError("x"), MemoryError("x")]
)
def test_an_error_is_the_callers(owner: Owner, error: Exception) -> None:
    def fails() -> int:
        raise error

    def after_two() -> Iterator[int]:
        yield 1
        yield 2
        raise error

    seen: list[int] = []

    def reads() -> None:
        seen.extend(owner.turns.each(after_two()))

    for call, count in ((lambda: owner.turns.call(fails), 0), (reads, 2)):
        found = owner.given(call)
        while not found.done():
            owner.turns.work(None)
        with pytest.raises(type(error)):
            found.result()
        assert len(seen) == count
    assert owner.given(lambda: 1, 0).result(SOON) == 1
    assert not owner.turns.waiting


def test_a_device_that_fails_is_the_owners_too(owner: Owner) -> None:
    def lost() -> int:
        raise DeviceError("lost")

    found = owner.given(lambda: owner.turns.call(lost))
    with pytest.raises(DeviceError, match="lost"):
        owner.turns.work(0.01)
    with pytest.raises(DeviceError, match="lost"):
        found.result(SOON)


def test_the_end_leaves_nobody_waiting(owner: Owner) -> None:
    waits = [
        owner.given(lambda: owner.turns.call(lambda: 0)),
        owner.given(lambda: list(owner.turns.each(iter("abc")))),
    ]
    owner.turns.end(StoppedError("closed"))
    for found in waits:
        with pytest.raises(StoppedError, match="closed"):
            found.result(SOON)
    with pytest.raises(StoppedError, match="closed"):
        owner.pool.submit(lambda: owner.turns.call(lambda: 0)).result(SOON)
    assert not owner.turns.waiting


def test_a_share_is_not_saved_up() -> None:
    share = Share(0.2)
    assert not share.lasts
    for _ in range(10):
        share.earn(1.0)
    share.spend(0.26)  # more than a fourth of one step
    assert not share.lasts
    share.earn(0.2)
    assert share.lasts


def test_a_lock_goes_to_whoever_came_first() -> None:
    lock, order = Turn(), list[int]()

    def wait(number: int) -> None:
        with lock:
            order.append(number)

    with ThreadPoolExecutor(5) as pool, lock:
        for number in range(5):
            pool.submit(wait, number)
            while len(lock._waiting) < number + 2:
                pass
    assert order == list(range(5))


def test_whoever_gives_up_waiting_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Turn()
    with lock:
        with monkeypatch.context() as patch:
            patch.setattr(lock._changed, "wait_for", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt), lock:
                pass
        assert len(lock._waiting) == 1
    with lock:
        pass


def test_one_lock_for_each_backend() -> None:
    one, other = NumpyKernels(), NumpyKernels()
    assert turn_of(one) is turn_of(one) is not turn_of(other)
