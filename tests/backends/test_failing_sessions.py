"""A session that fails leaves alone, and those beside it get the receipts they would get by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig.device import EmulatedDevice
from cuda_rig.requests import several
from proofcompute.arithmetic.backends.cuda import CudaKernels, SpreadKernels
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Engine, Session
from proofcompute.errors import DeviceError, ExecutionError, InputError, MismatchError, NonFiniteError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.prover.node import Node

BACKENDS: dict[str, Callable[[], Any]] = {
    "numpy": lambda: synthetic.KERNELS,
    "numba": NumbaKernels,
    "cuda": lambda: CudaKernels(EmulatedDevice()),
    "two devices": lambda: SpreadKernels([EmulatedDevice(), EmulatedDevice()]),
}
every_backend = pytest.mark.parametrize("backend", [*BACKENDS])


def layers() -> Model:
    """A small network with two segments, whose second product overflows on huge inputs."""
    rng = np.random.default_rng(0)
    b = ProgramBuilder(device="numpy")
    h = b.linear(b.input("x", 16), rng.standard_normal((32, 16)).astype(np.float32) * np.float32(1e3))
    b.cut(h)
    b.output(b.linear(h, rng.standard_normal((4, 32)).astype(np.float32), name="y"))
    return b.model()


def rows(m: Model, nonce: int, values: Any) -> Request:
    return Request(m.model_id, (("x", np.asarray(values, "<f4").tobytes()),), bytes([nonce] * 32))


def receipt(m: Model, session: Session, kernels: Kernels) -> bytes:
    return synthetic.node(m, kernels).commit(session, keep=False).encode()


def alone(m: Model, request: Request) -> bytes:
    return synthetic.prove(m, request).data


def spoil(session: Session) -> None:
    """Put a scale without a value into the committed rows that later steps read."""
    session.trace.arrays["k_scale.1"][2] = np.float32(np.nan)


@every_backend
def test_inputs_that_overflow(backend: str) -> None:
    m, kernels = layers(), BACKENDS[backend]()
    rng = np.random.default_rng(1)
    asked = [rows(m, i, rng.standard_normal((5, 16))) for i in range(3)]
    asked[1] = rows(m, 1, np.full((5, 16), 3e38))
    engine = Engine(m, kernels)
    first, bad, last = [engine.add(r) for r in asked]
    assert engine.step() == ([first, last], [(bad, bad.error)])
    assert isinstance(bad.error, NonFiniteError)
    assert (bad.reason, bad.running) == (None, False)
    with pytest.raises(InputError, match="the run failed"):
        bad.statement()
    for session in (first, last):
        assert receipt(m, session, kernels) == alone(m, session.request)
    assert engine.step() == ([], [])


@every_backend
def test_a_failure_in_a_repeated_step(backend: str) -> None:
    """Steps are recorded or captured by then; whoever is left is, again."""
    m, kernels = synthetic.model(), BACKENDS[backend]()
    asked = [synthetic.request(m, p, max_tokens=14) for p in ("Hello, world", "abc", "to be", "or not")]
    engine = Engine(m, kernels, chunk=8)
    sessions = [engine.add(r) for r in asked]
    for _ in range(6):
        engine.step()
    bad = [sessions.pop(2), sessions.pop(0)]
    for session in bad:
        spoil(session)
    changed, failed = engine.step()
    assert (changed, {s for s, _ in failed}) == (sessions, {*bad})
    assert all(error is s.error for s, error in failed)
    assert all(isinstance(s.error, NonFiniteError) and s.reason is None for s in bad)
    for session in sessions:
        engine.run(session)
        assert receipt(m, session, kernels) == alone(m, session.request)


@every_backend
def test_a_failure_beside_prompts_in_pieces(backend: str) -> None:
    """Some decode, some are in the middle of their prompts, and one comes later."""
    m, kernels = synthetic.model(), BACKENDS[backend]()
    engine = Engine(m, kernels, chunk=5)
    bad = engine.add(synthetic.request(m, "abcd", max_tokens=9))
    sessions = [engine.add(r) for r in several(m)]
    engine.step()
    engine.step()
    spoil(bad)
    engine.step()
    assert isinstance(bad.error, NonFiniteError)
    sessions.append(engine.add(synthetic.request(m, "later", max_tokens=5)))
    for session in sessions:
        engine.run(session)
        assert receipt(m, session, kernels) == alone(m, session.request)


@every_backend
def test_tokens_of_another_run(backend: str) -> None:
    m, kernels = synthetic.model(), BACKENDS[backend]()
    asked = synthetic.request(m, max_tokens=6)
    whole = synthetic.prove(m, asked).answer
    engine = Engine(m, kernels)
    wrong = engine.add(asked, [*whole[:2], whole[2] ^ 1])
    longer = engine.add(synthetic.request(m, max_tokens=8, stops=("q",)), whole[:2])
    fine = engine.add(asked, whole[:3])
    for session in (fine, longer):
        engine.run(session)
    assert isinstance(wrong.error, MismatchError)
    assert wrong.reason is None
    for session in (fine, longer):
        assert receipt(m, session, kernels) == alone(m, session.request)


def test_the_error_is_that_of_running_alone() -> None:
    m = layers()
    asked = rows(m, 1, np.full((5, 16), 3e38))
    messages = []
    for others in (0, 2):
        engine = Engine(m, NumbaKernels())
        session = engine.add(asked)
        for i in range(others):
            engine.add(rows(m, 2 + i, np.ones((3, 16))))
        with pytest.raises(ExecutionError) as error:
            engine.run(session)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_node_says_what_failed_and_goes_on() -> None:
    m = layers()
    node = Node(m, synthetic.NODE, device=NumbaKernels())
    with pytest.raises(NonFiniteError):
        node.answer(rows(m, 1, np.full((5, 16), 3e38)))
    fine = rows(m, 2, np.ones((5, 16)))
    assert node.answer(fine).receipt == Node(m, synthetic.NODE, device="numpy").answer(fine).receipt


def test_memory_that_a_step_of_all_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that fit one by one go on, whoever else there is."""
    m = layers()
    asked = [rows(m, i, np.ones((5, 16))) for i in range(2)]
    engine = Engine(m, synthetic.KERNELS)
    sessions = [engine.add(r) for r in asked]
    compute = engine._compute

    def short(spans: Any, **how: Any) -> Any:
        if len(spans) > 1:
            raise MemoryError
        return compute(spans, **how)

    monkeypatch.setattr(engine, "_compute", short)
    assert engine.step() == (sessions, [])
    assert [s.reason for s in sessions] == ["complete", "complete"]


def test_a_device_at_fault_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even between the steps of single sessions: all are as they were, and can be run again."""
    m = layers()
    engine = Engine(m, synthetic.KERNELS)
    bad = engine.add(rows(m, 1, np.full((5, 16), 3e38)))
    fine = engine.add(rows(m, 2, np.ones((5, 16))))
    compute, calls = engine._compute, []

    def broken(spans: Any, **how: Any) -> Any:
        calls.append(len(spans))
        if len(calls) == 3:
            raise DeviceError("lost")
        return compute(spans, **how)

    monkeypatch.setattr(engine, "_compute", broken)
    with pytest.raises(DeviceError, match="lost"):
        engine.step()
    assert calls == [2, 1, 1]
    assert bad.running
    assert fine.running
    assert (bad.done, fine.done) == (0, 0)
    engine.run(fine)
    assert receipt(m, fine, synthetic.KERNELS) == alone(m, fine.request)
    assert isinstance(bad.error, NonFiniteError)


def test_what_several_devices_found_is_no_later_steps() -> None:
    """Both devices find something wrong with one session; the next step belongs to another."""
    m = synthetic.model()
    kernels: Any = SpreadKernels([EmulatedDevice(), EmulatedDevice()])

    def step(places: Any) -> None:
        for part in kernels.parts:
            part.settle(part.array(np.array([[np.inf]], np.float32)))

    with pytest.raises(NonFiniteError):
        kernels.step(None, [(0, 0, 1)], step)
    session = (engine := Engine(m, kernels)).add(synthetic.request(m))
    engine.run(session)
    assert receipt(m, session, kernels) == alone(m, session.request)
