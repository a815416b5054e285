"""Graphs of ATen operations in JSON, with inputs and results, so that they are tested without PyTorch."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proofcompute.arrays import Array
from proofcompute.importers.aten.graphs import AtenGraph, Operation, Ref, TensorType

__all__ = ["read", "written"]


def _array(x: Array) -> dict[str, Any]:
    data = np.ascontiguousarray(x)
    return {
        "dtype": data.dtype.str,
        "shape": list(x.shape),
        "data": base64.b64encode(data.tobytes()).decode(),
    }


def _read_array(found: Mapping[str, Any]) -> Array:
    return np.frombuffer(base64.b64decode(found["data"]), found["dtype"]).reshape(found["shape"])


def _argument(a: Any) -> Any:
    if isinstance(a, Ref):
        return {"ref": a.name}
    if isinstance(a, float) and not np.isfinite(a):
        return {"float": str(a)}
    return [_argument(one) for one in a] if isinstance(a, list | tuple) else a


def _read_argument(a: Any) -> Any:
    if isinstance(a, dict):
        return Ref(a["ref"]) if "ref" in a else float(a["float"])
    return [_read_argument(one) for one in a] if isinstance(a, list) else a


def written(graph: AtenGraph, inputs: Mapping[str, Array], outputs: Sequence[Array]) -> dict[str, Any]:
    """Return a graph, inputs of one sample and what PyTorch makes of them, for JSON."""
    return {
        "name": graph.name,
        "inputs": [[n, t.dtype, list(t.shape)] for n, t in graph.inputs],
        "constants": {n: [_array(a), d] for n, (a, d) in graph.constants.items()},
        "weights": dict(graph.weights),
        "operations": [
            [
                o.name,
                o.op,
                {n: _argument(a) for n, a in o.arguments.items()},
                [None if r is None else [r.dtype, list(r.shape)] for r in o.results],
                o.several,
            ]
            for o in graph.operations
        ],
        "outputs": [_argument(leaf) for leaf in graph.outputs],
        "given": {n: _array(a) for n, a in inputs.items()},
        "wanted": [_array(a) for a in outputs],
    }


def read(found: Mapping[str, Any]) -> tuple[AtenGraph, dict[str, Array], list[Array]]:
    """Return what :func:`written` wrote."""
    operations = tuple(
        Operation(
            name,
            op,
            {n: _read_argument(a) for n, a in arguments.items()},
            tuple(None if r is None else TensorType(r[0], tuple(r[1])) for r in results),
            several,
        )
        for name, op, arguments, results, several in found["operations"]
    )
    graph = AtenGraph(
        found["name"],
        tuple((n, TensorType(d, tuple(s))) for n, d, s in found["inputs"]),
        {n: (_read_array(a), d) for n, (a, d) in found["constants"].items()},
        found["weights"],
        operations,
        tuple(_read_argument(leaf) for leaf in found["outputs"]),
    )
    given = {n: _read_array(a) for n, a in found["given"].items()}
    return graph, given, [_read_array(a) for a in found["wanted"]]
