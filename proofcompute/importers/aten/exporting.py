"""Exports a module of PyTorch as a graph of ATen operations (extra ``torch``).

``torch.export`` traces the module once for a batch of one, and functional operations are made of those that
change tensors in place. What the table of operators has is kept as it is; the rest is decomposed as PyTorch
does for its own back-ends.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.importers.aten.graphs import AtenGraph, Operation, Ref, TensorType
from proofcompute.importers.aten.table import lowering_of
from proofcompute.importers.lowering.values import RefusedError

__all__ = ["DTYPES", "Exported", "Leaves", "array_of", "export", "flat"]

DTYPES: Final[dict[torch.dtype, str]] = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.bool: "bool",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
}
"""Types of elements that can be lowered, and their names."""

_CHECKS: Final = frozenset(
    {"aten._assert_tensor_metadata", "aten._assert_async", "aten._assert_scalar", "aten.sym_constrain_range",
     "aten.sym_constrain_range_for_size"}
)  # fmt: skip
"""Operations that give nothing: they check what shapes and types are, which are known."""
_FAILURES: Final = (
    RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError,
    ImportError, SyntaxError,
)  # fmt: skip
"""What export raises, and what a module may raise while it is traced."""
_LINE: Final = re.compile(r'File "([^"]+)", line (\d+), in ')
_OWN: Final = str(Path(torch.__file__).parent)
"""Where PyTorch's own code lies."""


@dataclass(frozen=True, eq=False)
class Leaves:
    """The arguments of a call, taken apart."""

    leaves: tuple[Any, ...]
    spec: Any
    """How they stand in their containers."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A module's graph, and how its arguments and results are put together."""

    graph: AtenGraph
    program: torch.export.ExportedProgram
    """What PyTorch exported, with functional operations."""
    arguments: Leaves
    """The arguments of the example; those that are no tensors are part of the graph."""
    inputs: tuple[int, ...]
    """Which of the arguments' leaves are the graph's inputs."""
    result: Any
    """How results stand in their containers."""


def flat(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Leaves:
    """Return the arguments of a call in the order of the module's own.

    Raises InputError if the module does not take them.
    """
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as e:
        raise InputError(f"{type(module).__name__}: {e}") from e
    leaves, spec = pytree.tree_flatten((tuple(bound.args), dict(bound.kwargs)))
    return Leaves(tuple(leaves), spec)


def export(module: torch.nn.Module, given: Leaves) -> Exported:
    """Export a module for arguments of one batch.

    Raises RefusedError if it cannot be exported, or has what no program holds, naming the node or argument.
    """
    name = type(module).__name__
    args, kwargs = pytree.tree_unflatten(list(given.leaves), given.spec)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of PyTorch about its own parts
        try:
            raw = torch.export.export(module, args, kwargs or None)
            program = raw if _plain(raw) else raw.run_decompositions(_decompositions())
        except _FAILURES as e:
            raise RefusedError(f"{name} cannot be exported: {_reason(e)}") from e
    graph = _graph(name, program)
    inputs = tuple(i for i, leaf in enumerate(given.leaves) if isinstance(leaf, torch.Tensor))
    if len(inputs) != len(graph.inputs):
        raise RefusedError(f"{name} was exported with {len(graph.inputs)} tensors, not {len(inputs)}")
    spec = program.call_spec.out_spec
    return Exported(graph, program, given, inputs, spec)


def _plain(program: torch.export.ExportedProgram) -> bool:
    """Return whether every operation can be lowered as it is, and none changes a tensor in place."""
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    overloads = [op for op in called if isinstance(op, torch._ops.OpOverload)]
    others = [op for op in called if not isinstance(op, torch._ops.OpOverload)]
    return all(getattr(op, "__name__", "") == "getitem" for op in others) and all(
        not op._schema.is_mutable and lowering_of(str(op)) is not None for op in overloads
    )


def _decompositions() -> Any:
    """Return PyTorch's decompositions but those of operators which can be lowered as they are."""
    table = torch.export.default_decompositions()
    for op in list(table):
        if isinstance(op, torch._ops.OpOverload) and lowering_of(str(op)) is not None:
            del table[op]
    return table


def _reason(e: BaseException) -> str:
    """Return what an error says, and the line of the module's code where it says so."""
    text = str(e)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " ".join(lines[:2])[:300] or type(e).__name__
    found = _line(text) or _line_of(e)
    return f"{type(e).__name__}: {said}" + (f" (at {found})" if found else "")


def _line(text: str) -> str:
    """Return the innermost line of a stack in a text that is not PyTorch's own."""
    found = [(f, n) for f, n in _LINE.findall(text) if not f.startswith((_OWN, "<"))]
    return f"{found[-1][0]}:{found[-1][1]}" if found else ""


def _line_of(e: BaseException) -> str:
    frame, found = e.__traceback__, ""
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if name != __file__ and not name.startswith((_OWN, "<")):
            found = f"{name}:{frame.tb_lineno}"
        frame = frame.tb_next
    return found


# -- the graph -------------------------------------------------------------------------------------------
def array_of(x: torch.Tensor, what: str) -> tuple[Array, str]:
    """Return a tensor as an array of the type that holds it, and its type; shorter floats are widened.

    Raises RefusedError for a tensor of another type, or that is sparse.
    """
    if x.dtype not in DTYPES or x.layout is not torch.strided or x.is_quantized:
        raise RefusedError(f"{what} is a tensor of {x.dtype}, {x.layout}")
    dtype = DTYPES[x.dtype]
    x = x.detach()
    wide = x.to(torch.float32) if x.dtype.is_floating_point else x
    return np.asarray(wide.resolve_neg().cpu().numpy()), dtype


def _graph(name: str, program: torch.export.ExportedProgram) -> AtenGraph:
    signature = program.graph_signature
    for output in signature.output_specs:
        if output.kind not in (OutputKind.USER_OUTPUT, OutputKind.TOKEN):
            raise RefusedError(
                f"{name} changes {output.target or 'an argument'} when it runs ({output.kind.name.lower()}); "
                "call eval() on it, and give no argument that is changed"
            )
    constants: dict[str, tuple[Array, str]] = {}
    weights: dict[str, str] = {}
    inputs: list[tuple[str, TensorType]] = []
    metas = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    for given in signature.input_specs:
        if given.kind is InputKind.TOKEN:
            continue
        arg = given.arg.name
        if given.kind is InputKind.USER_INPUT:
            if isinstance(metas.get(arg), torch.Tensor):
                inputs.append((arg, _type(metas[arg], f"argument {arg}")))
            continue
        target = str(given.target)
        if given.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            held = program.state_dict.get(target)
            held = program.constants.get(target) if held is None else held
            if not isinstance(held, torch.Tensor):
                raise RefusedError(f"{name} has {target}, which is no tensor")
            constants[arg] = array_of(held, target)
            if given.kind is not InputKind.CONSTANT_TENSOR:
                weights[arg] = target
        else:
            raise RefusedError(f"{name} has {target}, which is no tensor ({given.kind.name.lower()})")
    operations = tuple(_operations(program))
    outputs = tuple(_leaf(s.arg) for s in signature.output_specs if s.kind is OutputKind.USER_OUTPUT)
    return AtenGraph(name, tuple(inputs), constants, weights, operations, outputs)


def _leaf(arg: Any) -> Any:
    return arg.value if hasattr(arg, "value") else Ref(arg.name)


def _type(meta: Any, what: str) -> TensorType:
    if meta.dtype not in DTYPES:
        raise RefusedError(f"{what} has elements of type {meta.dtype}")
    if not all(isinstance(n, int) for n in meta.shape):
        raise RefusedError(f"{what} has a shape that depends on the values of the inputs")
    return TensorType(DTYPES[meta.dtype], tuple(int(n) for n in meta.shape))


def _operations(program: torch.export.ExportedProgram) -> Iterator[Operation]:
    for node in program.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        path = next(reversed(list((node.meta.get("nn_module_stack") or {"": ("",)}).values())))[0]
        line = _line(str(node.meta.get("stack_trace") or ""))
        bare = Operation(node.name, str(node.target)[:120], {}, (), several=False, path=path, line=line)
        if node.op != "call_function":
            raise RefusedError(f"node {bare.label}: a {node.op}")
        if getattr(node.target, "__name__", "") == "getitem":
            picked = {"self": Ref(node.args[0].name), "index": node.args[1]}
            yield replace(bare, op="getitem", arguments=picked, results=_results(node, bare)[0])
            continue
        if not isinstance(node.target, torch._ops.OpOverload):
            inner = next((a for a in node.args if isinstance(a, torch._ops.OpOverload)), None)
            bare = bare if inner is None else replace(bare, op=f"{bare.op} {inner}")
            raise RefusedError(
                f"node {bare.label}: control flow, an effect, or a shape that depends on the inputs' values"
            )
        if bare.op.rpartition(".")[0] in _CHECKS:
            continue
        results, several = _results(node, bare)
        yield replace(bare, arguments=_arguments(node, bare), results=results, several=several)


def _results(node: torch.fx.Node, bare: Operation) -> tuple[tuple[TensorType | None, ...], bool]:
    meta = node.meta.get("val")
    several = isinstance(meta, tuple | list)
    metas = list(meta) if isinstance(meta, tuple | list) else [meta]
    try:
        found = tuple(_type(m, "its result") if isinstance(m, torch.Tensor) else None for m in metas)
    except RefusedError as e:
        raise RefusedError(f"node {bare.label}: {e}") from e
    return found, several


def _arguments(node: torch.fx.Node, bare: Operation) -> dict[str, Any]:
    """Return the arguments by the names of the operator's schema, with defaults."""
    assert isinstance(node.target, torch._ops.OpOverload)  # noqa: S101 - the caller has looked
    found: dict[str, Any] = {}
    for i, argument in enumerate(node.target._schema.arguments):
        if i < len(node.args) and not argument.kwarg_only:
            given = node.args[i]
        elif argument.name in node.kwargs:
            given = node.kwargs[argument.name]
        else:
            given = argument.default_value if argument.has_default_value() else None
        if argument.name in ("device", "layout", "memory_format", "pin_memory", "generator"):
            continue
        try:
            found[argument.name] = _argument(given)
        except RefusedError as e:
            raise RefusedError(f"node {bare.label}: argument {argument.name} {e}") from e
    return found


def _argument(given: Any) -> Any:
    if isinstance(given, torch.fx.Node):
        return Ref(given.name)
    if isinstance(given, torch.dtype):
        if given not in DTYPES:
            raise RefusedError(f"is the type {given}")
        return DTYPES[given]
    if given is None or isinstance(given, bool | int | float | str):
        return given
    if isinstance(given, list | tuple):
        return [_argument(one) for one in given]
    if isinstance(given, torch.device | torch.memory_format | torch.layout):
        return None
    raise RefusedError(f"is a {type(given).__name__}")
