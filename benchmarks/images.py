"""Times a convolutional network beside onnxruntime in float32: `python -m benchmarks.images`.

The network has the layers of Yahoo's Open NSFW model, a ResNet-50 with a quarter of the channels (53
convolutions, 1.07 G multiplications for an image of 224 x 224), and random weights; `--file` takes an ONNX
file with one input of floats and one output instead. Both sides read the same file, and ours imports it. A
batch of 8 is computed, committed and signed, and the sides take turns in one run. What `auto` chooses is kept
in the folder of `--recipes`, by the file's digest, so that it is chosen once. Needs the packages onnx and
onnxruntime; nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import proofcompute as pc
from proofcompute.arrays import F32
from proofcompute.importers.onnx import OnnxFile, Recipe, compile_onnx
from proofcompute.importers.onnx.opening import parsed
from proofcompute.models.model import Model

SIZE, CLASSES = 224, 2
STAGES = ((3, 32, 128, 1), (4, 64, 256, 2), (6, 128, 512, 2), (3, 256, 1024, 2))
"""Blocks of a stage, their inner and outer channels, and the stride of the first."""
PRECISIONS = ("w8a8", "w8a16", "w16a16", "auto")


class Drawn:
    """The network with random weights, as an ONNX graph."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._values: list[Any] = []

    def file(self) -> bytes:
        """Return the file."""
        import onnx

        y = self._network(self._add("Transpose", ["image"], perm=[0, 3, 1, 2]))
        kinds: list[tuple[str, list[Any]]] = [("image", ["n", SIZE, SIZE, 3]), (y, ["n", CLASSES])]
        given, made = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in kinds)
        graph = onnx.helper.make_graph(self._nodes, "network", [given], [made], self._values)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        data: bytes = model.SerializeToString()
        return data

    def _network(self, x: str) -> str:
        h = self._relu(self._conv(x, 64, 7, 3, 2, 3))
        h = self._add("MaxPool", [h], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
        channels = 64
        for blocks, inner, outer, stride in STAGES:
            for block in range(blocks):
                by = stride if block == 0 else 1
                rest = h if block else self._conv(h, outer, 1, channels, by, 0, 0.7)
                y = self._relu(self._conv(h, inner, 1, channels, by, 0))
                y = self._relu(self._conv(y, inner, 3, inner, 1, 1))
                y = self._conv(y, outer, 1, inner, 1, 0, 0.3)
                h, channels = self._relu(self._add("Add", [y, rest])), outer
        w, b = self._weight(CLASSES, 1, channels)
        flat = self._add("Flatten", [self._add("GlobalAveragePool", [h])])
        scores = self._add("Gemm", [flat], [w.reshape(CLASSES, channels), b], transB=1)
        return self._add("Softmax", [scores], axis=1)

    def _weight(self, out: int, size: int, channels: int, gain: float = 1.0) -> tuple[F32, F32]:
        """Return weights [out, size, size, channels] and biases [out]."""
        scale = gain * np.sqrt(2 / (size * size * channels))
        w = (self._rng.standard_normal((out, size, size, channels)) * scale).astype(np.float32)
        return w, (0.1 * self._rng.standard_normal(out)).astype(np.float32)

    def _add(self, kind: str, xs: list[str], arrays: list[F32] = [], **how: Any) -> str:  # noqa: B006
        import onnx

        names = [f"w{len(self._values) + i}" for i in range(len(arrays))]
        self._values += [onnx.numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)]
        out = f"t{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(kind, [*xs, *names], [out], **how))
        return out

    def _conv(
        self, x: str, out: int, size: int, channels: int, stride: int, pads: int, gain: float = 1.0
    ) -> str:
        w, bias = self._weight(out, size, channels, gain)
        turned = np.ascontiguousarray(w.transpose(0, 3, 1, 2))
        return self._add("Conv", [x], [turned, bias], strides=[stride] * 2, pads=[pads] * 4)

    def _relu(self, x: str) -> str:
        return self._add("Relu", [x])


def session(data: bytes, threads: int) -> Any:
    """Return onnxruntime's session of a file."""
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])


def imported(file: OnnxFile, precision: str, recipes: Path) -> Model:
    """Return our model of a file. What `auto` chooses is written, and read the next time."""
    kernels = pc.kernels_for("cpu")
    kept = recipes / f"{file.digest.hex()}.json"
    if precision != "auto":
        return compile_onnx(file, kernels, precision)
    if kept.exists():
        return compile_onnx(file, kernels, Recipe.from_text(kept.read_text()))
    model = compile_onnx(file, kernels, "auto")
    recipes.mkdir(parents=True, exist_ok=True)
    kept.write_text(model.manifest["recipe"])
    return model


def clocked(f: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the seconds of a call, those of all its threads' processors, and what it returned."""
    wall, busy = time.perf_counter(), time.process_time()
    found = f()
    return time.perf_counter() - wall, time.process_time() - busy, found


def measure(model: Model, batch: int, rounds: int, their: Any) -> dict[str, object]:
    """Time both sides in turn, then one opening and its check of one cell and of all cells."""
    node = pc.Node(model, device="cpu")
    ((given, spec),) = model.program.inputs
    (output,) = model.program.outputs
    images = np.random.default_rng(1).uniform(-1, 1, (batch, *spec.shape)).astype(np.float32)
    rows = ((given, images.tobytes()),)

    def ours() -> Any:
        request = pc.Request(model.model_id, rows, secrets.token_bytes(32), node=node.public)
        return request, node.answer(request)

    def theirs() -> Any:
        return their.run(None, {given: images})[0]

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
    wanted = theirs()
    difference = float(np.abs(np.asarray(answer.outputs[output]).reshape(wanted.shape) - wanted).max())
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
        "precision": model.manifest["precision"],
        "limbs": dict(Counter(f"w{8 * s.limbs}" for s in model.program.weights if s.kind == "matrix")),
        "batch": batch,
        "segments": len(model.program.segments),
        "committed_bytes": batch * sum(map(model.program.group_bytes, groups)),
        "seconds": {n: m[0] for n, m in middle.items()},
        "processor_seconds": {n: m[1] for n, m in middle.items()},
        "ratio": middle["ours"][0] / middle["onnxruntime"][0],
        "processor_ratio": middle["ours"][1] / middle["onnxruntime"][1],
        "largest_difference_of_an_output": difference,
        "opening_and_checking": audits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=PRECISIONS, action="append")
    parser.add_argument("--file", type=Path, help="an ONNX file instead of the network with random weights")
    parser.add_argument("--recipes", type=Path, default=Path("recipes"), help="default: %(default)s")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    data = options.file.read_bytes() if options.file else Drawn().file()
    file, their = parsed(data), session(data, threads)
    for precision in options.precision or PRECISIONS:
        model = imported(file, precision, options.recipes)
        found = measure(model, options.batch, options.rounds, their)
        print(json.dumps({"threads": threads} | found), flush=True)


if __name__ == "__main__":
    main()
