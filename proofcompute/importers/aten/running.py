"""Lowers the operations of a graph one after the other, or evaluates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from proofcompute.errors import ExecutionError, InputError, LimitError
from proofcompute.importers.aten.calls import Call
from proofcompute.importers.aten.graphs import AtenGraph, Operation, Ref, refs
from proofcompute.importers.aten.table import lowering_of
from proofcompute.importers.lowering.graph import Graph
from proofcompute.importers.lowering.values import STORED, RefusedError, Value, constant

__all__ = ["MAX_OPERATIONS", "Made", "Products", "apply", "run"]

MAX_OPERATIONS: Final = 1 << 17
"""Operations of a graph."""

Made: TypeAlias = Value | Sequence[Value | None] | None
"""What an operation gives."""


@dataclass(frozen=True)
class Products:
    """The products that an operation became: with weights, and of two activations."""

    names: tuple[str, ...]
    taken: frozenset[str]
    """The names that products had before."""


def run(
    graph: AtenGraph, g: Graph, inputs: Mapping[str, Value], products: dict[str, Products] | None = None
) -> list[Any]:
    """Lower a graph whose inputs are given, and return its outputs; leaves that are no tensors as they are.

    ``products`` takes what products the operations became, by the operations' names.
    Raises RefusedError naming the operation that cannot be lowered, and why.
    """
    if len(graph.operations) > MAX_OPERATIONS:
        raise LimitError(f"a graph of {len(graph.operations)} operations, more than {MAX_OPERATIONS}")
    scope: dict[str, Made] = dict(inputs)
    for name, (array, dtype) in graph.constants.items():
        scope[name] = constant(array, dtype)
    for operation in graph.operations:
        taken = frozenset(g.names()) if products is not None else frozenset[str]()
        scope[operation.name] = apply(graph, g, operation, scope)
        if products is not None and (names := g.names() - taken):
            products[operation.name] = Products(tuple(sorted(names)), taken)
    return [_resolved(leaf, scope) if isinstance(leaf, Ref) else leaf for leaf in graph.outputs]


def apply(graph: AtenGraph, g: Graph, operation: Operation, scope: Mapping[str, Made]) -> Made:
    """Lower one operation. Raises RefusedError naming it."""
    outer, g.node = g.node, _product_name(graph, operation)
    try:
        return _apply(g, operation, scope)
    except RefusedError as e:
        raise _about(e, operation) from e
    except (LimitError, ExecutionError, InputError) as e:
        raise _about(RefusedError(str(e)), operation) from e
    except (
        TypeError,
        ValueError,
        IndexError,
        KeyError,
        OverflowError,
        ZeroDivisionError,
        StopIteration,
    ) as e:
        raise _about(RefusedError(f"its arguments or shapes do not fit ({e})"), operation) from e
    finally:
        g.node = outer


def _apply(g: Graph, operation: Operation, scope: Mapping[str, Made]) -> Made:
    arguments = {name: _resolved(a, scope) for name, a in operation.arguments.items()}
    if operation.op == "getitem":
        picked: Made = arguments["self"][arguments["index"]]
        return picked
    lowering = lowering_of(operation.op)
    if lowering is None:
        raise RefusedError("this operator is not supported")
    base = operation.op.split(".")[1]
    made = lowering(Call(g, base, arguments, operation.results))
    given = list(made) if isinstance(made, Sequence) else [made]
    given = given if operation.several else given[:1]
    for value, wanted in zip(given, operation.results, strict=True):
        if value is None or wanted is None:
            continue
        if value.shape != wanted.shape or STORED[value.dtype] != STORED[wanted.dtype]:
            raise RefusedError(
                f"is lowered to {value.dtype} {list(value.shape)}, where PyTorch has {wanted.dtype} "
                f"{list(wanted.shape)}"
            )
    return given if operation.several else given[0]


def _resolved(argument: Any, scope: Mapping[str, Made]) -> Any:
    if isinstance(argument, Ref):
        if argument.name not in scope:
            raise RefusedError(f"reads {argument.name[:80]!r}, which nothing before it makes")
        found = scope[argument.name]
        if found is None:
            raise RefusedError(f"reads {argument.name[:80]!r}, which is not computed, as statistics are not")
        return found
    if isinstance(argument, list | tuple):
        return [_resolved(one, scope) for one in argument]
    return argument


def _product_name(graph: AtenGraph, operation: Operation) -> str:
    """Return the name of products: that of the first weight which the operation reads, or its own."""
    for name in refs(operation.arguments):
        found = graph.weights.get(name)
        if found is not None:
            return found.removesuffix(".weight")[:120]
    return operation.name[:120]


def _about(e: RefusedError, operation: Operation) -> RefusedError:
    """Return an error that names its operation."""
    found = RefusedError(f"node {operation.label}: {str(e)[:300]}", e.inputs)
    found.node = operation.name
    return found
