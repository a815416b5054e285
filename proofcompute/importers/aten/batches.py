"""Tests whether the samples of a batch depend on each other, and names the node that mixes them.

A row of a program is a batch of one. A module that mixes samples gives other results for a batch than for its
samples one by one, and is refused. Only then the module is exported for a batch of two as well, and nodes are
compared one by one (extra ``torch``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch.utils import _pytree as pytree

from proofcompute.importers.aten.evaluating import computed
from proofcompute.importers.aten.exporting import Exported, Leaves, export
from proofcompute.importers.lowering.values import RefusedError

__all__ = ["check_rows", "sliced"]

_CLOSE: Final = 1e-3
"""The greatest difference of floats that are the same, relative to the largest."""
_ADVICE: Final = "give the whole batch as one row instead (whole=True)"


def sliced(given: Leaves, start: int, stop: int) -> Leaves:
    """Return some samples of arguments: all tensors are cut along their first axis."""
    return Leaves(
        tuple(x[start:stop] if isinstance(x, torch.Tensor) else x for x in given.leaves), given.spec
    )


def called(module: torch.nn.Module, given: Leaves) -> list[Any]:
    """Return the leaves of what a module gives."""
    args, kwargs = pytree.tree_unflatten(list(given.leaves), given.spec)
    with torch.no_grad():
        leaves: list[Any] = pytree.tree_flatten(module(*args, **kwargs))[0]
    return leaves


def check_rows(module: torch.nn.Module, single: Exported, given: Leaves) -> None:
    """Raise RefusedError naming the node that mixes samples, if the module gives other results for a batch.

    ``given`` are arguments of two samples.
    """
    both = called(module, given)
    each = [called(module, sliced(given, i, i + 1)) for i in range(2)]
    if len(both) == len(each[0]) == len(each[1]) and all(
        _same(c, a, b) for c, a, b in zip(both, each[0], each[1], strict=True)
    ):
        return
    raise _mixing(module, single, given)


def _same(both: Any, first: Any, second: Any) -> bool:
    if not isinstance(both, torch.Tensor):
        return type(both) is type(first) is type(second)
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return False
    if first.dim() == 0 or both.shape != (2, *first.shape[1:]) or first.shape != second.shape:
        return False
    return _near(both, torch.cat([first, second]))


def _near(x: torch.Tensor, y: torch.Tensor) -> bool:
    if not x.dtype.is_floating_point:
        return bool((x == y).double().mean() > 1 - _CLOSE) if x.numel() else True
    size = float(y[y.isfinite()].abs().max()) if bool(y.isfinite().any()) else 0.0
    return bool(torch.allclose(x.double(), y.double(), rtol=_CLOSE, atol=_CLOSE * size, equal_nan=True))


def _mixing(module: torch.nn.Module, single: Exported, given: Leaves) -> RefusedError:
    name = type(module).__name__
    double = export(module, given)
    one, two = single.graph.operations, double.graph.operations
    if [o.op for o in one] != [o.op for o in two]:
        return RefusedError(f"{name} has other nodes for a batch of two than for one; {_ADVICE}")
    names = [n for n, _ in single.graph.inputs]
    runs = [
        computed(exported, _named(exported, names, sliced(given, a, b)))
        for exported, a, b in ((single, 0, 1), (single, 1, 2), (double, 0, 2))
    ]
    for differs in (_differs, _moved):
        for operation, wide in zip(one, two, strict=True):
            reason = differs(runs[0][operation.name], runs[1][operation.name], runs[2][wide.name])
            if reason:
                found = RefusedError(
                    f"node {operation.label} mixes the samples of a batch: it {reason}; {_ADVICE}"
                )
                found.node = operation.name
                return found
    return RefusedError(f"{name} gives other results for a batch than for its samples one by one; {_ADVICE}")


def _named(exported: Exported, names: Sequence[str], given: Leaves) -> Mapping[str, torch.Tensor]:
    tensors = [given.leaves[i] for i in exported.inputs]
    return dict(zip([n for n, _ in exported.graph.inputs], tensors, strict=True)) if names else {}


def _parts(*values: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    lists = [list(v) if isinstance(v, list | tuple) else [v] for v in values]
    for first, second, both in zip(*lists, strict=False):
        if all(isinstance(v, torch.Tensor) for v in (first, second, both)):
            yield first, second, both


def _differs(first: Any, second: Any, both: Any) -> str:
    """Return how a node's results for two samples together differ from those apart, wherever they stand."""
    for a, b, c in _parts(first, second, both):
        if c.numel() == a.numel() and torch.equal(a, b):
            continue  # the same for all samples
        if c.numel() != 2 * a.numel():
            return f"makes {list(c.shape)} for two samples and {list(a.shape)} for one"
        apart = torch.cat([a.reshape(-1), b.reshape(-1)]).double().sort().values
        if not _near(c.reshape(-1).double().sort().values, apart):
            return "gives other numbers for two samples together"
    return ""


def _moved(first: Any, second: Any, both: Any) -> str:
    """Return whether a node that keeps samples in front gives one sample what is the other's."""
    for a, b, c in _parts(first, second, both):
        if a.dim() and a.shape[0] == 1 and c.shape == (2, *a.shape[1:]) and not _near(c, torch.cat([a, b])):
            return "gives a sample what belongs to another"
    return ""
