"""What all methods of a builder share: rows of every type, constants, mistakes that are named."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.built import DEVICE, normal, rows_of
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.errors import InputError, LimitError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.moving import Moving
from proofcompute.program.operations import Split
from proofcompute.program.operations.codec import OPERATIONS


def test_constants_and_numbers_serve_all_segments_and_loops() -> None:
    b = ProgramBuilder(context=4, device=DEVICE)
    x, c, n = b.input("x", 3), b.constant(normal(1, 3), name="c"), b.number(2)
    h = x * c + n
    b.cut(h)
    (g,), _ = b.scan(lambda h: ([h * c], []), [h], count=2)
    b.output(b.add(g + c * n, 0, name="y"))
    model = b.model()
    assert [w.name for w in model.program.weights] == ["c.value"]
    assert b.number(2.0) is n
    rows = normal(2, 2, 3)
    h2 = rows * normal(1, 3) + 2
    found = rows_of(model, {"x": rows})["y"]
    np.testing.assert_allclose(found, h2 * normal(1, 3) ** 2 + normal(1, 3) * 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ELEMENTS)
def test_rows_of_every_type_are_inputs_constants_and_outputs(dtype: str) -> None:
    rows = np.array([[0, 1, 1], [1, 0, 1]], ELEMENTS[dtype])
    b = ProgramBuilder(context=4, device=DEVICE)
    x, c = b.input("x", 3, dtype), b.constant(np.array([1, 1, 0], ELEMENTS[dtype]))
    h = b.map("eq", x, c)
    b.cut(h)
    b.output(b.map("select", h, x, c, name="y"))
    found = rows_of(b.model(), {"x": rows})["y"]
    np.testing.assert_array_equal(found, np.where(rows == [1, 1, 0], rows, [1, 1, 0]))
    assert found.dtype == ELEMENTS[dtype]


def test_tensors_of_another_builder_are_refused() -> None:
    b, other = ProgramBuilder(device=DEVICE), ProgramBuilder(device=DEVICE)
    x, y = b.input("x", 3), other.input("x", 3)
    with pytest.raises(InputError, match="x is neither"):
        _ = x + y


def test_mistakes_are_named() -> None:
    b = ProgramBuilder(device=DEVICE)
    x, i = b.input("x", (4, 6)), b.input("i", (4, 6), "i32")
    w = normal(1, 3, 6)
    for error, f in (
        ("no function", lambda: x + i),
        ("is no i32", lambda: i + 1.5),
        ("is no i32", lambda: i + (1 << 31)),
        ("is no f32", lambda: x + True),
        ("do not broadcast", lambda: x + x[:, :4]),
        ("needs a tensor", lambda: b.map("add", 1, 2)),
        ("no axis 2", lambda: b.reduce("sum", x, 2)),
        ("no axis -3", lambda: b.softmax(x, -3)),
        ("has no shape", lambda: b.reshape(x, (5, -1))),
        ("has no shape", lambda: b.reshape(x, (-1, -1))),
        ("no order", lambda: b.transpose(x, (0, 0))),
        ("at most one ellipsis", lambda: x[..., 0, ...]),
        ("2 axes has no", lambda: x[0, 0, 0]),
        ("no axis 4", lambda: x[4]),
        ("index is a str", lambda: x["a"]),  # type: ignore[index]
        ("is empty", lambda: x[2:2]),
        ("pieces of", lambda: b.split(x, (1, 2))),
        ("margins", lambda: b.pad(x, (1, 1, 1))),
        ("margins", lambda: b.pad(x, -1)),
        ("2 numbers for 1 axes", lambda: b.windows(x, (2,), (1, 1))),
        ("does not broadcast to", lambda: b.broadcast(x, (4, 5))),
        ("larger than a row", lambda: b.windows(x, (5,))),
        ("windows of", lambda: b.windows(x, (2, 2, 2))),
        ("needs a tensor", lambda: b.concat([])),
        ("differ in type", lambda: b.concat([x, i])),
        ("int32 or int64", lambda: b.take(x, x)),
        ("do not fit rows", lambda: b.conv(x, normal(1, 3, 2, 5))),
        ("do not fit rows", lambda: b.conv(x, normal(1, 3, 2, 3), groups=2)),
        ("do not fit rows", lambda: b.conv(i, normal(1, 3, 2, 6))),
        ("are not 4 groups", lambda: b.group_norm(x, 4, normal(1, 6), normal(2, 6))),
        ("pool: no kind", lambda: b.pool("min", x, (2,))),
        ("pool: windows", lambda: b.pool("max", x, (5,))),
        ("pool: windows", lambda: b.pool("max", x, (2,), pads=2)),
        ("pool: windows", lambda: b.pool("max", x, (0,), dilation=2)),
        ("pool: no kind", lambda: b.pool("min", x, (2,), dilation=2)),
        ("without an element", lambda: b.pool("max", x, (2,), pads=((2, 0),))),
        ("pads is a tuple", lambda: b.conv(x, normal(1, 3, 2, 6), pads=((1, 2, 3),))),  # type: ignore[arg-type]
        ("no margins", lambda: b.conv(x, normal(1, 3, 2, 6), pads=-1)),
        ("do not fit rows", lambda: b.conv_transpose(x, normal(1, 5, 2, 3))),
        ("no strides", lambda: b.conv_transpose(x, normal(1, 6, 2, 3), strides=0)),
        ("no strides", lambda: b.spread(x, (1, 0))),
        ("pool: a size", lambda: b.pool("max", x, (2, 2, 2))),
        ("matrices do not fit", lambda: b.lstm(x, normal(1, 8, 5), normal(2, 8, 2))),
        ("matrices do not fit", lambda: b.gru(x, normal(1, 8, 6), normal(2, 6, 2))),
        ("states are", lambda: b.lstm(x, normal(1, 8, 6), normal(2, 8, 2), start=(x[0], x[0]))),
        ("has no groups", lambda: b.apply(OPERATIONS["Experts"](b.matrix_weight("m", w), 2), x[0], i[0])),
        ("has groups", lambda: b.apply(OPERATIONS["Linear"](b.matrix_weight("g", w[None]), 2), x)),
        ("already a weight", lambda: b.matrix_weight("m", w)),
        ("already a tensor", lambda: b.constant_weight("k", w) and b.map("neg", x, name="x")),
        ("takes 1 tensors, not 2", lambda: b.apply(OPERATIONS["Relu"](), x, x)),
        ("has 2 results, not 1", lambda: b.apply(Split((2, 4)), x[0])),
        ("not a NumPy array", lambda: b.constant([1.0])),  # type: ignore[arg-type]
        ("no elements of type float64", lambda: b.constant(np.zeros(3))),
        ("is empty", lambda: b.constant(np.zeros((0,), np.float32))),
    ):
        with pytest.raises(InputError, match=error):
            f()
    with pytest.raises(LimitError):
        b.broadcast(x, (1 << 20, 4, 6))
    with pytest.raises(TypeError, match="cannot be a condition"):
        bool(x > 0)
    with pytest.raises(TypeError, match="not iterable"):
        iter(x)


def test_every_operation_that_a_program_may_name_is_offered() -> None:
    """By a method or by apply; those of decoders need committed rows before them, and come by apply."""
    assert issubclass(ProgramBuilder, Moving)
    b = ProgramBuilder(device=DEVICE)
    x = b.input("x", 4)
    assert b.apply(OPERATIONS["Relu"](), x).shape == (4,)
    scale = b.constant_weight("scale", normal(1, 4))
    assert b.apply(OPERATIONS["RmsNorm"](scale, 0), x).shape == (4,)
