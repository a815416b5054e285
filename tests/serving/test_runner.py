"""A runner: many requests at once, in threads and event loops, with the receipts that they have alone."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
from proofcompute.engine import Engine, Stepped
from proofcompute.errors import (
    BusyError,
    DeviceError,
    InputError,
    LimitError,
    MismatchError,
    NonFiniteError,
    StoppedError,
)
from proofcompute.limits import GIB
from proofcompute.protocol.messages import Generation, Receipt, Request
from proofcompute.prover.admission import RunnerLimits
from proofcompute.prover.node import Answer
from proofcompute.prover.reporting import RunnerState
from proofcompute.prover.runner import Runner
from proofcompute.prover.ticket import Ticket
from synthetic import KERNELS, NODE, SAMPLED, key, model, node, request

SOON = 60  # seconds after which a test that hangs fails


def asked(i: int, tokens: int = 8, **more: Any) -> Request:
    return request(model(), f"prompt {i}", max_tokens=tokens, nonce=bytes([i] * 32), ignore_end=True, **more)


def alone(r: Request) -> Answer:
    return node(model()).answer(r)


@pytest.fixture
def runner() -> Iterator[Runner]:
    with Runner(model(), NODE, device=KERNELS, chunk=8) as made:
        yield made


class Gate:
    """Holds an engine before each step until a test lets it go on."""

    def __init__(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        self._allowed = threading.Semaphore(0)
        self._open = False
        step = runner.engine.step

        def gated() -> Stepped:
            if not self._open:
                assert self._allowed.acquire(timeout=SOON)
            return step()

        monkeypatch.setattr(runner.engine, "step", gated)

    def allow(self, steps: int = 1) -> None:
        self._allowed.release(steps)

    def open(self) -> None:
        self._open = True
        self._allowed.release()


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not found():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_receipts_are_those_of_running_alone(runner: Runner) -> None:
    requests = [asked(i, 4 + i, sampling=SAMPLED) for i in range(6)]
    tickets = [runner.submit(r) for r in requests]
    for r, ticket in zip(requests, tickets, strict=True):
        found = ticket.result(SOON)
        assert (found.receipt, found.tokens, found.text) == ((a := alone(r)).receipt, a.tokens, a.text)
        assert found.request is r
        assert ticket.done
        assert ticket.tokens == found.tokens


def test_a_thread_reads_all_tokens_as_they_come(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(runner, monkeypatch)
    ticket = runner.submit(asked(1))
    deltas = iter(ticket)
    gate.allow()
    first = next(deltas)
    assert len(first) == 1
    gate.open()
    rest = [t for delta in deltas for t in delta]
    assert (*first, *rest) == ticket.result(SOON).tokens
    assert [t for delta in ticket for t in delta] == [*first, *rest]  # a reader that comes later


def test_an_event_loop_reads_tokens_and_answer() -> None:
    async def read() -> tuple[list[list[int]], Answer]:
        async with Runner(model(), NODE, device=KERNELS) as runner:
            ticket = runner.submit(asked(2))
            deltas = [delta async for delta in ticket]
            return deltas, await ticket.answer()

    deltas, answer = asyncio.run(read())
    assert all(deltas)
    assert tuple(t for delta in deltas for t in delta) == answer.tokens == alone(asked(2)).tokens
    assert answer.receipt == alone(asked(2)).receipt


def test_many_readers_in_two_loops_and_a_thread(runner: Runner) -> None:
    ticket = runner.submit(asked(3, 24))

    async def read() -> list[int]:
        return [t async for delta in ticket for t in delta]

    async def several() -> list[list[int]]:
        return await asyncio.gather(*(read() for _ in range(3)))

    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(lambda: asyncio.run(several())) for _ in range(2)]
        thread = pool.submit(lambda: [t for delta in ticket for t in delta])
        want = list(ticket.result(SOON).tokens)
        assert [f.result(SOON) for f in loops] == [[want] * 3] * 2
        assert thread.result(SOON) == want


def test_a_reader_that_never_reads_costs_nothing(runner: Runner) -> None:
    slow = runner.submit(asked(4, 24))

    async def stall() -> None:
        async for _ in slow:
            await asyncio.sleep(0)
            await asyncio.to_thread(runner.submit(asked(5, 24)).result, SOON)  # others are served meanwhile
            break

    asyncio.run(stall())
    assert slow.result(SOON).receipt == alone(asked(4, 24)).receipt


def test_a_loop_that_is_gone_holds_up_nobody(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(runner, monkeypatch)
    ticket = runner.submit(asked(6))
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(ticket.answer())
    loop.run_until_complete(asyncio.sleep(0))  # it waits now
    loop.close()
    gate.open()
    assert ticket.result(SOON).receipt == alone(asked(6)).receipt
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    del waiting
    gc.collect()


def test_a_task_that_gives_up_leaves_the_request_running(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(runner, monkeypatch)
    ticket = runner.submit(asked(7))

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ticket.answer(), 0.01)

    asyncio.run(give_up())
    assert ticket._waiters == []
    gate.open()
    assert ticket.result(SOON).receipt == alone(asked(7)).receipt


# -- cancelling ----------------------------------------------------------------------------------------------
def test_what_a_cancelled_request_computed_gets_an_answer_of_its_own(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(runner, monkeypatch)
    whole = asked(8, 20, sampling=SAMPLED)
    ticket, neighbour = runner.submit(whole), runner.submit(asked(9, 20))
    wait_for(lambda: runner.load.live == 2)
    gate.allow(5)
    wait_for(lambda: len(ticket.tokens) >= 3)
    ticket.cancel()
    ticket.cancel()
    gate.open()
    answer = ticket.result(SOON)
    n = len(answer.tokens)
    assert 3 <= n < 20
    assert ticket.cancelled
    assert answer.tokens == ticket.tokens == alone(whole).tokens[:n]
    # it is the answer to the shortened request, to no other, and an audit accepts it
    assert whole.generation is not None
    shortened = replace(whole, generation=replace(whole.generation, max_tokens=n))
    assert answer.request == shortened
    assert answer.receipt == alone(shortened).receipt
    with pytest.raises(pc.VerificationError, match="another request"):
        pc.check_receipt(key(), whole, answer.receipt)
    auditor = pc.Auditor(key())
    challenge = auditor.challenge(shortened, answer.receipt, cells=6)
    opening = node(model()).open(shortened, answer.receipt, challenge)
    assert auditor.check(shortened, answer.receipt, challenge, opening).cells
    assert [t for delta in ticket for t in delta] == list(answer.tokens)
    assert neighbour.result(SOON).receipt == alone(asked(9, 20)).receipt


def test_a_request_cancelled_before_its_first_token_is_given_up(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(runner, monkeypatch)
    with runner.submit(asked(10)) as ticket:
        wait_for(lambda: runner.load.live == 1)
    gate.open()
    with pytest.raises(StoppedError, match="cancelled"):
        ticket.result(SOON)
    assert list(ticket) == []
    wait_for(lambda: runner.load == (0, 0, 0, 1.0))


def test_a_waiting_request_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    with Runner(model(), NODE, device=KERNELS, limits=RunnerLimits(live=1)) as runner:
        gate = Gate(runner, monkeypatch)
        first = runner.submit(asked(11))
        wait_for(lambda: runner.load.live == 1)
        second, third = runner.submit(asked(12)), runner.submit(asked(13))

        async def leave() -> None:
            async with second:
                pass

        asyncio.run(leave())
        gate.open()
        with pytest.raises(StoppedError, match="cancelled"):
            second.result(SOON)
        assert first.result(SOON).receipt == alone(asked(11)).receipt
        assert third.result(SOON).receipt == alone(asked(13)).receipt
        first.cancel()  # too late: the answer stays
        assert not first.cancelled
        assert first.result().tokens


# -- admission -----------------------------------------------------------------------------------------------
def test_what_cannot_be_accepted_is_refused_at_once(runner: Runner) -> None:
    with pytest.raises(MismatchError, match="another node"):
        runner.submit(asked(1, node=bytes(range(32))))
    with pytest.raises(MismatchError, match="is for model"):
        runner.submit(request(model(1)))
    with pytest.raises(InputError, match="context holds"):
        runner.submit(asked(1, 200))
    with pytest.raises(InputError, match="a request"):
        runner.submit(b"no request")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="share"):
        runner.submit(asked(1), share=0.0)
    assert runner.load.queued == 0


def test_more_than_the_queue_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Runner(model(), NODE, device=KERNELS, limits=RunnerLimits(live=1, queued=2)) as runner:
        gate = Gate(runner, monkeypatch)
        tickets = [runner.submit(asked(1))]
        wait_for(lambda: runner.load.live == 1)
        tickets += [runner.submit(asked(i)) for i in (2, 3)]
        with pytest.raises(BusyError, match="waiting") as caught:
            runner.submit(asked(4))
        assert 1 <= caught.value.retry_after <= 120
        gate.open()
        for i, ticket in enumerate(tickets, 1):
            assert ticket.result(SOON).receipt == alone(asked(i)).receipt
        runner.submit(asked(4)).result(SOON)
        assert runner.load.trace_bytes == 0


def test_memory_bounds_what_runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(model(), KERNELS)
    one = engine.nbytes(asked(1))
    with Runner(model(), NODE, device=KERNELS, limits=RunnerLimits(trace_bytes=2 * one)) as runner:
        gate = Gate(runner, monkeypatch)
        tickets = [runner.submit(asked(i)) for i in range(5)]
        wait_for(lambda: runner.load[:2] == (2, 3))
        assert runner.load.trace_bytes == 2 * one
        gate.open()
        assert [t.result(SOON).receipt for t in tickets] == [alone(asked(i)).receipt for i in range(5)]
        with pytest.raises(LimitError, match="shorten the prompt"):
            runner.submit(asked(1, 40))


def test_limits_are_numbers() -> None:
    with pytest.raises(InputError, match="at least 1"):
        RunnerLimits(live=0)
    with pytest.raises(InputError, match="queued"):
        RunnerLimits(queued="many")  # type: ignore[arg-type]
    assert RunnerLimits().trace_bytes == 4 * GIB


# -- recomputing ---------------------------------------------------------------------------------------------
def test_traces_are_computed_again_beside_requests(runner: Runner) -> None:
    answer = runner.submit(asked(14)).result(SOON)
    tickets = [runner.submit(asked(i, 16)) for i in range(3)]
    session = runner.compute(asked(14), answer.tokens)
    again = pc.Node(model(), NODE, device=KERNELS).commit(session)
    assert again.encode() == answer.receipt
    wrong = [*answer.tokens[:-1], (answer.tokens[-1] + 1) % 256]
    with pytest.raises(MismatchError, match="not this request's"):
        runner.compute(asked(14), wrong)
    for i, ticket in enumerate(tickets):
        assert ticket.result(SOON).receipt == alone(asked(i, 16)).receipt


@pytest.mark.parametrize("kept", [0, GIB])
def test_answers_are_opened_from_memory_or_by_computing_again(kept: int) -> None:
    with Runner(model(), NODE, device=KERNELS, trace_bytes=kept) as runner:
        answer = runner.submit(asked(15)).result(SOON)
        auditor = pc.Auditor(key())
        challenge = auditor.challenge(asked(15), answer.receipt, cells=4)
        assert runner.opener.traces.digests == ([challenge.receipt_digest] if kept else [])
        out = io.BytesIO()
        runner.opener.open(asked(15), Receipt.decode(answer.receipt), challenge, out)
        assert auditor.check(asked(15), answer.receipt, challenge, out.getvalue()).cells


# -- failures ------------------------------------------------------------------------------------------------
def test_a_request_that_fails_leaves_its_neighbours_alone() -> None:
    b = pc.ProgramBuilder()
    x = b.input("x", 16)
    for i, gain in enumerate((1.0, 1e30)):
        w = (np.random.default_rng(i).standard_normal((16, 16)) * gain).astype(np.float32)
        x = b.linear(x, w, name="y" if i else None)
        if not i:
            b.cut(x)
    b.output(x)
    m = b.model()

    def rows(i: int, value: float) -> Request:
        data = np.full((3, 16), value, "<f4").tobytes()
        return Request(m.model_id, (("x", data),), bytes([i] * 32))

    with Runner(m, NODE, device=KERNELS) as runner:
        tickets = [runner.submit(rows(i, v)) for i, v in enumerate((1e-3, 3e38, 2e-3))]
        with pytest.raises(NonFiniteError):
            tickets[1].result(SOON)
        assert tickets[0].result(SOON).stop_reason == "complete"
        assert tickets[0].result().outputs["y"].shape == (3, 16)
        assert list(tickets[2]) == []  # it has no tokens
        with pytest.raises(NonFiniteError):
            list(tickets[1])
        assert runner.state is RunnerState.RUNNING


def test_a_failed_device_ends_the_runner(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Stepped:
        raise DeviceError("the device fell off the bus")

    async def read(ticket: Ticket) -> list[str]:
        found = []
        for wait in (ticket.answer(), anext(aiter(ticket))):
            with pytest.raises(DeviceError, match="fell off") as caught:
                await asyncio.wait_for(wait, SOON)
            found.append(str(caught.value))
        return found

    monkeypatch.setattr(runner.engine, "step", broken)
    tickets = [runner.submit(asked(i)) for i in range(2)]
    assert asyncio.run(read(tickets[0])) == ["the device fell off the bus"] * 2
    with pytest.raises(DeviceError):
        tickets[1].result(SOON)
    runner.join(SOON)
    assert runner.state is RunnerState.FAILED
    assert isinstance(runner.failure, DeviceError)
    with pytest.raises(DeviceError, match="fell off"):
        runner.submit(asked(3))
    assert runner.close(SOON)
    assert runner.state is RunnerState.FAILED


def test_a_device_that_fails_while_committing_ends_the_runner(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise DeviceError("the device fell off the bus")

    monkeypatch.setattr("proofcompute.prover.finishing.make_receipt", broken)
    with pytest.raises(DeviceError):
        runner.submit(asked(1)).result(SOON)
    runner.join(SOON)
    assert runner.state is RunnerState.FAILED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_the_program_leaves_nobody_waiting(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.engine, "step", lambda: 1 // 0)
    ticket = runner.submit(asked(1))
    with pytest.raises(StoppedError, match="fault in the program"):
        ticket.result(SOON)
    runner.join(SOON)
    with pytest.raises(StoppedError):
        runner.submit(asked(2))


def test_too_little_memory_for_one_request(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    add = runner.engine.add

    def short(r: Request, answer: Sequence[int] = (), **more: Any) -> Any:
        if r == asked(1):
            raise MemoryError
        return add(r, answer, **more)

    monkeypatch.setattr(runner.engine, "add", short)
    bad, good = runner.submit(asked(1)), runner.submit(asked(2))
    with pytest.raises(MemoryError):
        bad.result(SOON)
    assert good.result(SOON).receipt == alone(asked(2)).receipt


# -- the end -------------------------------------------------------------------------------------------------
def test_draining_finishes_what_was_taken(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(runner, monkeypatch)
    ticket = runner.submit(asked(1))
    assert not runner.drain(0.01)
    with pytest.raises(BusyError, match="about to stop"):
        runner.submit(asked(2))
    gate.open()
    assert runner.drain(SOON)
    assert runner.state is RunnerState.DRAINING
    assert ticket.done
    answer = ticket.result()
    assert runner.compute(asked(1), answer.tokens).answer == list(answer.tokens)  # for openings


def test_closing_fails_what_is_left(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(runner, monkeypatch)
    running = runner.submit(asked(1, 40))
    wait_for(lambda: runner.load.live == 1)
    waiting = [runner.submit(asked(i)) for i in range(2, 5)]
    threading.Timer(0.05, gate.open).start()
    assert runner.close(SOON)
    for ticket in (running, *waiting):
        with pytest.raises(StoppedError, match="closed"):
            ticket.result(SOON)
    with pytest.raises(StoppedError, match="closed"):
        runner.submit(asked(1))
    assert runner.close()
    assert runner.state is RunnerState.STOPPED


def test_a_runner_that_never_started_can_be_closed() -> None:
    runner = Runner(model(), NODE, device=KERNELS)
    ticket = runner.submit(asked(1))
    assert runner.state is RunnerState.NEW
    assert runner.close()
    with pytest.raises(StoppedError):
        ticket.result(SOON)
    with pytest.raises(StoppedError):
        runner.start()


def test_waiting_has_an_end(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(runner, monkeypatch)
    ticket = runner.submit(asked(1))
    with pytest.raises(TimeoutError):
        ticket.result(0.01)
    gate.open()
    assert Receipt.decode(ticket.result(SOON).receipt).stop_reason == "length"


def test_what_happens_is_reported() -> None:
    class Events:
        def __init__(self) -> None:
            self.rows = self.tokens = 0
            self.first: list[float] = []
            self.outcomes: list[str] = []

        def stepped(self, rows: int, tokens: int, seconds: float) -> None:
            self.rows += rows
            self.tokens += tokens

        def first_token(self, seconds: float) -> None:
            self.first.append(seconds)

        def ended(self, outcome: str) -> None:
            self.outcomes.append(outcome)

    seen = Events()
    with Runner(model(), NODE, device=KERNELS, events=seen) as runner:
        answer = runner.submit(asked(1)).result(SOON)
        runner.compute(asked(1), answer.tokens)
    assert seen.rows == 2 * answer.rows
    assert seen.tokens == 2 * len(answer.tokens)
    assert len(seen.first) == 1
    assert seen.outcomes == ["answered", "recomputed"]
    assert isinstance(asked(1).generation, Generation)
