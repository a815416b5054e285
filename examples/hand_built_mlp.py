"""A tiny network built from operations, proved and audited: `python examples/hand_built_mlp.py`.

A residual MLP over rows of samples. The node runs a batch and returns a signed receipt; the verifier, which
holds a key but not the weights, audits every cell. Then a node that saves work is caught.
"""

from __future__ import annotations

import io
import secrets
from dataclasses import replace

import numpy as np

from proofcompute.devices import kernels_for
from proofcompute.errors import VerificationError
from proofcompute.generation import Engine
from proofcompute.kernels import F32, Matrix
from proofcompute.messages import Challenge, Request, all_cells
from proofcompute.model import Model
from proofcompute.prover import StoredTrace, make_receipt, open_cells
from proofcompute.signing import NodeIdentity
from proofcompute.verifier import Key, Verified, keygen, verify
from proofcompute.workloads import ProgramBuilder

KERNELS = kernels_for("auto")
WIDTH, HIDDEN, CLASSES = 16, 32, 3


def build(seed: int = 0) -> Model:
    """Input layer, one residual block with a norm, output layer; cut where the row is narrow."""
    rng = np.random.default_rng(seed)

    def weights(out: int, width: int) -> F32:
        w: F32 = rng.standard_normal((out, width), np.float32) / np.float32(width**0.5)
        return w

    b = ProgramBuilder()
    x = b.input("samples", WIDTH)
    h = b.relu(b.linear(x, weights(WIDTH, WIDTH), bias=np.full(WIDTH, 0.1, np.float32)))
    b.cut(h)
    inner = b.layer_norm(h, np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32))
    inner = b.linear(b.gelu(b.linear(inner, weights(HIDDEN, WIDTH))), weights(WIDTH, HIDDEN))
    h = b.add(h, inner)
    b.cut(h)
    b.output(b.linear(h, weights(CLASSES, WIDTH), name="scores"))
    return b.model()


def run_and_audit(node_has: Model, key: Key, samples: F32) -> tuple[Verified, F32]:
    """One request: the node answers with what it has, the verifier audits every cell."""
    # client
    request = Request(key.model_id, (("samples", samples.astype("<f4").tobytes()),), secrets.token_bytes(32))
    # node
    engine = Engine(node_has, KERNELS)
    session = engine.add(request)
    engine.run(session)
    receipt = make_receipt(node_has, session, KERNELS, NodeIdentity.new())
    groups = [session.trace.group(g, 0, receipt.rows) for g in range(len(node_has.program.committed))]
    stored = StoredTrace(session.statement(), request.suite, groups, KERNELS)
    # verifier, after it has the receipt
    challenge = Challenge(receipt.digest, all_cells(receipt, key.program))
    # node
    opening = io.BytesIO()
    open_cells(node_has, stored, receipt.digest, challenge, opening)
    opening.seek(0)
    # verifier
    result = verify(key, request, receipt.encode(), challenge, opening, kernels=KERNELS)
    return result, session.outputs["scores"]


def main() -> None:
    model = build()
    key = keygen(model, KERNELS)
    samples = np.random.default_rng(1).standard_normal((100, WIDTH), np.float32)

    result, scores = run_and_audit(model, key, samples)
    print(
        f"honest: {result.cells} of {result.total} cells right, {result.soundness_bits:.0f} bits; "
        f"first sample is class {int(scores[0].argmax())}"
    )

    # A node that skips the residual block's last layer: zero weights under the same model id.
    skipped = model.program.weights[-2].name
    w = model.matrix(skipped)
    lazy = replace(model, weights={**model.weights, skipped: Matrix(np.zeros_like(w.q), w.scale)})
    try:
        run_and_audit(lazy, key, samples)
    except VerificationError as e:
        print(f"a skipped layer: rejected ({e})")


if __name__ == "__main__":
    main()
