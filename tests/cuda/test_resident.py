"""Tests that arrays stay on the device: transfers, repeated steps, order of work, and errors of kernels."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import synthetic
from cuda_rig import EmulatedDevice, why_not
from cuda_rig.requests import overflowing, run, several
from kernel_cases.data import floats, int8s
from proofcompute.arithmetic.backends.cuda import CudaKernels, faults, steps
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Span
from proofcompute.engine import Engine
from proofcompute.errors import DeviceError, FormatError, MismatchError, NonFiniteError
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.testing.models import TINY, random_checkpoint

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

HEAD = 8
"""Bytes of a report before its tokens: the number and the word of the first failed check."""


@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("bucket", [4, 512])
def test_several_requests_in_one_step(capability: int, bucket: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts are the CPU's, steps are repeated, and a decoding step downloads only tokens and a status."""
    monkeypatch.setattr(steps, "_BUCKET", bucket)
    m = synthetic.model()
    _, expected = run(m, several(m), synthetic.KERNELS)
    device = EmulatedDevice(capability, 3)
    kernels = CudaKernels(device)
    node = synthetic.node(m, kernels, chunk=16)
    engine = node.engine
    sessions = [engine.add(r) for r in several(m)]
    while any(s.running for s in sessions):
        live = [s for s in sessions if s.reason is None]
        decoding = all(s.answer for s in live)
        before = len(device.downloads), len(device.uploads)
        engine.step()
        assert len(device.downloads) == before[0] + 1
        if decoding:
            assert device.downloads[-1] == HEAD + 4 * len(live)
            if all(s.reason is None for s in live):  # else the tags of its trees are uploaded, once
                assert sum(device.uploads[before[1] :]) <= len(live) * (8 + 4 + 16)
    assert device.replays >= 3
    del device.downloads[:]
    found = [node.commit(s, keep=False).encode() for s in sessions]
    assert found == expected
    assert device.downloads == [32 * len(m.program.committed)] * len(sessions)  # the roots


def test_requests_come_and_go() -> None:
    """Each set of requests has its graphs: a request joins while one decodes, one ends while others go on."""
    m = synthetic.model()
    asked = several(m)
    device = EmulatedDevice(90, 1)
    kernels = CudaKernels(device)
    node = synthetic.node(m, kernels, chunk=8)
    engine = node.engine
    sessions = [engine.add(asked[0])]
    for number in range(20):
        if number in (4, 6):
            sessions.append(engine.add(asked[len(sessions)]))
        engine.step()
    assert all(s.reason for s in sessions)
    assert device.replays >= 3
    for session, request in zip(sessions, asked, strict=True):
        alone = synthetic.prove(m, request)
        assert node.commit(session, keep=False).encode() == alone.data


def windowed() -> Model:
    decoder = replace(TINY, window=5)
    return compile_decoder(random_checkpoint(3, decoder), synthetic.KERNELS, "w8a8")


def test_repeated_steps_with_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_BUCKET", 16)
    m = windowed()
    asked = [synthetic.request(m, "Hello, world", max_tokens=20)]
    device = EmulatedDevice(90, 4)
    assert run(m, asked, CudaKernels(device))[1] == run(m, asked, synthetic.KERNELS)[1]
    assert device.replays > 12


def test_what_a_repeated_step_launches_is_what_the_first_launched() -> None:
    m = synthetic.model()
    device = EmulatedDevice()
    engine = Engine(m, CudaKernels(device))
    session = engine.add(synthetic.request(m, max_tokens=6))
    launched = []
    while session.running:
        before = len(device.launches)
        engine.step()
        launched.append(device.launches[before:])
    assert device.replays == 4
    *others, last = launched[2:]
    assert all(each == launched[1] for each in others)
    assert last[: len(launched[1])] == launched[1]
    commitment = [name for name, _ in last[len(launched[1]) :]]
    assert commitment == ["sha256_rows"] * 2 + ["sha256_trees", "move_rows"]


def test_an_interrupted_run_is_taken_up() -> None:
    m = synthetic.model()
    request = synthetic.request(m, sampling=synthetic.SAMPLED, max_tokens=7)
    whole = synthetic.prove(m, request)
    kernels = CudaKernels(EmulatedDevice())
    node = synthetic.node(m, kernels)
    engine = node.engine
    session = engine.add(request, whole.answer[:4])
    engine.run(session)
    assert node.commit(session, keep=False).encode() == whole.data
    with pytest.raises(MismatchError):
        engine.run(engine.add(request, [*whole.answer[:3], 1]))


def test_a_program_that_does_not_generate() -> None:
    """It has two inputs, float outputs and rows in pieces; outputs are downloaded when they are asked for."""
    b = ProgramBuilder(context=64, device="numpy")
    x, y = b.input("x", 6), b.input("y", 8)
    ones = np.ones(8, np.float32)
    h = b.layer_norm(b.add(b.gelu(b.linear(x, floats("normal", 8, 6))), y), ones, ones)
    b.cut(h)
    b.output(b.relu(b.linear(h, floats("normal", 3, 8), limbs=1, weight_limbs=2), name="first"))
    b.output(b.add(h, y, name="second"))
    m = b.model()
    inputs = tuple((n, floats("normal", 11, s.shape[0]).tobytes()) for n, s in m.program.inputs)
    asked = Request(m.model_id, inputs, bytes(32))
    (here,), expected = run(m, [asked], synthetic.KERNELS, chunk=4)
    device = EmulatedDevice(75, 2)
    (there,), found = run(m, [asked], CudaKernels(device), chunk=4)
    assert found == expected
    outputs = there.statement().outputs
    assert {n: v.tobytes() for n, v in outputs.items()} == {n: v.tobytes() for n, v in here.outputs.items()}


def test_weights_are_uploaded_once() -> None:
    m = synthetic.model()
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    matrices = {w.q.nbytes for w in m.weights.values() if isinstance(w, Matrix)}
    Engine(m, kernels)
    assert matrices <= set(device.uploads)
    del device.uploads[:]
    Engine(m, kernels)
    assert not matrices & set(device.uploads)


def test_nothing_is_kept_when_requests_are_done() -> None:
    m = synthetic.model()
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    engine = Engine(m, kernels)
    engine.run(engine.add(synthetic.request(m)))
    gc.collect()
    used = device.used
    engine.run(engine.add(synthetic.request(m)))
    engine.step()
    gc.collect()
    assert device.used <= used


# -- streams -----------------------------------------------------------------------------------------------
def ahead(device: EmulatedDevice, rows: int) -> CudaKernels:
    kernels = CudaKernels(device)
    kernels.ahead = rows
    return kernels


@pytest.mark.parametrize("suite", ["sha256", "blake3"])
def test_finished_rows_are_hashed_beside_the_next_tokens(suite: str) -> None:
    m = synthetic.model()
    asked = [replace(r, suite=suite) for r in several(m)]
    device = EmulatedDevice(90, 1)
    streams = []
    inner = device.launch

    def launch(kernel: str, grid: Any, threads: int, arguments: Any, stream: int = 0) -> None:
        streams.append((kernel, stream))
        inner(kernel, grid, threads, arguments, stream)

    device.launch = launch  # type: ignore[method-assign]
    assert run(m, asked, ahead(device, 3))[1] == run(m, asked, synthetic.KERNELS)[1]
    hashing = {"sha256": "sha256_rows", "blake3": "blake3_parents"}[suite]
    beside = [stream for kernel, stream in streams if kernel == hashing]
    first_token = next(i for i, (kernel, _) in enumerate(streams) if kernel == "sample_best")
    assert 1 in beside
    assert (hashing, 1) in streams[first_token:]
    assert {stream for kernel, stream in streams if kernel == "linear_mma"} == {0}


@pytest.mark.parametrize("missing", range(4))
def test_a_missing_event_is_caught(missing: int) -> None:
    """Side work waits for the main stream each time, and the main stream waits for its results at the end."""
    m = synthetic.model()
    device = EmulatedDevice()
    inner, seen = device.wait, []

    def wait(stream: int, event: Any) -> None:
        seen.append(stream)
        if len(seen) - 1 != missing:
            inner(stream, event)

    device.wait = wait  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="does not wait for what uses its memory"):
        run(m, [synthetic.request(m, max_tokens=9)], ahead(device, 6))
    assert seen[: missing + 1] == [1, 1, 1, 0][: missing + 1]


def test_work_beside_the_main_stream_has_none_beside_it() -> None:
    kernels = CudaKernels(EmulatedDevice())
    with kernels.side_stream(), pytest.raises(DeviceError, match="no work beside it"), kernels.side_stream():
        pass


# -- what kernels find ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["block.0.attention.qkv", "block.1.ffn.gate_up", "block.1.ffn.down"])
def test_errors_name_the_operation(name: str) -> None:
    m = overflowing(name)
    with pytest.raises(NonFiniteError) as expected:
        run(m, [synthetic.request(m)], synthetic.KERNELS)
    device = EmulatedDevice()
    with pytest.raises(NonFiniteError) as found:
        run(m, [synthetic.request(m)], CudaKernels(device))
    assert str(found.value).split(":")[0] == str(expected.value).split(":")[0]
    assert len(device.downloads) == 1


def test_errors_of_a_repeated_step() -> None:
    """A fault of the fifth step is found in the fifth step, and named."""
    m = synthetic.model()
    device = EmulatedDevice()
    engine = Engine(m, CudaKernels(device))
    session = engine.add(synthetic.request(m, max_tokens=9))
    for _ in range(5):
        engine.step()
    assert device.replays == 3
    session.trace.arrays["k_scale.1"][2] = np.float32(np.nan)
    assert engine.step() == ([], [(session, session.error)])
    assert str(session.error).startswith("block.1/attention.mix: a key's scale must be finite")


def test_nothing_found_is_lost() -> None:
    kernels = CudaKernels(EmulatedDevice())
    bad = kernels.array(np.array([[1, np.inf]], np.float32))
    fine = kernels.array(floats("normal", 1, 2))
    kernels.operation = "here"
    kernels.settle(bad)
    kernels.operation = ""
    kernels.settle(fine)
    with pytest.raises(NonFiniteError, match="here: a committed value"):
        kernels.host(fine)
    assert kernels.host(fine).shape == (1, 2)  # the check was read
    kernels.settle(bad)
    with pytest.raises(NonFiniteError):
        kernels.step(None, [Span(0, 0, 1)], lambda spans: None)
    kernels.settle(bad)
    with pytest.raises(NonFiniteError):
        kernels.settle(floats("normal", 1, 2))  # a call from the host reads all checks
    kernels.settle(bad)
    with pytest.raises(NonFiniteError):
        fine.tobytes()
    kernels.gather(kernels.array(int8s(3, 4)), np.array([3], np.int32))
    with pytest.raises(FormatError, match="outside its table"):
        kernels.host(fine)


def test_more_checks_than_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings are kept when words are used again."""
    monkeypatch.setattr(faults, "WORDS", 2)
    device = EmulatedDevice()
    kernels = CudaKernels(device)
    fine, bad = kernels.array(floats("normal", 1, 2)), kernels.array(np.full((1, 2), np.inf, np.float32))
    for _ in range(5):
        kernels.settle(fine)
    kernels.look()
    kernels.settle(bad)
    for _ in range(4):
        kernels.settle(fine)
    assert len(device.downloads) == 1
    with pytest.raises(NonFiniteError):
        kernels.look()


def test_one_key_is_for_one_set_of_requests() -> None:
    class Key:
        pass

    kernels, key = CudaKernels(EmulatedDevice()), Key()
    kernels.step(key, [Span(0, 3, 4)], lambda spans: None)
    with pytest.raises(DeviceError, match="other requests"):
        kernels.step(key, [Span(1, 4, 5)], lambda spans: None)


def test_no_copy_to_or_from_the_host_is_captured() -> None:
    """A step with such a copy is repeated without a graph, and says so."""

    class Key:
        pass

    for call in (
        lambda k, x: k.array(floats("normal", 2, 2)),
        lambda k, x: k.host(x),
        lambda k, x: k.settle(floats("normal", 2, 2)),
    ):
        kernels, key = CudaKernels(EmulatedDevice()), Key()
        x = kernels.array(floats("normal", 2, 2))

        def step(spans: Any, call: Any = call, kernels: CudaKernels = kernels, x: Any = x) -> None:
            call(kernels, x)

        kernels.step(key, [Span(0, 3, 4)], step)
        with pytest.warns(RuntimeWarning, match="while a graph is made"):
            kernels.step(key, [Span(0, 4, 5)], step)
