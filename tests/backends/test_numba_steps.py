"""Repeated steps: the bytes of plain ones, whoever follows; and what cannot be repeated is not."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import synthetic
from attending_models import KINDS, attending
from cuda_rig.requests import overflowing, run, several
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.backends.numba.steps import arena, crew, repeating
from proofcompute.arithmetic.backends.numba.steps.arena import Value
from proofcompute.arithmetic.backends.numba.steps.layout import COMMAND
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import F32, Array, Batch, Member, Span
from proofcompute.engine import Engine, Keep
from proofcompute.errors import InputError, NonFiniteError
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.program.source import ComputeProducts, LinearCall, RowProducts
from proofcompute.testing.models import TINY, random_checkpoint


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How each repeated step ended."""
    found: list[bool] = []

    def lead(*arguments: Any) -> bool:
        found.append(original(*arguments))
        return found[-1]

    original = crew.lead
    monkeypatch.setattr(crew, "lead", lead)
    return found


@pytest.fixture(params=[1, 2, 3, "nobody follows"])
def seats(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.param, int):
        monkeypatch.setattr(threads, "size", lambda: request.param)
    else:
        monkeypatch.setattr(threads, "size", lambda: 2)
        monkeypatch.setattr(repeating._Kept, "call_crew", lambda self, plan: None)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"sampling": synthetic.SAMPLED},
    {"sampling": synthetic.SAMPLED, "seed": bytes(32)},
]


def models() -> dict[str, Model]:
    """One model for each way in which steps differ."""
    windowed = replace(TINY, window=5)
    halves = replace(TINY, interleaved=False)
    return {
        "two limbs": synthetic.model(),
        "one limb, a window": compile_decoder(random_checkpoint(3, windowed), synthetic.KERNELS, "w8a8"),
        "two limbs of weights": compile_decoder(random_checkpoint(4, halves), synthetic.KERNELS, "w16a16"),
        **{f"attention, {kind}": attending(kind) for kind in KINDS},
    }


@pytest.mark.usefixtures("seats")
@pytest.mark.parametrize("kind", [*models()])
def test_repeated_steps_give_the_receipts_of_plain_ones(kind: str, led: list[bool]) -> None:
    m = models()[kind]
    for sampling in ({}, {"sampling": synthetic.SAMPLED, "seed": bytes([3] * 32)}):
        asked = [synthetic.request(m, max_tokens=40, **sampling)]  # type: ignore[arg-type]
        sessions, expected = run(m, asked, synthetic.KERNELS)
        found, receipts = run(m, asked, NumbaKernels())
        assert receipts == expected
        for name, rows in sessions[0].trace.arrays.items():
            assert found[0].trace.arrays[name].tobytes() == rows.tobytes()
        assert all(led)
        assert len(led) == len(sessions[0].answer) - 2  # the prompt, and a recorded one
        led.clear()


@pytest.mark.usefixtures("seats")
def test_several_requests_in_one_step(led: list[bool]) -> None:
    m = synthetic.model()
    asked = [
        synthetic.request(m, prompt, max_tokens=20, **how)
        for prompt, how in (("Hello, world", {}), ("abc", {"sampling": synthetic.SAMPLED}), ("to be", {}))
    ]
    sessions, expected = run(m, asked, synthetic.KERNELS)
    for chunk in (8, 64):
        assert run(m, asked, NumbaKernels(), chunk)[1] == expected
        assert all(led)
        assert len(led) >= min(len(s.answer) for s in sessions) - 4 > 8  # with all three
        led.clear()


@pytest.mark.usefixtures("seats")
@pytest.mark.parametrize("count", [2, 8, 65])
def test_one_recording_serves_any_number_of_requests(
    count: int, led: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands are carried out for a few rows at a time here, and whatever is left of them."""
    monkeypatch.setattr(repeating, "MOST_ROWS", 8)
    m = synthetic.model()
    asked = [
        synthetic.request(m, "abc"[: 1 + i % 3], max_tokens=6 + i % 5, **SETTINGS[i % 3])
        for i in range(count)
    ]
    assert run(m, asked, NumbaKernels())[1] == run(m, asked, synthetic.KERNELS)[1]
    assert all(led)
    assert len(led) >= 3 * (-(-count // 8))


def test_requests_come_and_go(led: list[bool]) -> None:
    """A recording outlives the requests that it was made of, and serves others at once."""
    m = synthetic.model()
    asked, kernels = several(m), NumbaKernels()
    node = synthetic.node(m, kernels, chunk=64)
    engine = node.engine
    sessions, repeated = [engine.add(asked[0])], []
    for number in range(24):
        if number in (4, 6, 12):
            sessions.append(engine.add(asked[len(sessions) % len(asked)]))
        before = len(led)
        engine.step()
        repeated.append(len(led) - before)
    assert [s.reason is not None for s in sessions] == [True] * 4
    # the prompt, a recorded step, and then all, also beside another prompt, until the first three have ended
    assert repeated[:8] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert repeated[12] == 0
    assert repeated[13] == 1
    assert all(led)
    for i, session in enumerate(sessions):
        alone = synthetic.prove(m, asked[i % len(asked)])
        assert node.commit(session, keep=False).encode() == alone.data


def test_buffers_that_move_are_found_again(led: list[bool]) -> None:
    m, kernels = synthetic.model(), NumbaKernels()
    asked = several(m)
    engine = Engine(m, kernels)
    sessions = [engine.add(r) for r in asked]
    while any(s.running for s in sessions):
        engine.step()
        if sessions[0].emitted > 2:
            for session in sessions:  # as a trace that grows does
                for name, x in session.trace.arrays.items():
                    session.trace.arrays[name] = np.concatenate((x, x[:3]))
                    x[...] = np.zeros(1, x.dtype)
    assert all(led)
    assert len(led) > 4
    expected = run(m, asked, synthetic.KERNELS)[0]
    assert [s.answer for s in sessions] == [s.answer for s in expected]


@pytest.mark.parametrize("keep", [Keep.PREFIXES, Keep.NOTHING])
def test_steps_are_repeated_where_rows_are_dropped(keep: Keep, led: list[bool]) -> None:
    m, kernels = synthetic.model(), NumbaKernels()
    asked = [synthetic.request(m, p, max_tokens=40, stops=()) for p in ("Hello, world", "abc")]
    node = synthetic.node(m, kernels)
    engine = node.engine = Engine(m, kernels, node=synthetic.NODE.public, keep=keep)
    sessions = [engine.add(r) for r in asked]
    while any(s.running for s in sessions):
        assert not engine.step().failed
    assert all(led)
    assert len(led) >= 38
    for request, session in zip(asked, sessions, strict=True):
        assert node.commit(session, keep=False).encode() == synthetic.prove(m, request).data


def place(kernels: NumbaKernels, key: object, member: Member, row: int, table: F32) -> np.ndarray[Any, Any]:
    """Copies a row of a table to the buffer "x" at ``row``, in a step with one member."""

    def step(spans: Sequence[Span]) -> Any:
        tokens = []
        for s in spans:
            ids = member.buffers["tokens"][s.a : s.b]
            x = kernels.gather(table, ids)
            buffer, first = (
                (member.windows["x"], member.first) if "x" in member.windows else (member.buffers["x"], 0)
            )
            kernels.write_rows(buffer, s.a - first, s.b - first, kernels.settle(x))
            rows = buffer[s.a - first : s.b - first]
            history = member.buffers["tokens"][: s.b]
            assert member.draws is not None
            logits = kernels.settle(rows)
            tokens.append(kernels.sample(logits, history, s.a, member.sampling, member.draws[s.a : s.b]))
        return kernels.concatenate(tokens)

    batch = Batch(key, [member])
    found = kernels.step(Key(), [Span(0, row, row + 1)], step, batch)
    assert found is not None
    return found


def test_rows_of_a_window_lie_where_it_begins(led: list[bool]) -> None:
    kernels, key = NumbaKernels(), Key()
    table = kernels.array(np.random.default_rng(1).standard_normal((6, 6)).astype(np.float32))
    ids, draws = np.arange(6, dtype=np.int32), np.zeros((6, 2), np.uint64)
    for first, row in ((0, 0), (0, 1), (2, 2), (2, 4), (0, 5)):
        x = np.zeros((6 - first, 6), np.float32)
        windows: dict[str, Any] = {"x": x} if first else {}
        buffers = {"tokens": ids} if first else {"tokens": ids, "x": x}
        member = Member(buffers, draws, Sampling(), windows, first)
        assert place(kernels, key, member, row, table) == [np.argmax(table[row])]
        expected = np.zeros_like(x)
        expected[row - first] = table[row]
        assert (x == expected).all()
    assert led == [True] * 4


@pytest.mark.parametrize(
    "change",
    [
        lambda b: {"tokens": b["tokens"], "x": b["x"][:3]},  # too short
        lambda b: {"tokens": b["tokens"].astype(np.int64), "x": b["x"]},
        lambda b: {"tokens": b["tokens"], "x": np.zeros((6, 12), np.float32)[:, ::2]},
    ],
)
def test_buffers_of_another_kind_are_not_written_by_address(change: Any, led: list[bool]) -> None:
    kernels, key = NumbaKernels(), Key()
    table = kernels.array(np.eye(6, dtype=np.float32))
    buffers = {"tokens": np.arange(6, dtype=np.int32), "x": np.zeros((6, 6), np.float32)}
    member = Member(buffers, np.zeros((6, 2), np.uint64), Sampling())
    assert place(kernels, key, member, 0, table) == [0]
    assert place(kernels, key, member, 1, table) == [1]
    assert led == [True]
    other = change(buffers)
    with contextlib.suppress(ValueError, TypeError, InputError):
        place(kernels, key, member._replace(buffers=other), 4, table)
    assert led == [True]


def test_results_share_memory_only_if_they_are_not_needed_together() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        born = sorted(int(b) for b in rng.integers(0, 20, 30))
        values = [Value(int(rng.integers(1, 300)), b, b + int(rng.integers(0, 6))) for b in born]
        end = arena.place(values, 3)
        for i, x in enumerate(values):
            assert x.at % 64 == 0
            assert x.at + 3 * x.width <= end
            for y in values[:i]:
                together = x.born <= y.last and y.born <= x.last
                assert not together or x.at + 3 * x.width <= y.at or y.at + 3 * y.width <= x.at
        assert end < sum(3 * v.width + 64 for v in values)


def test_longer_than_a_block_of_angles(led: list[bool]) -> None:
    """Tables of angles are made in blocks of 512 positions; plain and repeated steps of one backend agree."""
    decoder = replace(TINY, layers=1, context=700)
    m = compile_decoder(random_checkpoint(5, decoder), synthetic.KERNELS, "w8a16")
    request = synthetic.request(m, "a" * 500, max_tokens=30, stops=())
    assert run(m, [request], NumbaKernels())[1] == run(m, [request], synthetic.KERNELS)[1]
    assert len(led) > 20


class _Products(RowProducts):
    """Products with something done to the rows that the backend is not asked to do."""

    def __init__(self, m: Model, change: Callable[[F32], F32]) -> None:
        self._plain = ComputeProducts(m.matrix)
        self._change = change

    def linear(self, call: LinearCall, k: Kernels) -> F32:
        return self._plain.linear(call._replace(x=self._change(call.x)), k)

    def experts(self, call: LinearCall, numbers: Array, k: Kernels) -> F32:
        return self._plain.experts(call._replace(x=self._change(call.x)), numbers, k)


def test_what_the_backend_did_not_see_is_not_repeated(led: list[bool]) -> None:
    m = synthetic.model()
    request = synthetic.request(m, max_tokens=12)
    answers = []
    for kernels in (NumpyKernels(), NumbaKernels()):
        calls = [0]

        def change(x: F32, calls: list[int] = calls) -> F32:
            calls[0] += 1
            return x * np.float32(1 + calls[0] % 7)

        engine = Engine(m, kernels, products=_Products(m, change))
        session = engine.add(request)
        engine.run(session)
        answers.append((session.answer, calls[0]))
    assert answers[0] == answers[1]
    assert not led


def test_weights_that_were_not_placed_are_not_repeated(led: list[bool]) -> None:
    m, kernels = synthetic.model(), NumbaKernels()
    copies = {n: replace(w, q=w.q.copy()) for n, w in m.weights.items() if isinstance(w, Matrix)}
    engine = Engine(m, kernels, products=ComputeProducts(copies.__getitem__))
    session = engine.add(synthetic.request(m))
    engine.run(session)
    receipt = synthetic.node(m, kernels).commit(session, keep=False)
    assert receipt == synthetic.prove(m, session.request).receipt
    assert not led


@pytest.mark.usefixtures("seats")
@pytest.mark.parametrize("place", ["embedding", "block.1.attention.qkv", "block.1.ffn.down"])
def test_an_error_is_that_of_the_plain_step(
    place: str, led: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales become infinite while a request runs: the repeated step stops, and the plain one says where."""
    messages = []
    for repeats in (True, False):
        m = synthetic.model()
        scale = m.matrix(place).scale.copy()
        m = Model(m.card, {**m.weights, place: replace(m.matrix(place), scale=scale)})
        engine = Engine(m, NumbaKernels())
        if not repeats:
            monkeypatch.setattr(repeating.Steps, "run", lambda self, spans, f, *_: f(spans))
        session = engine.add(synthetic.request(m, max_tokens=20))
        for _ in range(6):
            engine.step()
        scale[:] = np.inf
        engine.step()
        assert isinstance(session.error, NonFiniteError)
        messages.append(str(session.error))
    assert messages[0] == messages[1]
    assert led.count(False) == 1


def test_an_error_from_the_start() -> None:
    m = overflowing("block.0.ffn.down")
    with pytest.raises(NonFiniteError):
        run(m, [synthetic.request(m)], NumbaKernels())


def test_engines_in_several_threads() -> None:
    """Each records and repeats its own steps, with one backend, while others do."""
    m, kernels = synthetic.model(), NumbaKernels()
    asked = several(m)
    expected = [run(m, [r], synthetic.KERNELS)[1] for r in asked]
    begin = threading.Barrier(3)

    def work(i: int) -> bool:
        begin.wait()
        return all(run(m, [asked[i]], kernels)[1] == expected[i] for _ in range(10))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(3)))


def test_a_step_is_recorded_while_other_threads_make_arrays() -> None:
    """One backend serves all: what is known of its arrays is read while others add to it."""
    kernels = NumbaKernels()
    kept = [(kernels.array(np.zeros(3)), kernels.zeros((3,), np.float32)) for _ in range(2000)]
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            kept[:200] = [(kernels.array(np.zeros(2)), kernels.zeros((2,), np.float32)) for _ in range(200)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other = threading.Thread(target=work)
    other.start()
    try:
        for _ in range(10):
            key = Key()
            batch = Batch(key, [Member({}, None, Sampling())])
            for _ in range(2):
                assert kernels.step(key, [Span(0, 1, 2)], lambda _: None, batch) is None
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        other.join()


class Key:
    """A key."""


def test_a_plan_keeps_what_its_commands_name_and_nothing_else() -> None:
    """Commands hold addresses: memory that they write into must not be another's while the key lives."""
    m, other, kernels = synthetic.model(), synthetic.model(1), NumbaKernels()
    stranger = Engine(other, kernels)
    engine = Engine(m, kernels)
    session = engine.add(synthetic.request(m, max_tokens=20))
    for _ in range(4):
        engine.step()
    plan = kernels.steps._kept[engine.placed].plan
    assert plan is not None
    named = {id(x) for x in plan.kept}
    assert {id(w.q) for w in m.weights.values() if isinstance(w, Matrix)} <= named
    assert not {id(w.q) for w in other.weights.values() if isinstance(w, Matrix)} & named
    assert stranger.model is other
    buffers = [weakref.ref(x) for x in session.trace.arrays.values()]
    engine.remove(session)
    del session
    assert not any(reference() is not None for reference in buffers)


def test_a_follower_goes_when_there_is_nothing_to_do() -> None:
    words = crew.shared_words(2)
    before = words.copy()
    crew.follow(np.zeros(0, COMMAND), np.zeros((1, 1), np.int64), words, 1, 2)
    assert (words == before).all()


def _child(queue: multiprocessing.Queue[list[int]], engine: Engine) -> None:
    (session,) = engine._rows.sessions.values()
    engine.run(session)
    queue.put(session.answer)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_goes_on() -> None:
    m = synthetic.model()
    request = synthetic.request(m, max_tokens=30)
    engine = Engine(m, NumbaKernels())
    session = engine.add(request)
    for _ in range(8):
        engine.step()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, engine))
    process.start()
    found = queue.get(timeout=60)
    process.join(60)
    engine.run(session)
    assert found == session.answer == synthetic.prove(m, request).answer
    assert process.exitcode == 0
