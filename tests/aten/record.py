"""Writes the graphs of tests/data/aten again: ``PYTHONPATH=tests python -m aten.record``. Needs PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from aten.networks import example
from aten.operators import CASES, Case
from aten.recording import written
from proofcompute.importers.aten.exporting import array_of, export, flat

__all__ = ["TOGETHER", "Together", "recorded"]

FOLDER = Path(__file__).parents[1] / "data" / "aten"
TOGETHER = 24
"""Cases that are exported as one module, since an export takes a while however small it is."""
RECORDED = ("mlp", "encoder", "mobilenet", "swin", "unet", "decoder", "recurrent")


class Together(torch.nn.Module):  # type: ignore[misc]
    """Several cases as one module."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self.cases = cases

    def forward(self, inputs: Sequence[Any]) -> list[Any]:
        return [case.function(*x) for case, x in zip(self.cases, inputs, strict=True)]


def recorded(module: torch.nn.Module, *args: Any) -> dict[str, Any]:
    """Return a module's graph, its inputs and results."""
    exported = export(module, flat(module, args, {}))
    given = {
        name: array_of(exported.arguments.leaves[i], name)[0]
        for (name, _), i in zip(exported.graph.inputs, exported.inputs, strict=True)
    }
    with torch.no_grad():
        leaves = torch.utils._pytree.tree_leaves(module(*args))
    return written(exported.graph, given, [array_of(x, "a result")[0] for x in leaves])


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    groups = [CASES[i : i + TOGETHER] for i in range(0, len(CASES), TOGETHER)]
    operators = [recorded(Together(g).eval(), [case.inputs for case in g]) for g in groups]
    networks = {name: recorded(*example(name, 1)) for name in RECORDED}
    for name, found in (("operators", operators), ("networks", networks)):
        (FOLDER / f"{name}.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
