"""Chooses the precision of each product of an ONNX file by evaluating it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import ExecutionError, InputError
from proofcompute.importers.lowering.finishing import uniform
from proofcompute.importers.lowering.graph import Study
from proofcompute.importers.lowering.precision import TARGET, centred, choose, limbs_of
from proofcompute.importers.lowering.values import Constant, RefusedError
from proofcompute.importers.onnx.batches import samples
from proofcompute.importers.onnx.kept import Kept
from proofcompute.importers.onnx.opening import OnnxFile
from proofcompute.importers.onnx.rows import Inputs, Trace, evaluate, lowered, repeated
from proofcompute.limits import GIB

__all__ = ["chosen_limbs"]

_SHIFTED: Final = ("Softmax", "LogSoftmax")
"""Operators that hide errors, and take no notice of what is added to all their numbers."""
_BEHIND: Final = (*_SHIFTED, "Sigmoid")
"""Operators that hide errors: in front of one that gives an output, errors are measured."""
_WHOLE_AXIS: Final = 13
"""The version of ONNX's operators from which on a softmax is over one axis, and not over all from it on."""
_SIZES: Final = (1.0, 4.0, 16.0, 64.0)
"""Sizes of random samples: a file does not say whether it takes numbers about 1, or pixels up to 255."""
_KEPT: Final = 2 * GIB
"""Bytes of results of one sample that are kept between its evaluations."""
_BACK: Final = 6
"""Nodes from an output backwards among which such an operator is looked for."""

Axes = Callable[[int], tuple[int, ...]]


def chosen_limbs(
    file: OnnxFile, inputs: Inputs, examples: Mapping[str, Array] | None = None, target: float = TARGET
) -> dict[str, tuple[int, int]]:
    """Return the limbs of activations and weights of each product.

    ``examples`` are inputs [samples, ...]; without them there are canonical random numbers of several
    sizes. What counts is the sample with the largest error. Raises InputError if an example of an input is
    missing or has another shape than the input.
    """
    drawn = samples(file, inputs, len(_SIZES), seed=1, sizes=_SIZES) if examples is None else examples
    given = {n: v for n, v in drawn.items() if n not in inputs.values}
    count = _count(inputs, given)
    g, _ = lowered(file, inputs, uniform("w16a16"), 1, "numpy")
    names = _watched(file)

    each = repeated(
        file,
        [
            {**inputs.values, **{n: v[i : i + 1] if n in inputs.batch else v for n, v in given.items()}}
            for i in range(count)
        ],
        _KEPT,
    )
    if examples is None:
        each = _fit(file, each)

    def run(one: Kept, study: Study) -> Iterator[Array]:
        if study.keep:
            for other in each:
                other.forget()
        trace: Trace = []
        outputs = evaluate(file, one, trace, study)
        made = {label: values for label, _, values in trace}
        yield from (np.asarray(v, np.float64) for v in outputs.values() if np.asarray(v).dtype.kind == "f")
        for label, k, axes in names:
            value = made[label][k] if label in made else None
            if isinstance(value, Constant) and value.array.dtype.kind == "f":
                x = value.array.astype(np.float64)
                yield x if axes is None else centred(x, axes(x.ndim))

    return choose([partial(run, one) for one in each], g.products, target)


def _fit(file: OnnxFile, each: Sequence[Kept]) -> list[Kept]:
    """Return those random samples that the network takes: numbers so large are no angles, for instance.

    Raises what the first one raises if it takes none.
    """
    found, first = [], None
    for one in each:
        try:
            evaluate(file, one, study=Study(limbs_of({}), []))
        except (RefusedError, ExecutionError) as e:
            first = first or e
            continue
        found.append(one)
    if not found and first is not None:
        raise first
    return found


def _count(inputs: Inputs, given: Mapping[str, Array]) -> int:
    """Return how many samples there are examples of."""
    if odd := sorted(set(given) ^ set(inputs.shapes)):
        which = "one of" if odd[0] in given else "none of input"
        raise InputError(f"of the inputs' examples there is {which} {odd[0][:80]!r}")
    for name, shape in inputs.shapes.items():
        found = given[name].shape
        if found[name in inputs.batch :] != shape[name in inputs.batch :]:
            raise InputError(f"an example of {name!r} is {list(found)}, and the input {list(shape)}")
    counts = {len(given[name]) for name in inputs.batch}
    if len(counts) > 1 or 0 in counts:
        raise InputError(f"there are {' and '.join(map(str, sorted(counts)))} examples of the inputs")
    return counts.pop() if counts else 1


def _watched(file: OnnxFile) -> list[tuple[str, int, Axes | None]]:
    """Return the nodes, and which of their outputs, that stand in front of what hides errors.

    With each comes, given a rank, over which axes it is shifted without notice; None: over none.
    """
    maker = {name: node for node in file.proto.graph.node for name in node.output}
    found: list[tuple[str, int, Axes | None]] = []
    for output in file.outputs:
        name = output.name
        for _ in range(_BACK):
            node = maker.get(name)
            if node is None or not node.input:
                break
            name = node.input[0]
            if node.op_type in _BEHIND and name in maker:
                before = maker[name]
                axes = _axes(file, node) if node.op_type in _SHIFTED else None
                found.append((before.name or before.output[0], list(before.output).index(name), axes))
                break
    return found


def _axes(file: OnnxFile, node: Any) -> Axes:
    """Return the axes of a softmax, given the rank of what it takes."""
    one = next((o.version for o in file.proto.opset_import if o.domain in ("", "ai.onnx")), 0) >= _WHOLE_AXIS
    axis = next((int(a.i) for a in node.attribute if a.name == "axis"), -1 if one else 1)
    return lambda rank: (axis,) if one else tuple(range(axis % max(rank, 1), rank))
