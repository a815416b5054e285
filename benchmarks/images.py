"""Times a convolutional network beside onnxruntime in float32: `python -m benchmarks.images`.

The network has the layers of Yahoo's Open NSFW model, a ResNet-50 with a quarter of the channels (53
convolutions, 1.07 G multiplications for an image of 224 x 224), and random weights. A batch of 8 is computed,
committed and signed, and the sides take turns in one run. Needs the packages onnx and onnxruntime; nothing is
asserted about time.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

import proofcompute as pc
from proofcompute.arrays import F32
from proofcompute.models.model import Model

SIZE, CLASSES = 224, 2
STAGES = ((3, 32, 128, 1), (4, 64, 256, 2), (6, 128, 512, 2), (3, 256, 1024, 2))
"""Blocks of a stage, their inner and outer channels, and the stride of the first."""
PRECISIONS = {"w8a8": (1, 1), "w8a16": (2, 1), "w16a16": (2, 2)}
"""Limbs of activations and of weights."""


class Drawn:
    """A network as a list of layers, which each side builds in its own way."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self.weights: list[tuple[F32, F32]] = []

    def weight(self, out: int, size: int, channels: int, gain: float = 1.0) -> tuple[F32, F32]:
        """Return weights [out, size, size, channels] and biases [out]."""
        scale = gain * np.sqrt(2 / (size * size * channels))
        w = (self._rng.standard_normal((out, size, size, channels)) * scale).astype(np.float32)
        return w, (0.1 * self._rng.standard_normal(out)).astype(np.float32)

    def walk(self, side: Any, x: Any) -> Any:
        """Build the network on one side, which has conv, pool, relu, add, and classes."""
        h = side.pool(side.relu(side.conv(x, *self.weight(64, 7, 3), 2, 3)))
        channels = 64
        for number, (blocks, inner, outer, stride) in enumerate(STAGES):
            for block in range(blocks):
                by = stride if block == 0 else 1
                rest = h if block else side.conv(h, *self.weight(outer, 1, channels, 0.7), by, 0)
                y = side.relu(side.conv(h, *self.weight(inner, 1, channels), by, 0))
                y = side.relu(side.conv(y, *self.weight(inner, 3, inner), 1, 1))
                y = side.conv(y, *self.weight(outer, 1, inner, 0.3), 1, 0)
                h, channels = side.relu(side.add(y, rest)), outer
            if number + 1 < len(STAGES):
                side.cut(h)
        w, b = self.weight(CLASSES, 1, channels)
        return side.classes(h, w.reshape(CLASSES, channels), b)


class Ours:
    """The network as a program: four segments, cut where a stage ends."""

    def __init__(self, limbs: int, weight_limbs: int) -> None:
        self._how: dict[str, Any] = {"limbs": limbs, "weight_limbs": weight_limbs}
        self.b = pc.ProgramBuilder(context=64, device="cpu")

    def conv(self, x: Any, w: F32, bias: F32, stride: int, pads: int) -> Any:
        return self.b.conv(x, w, bias, strides=stride, pads=pads, **self._how)

    def pool(self, x: Any) -> Any:
        return self.b.pool("max", x, (3, 3), strides=2, pads=((0, 1), (0, 1)))

    def relu(self, x: Any) -> Any:
        return self.b.relu(x)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def cut(self, x: Any) -> None:
        self.b.cut(x)

    def classes(self, x: Any, w: F32, bias: F32) -> Any:
        return self.b.softmax(self.b.linear(self.b.mean(x, (0, 1)), w, bias, **self._how), name="classes")


class Theirs:
    """The network as an ONNX graph, channels first."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.values: list[Any] = []

    def _add(self, kind: str, xs: list[Any], arrays: list[Any] = [], **how: Any) -> str:  # noqa: B006
        import onnx

        names = [f"w{len(self.values) + i}" for i in range(len(arrays))]
        self.values += [onnx.numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)]
        out = f"t{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, [*xs, *names], [out], **how))
        return out

    def conv(self, x: str, w: F32, bias: F32, stride: int, pads: int) -> str:
        turned = np.ascontiguousarray(w.transpose(0, 3, 1, 2))
        return self._add("Conv", [x], [turned, bias], strides=[stride] * 2, pads=[pads] * 4)

    def pool(self, x: str) -> str:
        return self._add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])

    def relu(self, x: str) -> str:
        return self._add("Relu", [x])

    def add(self, x: str, y: str) -> str:
        return self._add("Add", [x, y])

    def cut(self, x: str) -> None:
        """Do nothing: floats are not committed."""

    def classes(self, x: str, w: F32, bias: F32) -> str:
        flat = self._add("Flatten", [self._add("GlobalAveragePool", [x])])
        return self._add("Softmax", [self._add("Gemm", [flat], [w, bias], transB=1)], axis=1)

    def session(self, threads: int) -> Any:
        import onnx

        onnxruntime: Any = import_module("onnxruntime")

        x = self._add("Transpose", ["image"], perm=[0, 3, 1, 2])
        y = Drawn().walk(self, x)
        kinds: list[tuple[str, list[Any]]] = [("image", ["n", SIZE, SIZE, 3]), (y, ["n", CLASSES])]
        given, made = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in kinds)
        graph = onnx.helper.make_graph(self.nodes, "network", [given], [made], self.values)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def build(limbs: int, weight_limbs: int) -> Model:
    """Return our model of the network."""
    side = Ours(limbs, weight_limbs)
    side.b.output(Drawn().walk(side, side.b.input("image", (SIZE, SIZE, 3))))
    return side.b.model()


def clocked(f: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds of a call, those of all its threads' processors, and what it returned."""
    wall, busy = time.perf_counter(), time.process_time()
    found = f()
    return time.perf_counter() - wall, time.process_time() - busy, found


def measure(precision: str, batch: int, rounds: int, session: Any) -> dict[str, object]:
    """Time both sides in turn, then one opening and its check of one cell and of all cells."""
    model = build(*PRECISIONS[precision])
    node = pc.Node(model, device="cpu")
    images = np.random.default_rng(1).uniform(-1, 1, (batch, SIZE, SIZE, 3)).astype(np.float32)
    rows = (("image", images.tobytes()),)

    def ours() -> Any:
        request = pc.Request(model.model_id, rows, secrets.token_bytes(32), node=node.public)
        return request, node.answer(request)

    def theirs() -> Any:
        return session.run(None, {"image": images})[0]

    sides = {"ours": ours, "onnxruntime": theirs}
    request, answer = ours()
    for f in sides.values():
        f()  # what is worth it is compiled now
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, f in sides.items():
            *seconds, found = clocked(f)
            times[name].append((seconds[0], seconds[1]))
            if name == "ours":
                request, answer = found
    middle = {n: [statistics.median(t[i] for t in ts) for i in range(2)] for n, ts in times.items()}
    difference = float(np.abs(answer.outputs["classes"] - theirs()).max())
    auditor = pc.Auditor(pc.keygen(model, node.kernels), device="cpu")
    audits = {}
    for label, cells in (("one_cell", 1), ("all_cells", "all")):

        def audit(cells: Any = cells) -> object:
            return auditor.audit(
                request, answer.receipt, lambda c: node.open(request, answer.receipt, c), cells
            )

        audit()
        wall, busy, _ = clocked(audit)
        audits[label] = {"seconds": wall, "processor_seconds": busy}
    groups = range(len(model.program.committed))
    return {
        "precision": precision,
        "batch": batch,
        "segments": len(model.program.segments),
        "committed_bytes": batch * sum(map(model.program.group_bytes, groups)),
        "seconds": {n: m[0] for n, m in middle.items()},
        "processor_seconds": {n: m[1] for n, m in middle.items()},
        "ratio": middle["ours"][0] / middle["onnxruntime"][0],
        "processor_ratio": middle["ours"][1] / middle["onnxruntime"][1],
        "largest_difference_of_a_class": difference,
        "opening_and_checking": audits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=PRECISIONS, action="append")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    session = Theirs().session(threads)
    for precision in options.precision or PRECISIONS:
        print(
            json.dumps({"threads": threads} | measure(precision, options.batch, options.rounds, session)),
            flush=True,
        )


if __name__ == "__main__":
    main()
