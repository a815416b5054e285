"""Where somebody has changed a thread's floating-point mode, nothing is computed, and no node is blamed."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import proofcompute as pc
import synthetic
from numerics import processor_mode
from numerics.processor_mode import NAMES, mode
from proofcompute.arithmetic import definition as numerics
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.runtime import threads
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.engine import Engine
from proofcompute.errors import DeviceError
from proofcompute.importers.compiling import compile_decoder
from proofcompute.jobs import ProductKey, float_bound, matmul, verify_product
from proofcompute.jobs.floating import FloatCheck
from proofcompute.models.builder import ProgramBuilder
from proofcompute.protocol.cells import public_challenge
from proofcompute.protocol.messages import Challenge
from proofcompute.testing.models import random_checkpoint
from proofcompute.testing.subject import Run
from proofcompute.verifier import keygen, verify_public

pytestmark = pytest.mark.skipif(not NAMES, reason="nobody has said how to change this processor's mode")

X = np.ones((3, 4), np.float32)
W = np.ones((4, 5), np.float32)
Q = np.ones((3, 4), np.int8)


@cache
def run() -> Run:
    m = synthetic.model()
    return synthetic.prove(m, synthetic.request(m))


@cache
def opening(kind: str) -> tuple[Challenge, bytes]:
    """A challenge of a kind and its opening."""
    if kind == "public":
        challenge = public_challenge(run().claim, 3)
    else:
        challenge = synthetic.challenge_all(run(), hints=kind == "key")
    return challenge, run().open(challenge)


def step() -> None:
    m = synthetic.model()
    engine = Engine(m, synthetic.KERNELS)
    engine.run(engine.add(synthetic.request(m)))


def check(kind: str) -> None:
    challenge, data = opening(kind)
    if kind == "public":
        stream = io.BytesIO(data)
        verify_public(synthetic.model(), run().request, run().data, 3, stream, kernels=synthetic.KERNELS)
    else:
        synthetic.check(synthetic.key() if kind == "key" else synthetic.model(), run(), challenge, data)


ENTRIES: dict[str, Callable[[], Any]] = {
    "kernels_for, the definition": lambda: pc.kernels_for("numpy"),
    "kernels_for, the CPU": lambda: pc.kernels_for("cpu"),
    "NumpyKernels": numerics.NumpyKernels,
    "NumbaKernels": NumbaKernels,
    "numerics.exp": lambda: numerics.exp(X),
    "numerics.tree_sum": lambda: numerics.tree_sum(X),
    "quantise": lambda: synthetic.KERNELS.quantise(X, 1),
    "import": lambda: compile_decoder(random_checkpoint(), synthetic.KERNELS, "w8a16"),
    "a program by hand": lambda: ProgramBuilder(device="numpy"),
    "keygen": lambda: keygen(synthetic.model(), synthetic.KERNELS),
    "a step": step,
    "opening": lambda: run().open(synthetic.challenge_all(run())),
    "verify": lambda: check("key"),
    "verify with the weights": lambda: check("weights"),
    "verify a public proof": lambda: check("public"),
    "a product of floats": lambda: verify_product(X, W, X @ W, device="numpy"),
    "a bound": lambda: float_bound(X, W),
    "a product of integers": lambda: verify_product(Q, Q.T, np.full((3, 3), 4, np.int32), device="numpy"),
    "a key for products": lambda: ProductKey(Q.T, device="numpy"),
    "a job": lambda: matmul(Q, Q.T, device="numpy"),
}


@pytest.fixture(scope="module", autouse=True)
def _made() -> None:
    synthetic.key()
    for kind in ("key", "weights", "public"):
        check(kind)


@pytest.mark.parametrize("name", NAMES)
def test_every_mode_is_noticed(name: str) -> None:
    require_ieee()
    with mode(name), pytest.raises(DeviceError, match="this thread"):
        require_ieee()
    require_ieee()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_computed(name: str, entry: str) -> None:
    with mode(name), pytest.raises(DeviceError, match="this thread"):
        ENTRIES[entry]()


def test_a_builder_notices_a_mode_that_came_later() -> None:
    b = ProgramBuilder(device="cpu")
    x = b.input("x", 4)
    with mode("upward"), pytest.raises(DeviceError):
        b.linear(x, np.ones((3, 4), np.float32))


def test_a_check_of_floats_notices_a_mode_that_came_later() -> None:
    check = FloatCheck(W)
    with mode("upward"), pytest.raises(DeviceError):
        check.test(X, X @ W)


def test_recorded_steps_notice_a_mode_that_came_later() -> None:
    m, k = synthetic.model(), NumbaKernels()
    engine = Engine(m, k)
    session = engine.add(synthetic.request(m, max_tokens=8))
    for _ in range(4):  # run, recorded, repeated
        engine.step()
    assert session.reason is None
    with mode("both"), pytest.raises(DeviceError):
        engine.step()


def test_a_thread_that_helps_is_not_started_in_another_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 2)
    monkeypatch.setattr(threads, "limit", lambda: 2)
    helpers = threads.Pool("proofcompute-part", 1)
    monkeypatch.setattr(threads, "_parts", helpers)
    with mode("both"), pytest.raises(DeviceError):
        threads.split(lambda a, b: None, 8, 1)
    assert helpers._threads is None


def test_a_thread_that_helps_in_another_mode_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "size", lambda: 2)
    monkeypatch.setattr(threads, "limit", lambda: 2)
    helpers = threads.Pool("proofcompute-part", 1)
    with mode("both"), monkeypatch.context() as unseen:
        unseen.setattr(threads, "require_ieee", lambda: None)
        helpers.submit(lambda: None).result()  # its thread inherits the mode
    come = threading.Event()
    caller = threading.get_ident()

    def part(a: int, b: int) -> None:
        if threading.get_ident() == caller:
            come.wait(30)

    work = threads._Work(part, 6, 6, ())
    monkeypatch.setattr(threads._Work, "_leave", _then(threads._Work._leave, come.set))
    helpers.submit(work.help)
    work.take()
    work.close()
    assert isinstance(work.error, DeviceError)


def _then(first: Callable[..., None], second: Callable[[], None]) -> Callable[..., None]:
    def both(*arguments: Any) -> None:
        first(*arguments)
        second()

    return both


def test_longer_pieces_are_not_computed_by_such_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[BaseException] = []

    def piece() -> None:
        with mode("both"):
            try:
                threads._one(lambda x: x, 1)
            except DeviceError as e:
                found.append(e)

    thread = threading.Thread(target=piece)
    thread.start()
    thread.join()
    assert len(found) == 1


def test_threads_of_blas_are_asked_too() -> None:
    """They are started when NumPy is imported, here in another mode, which is then put right."""
    code = f"""
import sys
sys.path.insert(0, {str(processor_mode.__file__.rsplit("/", 2)[0])!r})
from numerics.processor_mode import mode
with mode("both"):
    import numpy as np
import os, threading
import proofcompute as pc
x = np.ones((4, 4))
try:
    pc.verify_product(x, x, x @ x, device="numpy")
    print("computed", len(os.listdir("/proc/self/task")))
except pc.DeviceError as e:
    print(e, len(os.listdir("/proc/self/task")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, tasks = done.stdout.rsplit(maxsplit=1)
    assert "threads of NumPy's BLAS" in said or (said == "computed" and int(tasks) == 1)
