"""Collects the parts of a program: inputs, operations, cuts, outputs and weights."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import F32, Array
from proofcompute.errors import InputError
from proofcompute.limits import MAX_ROWS
from proofcompute.models.building.tensor import Number, Tensor
from proofcompute.models.card import Weight
from proofcompute.models.model import Model
from proofcompute.program.operations import Constant, Map
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec

__all__ = ["Assembly", "Parts", "Scope", "bits_of", "constant_weight", "floats", "named_type"]

_KINDS = {(d.kind, d.itemsize): name for name, d in ELEMENTS.items()}


def named_type(x: Array) -> str:
    """Return the name of an array's element type. Raises InputError if programs have no such elements."""
    name = _KINDS.get((x.dtype.kind, x.dtype.itemsize))
    if name is None:
        raise InputError(f"programs have no elements of type {x.dtype}, but {', '.join(ELEMENTS)}")
    return name


def bits_of(value: Number, dtype: str) -> int:
    """Return the bit pattern of a number. Raises InputError if there is no such element."""
    if dtype not in ELEMENTS:
        raise InputError(f"there is no type {dtype!r}, but {', '.join(ELEMENTS)}")
    kind = ELEMENTS[dtype].kind
    exact = isinstance(value, bool) if kind == "b" else kind == "f" or isinstance(value, int)
    if not exact or (kind == "f" and isinstance(value, bool)):
        raise InputError(f"{value!r} is no {dtype}")
    try:
        element = np.array(value, ELEMENTS[dtype])
    except OverflowError as e:
        raise InputError(f"{value!r} is no {dtype}: {e}") from e
    return int.from_bytes(element.tobytes(), "little")


class Parts(NamedTuple):
    """The parts of a program that is not cut yet."""

    inputs: tuple[tuple[str, Spec], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    specs: dict[str, WeightSpec]
    """What the program says of each weight."""
    weights: dict[str, Weight]


@dataclass(eq=False)
class Scope:
    """The operations of a segment or of a loop's body, and the tensors that they may use."""

    usable: set[Tensor]
    nodes: list[Node] = field(default_factory=list)
    made: set[Tensor] = field(default_factory=set)
    given: dict[Tensor, str] = field(default_factory=dict)
    """Names of the constants and numbers that were used here."""


class Assembly:
    """The state of a builder, and the methods that change it.

    Args:
        context: the most rows of one request.
        pooled: whether outputs have one row for all rows of a request, in segments that run on the last row.
        device: the backend that quantises the weights; the result does not depend on it.
    """

    def __init__(self, *, context: int = MAX_ROWS, pooled: bool = False, device: str = "auto") -> None:
        self._context = context
        self._pooled = pooled
        self._kernels: Kernels = kernels_for(device)
        self._inputs: list[Tensor] = []
        self._outputs: list[str] = []
        self._weights: dict[str, Weight] = {}
        self._specs: dict[str, WeightSpec] = {}
        self._segments: list[Segment] = []
        self._groups: list[Committed] = []
        self._names: set[str] = set()
        self._constants: dict[Tensor, Op] = {}
        """Constants and numbers, which may be used everywhere."""
        self._numbers: dict[tuple[str, int], Tensor] = {}
        self._uses: Counter[Tensor] = Counter()
        self._scopes = [Scope(set())]
        """The current segment, and the bodies of loops that are being built inside it."""
        self._count = 0

    # -- tensors -------------------------------------------------------------------------------------
    def input(self, name: str, shape: int | Sequence[int], dtype: str = "f32") -> Tensor:
        """Declare a public input: the type and shape of its rows; a number is the length of one axis.

        A request holds its rows as little-endian bytes, row-major.
        """
        self._outside_loops("an input")
        spec = Spec(dtype, (shape,) if isinstance(shape, int) else tuple(shape))
        tensor = self._new(name, spec)
        self._inputs.append(tensor)
        self._scopes[0].usable.add(tensor)
        return tensor

    def output(self, x: Tensor) -> None:
        """Make ``x``, the result of an operation of the current segment, a public output under its name."""
        self._outside_loops("an output")
        self._made_here(x)
        if x.name in self._outputs:
            raise InputError(f"{x.name} is an output already")
        self._outputs.append(x.name)

    def cut(self, *tensors: Tensor) -> None:
        """End the segment: commit ``tensors``, at least one, each the result of an operation in it."""
        self._outside_loops("a cut")
        if not tensors or len(set(tensors)) != len(tensors):
            raise InputError("a cut commits at least one tensor, and none twice")
        for x in tensors:
            self._made_here(x)
        (scope,) = self._scopes
        name = self._segment_name()
        self._segments.append(Segment(name, tuple(scope.nodes)))
        self._scopes = [Scope((scope.usable - scope.made) | set(tensors))]
        self._groups.append(Committed(name, tuple(x.name for x in tensors)))

    def constant(self, values: Array, *, name: str | None = None) -> Tensor:
        """Return a constant of the model: the same values for every row, of their NumPy type and shape.

        It can be used in every segment and loop. Every key holds it. Floats must be finite.
        """
        spec = Spec(named_type(values), values.shape)
        tensor = self._new(self._name("constant", name), spec)
        weight = f"{tensor.name}.value"
        self._specs[weight], self._weights[weight] = constant_weight(weight, values)
        self._constants[tensor] = Constant(weight)
        return tensor

    def number(self, value: Number, dtype: str = "f32") -> Tensor:
        """Return one number, rounded to its type. It can be used in every segment and loop."""
        key = (dtype, bits_of(value, dtype))
        if key not in self._numbers:
            tensor = self._new(self._name("number", None), Spec(dtype, ()))
            self._constants[tensor] = Map("constant", *key)
            self._numbers[key] = tensor
        return self._numbers[key]

    # -- operations ----------------------------------------------------------------------------------
    def apply(self, op: Op, *xs: Tensor, name: str | None = None) -> Tensor:
        """Add any operation of :mod:`proofcompute.program.operations` that has one result."""
        return self._add(self._name(type(op).__name__.lower(), name), op, xs)

    def apply_all(self, op: Op, *xs: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """Add any operation; ``names`` are those of its results."""
        return self._add_all(names, op, xs)

    def matrix_weight(self, name: str, weight: Array, bias: Array | None = None, *, limbs: int = 1) -> str:
        """Keep a float32 matrix [m, d], or [groups, m, d], under a name that an operation given to
        :meth:`apply` says; return the name.
        """
        return self._keep(name, self._matrix(name, weight, bias, limbs, 3 if np.ndim(weight) == 3 else 2))

    def constant_weight(self, name: str, values: Array) -> str:
        """Keep a constant under a name that an operation given to :meth:`apply` says; return the name."""
        return self._keep(name, constant_weight(name, values))

    # -- results -------------------------------------------------------------------------------------
    def program(self) -> Program:
        """Return the program so far; FormatError if it is incomplete, for instance without an output."""
        nodes = self._scopes[0].nodes
        last = (Segment(self._segment_name(), tuple(nodes)),) if nodes else ()
        return Program(
            inputs=tuple((t.name, t.spec) for t in self._inputs),
            outputs=tuple(self._outputs),
            feedback=False,
            context=self._context,
            weights=tuple(self._specs.values()),
            committed=tuple(self._groups),
            segments=(*self._segments, *last),
            pooled=self._pooled,
        )

    def parts(self) -> Parts:
        """Return what there is since the last cut, for one who cuts it into segments.

        A constant that is used in a segment is one of its operations.
        """
        return Parts(
            tuple((t.name, t.spec) for t in self._inputs),
            tuple(self._scopes[0].nodes),
            tuple(self._outputs),
            dict(self._specs),
            dict(self._weights),
        )

    def model(self) -> Model:
        """Return the model: the program and its weights, hashed into a model id."""
        return Model.build(
            self.program(), self._weights, self._kernels.hash_rows, manifest={"origin": "built by hand"}
        )

    # -- helpers -------------------------------------------------------------------------------------
    def _outside_loops(self, what: str) -> None:
        if len(self._scopes) > 1:
            raise InputError(f"the body of a loop has not {what}")

    def _made_here(self, x: Tensor) -> None:
        if x not in self._scopes[-1].made:
            raise InputError(f"{x.name} is not the result of an operation since the last cut")

    def _segment_name(self) -> str:
        return f"segment.{len(self._segments)}"

    def _name(self, kind: str, name: str | None) -> str:
        if name is not None:
            return name
        self._count += 1
        return f"{kind}.{self._count}"

    def _new(self, name: str, spec: Spec) -> Tensor:
        if name in self._names:
            raise InputError(f"there is already a tensor {name}")
        self._names.add(name)
        return Tensor(name, spec, self)  # type: ignore[arg-type]  # subclasses have what it needs

    def _use(self, x: Tensor) -> str:
        """Return the name of an operand in this scope. Raises InputError if it cannot be used here."""
        scope = self._scopes[-1]
        op = self._constants.get(x)
        if op is None:
            if x not in scope.usable:
                where = "made in this body nor given to it" if len(self._scopes) > 1 else "made here"
                raise InputError(f"{x.name} is neither an input nor {where} nor committed at a cut")
            return x.name
        if x not in scope.given:
            self._uses[x] += 1
            name = x.name if self._uses[x] == 1 else self._fresh(f"{x.name}.{self._uses[x]}")
            scope.given[x] = name
            scope.nodes.append(Node(name, op, (), (name,)))
        return scope.given[x]

    def _keep(self, name: str, weight: tuple[WeightSpec, Weight]) -> str:
        if name in self._specs:
            raise InputError(f"there is already a weight {name}")
        self._specs[name], self._weights[name] = weight
        return name

    def _fresh(self, name: str) -> str:
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name

    def _add(
        self,
        name: str,
        op: Op,
        xs: Sequence[Tensor],
        weights: Mapping[str, tuple[WeightSpec, Weight]] | None = None,
    ) -> Tensor:
        """Add an operation with one result, and the weights that it names."""
        (tensor,) = self._add_all((name,), op, xs, weights)
        return tensor

    def _add_all(
        self,
        names: Sequence[str],
        op: Op,
        xs: Sequence[Tensor],
        weights: Mapping[str, tuple[WeightSpec, Weight]] | None = None,
    ) -> tuple[Tensor, ...]:
        """Add an operation, and the weights that it names; nothing is added if something does not fit."""
        weights = weights or {}
        if not names:
            raise InputError("an operation needs a name for each of its results")
        used = [self._use(x) for x in xs]
        if len(op.reads()) != len(xs):
            raise InputError(f"{names[0]}: takes {len(op.reads())} tensors, not {len(xs)}")
        specs = op.infer(
            [x.spec for x in xs], ChainMap({n: spec for n, (spec, _) in weights.items()}, self._specs)
        )
        if len(specs) != len(names):
            raise InputError(f"{names[0]}: has {len(specs)} results, not {len(names)}")
        clash = [n for n in names if n in self._names] or [n for n in weights if n in self._specs]
        if clash or len(set(names)) != len(names):
            raise InputError(f"there is already a tensor or weight {(clash or names)[0]}")
        for name, (spec, value) in weights.items():
            self._specs[name], self._weights[name] = spec, value
        made = tuple(self._new(n, spec) for n, spec in zip(names, specs, strict=True))
        scope = self._scopes[-1]
        scope.nodes.append(Node(names[0], op, tuple(used), tuple(names)))
        scope.usable.update(made)
        scope.made.update(made)
        return made

    def _matrix(
        self, name: str, weight: object, bias: object, limbs: int, axes: int = 2
    ) -> tuple[WeightSpec, Weight]:
        """Return a matrix, or several stacked ones, quantised row by row."""
        w = floats(weight, "a weight", axes)
        b = None if bias is None else floats(bias, "a bias", axes - 1)
        if b is not None and b.shape != w.shape[:-1]:
            raise InputError(f"a bias {list(b.shape)} does not fit weights {list(w.shape)}")
        require_ieee()
        spec = WeightSpec(name, "matrix", w.shape, limbs=limbs, bias=b is not None)
        if axes == 2:
            return spec, Matrix(*self._kernels.quantise(w, limbs), b)
        quantised = [self._kernels.quantise(one, limbs) for one in w]
        q, scale = np.stack([q for q, _ in quantised]), np.stack([s for _, s in quantised])
        return spec, Matrix(q, scale, b)


def constant_weight(name: str, values: Array) -> tuple[WeightSpec, Weight]:
    """Return a constant as a weight of this name."""
    dtype = named_type(values)
    value = np.ascontiguousarray(values, ELEMENTS[dtype]).reshape(values.shape)
    return WeightSpec(name, "constant", value.shape, dtype), value


def floats(values: object, what: str, axes: int) -> F32:
    """Return a float32 array. Raises InputError for anything else, another number of axes, or no elements."""
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != axes:
        raise InputError(f"{what} must be a float32 array with {axes} axes")
    if 0 in values.shape:
        raise InputError(f"{what} of shape {list(values.shape)} is empty")
    return np.ascontiguousarray(values, dtype=np.float32)
