"""Builds a recurrent network over sequences, proves and audits it: `python examples/hand_built_lstm.py`.

A row is a whole sequence. The inputs of all steps are multiplied by their weights at once; the recurrent
product is made in each step of a loop. Each product has a hint, so a verifier that holds no weights checks
all of them and computes only the gates again. Then an audit catches a node with another recurrent matrix.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import proofcompute as pc
from proofcompute.arrays import F32
from proofcompute.models.model import Model

STEPS, WIDTH, HIDDEN, CLASSES = 12, 5, 16, 3


def parameters(seed: int = 0) -> dict[str, F32]:
    """Return random weights; the gates of the first two are input, forget, cell and output."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "input": (4 * HIDDEN, WIDTH),
        "recurrent": (4 * HIDDEN, HIDDEN),
        "bias": (4 * HIDDEN,),
        "head": (CLASSES, HIDDEN),
    }
    return {
        name: (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


def build(p: dict[str, F32]) -> Model:
    """Build the network; what is committed is the last output of the sequence."""
    b = pc.ProgramBuilder(context=128)
    x = b.input("sequence", (STEPS, WIDTH))
    _, last, _ = b.lstm(x, p["input"], p["recurrent"], p["bias"], weight_limbs=2)
    b.cut(last)
    b.output(b.linear(last, p["head"], weight_limbs=2, name="scores"))
    return b.model()


def reference(p: dict[str, F32], x: F32) -> F32:
    """Return what the network gives in floats, written without the library."""

    def sigmoid(z: F32) -> F32:
        found: F32 = np.float32(1) / (np.float32(1) + np.exp(-z))
        return found

    h: F32 = np.zeros((len(x), HIDDEN), np.float32)
    c: F32 = h
    for t in range(STEPS):
        z: F32 = x[:, t] @ p["input"].T + h @ p["recurrent"].T + p["bias"]
        i, f, g, o = np.split(z, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    found: F32 = h @ p["head"].T
    return found


def run_and_audit(node_has: Model, auditor: pc.Auditor, x: F32) -> tuple[pc.Verified, F32]:
    """Make one request: the node answers with the model ``node_has``, the verifier audits every cell."""
    node = pc.Node(node_has)
    request = pc.array_request(auditor.card, x, node=node.public)
    answer = node.answer(request)
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    return verified, answer.outputs["scores"]


def main() -> None:
    p = parameters()
    model = build(p)
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("auto")))
    x = np.random.default_rng(1).standard_normal((20, STEPS, WIDTH), np.float32)

    result, scores = run_and_audit(model, auditor, x)
    difference = float(np.abs(scores - reference(p, x)).max())
    assert difference < 1e-2
    products = sum(len(plan.sites) for plan in model.program.plans)
    print(
        f"honest: {result.cells} of {result.total} cells right, {result.soundness_bits:.0f} bits, "
        f"{products} products a sequence; scores differ from those of floats by {difference:.5f} at most"
    )

    name = next(w.name for w in model.program.weights if w.name.endswith(".recurrent"))
    w = model.matrix(name)
    other = replace(model, weights={**model.weights, name: replace(w, q=np.ascontiguousarray(w.q[:, ::-1]))})
    try:
        run_and_audit(other, auditor, x)
    except pc.VerificationError as e:
        print(f"another recurrent matrix: rejected ({e})")


if __name__ == "__main__":
    main()
