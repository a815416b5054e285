"""Measures ours on the same networks, audited as a whole under a secret key."""

from __future__ import annotations

from secrets import token_bytes
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.networks import NETWORKS, Network
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
    """Set up, prove and verify one of :data:`NETWORKS`; every cell is checked."""
    return [measure(NETWORKS[name], SETUPS, ROUNDS)]


def measure(network: Network, setups: int, rounds: int) -> dict[str, Any]:
    """Time set-up, proving and verifying of a network, and a plain rerun, in turn."""
    kernels = kernels_for("auto")
    samples = network.samples()
    request = _request(build(network), samples)
    warm = Subject(build(network), kernels)  # compiles every kernel
    finished = warm.finish(request)
    warm.verifier(finished, warm.open(finished))()

    setup = repeated(lambda: Subject(build(network), kernels).key(), setups)
    subject = Subject(build(network), kernels)

    def prove() -> tuple[Run, bytes]:
        done = subject.finish(request)
        return done, subject.open(done).opening

    done, opening = prove()
    check = subject.verifier(done, subject.open(done))
    verified = check()
    weights = network.weights()

    def native() -> None:
        x = samples
        for i, w in enumerate(weights):
            x = x @ w.T
            if i < len(weights) - 1:
                np.maximum(x, 0, out=x)

    native()
    proving, verifying, rerun = in_turn([prove, check, native], rounds)
    return {
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


def _request(model: Model, samples: F32) -> Request:
    return Request(model.model_id, (("x", np.ascontiguousarray(samples, "<f4").tobytes()),), token_bytes(32))
