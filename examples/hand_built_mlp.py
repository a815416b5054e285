"""Builds a tiny network from operations, proves and audits it: `python examples/hand_built_mlp.py`.

The network is a residual MLP over rows of samples. The node runs a batch and returns a signed receipt; the
verifier, which holds a key but not the weights, audits every cell. Then it catches a node that skips work.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import proofcompute as pc
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32
from proofcompute.models.model import Model

WIDTH, HIDDEN, CLASSES = 16, 32, 3


def build(seed: int = 0) -> Model:
    """Build an input layer, one residual block with a norm, and an output layer; cut where rows narrow."""
    rng = np.random.default_rng(seed)

    def weights(out: int, width: int) -> F32:
        w: F32 = rng.standard_normal((out, width), np.float32) / np.float32(width**0.5)
        return w

    b = pc.ProgramBuilder()
    x = b.input("samples", WIDTH)
    h = b.relu(b.linear(x, weights(WIDTH, WIDTH), bias=np.full(WIDTH, 0.1, np.float32)))
    b.cut(h)
    inner = b.layer_norm(h, np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32))
    inner = b.linear(b.gelu(b.linear(inner, weights(HIDDEN, WIDTH))), weights(WIDTH, HIDDEN))
    h = b.add(h, inner)
    b.cut(h)
    b.output(b.linear(h, weights(CLASSES, WIDTH), name="scores"))
    return b.model()


def run_and_audit(node_has: Model, auditor: pc.Auditor, samples: F32) -> tuple[pc.Verified, F32]:
    """Make one request: the node answers with the model ``node_has``, the verifier audits every cell."""
    node = pc.Node(node_has)
    request = pc.array_request(auditor.card, samples, node=node.public)
    answer = node.answer(request)
    # cells are drawn once the verifier has the receipt
    challenge = auditor.challenge(request, answer.receipt, "all")
    opening = node.open(request, answer.receipt, challenge)
    return auditor.check(request, answer.receipt, challenge, opening), answer.outputs["scores"]


def main() -> None:
    model = build()
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("auto")))
    samples = np.random.default_rng(1).standard_normal((100, WIDTH), np.float32)

    result, scores = run_and_audit(model, auditor, samples)
    print(
        f"honest: {result.cells} of {result.total} cells right, {result.soundness_bits:.0f} bits; "
        f"first sample is class {int(scores[0].argmax())}"
    )

    # A node that skips the residual block's last layer: zero weights under the same model id.
    skipped = model.program.weights[-2].name
    w = model.matrix(skipped)
    lazy = replace(model, weights={**model.weights, skipped: Matrix(np.zeros_like(w.q), w.scale)})
    try:
        run_and_audit(lazy, auditor, samples)
    except pc.VerificationError as e:
        print(f"a skipped layer: rejected ({e})")


if __name__ == "__main__":
    main()
