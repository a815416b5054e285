"""Measures ours on the same networks, audited as a whole under a secret key."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_bytes
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.networks import (
    CONVOLUTIONAL,
    NETWORKS,
    Convolutional,
    Network,
    convolutional_onnx,
    far_from_floats,
)
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import F32
from proofcompute.bench.timing import in_turn, repeated
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.testing.subject import Run, Subject

__all__ = ["build", "measure", "run"]

SETUPS, ROUNDS = 5, 101


def build(network: Network) -> Model:
    """Return the network's program, one segment for each layer."""
    b = ProgramBuilder()
    x = b.input("x", network.widths[0])
    weights = network.weights()
    for w in weights[:-1]:
        x = b.relu(b.linear(x, w))
        b.cut(x)
    b.output(b.linear(x, weights[-1], name="y"))
    return b.model()


def run(name: str) -> list[dict[str, Any]]:
    """Set up, prove and verify a network; every cell is checked."""
    if name in CONVOLUTIONAL:
        return [measure_file(CONVOLUTIONAL[name], SETUPS, ROUNDS)]
    return [measure(NETWORKS[name], SETUPS, ROUNDS)]


def measure(network: Network, setups: int, rounds: int) -> dict[str, Any]:
    """Time set-up, proving and verifying of a network, and a plain rerun, in turn."""
    weights, samples = network.weights(), network.samples()

    def native() -> None:
        x = samples
        for i, w in enumerate(weights):
            x = x @ w.T
            if i < len(weights) - 1:
                np.maximum(x, 0, out=x)

    found, _ = _timed(lambda: build(network), samples, native, setups, rounds)
    return found


def measure_file(network: Convolutional, setups: int, rounds: int) -> dict[str, Any]:
    """Do the same for a network that is read from an ONNX file; a rerun is ONNX's reference in NumPy."""
    from onnx.reference import ReferenceEvaluator

    from proofcompute.importers.onnx import compile_onnx
    from proofcompute.importers.onnx.opening import parsed

    file, samples = convolutional_onnx(network), network.samples()
    data, session = file.SerializeToString(), ReferenceEvaluator(file)

    def made() -> Model:
        return compile_onnx(parsed(data), kernels_for("auto"))

    found, outputs = _timed(made, samples, lambda: session.run(None, {"x": samples}), setups, rounds)
    error = far_from_floats(file, samples, outputs)
    note = found["note"].replace("w8a16", "w16a16")
    return {**found, "note": f"{note}; outputs {error:.2g} from float32"}


def _timed(
    made: Callable[[], Model], samples: F32, native: Callable[[], object], setups: int, rounds: int
) -> tuple[dict[str, Any], F32]:
    """Return the figures of a model, and its outputs."""
    kernels = kernels_for("auto")
    model = made()
    request = _request(model, samples)
    warm = Subject(model, kernels)  # compiles every kernel
    finished = warm.finish(request)
    warm.verifier(finished, warm.open(finished))()

    setup = repeated(lambda: Subject(made(), kernels).key(), setups)
    subject = Subject(made(), kernels)

    def prove() -> tuple[Run, bytes]:
        done = subject.finish(request)
        return done, subject.open(done).opening

    done, opening = prove()
    check = subject.verifier(done, subject.open(done))
    verified = check()
    native()
    proving, verifying, rerun = in_turn([prove, check, native], rounds)
    outputs = np.frombuffer(done.receipt.outputs[0][1], "<f4").astype(np.float32)
    found = {
        "system": "ours",
        "setup_seconds": median(setup),
        "common_setup_seconds": 0.0,
        "prove_seconds": median(proving),
        "verify_seconds": median(verifying),
        "proof_bytes": len(done.data) + len(opening),
        "prover_key_bytes": 0,
        "verifier_key_bytes": len(subject.key().body()),
        "native_seconds": median(rerun),
        "rounds": {"set up": setup, "prove": proving, "verify": verifying, "rerun": rerun},
        "note": f"w8a16, secret key, all {verified.total} cells, {verified.soundness_bits:.0f} bits",
    }
    return found, outputs


def _request(model: Model, samples: F32) -> Request:
    return Request(model.model_id, (("x", np.ascontiguousarray(samples, "<f4").tobytes()),), token_bytes(32))
