"""Loops of a builder, and pixels that a network takes, give what NumPy says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from jobs.built import DEVICE, ROWS, made, normal, rows_of
from proofcompute.arrays import Array
from proofcompute.errors import FormatError, InputError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Tensor


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"divisor": 1.0, "mean": (104.0, 117.0, 123.0), "reverse": True},
        {"mean": 0.5, "std": 0.5, "channels_first": True},
        {
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "reverse": True,
            "channels_first": True,
        },
    ],
)
def test_pixels_become_what_a_network_takes(how: dict[str, Any]) -> None:
    b = ProgramBuilder(context=16, device=DEVICE)
    y = b.pixels("image", (4, 5, 3), **how)
    b.output(y)
    x = np.random.default_rng(4).integers(0, 256, (ROWS, 4, 5, 3)).astype(np.uint8)
    found = rows_of(b.model(), {"image": x})[y.name]
    given = x[..., ::-1] if how.get("reverse") else x
    right: Array = given.astype(np.float32) / np.float32(how.get("divisor", 255.0))
    right = (right - np.float32(how.get("mean", 0.0))) / np.float32(how.get("std", 1.0))
    right = right.transpose(0, 3, 1, 2) if how.get("channels_first") else right
    assert np.array_equal(found, right)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mean": (1.0, 2.0)}, "or 3 of them"),
        ({"std": (1.0, 1.0, 1.0, 1.0)}, "or 3 of them"),
        ({"std": ((1.0, 1.0, 1.0),)}, "std is a tuple"),
        ({"divisor": 0.0}, "only the mean"),
        ({"std": (1.0, 0.0, 1.0)}, "only the mean"),
        ({"mean": float("nan")}, "finite"),
    ],
)
def test_pixels_that_become_nothing(how: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ProgramBuilder(device=DEVICE).pixels("image", (4, 5, 3), **how)


def test_loops_carry_scan_and_collect() -> None:
    x, w = normal(1, ROWS, 5, 3), normal(2, 3, 3)

    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        factor = b.constant(normal(3, 3))

        def step(h: Tensor, xt: Tensor, first: Tensor) -> Any:
            h = b.map("tanh", b.linear(h, w, weight_limbs=2) + xt * factor)
            return [h], [h + first, h * 2]

        (h,), (sums, doubles) = b.scan(step, [x[0]], [x], [x[0]])
        return b.concat([h, b.reshape(sums, (-1,)), b.reshape(doubles, (-1,))])

    found = made(f, x)
    h, hs = x[:, 0], []
    for t in range(5):
        h = np.tanh(h @ w.T + x[:, t] * normal(3, 3))
        hs.append(h)
    all_ = np.stack(hs, 1)
    parts = [h, (all_ + x[:, :1]).reshape(ROWS, -1), (all_ * 2).reshape(ROWS, -1)]
    np.testing.assert_allclose(found, np.concatenate(parts, 1), atol=2e-3)


def test_loops_inside_loops() -> None:
    x = normal(1, ROWS, 2, 3)

    def f(b: ProgramBuilder, x: Tensor) -> Tensor:
        def outer(total: Tensor, line: Tensor) -> Any:
            (inner,), _ = b.scan(lambda s, e: ([s * 0.5 + e], []), [total], [line])
            return [inner], []

        (total,), _ = b.scan(outer, [b.reduce("sum", x, (0, 1)) * 0], [x])
        return total

    found = made(f, x)
    expected = np.zeros(ROWS, np.float32)
    for e in x.reshape(ROWS, -1).T:
        expected = expected * np.float32(0.5) + e
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_experts_are_chosen_in_each_step_of_a_loop() -> None:
    """Each step has a hint of its own, with sets for the matrices that its rows choose."""
    x, w = normal(1, ROWS, 4), normal(2, 3, 4, 4) / 2
    numbers = np.random.default_rng(3).integers(0, 3, (ROWS, 5, 2)).astype(np.int32)

    def f(b: ProgramBuilder, x: Tensor, numbers: Tensor) -> Tensor:
        def step(h: Tensor, chosen: Tensor) -> Any:
            return [b.map("tanh", b.reduce("sum", b.experts(h, chosen, w, weight_limbs=2), 0))], []

        (h,), _ = b.scan(step, [x], [numbers])
        assert h.shape == (4,)
        return h

    found, h = made(f, x, numbers), x
    for t in range(5):
        h = np.tanh(np.einsum("nd,nrmd->nm", h, w[numbers[:, t]]))
    np.testing.assert_allclose(found, h, atol=5e-3)


def test_a_body_sees_only_what_is_given_to_it() -> None:
    b = ProgramBuilder(device=DEVICE)
    x = b.input("x", (4, 2))
    bodies: list[tuple[str, Any]] = [
        ("neither an input nor made in this body", lambda h: ([h + x[0]], [])),
        ("carried value changes", lambda h: ([h > 0], [])),
        ("1 are carried", lambda h: ([], [h])),
        ("has not a cut", lambda h: b.cut(h)),
        ("has not an output", lambda h: b.output(h)),
        ("has not an input", lambda h: b.input("y", 2)),
    ]
    for error, body in bodies:
        with pytest.raises(InputError, match=error):
            b.scan(body, [x[0]], count=3)
    with pytest.raises(InputError, match="needs a count"):
        b.scan(lambda h: ([h], []), [x[0]])
    with pytest.raises(FormatError, match="scan: 0 steps"):
        b.scan(lambda h: ([h], []), [x[0]], count=0)
    (y,), _ = b.scan(lambda h: ([h + 1], []), [x[0]], count=3, name="y")
    b.output(y)
    assert y.name == "y"
    assert len(b.program().segments) == 1
