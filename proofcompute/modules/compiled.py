"""Compiles a module of PyTorch, and turns calls into requests and answers into results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import torch
from torch.utils import _pytree as pytree

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.importers.aten.batches import called, check_rows, sliced
from proofcompute.importers.aten.choosing import chosen_limbs
from proofcompute.importers.aten.compiling import compile_graph, output_names
from proofcompute.importers.aten.exporting import DTYPES, Leaves, export, flat
from proofcompute.importers.aten.graphs import Ref
from proofcompute.importers.aten.rows import lowered
from proofcompute.importers.lowering.recipes import Recipe
from proofcompute.modules.reporting import ModuleReport
from proofcompute.modules.tensors import back, device_of, rows, widened
from proofcompute.protocol.messages import Request
from proofcompute.protocol.requests import array_request
from proofcompute.prover.node import Node
from proofcompute.verifier.pricing import prices

__all__ = ["CompiledModule"]

_EXAMPLES: Final = 4
"""Samples of the example with which ``auto`` chooses precisions."""
_RUNS: Final = 3
"""Runs of which a report gives the least time."""


@final
class CompiledModule:
    """A module's program: the weights as they were when it was compiled. Any thread may use it.

    The arguments are those of :func:`proofcompute.wrap`, which says what is raised.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        example: Any,
        kwargs: Mapping[str, Any],
        precision: str,
        device: str,
        context: int,
        *,
        whole: bool,
    ) -> None:
        if not isinstance(module, torch.nn.Module):
            raise InputError(f"a {type(module).__name__} cannot be wrapped: give a torch.nn.Module")
        if module.training:
            raise InputError(f"{type(module).__name__} is in training; call eval() on it")
        recipe: Recipe | None = None
        if not isinstance(precision, str):
            raise InputError(f"a precision is a text, not a {type(precision).__name__}")
        if precision != "auto":
            text = precision.lstrip().startswith("{")
            recipe = Recipe.from_text(precision) if text else Recipe.uniform(precision)
        args = example if isinstance(example, tuple | list) else () if example is None else (example,)
        self._name = type(module).__name__
        self._module = widened(module)
        self._whole = whole
        given = flat(module, args, kwargs)
        self._example = Leaves(tuple(map(_float32, given.leaves)), given.spec)
        count = self._count(given)
        one = self._example if whole else sliced(self._example, 0, 1)
        self._exported = export(self._module, one)
        graph = self._exported.graph
        # what cannot be lowered is named before anything runs
        lowered(graph, Recipe.uniform("w8a8").limbs, whole=whole)
        if not whole:
            check_rows(self._module, self._exported, _two(self._example, count))
        tensors = self._tensors(self._example)
        self._shapes = {n: (kind.dtype, kind.shape) for n, kind in graph.inputs}
        self.kernels = kernels_for(device_of(tensors, device))
        """The backend that computes."""
        if recipe is None:
            samples = [
                dict(zip(self._shapes, self._tensors(self._cut(i)), strict=True))
                for i in range(1 if whole else min(count, _EXAMPLES))
            ]
            recipe = Recipe.of(precision, chosen_limbs(self._exported, samples, whole=whole))
        self._precision = recipe.name
        self.model, self._products = compile_graph(graph, self.kernels, recipe, whole=whole, context=context)
        """The compiled model."""
        self._names = dict(zip(output_names(graph), graph.outputs, strict=True))
        self._dtypes = [x.dtype if isinstance(x, torch.Tensor) else None for x in called(module, given)]

    def results(self, outputs: Mapping[str, Array], device: torch.device) -> Any:
        """Return what the module returns, made of the outputs of an answer or those that a run left behind.

        The latter are the backend's arrays, and results are copied from them where the caller's tensor lies
        if they lie there too.
        """
        leaves: list[Any] = []
        for (name, leaf), dtype in zip(self._names.items(), self._dtypes, strict=True):
            if not isinstance(leaf, Ref) or dtype is None:
                leaves.append(leaf)
                continue
            array = outputs[name][0] if self._whole else outputs[name]
            leaves.append(back(array, dtype, device, self.kernels.host))
        return pytree.tree_unflatten(leaves, self._exported.result)

    # -- arguments -----------------------------------------------------------------------------------
    def asked(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], node: bytes = b""
    ) -> tuple[Request, torch.device]:
        """Return a request for the arguments of a call, and where their first tensor lies.

        ``node`` is the public key of the node that must answer; empty for any. Raises InputError if the
        arguments have other rows than those of the example.
        """
        given = flat(self._module, args, kwargs)
        if given.spec != self._example.spec:
            raise InputError(f"{self._name} was wrapped for other arguments: {self._example.spec}")
        for i, (x, wanted) in enumerate(zip(given.leaves, self._example.leaves, strict=True)):
            if i not in self._exported.inputs and (type(x) is not type(wanted) or x != wanted):
                raise InputError(f"{self._name} was wrapped with {wanted!r} as an argument, not {x!r}")
        tensors = self._tensors(given)
        arrays = {}
        for (name, (dtype, shape)), x in zip(self._shapes.items(), tensors, strict=True):
            fits = x.shape == shape if self._whole else x.dim() and x.shape[1:] == shape[1:]
            kinds = {DTYPES.get(x.dtype, ""), "f32" if x.dtype.is_floating_point else ""}
            if not fits or dtype not in kinds:
                rows_ = list(shape) if self._whole else ["samples", *shape[1:]]
                raise InputError(
                    f"{self._name} was wrapped with {dtype} {rows_} as {name}, not {x.dtype} {list(x.shape)}"
                )
            found = rows(x)
            arrays[name] = found[np.newaxis] if self._whole else found
        return array_request(self.model, arrays, node=node), tensors[0].device

    def _tensors(self, given: Leaves) -> list[torch.Tensor]:
        found = [given.leaves[i] for i in self._exported.inputs]
        for x in found:
            if not isinstance(x, torch.Tensor):
                raise InputError(
                    f"{self._name} was wrapped with a tensor where a {type(x).__name__} is given"
                )
        return found

    def _count(self, given: Leaves) -> int:
        tensors = [x for x in given.leaves if isinstance(x, torch.Tensor)]
        if not tensors:
            raise InputError(f"the example for {self._name} has no tensor")
        if self._whole:
            return 1
        counts = {x.shape[0] if x.dim() else 0 for x in tensors}
        if len(counts) != 1 or min(counts) < 1:
            raise InputError(
                f"the example's tensors have different first axes, {sorted(counts)}, where samples stand; "
                "give the whole batch as one row instead (whole=True)"
            )
        return counts.pop()

    def _cut(self, i: int) -> Leaves:
        return self._example if self._whole else sliced(self._example, i, i + 1)

    # -- measuring -----------------------------------------------------------------------------------
    def measured(self, node: Node) -> ModuleReport:
        """Return the report, for the example of the module and a node of the model."""
        args, kwargs = pytree.tree_unflatten(list(self._example.leaves), self._example.spec)
        exact = [x.double().cpu().numpy() for x in called(self._module, self._example) if torch.is_tensor(x)]
        request, device = self.asked(args, kwargs, node.public)
        running, proving = [], []
        made: list[Array] = []
        for _ in range(_RUNS):
            start = time.perf_counter()
            session = node.run(request)
            running.append(time.perf_counter() - start)
            node.commit(session, keep=False)
            proving.append(time.perf_counter() - start)
            found = pytree.tree_flatten(self.results(session.statement().outputs, device))[0]
            made = [x.double().cpu().numpy() for x in found if torch.is_tensor(x)]
        first = exact[0]
        scores = first.ndim == 2 and first.shape[1] > 1
        program = self.model.program
        return ModuleReport(
            error=max(_distance(a, b) for a, b in zip(made, exact, strict=True)),
            same_top=float((made[0].argmax(1) == first.argmax(1)).mean()) if scores else None,
            rows=1 if self._whole else len(first),
            precision=self._precision,
            segments=len(program.segments),
            row_bytes=sum(program.group_bytes(i) for i in range(len(program.committed))),
            multiplications=sum(count for _, count in self._products),
            module_seconds=min(_timed(self._module, self._example) for _ in range(_RUNS)),
            run_seconds=min(running),
            proved_seconds=min(proving),
            prices=prices(program, 1),
        )


def _float32(x: Any) -> Any:
    return x.float() if isinstance(x, torch.Tensor) and x.dtype.is_floating_point else x


def _two(given: Leaves, count: int) -> Leaves:
    """Return two samples; if the example has one only, the second has its last axis turned round."""
    if count > 1:
        return sliced(given, 0, 2)
    leaves = (torch.cat([x, x.flip(-1)]) if isinstance(x, torch.Tensor) else x for x in given.leaves)
    return Leaves(tuple(leaves), given.spec)


def _timed(module: torch.nn.Module, given: Leaves) -> float:
    start = time.perf_counter()
    called(module, given)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _distance(made: Array, right: Array) -> float:
    """Return the relative difference (L2); infinite where the module gives NaN or infinities."""
    if not np.isfinite(right).all():
        return float("inf")
    size, wrong = float(np.linalg.norm(right)), float(np.linalg.norm(made - right))
    return wrong / size if size else wrong
