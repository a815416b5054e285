"""Builds programs by hand, operation by operation.

::

    b = ProgramBuilder()
    x = b.input("x", 64)
    h = b.relu(b.linear(x, w1, bias=b1))
    b.cut(h)
    b.output(b.linear(h, w2, name="y"))
    model = b.model()

A builder makes an ordinary :class:`~proofcompute.program.program.Program` and its quantised weights
(docs/spec/programs.md). Rows are samples, every tensor is float32, and each row depends on the same row of
the inputs only. The operations between two cuts form a segment; the tensors named at a cut are committed, and
only these and the inputs can be used after it. An audit opens rows at cuts and recomputes the operations
between them, so cut where few numbers are alive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import F32, Array
from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import InputError
from proofcompute.limits import MAX_ROWS
from proofcompute.models.card import Weight
from proofcompute.models.model import Model
from proofcompute.program.operations import Add, Gate, Gelu, LayerNorm, Linear, Relu, RmsNorm
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec

__all__ = ["ProgramBuilder", "Tensor"]


@dataclass(frozen=True)
class Tensor:
    """A float32 tensor of the program that is being built."""

    name: str
    width: int
    """Number of elements of one row."""


@final
class ProgramBuilder:
    """Collects operations and weights, then makes the program and the model.

    Args:
        context: the most rows of one request.
        device: the backend that quantises the weights; the result does not depend on it.

    Every operation takes a ``name`` for its result, or generates one. Methods raise InputError (of which
    FormatError is one kind) if a tensor, a weight or a name does not fit.
    """

    def __init__(self, *, context: int = MAX_ROWS, device: str = "auto") -> None:
        self._context = context
        self._kernels: Kernels = kernels_for(device)
        self._inputs: list[Tensor] = []
        self._outputs: list[str] = []
        self._weights: dict[str, Weight] = {}
        self._specs: list[WeightSpec] = []
        self._segments: list[Segment] = []
        self._groups: list[Committed] = []
        self._nodes: list[Node] = []
        self._names: set[str] = set()
        self._usable: set[Tensor] = set()
        """Inputs, committed tensors, and tensors of the current segment."""
        self._count = 0

    # -- tensors -------------------------------------------------------------------------------------
    def input(self, name: str, width: int) -> Tensor:
        """Declare a public input, whose rows have ``width`` float32 elements."""
        tensor = self._new(name, width)
        self._inputs.append(tensor)
        return tensor

    def output(self, x: Tensor) -> None:
        """Make ``x``, the result of an operation of the current segment, a public output under its name."""
        self._made_here(x)
        if x.name in self._outputs:
            raise InputError(f"{x.name} is an output already")
        self._outputs.append(x.name)

    def cut(self, *tensors: Tensor) -> None:
        """End the segment: commit ``tensors``, at least one, each the result of an operation in it."""
        if not tensors or len(set(tensors)) != len(tensors):
            raise InputError("a cut commits at least one tensor, and none twice")
        for x in tensors:
            self._made_here(x)
        made = self._made()
        self._usable = {t for t in self._usable if t.name not in made} | set(tensors)
        name = self._end_segment()
        self._groups.append(Committed(name, tuple(x.name for x in tensors)))

    # -- operations ----------------------------------------------------------------------------------
    def linear(
        self,
        x: Tensor,
        weight: Array,
        bias: Array | None = None,
        *,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """Add x W^T + bias for W [out, x.width] and bias [out], both float32; W is quantised row by row.

        ``limbs`` of the activations and ``weight_limbs`` of the weights are 1 (8 bits) or 2 (16 bits).
        Raises NonFiniteError if a weight is not finite.
        """
        w = self._floats(weight, "a weight", 2)
        b = None if bias is None else self._floats(bias, "a bias", 1)
        if w.shape[1] != x.width or (b is not None and b.shape != w.shape[:1]):
            raise InputError(
                f"weights {list(w.shape)} do not fit rows of {x.width}, or the bias does not fit"
            )
        require_ieee()
        q, scale = self._kernels.quantise(w, weight_limbs)
        tensor = self._result("linear", w.shape[0], (x,), name)
        matrix = f"{tensor.name}.weight"
        self._weights[matrix] = Matrix(q, scale, b)
        self._specs.append(
            WeightSpec(matrix, "matrix", (tensor.width, x.width), limbs=weight_limbs, bias=b is not None)
        )
        return self._node(tensor, Linear(matrix, limbs), x)

    def layer_norm(
        self, x: Tensor, weight: Array, bias: Array, *, eps: float = 1e-5, name: str | None = None
    ) -> Tensor:
        """Add (x - mean) / sqrt(variance + eps) * weight + bias, over each row."""
        scale, shift = self._vector(x, weight), self._vector(x, bias)
        tensor = self._result("layer_norm", x.width, (x,), name)
        names = (f"{tensor.name}.weight", f"{tensor.name}.bias")
        self._keep_vector(names[0], scale)
        self._keep_vector(names[1], shift)
        return self._node(tensor, LayerNorm(*names, f32_bits(eps)), x)

    def rms_norm(self, x: Tensor, weight: Array, *, eps: float = 1e-5, name: str | None = None) -> Tensor:
        """Add x / sqrt(mean of squares + eps) * weight, over each row."""
        scale = self._vector(x, weight)
        tensor = self._result("rms_norm", x.width, (x,), name)
        self._keep_vector(f"{tensor.name}.weight", scale)
        return self._node(tensor, RmsNorm(f"{tensor.name}.weight", f32_bits(eps)), x)

    def relu(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add max(x, 0)."""
        return self._node(self._result("relu", x.width, (x,), name), Relu(), x)

    def gelu(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add x / 2 (1 + erf(x / sqrt 2))."""
        return self._node(self._result("gelu", x.width, (x,), name), Gelu(), x)

    def gate(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Add silu(first half of the row) * second half."""
        return self._node(self._result("gate", x.width // 2, (x,), name), Gate(), x)

    def add(self, x: Tensor, y: Tensor, *, name: str | None = None) -> Tensor:
        """Add x + y."""
        return self._node(self._result("add", x.width, (x, y), name), Add(), x, y)

    # -- results -------------------------------------------------------------------------------------
    def program(self) -> Program:
        """Return the program so far; FormatError if it is incomplete, for instance without an output."""
        last = (Segment(self._segment_name(), tuple(self._nodes)),) if self._nodes else ()
        return Program(
            inputs=tuple((t.name, Spec("f32", (t.width,))) for t in self._inputs),
            outputs=tuple(self._outputs),
            feedback=False,
            context=self._context,
            weights=tuple(self._specs),
            committed=tuple(self._groups),
            segments=(*self._segments, *last),
        )

    def model(self) -> Model:
        """Return the model: the program and its weights, hashed into a model id."""
        return Model.build(
            self.program(), self._weights, self._kernels.hash_rows, manifest={"origin": "built by hand"}
        )

    # -- helpers -------------------------------------------------------------------------------------
    def _made(self) -> set[str]:
        return {name for node in self._nodes for name in node.outputs}

    def _made_here(self, x: Tensor) -> None:
        if x not in self._usable or x.name not in self._made():
            raise InputError(f"{x.name} is not the result of an operation since the last cut")

    def _segment_name(self) -> str:
        return f"segment.{len(self._segments)}"

    def _end_segment(self) -> str:
        name = self._segment_name()
        self._segments.append(Segment(name, tuple(self._nodes)))
        self._nodes = []
        return name

    def _new(self, name: str, width: int) -> Tensor:
        if name in self._names:
            raise InputError(f"there is already a tensor {name}")
        Spec("f32", (width,))  # raises LimitError for a width that no row may have
        tensor = Tensor(name, width)
        self._names.add(name)
        self._usable.add(tensor)
        return tensor

    def _result(self, kind: str, width: int, ins: tuple[Tensor, ...], name: str | None) -> Tensor:
        """Return the tensor of an operation's result; InputError if an input cannot be used here."""
        for x in ins:
            if x not in self._usable:
                raise InputError(f"{x.name} is neither an input nor made here nor committed at a cut")
            if x.width != ins[0].width:
                raise InputError(f"{kind}: rows of {ins[0].width} and of {x.width} elements do not fit")
        self._count += 1
        return self._new(name or f"{kind}.{self._count}", width)

    def _node(self, tensor: Tensor, op: Op, *ins: Tensor) -> Tensor:
        self._nodes.append(Node(tensor.name, op, tuple(x.name for x in ins), (tensor.name,)))
        return tensor

    def _vector(self, x: Tensor, values: Array) -> F32:
        v = self._floats(values, "a norm's weight", 1)
        if v.shape != (x.width,):
            raise InputError(f"a norm's weight {list(v.shape)} does not fit rows of {x.width}")
        return v

    def _keep_vector(self, name: str, v: F32) -> None:
        self._weights[name] = v
        self._specs.append(WeightSpec(name, "constant", v.shape, "f32"))

    @staticmethod
    def _floats(values: object, what: str, axes: int) -> F32:
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != axes:
            raise InputError(f"{what} must be a float32 array with {axes} axes")
        if 0 in values.shape:
            raise InputError(f"{what} of shape {list(values.shape)} is empty")
        return np.ascontiguousarray(values, dtype=np.float32)
