"""What a service needs of an opener: many threads, bounded memory, few challenges, an alarm."""

from __future__ import annotations

import gc
import io
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Span
from proofcompute.engine import Engine, Session
from proofcompute.freivalds.hint import Packed
from proofcompute.freivalds.sets import largest_squares
from proofcompute.program.interpreter import run, run_products
from proofcompute.program.source import HintProducts, Source
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.protocol.needs import needs
from proofcompute.prover import StoredTrace, counting, make_receipt, store
from proofcompute.prover.stored import StoredRows
from protocol.parties import auditor, request

FAST = kernels_for("cpu")


def asked(number: int, **changes: object) -> Request:
    return request(nonce=bytes([number] * 32), **changes)


@dataclass
class Service:
    """A node's engine and opener, as a service has them, and what the opener computed again."""

    kernels: Kernels = synthetic.KERNELS
    trace_bytes: int = 1 << 30
    challenges: int | None = 3
    before: Callable[[], None] = lambda: None
    """Is called before an answer is computed again."""
    fault: bool = False
    """Whether the computation goes wrong."""
    computed: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = synthetic.model()
        self.opener = pc.Opener(
            self.model,
            self.kernels,
            synthetic.NODE,
            compute=self.compute,
            trace_bytes=self.trace_bytes,
            challenges=self.challenges,
        )

    def run(self, wanted: Request, answer: Sequence[int] = ()) -> Session:
        engine = Engine(self.model, self.kernels, node=synthetic.NODE.public)
        session = engine.add(wanted, answer)
        engine.run(session)
        return session

    def compute(self, wanted: Request, answer: Sequence[int]) -> Session:
        self.computed.append(wanted.digest)
        self.before()
        session = self.run(wanted, answer)
        if self.fault:
            session.trace.arrays["x.1"][0, 0] += 1
        return session

    def answer(self, wanted: Request, *, remember: bool = True) -> Receipt:
        session = self.run(wanted)
        receipt = make_receipt(self.model, session, self.kernels, synthetic.NODE)
        if remember:
            self.opener.remember(receipt, store(session, self.kernels))
        return receipt

    def open(self, wanted: Request, receipt: Receipt, challenge: Challenge) -> bytes:
        out = io.BytesIO()
        self.opener.open(wanted, receipt, challenge, out)
        return out.getvalue()


def cells(receipt: Receipt, first: int = 0) -> Challenge:
    return Challenge(receipt.digest, (pc.Cell(0, first, first + 2), pc.Cell(1, 3, 4), pc.Cell(1, 5, 9)))


def test_threads_open_as_one_does_while_an_engine_generates() -> None:
    service = Service(FAST, challenges=None)
    wanted = [asked(n, sampling=synthetic.SAMPLED) for n in range(4)]
    receipts = [service.answer(r, remember=n % 2 == 0) for n, r in enumerate(wanted)]
    work = [
        (r, receipt, cells(receipt, first))
        for r, receipt in zip(wanted, receipts, strict=True)
        for first in (0, 1, 2)
    ]
    alone = Service(FAST, challenges=None)
    expected = [alone.open(*job) for job in work]

    tokens: list[list[int]] = []
    ended = threading.Event()

    def generate() -> None:
        while True:
            tokens.append(service.run(asked(9)).answer)
            if ended.is_set():
                return

    with ThreadPoolExecutor(7) as pool:
        generating = pool.submit(generate)
        found = list(pool.map(lambda job: service.open(*job), work * 3))
        ended.set()
        generating.result()
    assert found == expected * 3
    assert all(made == tokens[0] for made in tokens)
    assert len(service.computed) == 2
    verifier = auditor()
    for (r, receipt, challenge), opening in zip(work, expected, strict=True):
        assert verifier.check(r, receipt.encode(), challenge, opening)


def test_threads_that_want_the_same_trace_compute_it_once() -> None:
    started, go = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        assert go.wait(60)

    service = Service(before=wait)
    wanted = asked(1)
    receipt = service.answer(wanted, remember=False)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(service.opener.recompute, wanted, receipt)
        assert started.wait(60)
        others = [pool.submit(service.opener.recompute, wanted, receipt) for _ in range(3)]
        go.set()
        traces = [job.result() for job in (first, *others)]
    assert service.computed == [wanted.digest]
    assert len({id(trace) for trace in traces}) == 1


class Watched(dict[bytes, Any]):
    """Tells when a thread finds that another one computes already."""

    def __init__(self) -> None:
        super().__init__()
        self.met = threading.Event()

    def get(self, key: bytes, default: Any = None) -> Any:
        found = super().get(key, default)
        if found is not None:
            self.met.set()
        return found


def test_threads_that_wait_get_the_error_and_the_next_one_tries_again() -> None:
    watched = Watched()
    errors = [pc.LimitError("no room")]

    def fail() -> None:
        if errors:
            assert watched.met.wait(60)
            raise errors.pop()

    service = Service(before=fail)
    service.opener.traces._running = watched
    wanted = asked(1)
    receipt = service.answer(wanted, remember=False)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(service.opener.recompute, wanted, receipt) for _ in range(2)]
        assert [str(job.exception()) for job in jobs] == ["no room"] * 2
    assert len(service.computed) == 1
    assert service.opener.recompute(wanted, receipt).root() == receipt.trace_root
    assert not watched


def test_an_interrupted_computation_leaves_nothing_behind() -> None:
    errors: list[BaseException] = [KeyboardInterrupt()]

    def interrupt() -> None:
        if errors:
            raise errors.pop()

    service = Service(before=interrupt)
    wanted = asked(1)
    receipt = service.answer(wanted, remember=False)
    with pytest.raises(KeyboardInterrupt):
        service.opener.recompute(wanted, receipt)
    assert service.opener.recompute(wanted, receipt).root() == receipt.trace_root
    assert len(service.computed) == 2


def test_traces_take_no_more_bytes_than_they_may() -> None:
    one = Service()
    one.answer(asked(0))
    size = one.opener.traces.nbytes
    assert size > 0
    service = Service(trace_bytes=2 * size + size // 2)
    receipts = [service.answer(asked(n)) for n in range(6)]
    traces = service.opener.traces
    assert traces.nbytes == 3 * size
    assert traces.digests == [r.digest for r in receipts[3:]]
    for n in (0, 1, 2, 0):  # those computed again are kept too
        service.open(asked(n), receipts[n], cells(receipts[n]))
        assert traces.nbytes == 3 * size
    assert len(service.computed) == 3
    kept = traces.get(receipts[0].digest)
    assert kept is not None
    for _ in range(3):
        service.opener.remember(receipts[0], kept)
    assert traces.nbytes == 3 * size
    none = Service(trace_bytes=0)
    none.open(asked(0), none.answer(asked(0)), cells(receipts[0]))
    assert (none.opener.traces.nbytes, len(none.computed)) == (0, 1)


def test_the_bytes_of_a_trace_are_those_of_its_memory() -> None:
    service = Service()
    trace = store(service.run(asked(0)), synthetic.KERNELS)
    rows = {id(x if x.base is None else x.base): x for x in trace.groups}
    held = sum((x if x.base is None else x.base).nbytes for x in rows.values())
    statement = trace.statement
    public = sum(x.nbytes for x in (*statement.inputs.values(), *statement.outputs.values()))
    assert trace.forests is not None
    trees = sum(forest._nodes.nbytes for _, forest in trace.forests)
    assert held + trees <= trace.nbytes <= held + trees + 2 * public + 64


def test_a_receipt_is_challenged_three_times_and_a_challenge_again_at_any_time() -> None:
    service = Service()
    wanted = [asked(n) for n in range(2)]
    receipts = [service.answer(r) for r in wanted]
    drawn = [cells(receipts[0], first) for first in range(4)]
    openings = [service.open(wanted[0], receipts[0], c) for c in drawn[:3]]
    written = io.BytesIO()
    with pytest.raises(pc.ChallengeLimitError, match="challenged 3 times"):
        service.opener.open(wanted[0], receipts[0], drawn[3], written)
    assert written.getvalue() == b""
    assert isinstance(pc.ChallengeLimitError("x"), pc.LimitError)
    for c, opening in zip(drawn, openings, strict=False):
        assert service.open(wanted[0], receipts[0], c) == opening
    assert service.open(wanted[1], receipts[1], cells(receipts[1]))
    free = Service(challenges=None)
    for first in range(4):
        assert free.open(wanted[0], receipts[0], cells(receipts[0], first))


def test_challenges_are_counted_of_a_bounded_number_of_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_COUNTED", 2)
    service = Service(challenges=1)
    receipts = [service.answer(asked(n)) for n in range(3)]
    for n, receipt in enumerate(receipts):
        service.open(asked(n), receipt, cells(receipt))
    assert service.opener.counted is not None
    assert len(service.opener.counted) == 2
    with pytest.raises(pc.ChallengeLimitError):
        service.open(asked(2), receipts[2], cells(receipts[2], 1))
    service.open(asked(0), receipts[0], cells(receipts[0], 1))


def test_threads_cannot_challenge_a_receipt_more_often_together() -> None:
    service = Service()
    wanted = asked(0)
    receipt = service.answer(wanted)

    def attempt(first: int) -> bool:
        try:
            service.open(wanted, receipt, cells(receipt, first))
        except pc.ChallengeLimitError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 3


def test_nothing_is_computed_or_counted_for_who_may_not_challenge() -> None:
    service = Service(challenges=1)
    wanted = asked(0)
    receipt = service.answer(wanted, remember=False)
    forged = replace(receipt, signature=bytes(64))
    foreign = replace(receipt, node=pc.NodeIdentity(bytes(32)).public)
    foreign = foreign.signed(pc.NodeIdentity(bytes(32)).sign(foreign.signed_digest))
    beyond = Challenge(receipt.digest, (pc.Cell(1, 0, receipt.rows + 1),))
    wrong: tuple[tuple[Request, Receipt, Challenge], ...] = (
        (asked(1), receipt, cells(receipt)),
        (wanted, forged, cells(forged)),
        (wanted, foreign, cells(foreign)),
        (wanted, receipt, cells(forged)),
        (wanted, receipt, beyond),
    )
    for one in wrong:
        with pytest.raises(pc.InputError):
            service.open(*one)
    for r in (forged, foreign):
        with pytest.raises(pc.MismatchError):
            service.opener.recompute(wanted, r)
    assert service.computed == []
    assert service.opener.counted is not None
    assert len(service.opener.counted) == 0
    assert service.open(wanted, receipt, cells(receipt))


def test_another_root_is_an_alarm_and_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(fault=True)
    wanted = asked(0)
    receipt = service.answer(wanted, remember=False)
    written = io.BytesIO()
    for count in (1, 2):
        caplog.clear()
        with pytest.raises(pc.ExecutionError, match="another trace root"):
            service.opener.open(wanted, receipt, cells(receipt), written)
        assert service.opener.mismatches == count
        assert [r.levelno for r in caplog.records if r.levelno >= logging.ERROR] == [
            logging.CRITICAL,
            logging.ERROR,
        ]
    assert written.getvalue() == b""
    assert service.opener.traces.nbytes == 0
    service.fault = False
    assert service.open(wanted, receipt, cells(receipt)) == Service().open(wanted, receipt, cells(receipt))
    assert service.opener.mismatches == 2


def test_logs_hold_no_prompt_no_answer_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "proofcompute")
    service = Service(fault=True)
    wanted = asked(0, prompt="PLUGH and xyzzy")
    session = service.run(wanted)
    receipt = make_receipt(service.model, session, service.kernels, synthetic.NODE)
    for fault in (True, False):
        service.fault = fault
        try:
            service.open(wanted, receipt, cells(receipt))
        except pc.ExecutionError:
            continue
    with pytest.raises(pc.InputError):
        service.open(wanted, receipt, Challenge(receipt.digest, (pc.Cell(1, 0, receipt.rows + 1),)))
    assert len(caplog.records) >= 5
    said = " ".join(r.getMessage() for r in caplog.records)
    for secret in (
        "PLUGH",
        "xyzzy",
        wanted.nonce.hex(),
        synthetic.NODE.seed.hex(),
        bytes(session.answer).hex(),
    ):
        assert secret not in said
    assert repr(service.opener).find(synthetic.NODE.seed.hex()) < 0


class Counting(NumpyKernels):
    """Counts the groups of rows that are hashed."""

    groups = 0

    def hash_groups(self, *arguments: Any) -> Any:
        self.groups += len(arguments[3])
        return super().hash_groups(*arguments)


def test_the_trees_of_a_receipt_are_those_that_openings_use() -> None:
    kernels = Counting()
    service = Service(kernels)
    receipt = service.answer(asked(0))
    hashed = kernels.groups
    assert hashed == len(service.model.program.committed)
    service.open(asked(0), receipt, cells(receipt))
    assert kernels.groups == hashed
    trace = service.opener.trace(asked(0), receipt)
    assert trace.root() == receipt.trace_root
    assert replace(trace, groups=[np.zeros_like(g) for g in trace.groups]).root() != receipt.trace_root


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w16a16"])
def test_an_opening_makes_the_products_that_running_makes(precision: str) -> None:
    """Also those with no later product, and where a segment has none."""
    m = synthetic.model(precision=precision)
    proved = synthetic.prove(m, synthetic.request(m))
    trace, k = proved.stored, synthetic.KERNELS
    squares = {n: largest_squares(w.q, k) for n, w in m.weights.items() if not isinstance(w, np.ndarray)}
    for segment, plan in enumerate(m.program.plans):
        first = trace.statement.first_rows[segment]
        cell = pc.Cell(segment, first, trace.statement.rows)
        rows = StoredRows(trace, needs(trace.statement, cell), k)
        every: list[tuple[Packed, ...]] = []
        some: list[tuple[Packed, ...]] = []
        span = [Span(0, cell.a, cell.b)]
        source = Source(rows, m, HintProducts(m.matrix, squares.__getitem__, every))
        run(m.program, segment, span, source, k)
        source = Source(rows, m, HintProducts(m.matrix, squares.__getitem__, some))
        unread = replace(source, products=HintProducts(m.matrix, squares.__getitem__, some, wanted=False))
        run_products(m.program, segment, span, source, unread, k)
        assert len(every) == len(plan.sites)
        assert some == every


def test_a_trace_that_is_kept_elsewhere_is_dropped() -> None:
    """Dropping the last reference frees the trace: no list, future or error of the opener holds it."""
    service = Service(trace_bytes=1)
    receipts = [service.answer(asked(n), remember=False) for n in range(2)]
    traces: list[weakref.ref[StoredTrace]] = [
        weakref.ref(service.opener.recompute(asked(n), receipts[n])) for n in range(2)
    ]
    gc.collect()
    assert [trace() is None for trace in traces] == [True, False]
