"""Provides the networks of the comparison with zero-knowledge provers, with the same weights for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofcompute.arrays import F32

__all__ = ["NETWORKS", "Network", "onnx_model"]


@dataclass(frozen=True)
class Network:
    """Linear layers with ReLU between them."""

    widths: tuple[int, ...]
    rows: int = 1
    """Samples of one request."""

    def weights(self) -> list[F32]:
        """Return one matrix [out, in] for each layer."""
        rng = np.random.default_rng(0)
        return [
            rng.standard_normal((m, d), np.float32) / np.float32(d**0.5)
            for d, m in zip(self.widths[:-1], self.widths[1:], strict=True)
        ]

    def samples(self) -> F32:
        """Return inputs [rows, widths[0]]."""
        return np.random.default_rng(1).standard_normal((self.rows, self.widths[0]), np.float32)


NETWORKS = {
    "MLP 16-32-10": Network((16, 32, 10)),
    "MLP 784-128-10": Network((784, 128, 10)),
    "MLP 512-512-512": Network((512, 512, 512)),
    "product 64x64x64": Network((64, 64), rows=64),
}


def onnx_model(network: Network) -> Any:
    """Return the network as an ONNX model; this needs the package onnx."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, x = [], [], "x"
    weights = network.weights()
    for i, w in enumerate(weights):
        last = i == len(weights) - 1
        constants.append(numpy_helper.from_array(np.ascontiguousarray(w.T), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [x, f"w{i}"], ["y" if last else f"h{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"]))
        x = f"r{i}"

    def value(name: str, width: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [network.rows, width])

    graph = helper.make_graph(
        nodes, "mlp", [value("x", network.widths[0])], [value("y", network.widths[-1])], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
