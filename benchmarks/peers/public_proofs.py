"""Measures our public proofs on the networks of the comparison: `python -m benchmarks.peers.public_proofs`.

Nobody who checks them holds weights or a secret, as with the zero-knowledge provers beside them; but they
hide nothing. Running, proving and verifying are timed in turn, in one process.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.networks import NETWORKS, Network
from benchmarks.peers.ours_case import build
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench.timing import in_turn, repeated
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.protocol.requests import array_request
from proofcompute.prover.node import Node
from proofcompute.public.holder import SECURITY, positions_for
from proofcompute.public.proving import OwnAnswer, prove, verify_proof
from proofcompute.public.publishing import publish
from proofcompute.verifier import Verified

__all__ = ["measure"]


def measure(network: Network, rounds: int) -> dict[str, Any]:
    """Publish a network, and time running, proving all cells to everybody, verifying, and a rerun."""
    kernels, model, samples = kernels_for("auto"), build(network), network.samples()
    node = Node(model, NodeIdentity(bytes(32)), device=kernels)
    made = publish(model, kernels)
    publishing = repeated(lambda: publish(model, kernels), 3)
    positions = positions_for(made.key.layout, SECURITY)
    request = array_request(model, samples)

    def proved() -> bytes:
        receipt, out = node.commit(node.run(request)).encode(), io.BytesIO()
        prove(made, model, [OwnAnswer(request, receipt, node)], out, positions=positions, kernels=kernels)
        return out.getvalue()

    proof = proved()

    def verify() -> Verified:
        (found,) = verify_proof(made.key, [request], io.BytesIO(proof), kernels=kernels)
        return found

    found, weights = verify(), network.weights()

    def native() -> None:
        x = samples
        for i, w in enumerate(weights):
            x = x @ w.T
            if i < len(weights) - 1:
                np.maximum(x, 0, out=x)

    times = in_turn([lambda: node.commit(node.run(request)), proved, verify, native], rounds)
    running, proving, verifying, rerun = (median(t) for t in times)
    return {
        "publish_seconds": median(publishing),
        "run_seconds": running,
        "prove_seconds": proving,
        "verify_seconds": verifying,
        "native_seconds": rerun,
        "proof_bytes": len(proof),
        "opening_bytes": found.bytes_opened,
        "public_key_bytes": len(made.key.encode()),
        "cells": found.cells,
        "soundness_bits": found.soundness_bits,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="behind each median (default %(default)s)")
    options = parser.parse_args()
    found = {name: measure(network, options.rounds) for name, network in NETWORKS.items()}
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
