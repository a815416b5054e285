"""Evaluates an exported graph with PyTorch, node by node (extra ``torch``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import torch

from proofcompute.importers.aten.exporting import DTYPES, Exported, array_of
from proofcompute.importers.aten.graphs import Operation
from proofcompute.importers.aten.running import Products, apply
from proofcompute.importers.lowering.graph import Graph, Study
from proofcompute.importers.lowering.values import Constant, constant
from proofcompute.models.builder import ProgramBuilder

__all__ = ["Evaluation", "computed"]

_DTYPES: Final = {name: dtype for dtype, name in DTYPES.items()}


def _tensors(exported: Exported) -> dict[str, torch.Tensor]:
    """Return the tensors of placeholders that are no arguments."""
    program = exported.program
    found = {}
    for given in program.graph_signature.input_specs:
        held = program.state_dict.get(str(given.target))
        held = program.constants.get(str(given.target)) if held is None else held
        if isinstance(held, torch.Tensor):
            found[given.arg.name] = held
    return found


def computed(exported: Exported, inputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return what each node of a graph gives for inputs [1, ...] or, where nodes allow it, for more."""
    scope: dict[str, Any] = {**_tensors(exported), **inputs}
    with torch.no_grad():
        for node in exported.program.graph.nodes:
            if node.op == "placeholder":
                scope.setdefault(node.name, None)
            elif node.op == "call_function":
                scope[node.name] = _called(node, scope)
    return scope


def _called(node: torch.fx.Node, scope: Mapping[str, Any]) -> Any:
    def given(argument: torch.fx.Node) -> Any:
        return scope[argument.name]

    args = torch.fx.node.map_arg(node.args, given)
    kwargs = torch.fx.node.map_arg(node.kwargs, given)
    return node.target(*args, **kwargs)


@final
class Evaluation:
    """One sample, evaluated again and again with some products rounded.

    Only what depends on a rounded product is computed again, and only rounded products are computed by the
    lowering library, which defines how they are rounded.
    """

    def __init__(
        self, exported: Exported, products: Mapping[str, Products], inputs: Mapping[str, torch.Tensor]
    ) -> None:
        self._exported, self._products = exported, products
        self._exact = computed(exported, inputs)
        self._operations: dict[str, Operation] = {o.name: o for o in exported.graph.operations}

    def run(self, study: Study, wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return the values with some names, with products rounded as a study says."""
        plain = Study(study.limbs, [])
        rounded = {
            name for name, p in self._products.items() if any(study.limbs(n) != (2, 2) for n in p.names)
        }
        study.names.extend(n for p in self._products.values() for n in p.names)
        changed: dict[str, Any] = {}
        scope = _Over(changed, self._exact)
        with torch.no_grad():
            for node in self._exported.program.graph.nodes:
                if node.name in rounded:
                    changed[node.name] = self._lowered(node.name, scope, plain)
                elif node.op == "call_function" and any(a.name in changed for a in node.all_input_nodes):
                    changed[node.name] = _called(node, scope)
        return [scope[name] for name in wanted]

    def _lowered(self, name: str, scope: Mapping[str, Any], study: Study) -> Any:
        operation = self._operations[name]
        g = Graph(ProgramBuilder(device="numpy"), quick=True)
        g.study, g.limbs = study, study.limbs
        g.rename(set(self._products[name].taken))
        made = apply(self._exported.graph, g, operation, _Values(scope))
        if operation.several:
            return [self._tensor(v) for v in (made if isinstance(made, Sequence) else [made])]
        return self._tensor(made)

    @staticmethod
    def _tensor(value: Any) -> torch.Tensor | None:
        if not isinstance(value, Constant):
            return None
        return torch.from_numpy(np.ascontiguousarray(value.array)).to(_DTYPES[value.dtype])


class _Over(Mapping[str, Any]):
    """Some values by name over others."""

    def __init__(self, upper: Mapping[str, Any], lower: Mapping[str, Any]) -> None:
        self._upper, self._lower = upper, lower

    def __getitem__(self, name: str) -> Any:
        return self._upper[name] if name in self._upper else self._lower[name]

    def __iter__(self) -> Any:
        return iter({**self._lower, **self._upper})

    def __len__(self) -> int:
        return len({**self._lower, **self._upper})


class _Values(Mapping[str, Any]):
    """Tensors as the constants that the lowering takes."""

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self._scope = scope

    def __getitem__(self, name: str) -> Any:
        return _value(self._scope[name], name)

    def __iter__(self) -> Any:
        return iter(self._scope)

    def __len__(self) -> int:
        return len(self._scope)


def _value(found: Any, name: str) -> Any:
    if isinstance(found, torch.Tensor):
        return constant(*array_of(found, name))
    return [_value(one, name) for one in found] if isinstance(found, list | tuple) else found
