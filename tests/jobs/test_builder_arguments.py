"""Whatever a builder's method is given, it works or raises InputError, which names method and argument."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import numpy as np
import pytest

import proofcompute as pc
from proofcompute.errors import InputError
from proofcompute.models.building.tensor import Tensor
from proofcompute.program.operations import Order, Relu, reshape

F: Final = np.float32
JUNK: Final[list[Any]] = [
    None,
    True,
    -1,
    0,
    3,
    10**30,
    2.5,
    math.nan,
    math.inf,
    "",
    "x",
    b"x",
    [],
    [1],
    ["x"],
    (1, 2, 3),
    {},
    {1},
    ...,
    object(),
    Relu,
    Relu(),
    np.zeros(3),
    np.zeros((2, 3), F),
    np.array(["x"]),
    np.float32(1),
    np.int64(1),
    int,
    slice(0, 2),
    [None],
    [[1]],
    math.sqrt,
]
"""What may stand in the place of any argument."""


def made() -> tuple[Any, dict[str, Tensor]]:
    """A builder with a few tensors."""
    b = pc.ProgramBuilder(device="numpy")
    x = b.input("x", (4, 6, 2))
    steps = b.input("steps", (3, 2))
    i = b.input("i", 3, "i32")
    return b, {"x": x, "steps": steps, "i": i, "y": b.relu(x), "v": b.input("v", 4)}


def builder(tensors: dict[str, Tensor]) -> Any:
    return tensors["x"].builder


def w(*shape: int) -> Any:
    return np.ones(shape, F)


CALLS: Final[dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]]] = {
    "input": lambda t: {"name": "new", "shape": (2, 3), "dtype": "i8"},
    "output": lambda t: {"x": t["y"]},
    "constant": lambda t: {"values": w(2), "name": "c"},
    "number": lambda t: {"value": 2.0, "dtype": "f32"},
    "matrix_weight": lambda t: {"name": "m", "weight": w(2, 3), "bias": w(2), "limbs": 1},
    "constant_weight": lambda t: {"name": "m", "values": w(2, 3)},
    "program": lambda t: {},
    "parts": lambda t: {},
    "pixels": lambda t: {
        "name": "p",
        "shape": (2, 3, 3),
        "divisor": 255.0,
        "mean": (0.1, 0.2, 0.3),
        "std": 2.0,
        "reverse": True,
        "channels_first": True,
    },
    "model": lambda t: {},
    "cast": lambda t: {"x": t["x"], "dtype": "i32", "name": "n"},
    "select": lambda t: {"condition": t["x"] < 0, "x": t["x"], "y": 1.0, "name": "n"},
    "position": lambda t: {"name": "n"},
    "reduce": lambda t: {"kind": "sum", "x": t["x"], "axes": (0, 1), "keep": True, "name": "n"},
    "mean": lambda t: {"x": t["x"], "axes": (0, 1), "keep": True, "name": "n"},
    "cumulate": lambda t: {"kind": "sum", "x": t["x"], "axis": 1, "name": "n"},
    "order": lambda t: {"x": t["x"], "axis": 1, "name": "n"},
    "relu": lambda t: {"x": t["x"], "name": "n"},
    "gelu": lambda t: {"x": t["x"], "name": "n"},
    "silu": lambda t: {"x": t["x"], "name": "n"},
    "sigmoid": lambda t: {"x": t["x"], "name": "n"},
    "gate": lambda t: {"x": t["x"], "name": "n"},
    "softmax": lambda t: {"x": t["x"], "axis": 1, "name": "n"},
    "add": lambda t: {"x": t["x"], "y": t["y"], "name": "n"},
    "view": lambda t: {"x": t["x"], "view": reshape((8, 6)), "name": "n"},
    "reshape": lambda t: {"x": t["x"], "shape": (8, -1), "name": "n"},
    "transpose": lambda t: {"x": t["x"], "axes": (1, 0, 2), "name": "n"},
    "slice": lambda t: {"x": t["x"], "index": (0, slice(0, 2), ...), "name": "n"},
    "split": lambda t: {"x": t["x"], "sizes": (2, 4), "axis": 1},
    "flip": lambda t: {"x": t["x"], "axes": 1, "name": "n"},
    "pad": lambda t: {"x": t["x"], "low": (1, 0), "high": 1, "value": 0.5, "name": "n"},
    "broadcast": lambda t: {"x": t["x"], "shape": (2, 4, 6, 2), "name": "n"},
    "windows": lambda t: {"x": t["x"], "size": (2, 2), "strides": 1, "dilation": (1, 2), "name": "n"},
    "spread": lambda t: {"x": t["x"], "strides": (2, 1), "name": "n"},
    "concat": lambda t: {"xs": [t["x"], t["y"]], "axis": 1, "name": "n"},
    "take": lambda t: {"x": t["x"], "numbers": t["i"], "axis": 1, "name": "n"},
    "put": lambda t: {"x": t["steps"], "numbers": t["i"], "values": t["steps"], "how": "add", "name": "n"},
    "layer_norm": lambda t: {"x": t["x"], "weight": w(2), "bias": w(2), "eps": 1e-5, "name": "n"},
    "rms_norm": lambda t: {"x": t["x"], "weight": w(2), "eps": 1e-5, "name": "n"},
    "group_norm": lambda t: {
        "x": t["x"],
        "groups": 2,
        "weight": w(2),
        "bias": w(2),
        "eps": 1e-5,
        "name": "n",
    },
    "fold_batch_norm": lambda t: {
        "weight": w(2, 3),
        "bias": w(2),
        "gamma": w(2),
        "beta": w(2),
        "mean": w(2),
        "variance": w(2),
        "eps": 1e-5,
    },
    "pool": lambda t: {
        "kind": "max",
        "x": t["x"],
        "size": (2, 2),
        "strides": 2,
        "pads": (0, (0, 1)),
        "dilation": 1,
        "whole": True,
        "name": "n",
    },
    "lstm": lambda t: {
        "x": t["steps"],
        "weight": w(16, 2),
        "recurrent": w(16, 4),
        "bias": w(16),
        "recurrent_bias": w(16),
        "start": (t["v"], t["v"]),
        "limbs": 2,
        "weight_limbs": 1,
        "name": "n",
    },
    "gru": lambda t: {
        "x": t["steps"],
        "weight": w(12, 2),
        "recurrent": w(12, 4),
        "bias": w(12),
        "recurrent_bias": w(12),
        "start": t["v"],
        "limbs": 2,
        "weight_limbs": 1,
        "name": "n",
    },
    "linear": lambda t: {
        "x": t["x"],
        "weight": w(3, 2),
        "bias": w(3),
        "limbs": 2,
        "weight_limbs": 1,
        "name": "n",
    },
    "experts": lambda t: {
        "x": t["steps"],
        "numbers": t["i"],
        "weight": w(3, 4, 2),
        "bias": w(3, 4),
        "limbs": 2,
        "weight_limbs": 1,
        "name": "n",
    },
    "embed": lambda t: {
        "numbers": builder(t).input("id", (), "i32"),
        "table": w(5, 4),
        "weight_limbs": 1,
        "name": "n",
    },
    "contract": lambda t: {
        "x": t["steps"],
        "y": builder(t).transpose(t["steps"]),
        "limbs": 2,
        "name": "n",
    },
    "conv": lambda t: {
        "x": t["x"],
        "weight": w(3, 2, 2, 2),
        "bias": w(3),
        "strides": 1,
        "pads": (1, 0),
        "dilation": 1,
        "groups": 1,
        "limbs": 2,
        "weight_limbs": 1,
        "name": "n",
    },
    "conv_transpose": lambda t: {
        "x": t["x"],
        "weight": w(2, 2, 2, 3),
        "bias": w(3),
        "strides": 2,
        "pads": (1, 0),
        "more": 1,
        "dilation": 1,
        "groups": 1,
        "limbs": 2,
        "weight_limbs": 1,
        "name": "n",
    },
    "scan": lambda t: {
        "body": lambda *given: (list(given[:1]), list(given[:1])),
        "carried": [t["steps"][0]],
        "scanned": [t["steps"]],
        "whole": [],
        "count": 3,
        "name": "n",
    },
}
"""A call that works of each method that takes no variable number of arguments."""
VARIABLE: Final[dict[str, Callable[[Any, Any, dict[str, Tensor]], object]]] = {
    "map": lambda b, junk, t: (b.map("add", t["x"], junk), b.map(junk, t["x"], t["x"])),
    "cut": lambda b, junk, t: b.cut(t["y"], junk),
    "apply": lambda b, junk, t: b.apply(junk, t["x"]),
    "apply_all": lambda b, junk, t: b.apply_all(Order(0), t["x"], names=junk),
}


def test_all_methods_are_tried() -> None:
    names = {n for n, f in inspect.getmembers(pc.ProgramBuilder, callable) if not n.startswith("_")}
    assert names == set(CALLS) | set(VARIABLE)


@pytest.mark.parametrize("method", CALLS)
def test_the_calls_are_good(method: str) -> None:
    b, tensors = made()
    if method in ("program", "model"):
        b.output(tensors["y"])
    getattr(b, method)(**CALLS[method](tensors))


def wrong(method: str) -> Iterator[tuple[str, Any]]:
    _, tensors = made()
    for argument in CALLS[method](tensors):
        for junk in [*JUNK, tensors["x"]]:  # also a tensor of another builder
            if argument != "body" or not callable(junk):  # whose own errors are the caller's
                yield argument, junk


@pytest.mark.parametrize("method", CALLS)
def test_any_argument_works_or_is_an_input_error(method: str) -> None:
    for argument, junk in wrong(method):
        b, tensors = made()
        arguments = CALLS[method](tensors)
        with suppress(InputError):
            getattr(b, method)(**{**arguments, argument: junk})


@pytest.mark.parametrize("method", VARIABLE)
def test_any_of_several_arguments_works_or_is_an_input_error(method: str) -> None:
    for junk in JUNK:
        b, tensors = made()
        with suppress(InputError):
            VARIABLE[method](b, junk, tensors)


@pytest.mark.parametrize("result", JUNK)
def test_the_body_of_a_loop_returns_two_lists_of_tensors(result: Any) -> None:
    b, tensors = made()
    for pair in (result, (result, result), ([tensors["steps"]], result), [result]):
        with pytest.raises(InputError):
            b.scan(lambda *params, pair=pair: pair, [tensors["steps"][0]], [tensors["steps"]])
    b.relu(tensors["x"])  # the builder is as before


def test_messages_name_method_and_argument() -> None:
    b, tensors = made()
    for call, words in (
        (lambda: b.mean(3, 0), r"mean: x is a int, not Tensor: 3"),
        (lambda: b.mean(tensors["x"], "a"), r"mean: axes is a str, not int or a list of int: 'a'"),
        (lambda: b.linear(tensors["x"], [[1.0]]), r"linear: weight is a list, not a NumPy array"),
        (lambda: b.relu(tensors["x"], name=3), r"relu: name is a int, not str or None"),
        (
            lambda: tensors["x"] + "a",  # type: ignore[operator]
            r"map: xs is a str, not Tensor or int or float or bool",
        ),
        (lambda: tensors["x"]["a":], r"slice\('a', None, None\) is not a slice of whole numbers"),
        (
            lambda: pc.ProgramBuilder(context="x"),  # type: ignore[arg-type]
            r"__init__: context is a str, not int",
        ),
        (lambda: b.number(1.0, "f99"), r"there is no type 'f99', but f32"),
        (lambda: b.mean(tensors["i"], 0), r"i has elements of type i32; cast them to f32"),
    ):
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variance": np.array([1, -1], F)}, "is not positive"),
        ({"variance": w(2) * 0, "eps": 0.0}, "is not positive"),
        ({"eps": math.nan}, "is not positive"),
        ({"mean": np.array([1, np.nan], F)}, "mean is not an array of finite numbers"),
        ({"gamma": w(3)}, r"gamma has the shape \[3\], not \[2\]"),
        ({"bias": np.array(["a", "b"])}, "bias is not an array of finite numbers"),
        ({"weight": np.array(1, F)}, "an axis of outputs"),
        ({"gamma": w(2) * F(1e38), "variance": w(2) * 0}, "beyond binary32"),
    ],
)
def test_a_batch_norm_that_cannot_be_folded(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pc.ProgramBuilder.fold_batch_norm(**{**CALLS["fold_batch_norm"]({}), **changes})
