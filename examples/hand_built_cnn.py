"""Builds a small convolutional network, proves and audits it: `python examples/hand_built_cnn.py`.

A row is one image, channels last. A convolution is a view in windows and one product whose rows are the
windows, so it is checked as any matrix product is; convolutions that sum few numbers, as the first and the
depthwise one, are float32 and computed again. Then an audit catches a node whose weights differ in one place.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import proofcompute as pc
from proofcompute.arrays import F32
from proofcompute.models.model import Model

SIZE, CHANNELS, CLASSES = 12, 8, 4


def parameters(seed: int = 0) -> dict[str, F32]:
    """Return random weights [out, 3, 3, in], and a batch norm behind the first convolution."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "first": (CHANNELS, 3, 3, 3), "block": (CHANNELS, 3, 3, CHANNELS), "depthwise": (CHANNELS, 3, 3, 1),
        "pointwise": (40, 1, 1, CHANNELS), "head": (CLASSES, 40),
    }  # fmt: skip
    made: dict[str, F32] = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:]))
        made[name] = (rng.standard_normal(shape) * scale).astype(np.float32)
    for name in ("gamma", "beta", "mean", "variance"):
        made[name] = (1 + 0.3 * rng.random(CHANNELS)).astype(np.float32)
    return made


def build(p: dict[str, F32], pool: str = "max") -> Model:
    """Build the network; cut where an image has become small."""
    b = pc.ProgramBuilder(context=64)
    image = b.input("image", (SIZE, SIZE, 3))
    folded = b.fold_batch_norm(p["first"], None, p["gamma"], p["beta"], p["mean"], p["variance"])
    h = b.pool(pool, b.relu(b.conv(image, *folded, pads=1)), (2, 2))
    b.cut(h)
    h = b.relu(h + b.conv(h, p["block"], pads=1, weight_limbs=2))
    h = b.relu(b.conv(h, p["depthwise"], groups=CHANNELS, strides=2, pads=1))
    b.cut(h)
    h = b.mean(b.relu(b.conv(h, p["pointwise"])), (0, 1))
    b.output(b.softmax(b.linear(h, p["head"], weight_limbs=2), name="classes"))
    return b.model()


def reference(p: dict[str, F32], images: F32) -> F32:
    """Return what the network gives in floats, written without the library."""

    def conv(x: F32, w: F32, stride: int = 1) -> F32:
        pad, places = w.shape[1] // 2, x.shape[1] // stride
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        y = np.zeros((len(x), places, places, len(w)), np.float32)
        for i in range(w.shape[1]):
            for j in range(w.shape[2]):
                seen = x[:, i : i + places * stride : stride, j : j + places * stride : stride]
                y += seen * w[:, i, j, 0] if w.shape[3] != x.shape[3] else seen @ w[:, i, j].T
        return y

    h = (conv(images, p["first"]) - p["mean"]) / np.sqrt(p["variance"] + 1e-5) * p["gamma"] + p["beta"]
    h = np.maximum(h, 0).reshape(-1, SIZE // 2, 2, SIZE // 2, 2, CHANNELS).max((2, 4))
    h = np.maximum(h + conv(h, p["block"]), 0)
    h = np.maximum(conv(h, p["depthwise"], 2), 0)
    logits = np.maximum(conv(h, p["pointwise"]), 0).mean((1, 2)) @ p["head"].T
    e = np.exp(logits - logits.max(1, keepdims=True))
    found: F32 = (e / e.sum(1, keepdims=True)).astype(np.float32)
    return found


def run_and_audit(node_has: Model, auditor: pc.Auditor, images: F32) -> tuple[pc.Verified, F32]:
    """Make one request: the node answers with the model ``node_has``, the verifier audits every cell."""
    node = pc.Node(node_has)
    request = pc.array_request(auditor.card, images, node=node.public)
    answer = node.answer(request)
    verified = auditor.audit(request, answer.receipt, lambda c: node.open(request, answer.receipt, c), "all")
    return verified, answer.outputs["classes"]


def main() -> None:
    p = parameters()
    model = build(p)
    auditor = pc.Auditor(pc.keygen(model, pc.kernels_for("auto")))
    images = np.random.default_rng(1).standard_normal((6, SIZE, SIZE, 3), np.float32)

    result, classes = run_and_audit(model, auditor, images)
    difference = float(np.abs(classes - reference(p, images)).max())
    assert difference < 1e-3
    print(
        f"honest: {result.cells} of {result.total} cells right, {result.soundness_bits:.0f} bits; "
        f"classes differ from those of floats by {difference:.5f} at most"
    )

    name = next(w.name for w in model.program.weights if w.kind == "matrix")
    w = model.matrix(name)
    q = w.q.copy()
    q[0, 0, 0] ^= 1
    changed = replace(model, weights={**model.weights, name: replace(w, q=q)})
    try:
        run_and_audit(changed, auditor, images)
    except pc.VerificationError as e:
        print(f"one bit of one weight: rejected ({e})")


if __name__ == "__main__":
    main()
