"""A runner on a device: its thread alone touches it, and receipts and openings are the definition's."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from cuda_rig import EmulatedDevice, why_not
from gpu.beside import SOON, asked, challenge_of, differences, expected, opened, opening
from proofcompute.arithmetic.backends.cuda import CudaKernels, Device, SpreadKernels
from proofcompute.arithmetic.backends.cuda.cupy_device import CupyDevice
from proofcompute.arithmetic.backends.cuda.launcher import Launcher
from proofcompute.errors import DeviceError, DeviceMemoryError, NonFiniteError, StoppedError
from proofcompute.protocol.messages import Receipt
from proofcompute.prover.admission import RunnerLimits
from proofcompute.prover.reporting import RunnerState
from proofcompute.prover.runner import Runner
from proofcompute.prover.traces import Traces
from proofcompute.prover.turns import _AHEAD, AnyThread

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


class Watch:
    """Records which threads use devices, or the launchers that queue their work."""

    def __init__(self, *parts: CudaKernels) -> None:
        self.calls: dict[int | None, set[str]] = {}
        for part in parts:
            for where, kind in ((part.device, Device), (part._on, Launcher)):
                for name, what in vars(kind).items():
                    if callable(what) and not name.startswith("_"):
                        setattr(where, name, self._noted(f"{kind.__name__}.{name}", getattr(where, name)))

    def _noted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any, **named: Any) -> Any:
            self.calls.setdefault(threading.get_ident(), set()).add(name)
            return call(*arguments, **named)

        return noted

    @contextmanager
    def only(self, runner: Runner) -> Iterator[None]:
        """Require that the runner's thread alone uses the devices inside."""
        self.calls.clear()
        yield
        assert list(self.calls) == [runner.ident], self.calls


def runner_of(kernels: Any, **options: Any) -> Runner:
    return Runner(synthetic.model(), synthetic.NODE, device=kernels, chunk=16, **options)


@pytest.fixture
def kernels() -> CudaKernels:
    return CudaKernels(EmulatedDevice(90, 1))


@pytest.fixture
def runner(kernels: CudaKernels) -> Iterator[Runner]:
    with runner_of(kernels) as made:
        yield made


def test_receipts_and_openings_are_the_definitions(kernels: CudaKernels) -> None:
    found = dict(differences(kernels, watch=Watch(kernels).only))
    assert len(found) == 11
    assert not any(found.values()), found


def test_a_model_spread_over_two_devices() -> None:
    spread: Any = SpreadKernels([EmulatedDevice(90), EmulatedDevice(75)])
    found = dict(differences(spread, live=3, tokens=5, watch=Watch(*spread.parts).only))
    assert len(found) == 9
    assert not any(found.values()), found


def test_the_device_of_cupy(cupy: Any) -> None:
    """On the stand-in for CuPy, whose streams and pools are those of real threads."""
    kernels = CudaKernels(CupyDevice())
    found = dict(differences(kernels, live=2, tokens=4, watch=Watch(kernels).only))
    assert not any(found.values()), found


def test_without_turns_other_threads_touch_the_device(
    kernels: CudaKernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tests above would find if openings and commits were made where they are asked for."""
    monkeypatch.setattr("proofcompute.prover.runner.turns_for", lambda *_: AnyThread())
    watch = Watch(kernels)
    with runner_of(kernels) as runner:
        watch.calls.clear()
        answered(runner, 1)
        assert len(watch.calls) == 2  # it is hashed in a thread of its own
        runner.drain(SOON)
        opening(runner, asked(1, 5), challenge_of(asked(1, 5), 2))
        assert len(watch.calls) == 3


def test_another_thread_is_noticed(kernels: CudaKernels, runner: Runner) -> None:
    """The watch itself: neither a launch of another thread nor a slice that it only queues is missed."""
    x = kernels.array(np.zeros((2, 4), np.float32))
    uses: tuple[Callable[[], object], ...] = (lambda: kernels.relu(x), lambda: kernels.slice_columns(x, 1, 2))
    for use in uses:
        watch = Watch(kernels)
        with watch.only(runner):
            answered(runner, 1)
        use()
        assert len(watch.calls) == 2


def test_two_runners_share_a_device(kernels: CudaKernels) -> None:
    """Their threads take turns, also while one of them is made."""
    device: Any = kernels.device
    inside, inner = [], kernels.step

    def alone(*arguments: Any, **named: Any) -> Any:
        inside.append(threading.get_ident())
        try:
            return inner(*arguments, **named)
        finally:
            assert inside.pop() == threading.get_ident()
            assert not inside

    kernels.step = alone  # type: ignore[method-assign]
    with runner_of(kernels, trace_bytes=0) as one:
        tickets = [one.submit(asked(n, 12)) for n in range(2)]
        with runner_of(kernels) as other:
            tickets += [other.submit(asked(n, 9)) for n in range(2, 4)]
            assert opening(one, asked(1, 12), c := challenge_of(asked(1, 12), 4)) == opened(asked(1, 12), c)
            for ticket in tickets:
                assert ticket.result(SOON).receipt == expected(ticket.request)
    assert device.used > 0


# -- what goes wrong -----------------------------------------------------------------------------------------
@contextmanager
def broken(kernels: CudaKernels, error: DeviceError) -> Iterator[None]:
    """Let everything that the device is asked for fail."""
    device: Any = kernels.device
    names = ("allocate", "launch", "download", "replay", "write")
    before = {name: getattr(device, name) for name in names}

    def fail(*_: object, **__: object) -> None:
        raise type(error)(str(error))

    for name in names:
        setattr(device, name, fail)
    try:
        yield
    finally:
        for name, call in before.items():
            setattr(device, name, call)


JOBS = {
    "join": "engine.add",
    "step": "engine.step",
    "commit": "proofcompute.prover.finishing.seal",
    "keep": "proofcompute.prover.finishing.store",
    "cell": "opener._openings.part",
    "again": "proofcompute.prover.opener.store",
}


@contextmanager
def failing(runner: Runner, job: str, error: DeviceError, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the device fail in the next job of a kind, once."""
    kernels: Any = runner.kernels
    where: Any = runner
    *path, name = JOBS[job].split(".")
    if path[0] == "proofcompute":
        where = __import__(".".join(path), fromlist=["-"])
    else:
        for part in path:
            where = getattr(where, part)
    inner, left = getattr(where, name), [error]

    def fail(*arguments: Any, **named: Any) -> Any:
        if not left:
            return inner(*arguments, **named)
        with broken(kernels, left.pop()):
            return inner(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, fail)
        yield
    assert not left


def answered(runner: Runner, number: int) -> None:
    ticket = runner.submit(asked(number, 5))
    assert ticket.result(SOON).receipt == expected(ticket.request)


@pytest.mark.parametrize("job", JOBS)
def test_a_device_that_fails_ends_the_runner(
    kernels: CudaKernels, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked(1, 5)
    challenge, receipt = challenge_of(first, 4), Receipt.decode(expected(first))
    with runner_of(kernels, trace_bytes=0 if job == "again" else 1 << 20) as runner:
        answered(runner, 1)
        with failing(runner, job, DeviceError("it fell off the bus"), monkeypatch):
            with ThreadPoolExecutor(2) as pool:
                short, long = runner.submit(asked(2, 4)), runner.submit(asked(3, 70))
                opens = pool.submit(opening, runner, first, challenge)
                if job in ("cell", "again"):
                    with pytest.raises(DeviceError, match="fell off"):
                        opens.result(SOON)
                runner.join(SOON)
                opens.exception(SOON)  # it was opened before, or failed
            for ticket in (short, long):
                if ticket is short and job in ("cell", "again") and ticket.error is None:
                    continue  # it had ended before
                with pytest.raises(DeviceError, match="fell off"):
                    ticket.result(SOON)
        assert runner.state is RunnerState.FAILED
        assert isinstance(runner.failure, DeviceError)
        for ask in (
            lambda: runner.submit(first),
            lambda: runner.opener.open(first, receipt, challenge, io.BytesIO()),
        ):
            with pytest.raises(DeviceError, match="fell off"):
                ask()


@pytest.mark.parametrize("job", JOBS)
def test_too_little_memory_ends_only_what_lacks_it(
    kernels: CudaKernels, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = asked(1, 5), asked(2, 5)
    challenge = challenge_of(first, 4)
    with runner_of(kernels, trace_bytes=0 if job == "again" else 1 << 20) as runner:
        answered(runner, 1)
        with failing(runner, job, DeviceMemoryError("0 bytes are free"), monkeypatch):
            if job in ("cell", "again"):
                with ThreadPoolExecutor(1) as pool:
                    beside = pool.submit(answered, runner, 3)
                    with pytest.raises(MemoryError, match="0 bytes are free"):
                        opening(runner, first, challenge)
                    beside.result(SOON)
            elif job == "keep":
                answered(runner, 2)
                kept = runner.opener.traces.digests
                assert kept == [Receipt.decode(expected(first)).digest]  # the second is computed again
            else:
                with pytest.raises(MemoryError, match="0 bytes are free"):
                    runner.submit(second).result(SOON)
        answered(runner, 2)
        assert opening(runner, first, challenge) == opened(first, challenge)
        assert runner.state is RunnerState.RUNNING
        assert runner.load.trace_bytes == 0


@pytest.mark.filterwarnings("ignore:a step cannot be captured:RuntimeWarning")
@pytest.mark.parametrize("room", [1.0, 2.0, 3.0])
def test_memory_runs_out_beside_others(kernels: CudaKernels, room: float) -> None:
    """Who came first goes on with the receipt that it has alone; room that is given back serves others."""
    device: Any = kernels.device
    with runner_of(kernels, trace_bytes=0) as runner:
        answered(runner, 1)
        with runner._loop._turns.using():  # so that all of them begin together
            device.memory = device.used + int(room * runner.engine.nbytes(asked(0, 16)))
            tickets = [runner.submit(asked(n, 16)) for n in range(6)]
        outcomes: list[bool | None] = []
        for ticket in tickets:
            try:
                outcomes.append(ticket.result(SOON).receipt == expected(ticket.request))
            except MemoryError:
                outcomes.append(None)
        assert outcomes[0]
        assert None in outcomes
        assert False not in outcomes
        device.memory = 1 << 40
        answered(runner, 2)


@pytest.mark.parametrize("error", [None, ValueError("a fault in the program")])
def test_what_a_piece_finds_is_no_later_steps(
    kernels: CudaKernels, runner: Runner, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check fails in a piece, whether the piece ends well or not; one request runs beside it, alone."""
    answered(runner, 1)
    first, challenge = asked(1, 5), challenge_of(asked(1, 5), 4)
    part = runner.opener._openings.part

    def spoilt(*arguments: Any) -> Any:
        kernels.settle(kernels.array(np.array([[np.inf]], np.float32)))
        if error is not None:
            raise error
        return part(*arguments)

    monkeypatch.setattr(runner.opener._openings, "part", spoilt)
    ticket = runner.submit(asked(2, 24))
    next(iter(ticket))
    with pytest.raises(type(error or NonFiniteError("")), match=r"a fault in the program|must be finite"):
        opening(runner, first, challenge)
    assert ticket.result(SOON).receipt == expected(ticket.request)
    monkeypatch.undo()
    assert opening(runner, first, challenge) == opened(first, challenge)


# -- openings beside requests, and the end -------------------------------------------------------------------
class Slow(io.BytesIO):
    """A stream that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.go = threading.Event(), threading.Event()

    def write(self, data: Any) -> int:
        self.waits.set()
        assert self.go.wait(SOON)
        return len(data)


def test_whoever_reads_slowly_holds_up_nobody(
    kernels: CudaKernels, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(runner, 1)
    made, part = [], runner.opener._openings.part

    def counted(*arguments: Any) -> Any:
        made.append(0)
        return part(*arguments)

    monkeypatch.setattr(runner.opener._openings, "part", counted)
    receipt, many, stream = Receipt.decode(expected(asked(1, 5))), challenge_of(asked(1, 5), 24), Slow()
    assert len(many.cells) > 2 * _AHEAD
    with ThreadPoolExecutor(1) as pool:
        opens = pool.submit(runner.opener.open, asked(1, 5), receipt, many, stream)
        try:
            assert stream.waits.wait(SOON)
            for number in (2, 3):
                answered(runner, number)
            assert len(made) <= _AHEAD + 2
        finally:
            stream.go.set()
        opens.result(SOON)
    assert len(made) == len(many.cells)


def test_an_opening_that_is_left_is_not_made(kernels: CudaKernels, runner: Runner) -> None:
    class Gone(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    answered(runner, 1)
    receipt, whole = Receipt.decode(expected(asked(1, 5))), challenge_of(asked(1, 5))
    with pytest.raises(BrokenPipeError):
        runner.opener.open(asked(1, 5), receipt, whole, Gone())
    assert not runner._loop._turns.waiting
    answered(runner, 2)


def test_draining_and_closing(kernels: CudaKernels, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is finished, openings too; a closed runner leaves nobody waiting."""
    first, challenge = asked(1, 5), challenge_of(asked(1, 5))
    answered(runner, 1)
    stream = Slow()
    with ThreadPoolExecutor(2) as pool:
        ticket = runner.submit(asked(2, 20))
        assert runner.drain(SOON)
        assert ticket.result(SOON).receipt == expected(ticket.request)
        runner.opener.traces = Traces(0)
        assert opening(runner, first, challenge) == opened(first, challenge)  # computed again
        opens = pool.submit(runner.opener.open, first, Receipt.decode(expected(first)), challenge, stream)
        assert stream.waits.wait(SOON)
        assert runner.close(SOON)
        stream.go.set()
        with pytest.raises(StoppedError, match="closed"):
            opens.result(SOON)
    assert runner.state is RunnerState.STOPPED
    with pytest.raises(StoppedError, match="closed"):
        opening(runner, first, challenge)


def test_closing_while_commits_wait(kernels: CudaKernels) -> None:
    runner = runner_of(kernels, limits=RunnerLimits(live=8))
    tickets = [runner.submit(asked(n, 3)) for n in range(6)]
    with runner:
        tickets[0].result(SOON)
        assert runner.close(SOON)
    assert all(ticket.done for ticket in tickets)
    errors = {str(ticket.error) for ticket in tickets if ticket.error is not None}
    assert errors <= {"the runner was closed"}
    for ticket in tickets:
        if ticket.error is None:
            assert ticket.result().receipt == expected(ticket.request)


def test_an_opener_needs_no_runner(kernels: CudaKernels) -> None:
    node = pc.Node(synthetic.model(), synthetic.NODE, device=kernels)
    answer = node.answer(asked(1, 5))
    assert answer.receipt == expected(asked(1, 5))
    challenge = challenge_of(asked(1, 5))
    assert node.open(asked(1, 5), answer.receipt, challenge) == opened(asked(1, 5), challenge)
