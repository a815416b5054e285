"""Makes a function of arrays one whose calls can be audited."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from types import FunctionType
from typing import Any, Final, final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.functions.tracing import copied, names_read, traced
from proofcompute.functions.values import NAMES, NUMPY
from proofcompute.importers.lowering.finishing import finish, uniform
from proofcompute.importers.lowering.graph import Graph, Limbs, Study
from proofcompute.importers.lowering.precision import choose
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.importers.lowering.values import STORED, constant
from proofcompute.jobs.exchange import Library, kernels_of, library_of
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.requests import array_request
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, keygen
from proofcompute.version import __version__

__all__ = ["Proof", "Proved", "Report", "proved"]

_CONTEXT: Final = 1 << 12
_EXAMPLES: Final = 4
"""Rows of the first batch with which ``auto`` chooses precisions."""


@final
@dataclass(frozen=True, eq=False)
class Proof:
    """What an auditor needs for one call, beside the key or the model."""

    request: Request
    """The arrays of the call, and a nonce."""
    receipt: bytes
    """The signed receipt, encoded."""
    node: Node
    """What answered, and keeps the trace for a while; without it the trace is computed again."""

    def open(self, challenge: Challenge) -> bytes:
        """Return the opening of the cells that a challenge names. Raises the errors of :meth:`Node.open`."""
        return self.node.open(self.request, self.receipt, challenge)


@final
@dataclass(frozen=True)
class Report:
    """How a function was compiled, and how near it is to the function itself."""

    error: float
    """The greatest relative difference (L2) of an output to the function's own, for the first batch."""
    segments: int
    """Cells of one row."""
    row_bytes: int
    """Bytes of one row that are committed."""
    multiplications: int
    """Multiplications of one row in products with weights that are checked by hints."""
    precision: str
    """The precision that was asked for."""


@final
@dataclass(frozen=True, eq=False)
class _Compiled:
    """A function at shapes of rows."""

    node: Node
    shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
    outputs: tuple[str, ...]
    several: bool
    report: Report


@final
class Proved:
    """A function of arrays that gives a proof beside its result; :func:`proved` makes it.

    The first call traces and compiles the function for the shapes and types of its rows, which is what later
    calls must have, and compares its result with the function's own. Only one thread may call it at a time.
    """

    def __init__(
        self,
        function: FunctionType,
        weights: Mapping[str, Any],
        precision: str,
        device: str,
        context: int,
        identity: NodeIdentity | None,
    ) -> None:
        if not isinstance(function, FunctionType):
            raise InputError(
                f"a {type(function).__name__} cannot be traced: give a function written in Python"
            )
        if precision != "auto":
            uniform(precision)
        unread = sorted(set(weights) - names_read(function))
        if unread:
            raise InputError(f"{function.__name__} reads no free variable {unread[0]!r} that weights names")
        self._function = function
        self._given = dict(weights)
        self._weights = {name: _host(w, f"weight {name}", device) for name, w in weights.items()}
        for name, w in self._weights.items():
            if w.dtype.kind == "f" and not np.isfinite(w).all():
                raise InputError(f"weight {name} has an element that is NaN or infinite")
            w.setflags(write=False)
        self._precision = precision
        self._device = device
        self._context = context
        self._identity = identity
        self._signature = inspect.signature(function)
        self._compiled: _Compiled | None = None
        self.__name__ = function.__name__
        update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Proof]:
        """Return the function's result for arrays [rows, ...], and a proof.

        Results are arrays of the first argument's library, where that one lies.

        Raises InputError naming file and line where the function cannot be proved, or if arrays have other
        rows than those of the first call; ExecutionError if the arithmetic has no result.
        """
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as e:
            raise InputError(f"{self._function.__name__}: {e}") from e
        if not bound:
            raise InputError(f"{self._function.__name__} takes no array")
        first = next(iter(bound.values()))
        library, kernels = library_of(first, "an argument"), kernels_of(first, self._device)
        arrays = {name: _rows(x, name, self._device) for name, x in bound.items()}
        compiled = self._compiled or self._compile(arrays, bound, kernels)
        for name, x in arrays.items():
            wanted = compiled.shapes.get(name)
            if wanted != (x.dtype, x.shape[1:]) or len(arrays) != len(compiled.shapes):
                shape = "no such argument" if wanted is None else f"{wanted[0]} {['rows', *wanted[1]]}"
                raise InputError(
                    f"{self._function.__name__} was traced with {shape} as {name}, "
                    f"not {x.dtype} {list(x.shape)}"
                )
        node = compiled.node
        request = array_request(node.model, arrays, node=node.public)
        answer = node.answer(request)
        self._compiled = compiled
        results = [_given(library, answer.outputs[name], node.kernels) for name in compiled.outputs]
        return tuple(results) if compiled.several else results[0], Proof(request, answer.receipt, node)

    # -- what was compiled ---------------------------------------------------------------------------
    @property
    def model(self) -> Model:
        """The compiled model. Raises InputError before the first call."""
        return self._known().node.model

    def key(self) -> Key:
        """Return a verifier's new secret key for the model. Raises InputError before the first call."""
        node = self._known().node
        return keygen(node.model, node.kernels)

    def report(self) -> Report:
        """Return how the function was compiled. Raises InputError before the first call."""
        return self._known().report

    def _known(self) -> _Compiled:
        if self._compiled is None:
            raise InputError(f"{self._function.__name__} is compiled by a first call, not made yet")
        return self._compiled

    # -- compiling -----------------------------------------------------------------------------------
    def _compile(self, arrays: Mapping[str, Array], given: Mapping[str, Any], kernels: Kernels) -> _Compiled:
        result = copied(self._function, self._given, None)(**given)
        several = isinstance(result, tuple | list)
        wanted = [_host(x, "a result", self._device) for x in (result if several else [result])]
        auto = self._precision == "auto"
        recipe = Recipe.of("auto", self._choose(arrays)) if auto else Recipe.uniform(self._precision)
        g, outputs = self._lowered(arrays, recipe.limbs)
        if len(outputs) != len(wanted):
            raise InputError(
                f"{self._function.__name__} gives {len(wanted)} arrays, and its trace {len(outputs)}"
            )
        names = _output_names(len(outputs), several, arrays)
        manifest = {
            "importer": f"proofcompute {__version__}",
            "name": self._function.__name__[:200],
            "precision": self._precision,
            "recipe": recipe.text(),
        }
        named = [(n, x.value, True) for n, x in zip(names, outputs, strict=True)]
        model = finish(g, named, kernels, self._context, manifest)
        node = Node(model, self._identity, device=kernels)
        program = model.program
        groups = range(len(program.committed))
        report = Report(
            error=self._error(node, arrays, names, wanted),
            segments=len(program.segments),
            row_bytes=sum(program.group_bytes(i) for i in groups),
            multiplications=sum(count for _, count in g.products),
            precision=self._precision,
        )
        shapes = {n: (x.dtype, x.shape[1:]) for n, x in arrays.items()}
        return _Compiled(node, shapes, tuple(names), several, report)

    def _lowered(self, arrays: Mapping[str, Array], limbs: Limbs) -> tuple[Graph, list[Any]]:
        b = ProgramBuilder(context=self._context)
        g = Graph(b, limbs)
        g.node = self._function.__name__
        inputs = {}
        for name, x in arrays.items():
            dtype = NAMES[x.dtype]
            row = g.row(b.input(name, x.shape[1:], STORED[dtype]), dtype, frozenset({name}))
            inputs[name] = g.reshape(row, (1, *x.shape[1:]))
        return g, traced(self._function, self._weights, g, inputs)

    def _choose(self, arrays: Mapping[str, Array]) -> dict[str, tuple[int, int]]:
        g, _ = self._lowered(arrays, uniform("w16a16"))
        count = min(_EXAMPLES, len(next(iter(arrays.values()))))

        def run(study: Study) -> Sequence[Array]:
            found: list[list[Array]] = []
            for i in range(count):
                quick = Graph(ProgramBuilder(device="numpy"), quick=True)
                quick.node, quick.study = self._function.__name__, study
                one = {n: constant(x[i : i + 1], NAMES[x.dtype]) for n, x in arrays.items()}
                outputs = traced(self._function, self._weights, quick, one)
                found.append([np.asarray(quick.known(x.value, "an output"), np.float64) for x in outputs])
            return [np.concatenate([v.reshape(-1) for v in parts]) for parts in zip(*found, strict=True)]

        return choose([run], g.products)

    def _error(
        self, node: Node, arrays: Mapping[str, Array], names: Sequence[str], wanted: Sequence[Array]
    ) -> float:
        """Return the error for the first batch. Raises InputError if the trace gives other arrays."""
        outputs = node.run(array_request(node.model, arrays, node=node.public)).statement().outputs
        worst = 0.0
        for name, right in zip(names, wanted, strict=True):
            made = outputs[name]
            if made.shape != right.shape or made.dtype.kind.replace("u", "i") != right.dtype.kind.replace(
                "u", "i"
            ):
                raise InputError(
                    f"{self._function.__name__} gives {right.dtype} {list(right.shape)}, and its trace "
                    f"{made.dtype} {list(made.shape)}: it does something else for many rows than for one"
                )
            worst = max(worst, _distance(made, right))
        return worst


def proved(
    *,
    weights: Mapping[str, Any],
    precision: str = "w16a16",
    device: str = "auto",
    context: int = _CONTEXT,
    identity: NodeIdentity | None = None,
) -> Callable[[Callable[..., Any]], Proved]:
    """Return a decorator for a function of arrays, written with NumPy or CuPy, whose axis 0 is the row.

    A call gives the function's result and a :class:`proofcompute.functions.Proof`: receipt, request, and the
    opening of whichever cells an auditor asks for. What is proved is a program that was traced from the
    function, with quantised products, and not the library's own kernels.

    Args:
        weights: arrays by the names of the function's free variables; they are copied.
        precision: ``w8a8``, ``w8a16``, ``w16a16``, or ``auto``, chosen for each product so that results are
            within 0.3 % for the first batch.
        device: what computes; ``auto`` is the CUDA device on which the arrays lie, if on one, or as for
            :class:`proofcompute.Node`.
        context: the most rows of one call.
        identity: the key pair that signs receipts; None: a new one.

    Raises InputError for a precision or weights that cannot be used; a call raises it with file and line of
    what cannot be traced.
    """

    def decorate(function: Callable[..., Any]) -> Proved:
        if not isinstance(function, FunctionType):
            raise InputError(
                f"a {type(function).__name__} cannot be traced: give a function written in Python"
            )
        return Proved(function, weights, precision, device, context, identity)

    return decorate


def _kind(x: Array) -> str:
    """Return b, i or f: whether elements are booleans, integers or floats."""
    return x.dtype.kind.replace("u", "i")


def _distance(made: Array, right: Array) -> float:
    """Return the relative difference (L2); infinite where the function gives NaN or infinities."""
    exact = right.astype(np.float64)
    if not np.isfinite(exact).all():
        return float("inf")
    size = float(np.linalg.norm(exact))
    wrong = float(np.linalg.norm(made.astype(np.float64) - exact))
    return wrong / size if size else wrong


def _output_names(count: int, several: bool, inputs: Mapping[str, Array]) -> list[str]:
    base = "result"
    while any(name.startswith(base) for name in inputs):
        base += "_"
    return [f"{base}{i}" for i in range(count)] if several else [base]


def _host(x: Any, what: str, device: str) -> Array:
    """Return a copy of an array on the host, of any library, of a type that is computed."""
    if isinstance(x, np.generic):
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        return np.array(x, order="C")
    library_of(x, what)
    kernels = kernels_of(x, device)
    return np.array(kernels.host(kernels.array(x)), order="C")


def _rows(x: Any, name: str, device: str) -> Array:
    """Return an argument on the host. Raises InputError unless it is an array of rows that programs take."""
    found = _host(x, f"argument {name}", device)
    native = found.astype(found.dtype.newbyteorder("="), copy=False)
    allowed = [str(NUMPY[n]) for n in ("f32", "i8", "u8", "i32", "i64", "bool")]
    if native.ndim < 1 or str(native.dtype) not in allowed:
        raise InputError(
            f"argument {name} is {native.dtype} {list(native.shape)}; "
            f"give an array of rows of {', '.join(allowed)}"
        )
    return native


def _given(library: Library, x: Array, kernels: Kernels) -> Any:
    return x if library.numpy else library.give(x if library.host else kernels.array(x), kernels)
