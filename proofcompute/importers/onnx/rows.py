"""Lowers an ONNX file for one row of a request, or evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.importers.lowering.graph import Graph, Limbs, Study, guard
from proofcompute.importers.lowering.pictures import Pixels, picture_size
from proofcompute.importers.lowering.values import STORED, RefusedError, Value, constant
from proofcompute.importers.onnx.calls import Given, Listed
from proofcompute.importers.onnx.kept import Kept
from proofcompute.importers.onnx.opening import Declared, OnnxFile
from proofcompute.importers.onnx.running import Runner
from proofcompute.importers.onnx.tensors import tensor_of
from proofcompute.models.builder import ProgramBuilder
from proofcompute.program.types import Spec

__all__ = ["CONTEXT", "Inputs", "Trace", "evaluate", "inputs_of", "lowered", "repeated", "specs_of"]

CONTEXT: Final = 1 << 12
"""Most rows of one request, where nothing else is said."""


@dataclass(frozen=True)
class Inputs:
    """What the inputs of a graph are for one row of a request."""

    shapes: Mapping[str, tuple[int, ...]]
    """Shapes with the axis of the batch, which has length 1 where rows are samples."""
    batch: frozenset[str]
    """Inputs whose first axis is the batch, and is not part of a row."""
    values: Mapping[str, Array]
    """Inputs that are constants."""


def specs_of(file: OnnxFile, inputs: Inputs, pixels: Mapping[str, Pixels]) -> dict[str, Spec]:
    """Return what a row of each input of the program is; pictures for those that are made of pixels."""
    found = {}
    for declared in file.inputs:
        name = declared.name
        if name in inputs.values:
            continue
        row = inputs.shapes[name][name in inputs.batch :]
        picture = name in pixels
        found[name] = Spec("u8", picture_size(name, row)) if picture else Spec(STORED[declared.dtype], row)
    return found


def inputs_of(
    file: OnnxFile,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Array] | None = None,
    *,
    whole: bool = False,
) -> Inputs:
    """Return the inputs of a file for one row.

    Args:
        file: the opened file.
        shapes: lengths of all axes, batch included, of inputs whose axes are open in the file.
        values: inputs that are constants of the program.
        whole: whether a row is a whole batch instead of one sample of it.

    An open first axis is the batch. Raises InputError if another axis is open and ``shapes`` does not say its
    length, if a name is no input, or a constant has another shape than its input.
    """
    shapes, values = dict(shapes or {}), dict(values or {})
    known = {d.name for d in file.inputs}
    odd = sorted((set(shapes) | set(values)) - known)
    if odd:
        raise InputError(f"the graph has no input {odd[0]!r}; it has {', '.join(sorted(known))}")
    found: dict[str, tuple[int, ...]] = {}
    batch = set()
    for declared in file.inputs:
        if not declared.dtype:
            raise RefusedError(f"input {declared.name[:80]!r} is no tensor")
        if declared.name in values:
            _check(declared, np.shape(values[declared.name]))
            continue
        dims = _dims(declared, shapes.get(declared.name), whole=whole)
        if not whole and dims and _is_batch(declared, dims):
            batch.add(declared.name)
            dims = (1, *dims[1:])
        found[declared.name] = guard(dims)
    return Inputs(found, frozenset(batch), values)


def _is_batch(declared: Declared, dims: Sequence[int]) -> bool:
    """Return whether the first axis is one of samples: it is open in the file, or 1."""
    first = declared.dims[0] if declared.dims else "?"
    return isinstance(first, str) or (first == 1 and len(dims) > 1)


def _check(declared: Declared, shape: tuple[int, ...]) -> None:
    """Raise InputError unless an input can have a shape."""
    dims = declared.dims
    if dims is not None and (
        len(dims) != len(shape) or any(d != n for d, n in zip(dims, shape, strict=True) if isinstance(d, int))
    ):
        raise InputError(f"input {declared.name[:80]!r} is {_text(dims)}, and its constant {_text(shape)}")


def _dims(declared: Declared, said: Sequence[int] | None, *, whole: bool) -> tuple[int, ...]:
    name = declared.name[:80]
    dims = declared.dims
    if said is not None:
        given = tuple(int(n) for n in said)
        fixed = dims is None or (
            len(dims) == len(given)
            and all(
                isinstance(d, str) or d == n or i == 0
                for i, (d, n) in enumerate(zip(dims, given, strict=True))
            )
        )
        if not fixed or min(given, default=1) < 1:
            raise InputError(f"input {name!r} is {_text(dims)}, and cannot be {_text(given)}")
        return given
    if dims is None:
        raise InputError(f"the file does not say the shape of input {name!r}: give one")
    first = (1,) if dims and isinstance(dims[0], str) and not whole else dims[:1]
    full = (*first, *dims[1:])
    if any(isinstance(d, str) for d in full):
        raise InputError(f"input {name!r} is {_text(dims)}: give its shape, with a length for each axis")
    return tuple(int(d) for d in full)


def _text(dims: Sequence[int | str] | None) -> str:
    return "unknown" if dims is None else "[" + ", ".join(map(str, dims)) + "]"


def _constants(file: OnnxFile, values: Mapping[str, Array]) -> dict[str, Given]:
    dtypes = {d.name: d.dtype for d in file.inputs}
    return {n: constant(v, dtypes[n] or "f32") for n, v in values.items()}


Trace: TypeAlias = list[tuple[str, str, tuple[Given, ...]]]
"""What each node of a graph made."""


def _run(
    file: OnnxFile,
    g: Graph,
    given: Mapping[str, Given],
    trace: Trace | None = None,
    kept: Kept | None = None,
) -> list[Value]:
    runner = Runner(g, file.opsets, file.functions, file.external, trace=trace, kept=kept)
    found = []
    for name, value in zip(
        [o.name for o in file.outputs], runner.graph(file.proto.graph, {}, given), strict=True
    ):
        if isinstance(value, Listed) or value is None:
            raise RefusedError(f"output {name[:80]!r} is no tensor")
        found.append(value)
    return found


def lowered(
    file: OnnxFile,
    inputs: Inputs,
    limbs: Limbs,
    context: int,
    device: str,
    *,
    batch: int = 1,
    trace: Trace | None = None,
    pixels: Mapping[str, Pixels] | None = None,
) -> tuple[Graph, list[tuple[str, Value, bool]]]:
    """Lower a file for one row, or for a batch of several: return the graph, and its outputs by name.

    ``pixels`` are inputs that the program makes of pictures.
    """
    b = ProgramBuilder(context=context, device=device)
    g = Graph(b, limbs)
    given = _constants(file, inputs.values)
    for declared in file.inputs:
        if declared.name in inputs.values:
            continue
        shape = inputs.shapes[declared.name]
        row = shape
        if declared.name in inputs.batch:
            shape = (batch, *shape[1:])
            row = shape if batch > 1 else shape[1:]
        how = None if pixels is None else pixels.get(declared.name)
        if how is None:
            tensor = b.input(declared.name, row, STORED[declared.dtype])
        else:
            tensor = how.declare(b, declared.name, row)
        value = g.row(tensor, declared.dtype, frozenset({declared.name}))
        given[declared.name] = g.reshape(value, shape)
    outputs = _run(file, g, given, trace)
    named = zip(file.outputs, outputs, strict=True)
    return g, [(o.name, v, bool(inputs.batch) and v.shape[:1] == (1,)) for o, v in named]


def repeated(file: OnnxFile, samples: Sequence[Mapping[str, Array]], most: int) -> list[Kept]:
    """Return what evaluations for each sample's inputs [batch, ...] share, in at most so many bytes."""
    initial = {t.name: tensor_of(t, file.external) for t in file.proto.graph.initializer}
    return [Kept({**initial, **_constants(file, given)}, most) for given in samples]


def evaluate(
    file: OnnxFile,
    given: Mapping[str, Array] | Kept,
    trace: Trace | None = None,
    study: Study | None = None,
) -> dict[str, Array]:
    """Return the outputs of a file for inputs [batch, ...], computed in floats."""
    g = Graph(ProgramBuilder(device="numpy"), quick=True)
    g.study = study
    if isinstance(given, Kept):
        values = _run(file, g, given.given, trace, given)
    else:
        values = _run(file, g, _constants(file, given), trace)
    return {o.name: g.known(v, "an output") for o, v in zip(file.outputs, values, strict=True)}
