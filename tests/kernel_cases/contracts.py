"""Cases: arguments whose shapes do not fit. Every backend says so in the same words, before it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from kernel_cases.data import Args, Case, columns, floats, int8s, scales
from proofcompute.arithmetic.kernels import GatePrologue, Matrix, NormPrologue
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import InputError, LimitError
from proofcompute.limits import MAX_CONTRACTION

EPS = np.float32(1e-5)


def _norm(d: int) -> NormPrologue:
    return NormPrologue(floats("normal", d), EPS)


def _x(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return floats("normal", *shape)


def _w(m: int = 4, d: int = 6, *, channels: int | None = None, bias: int | None = None) -> Matrix:
    scale = scales(m if channels is None else channels)
    return Matrix(int8s(1, m, d), scale, None if bias is None else scales(bias))


def _acc(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.zeros(shape, np.int32)


def _attend(**changes: object) -> Args:
    """Two rows of two heads of four over five positions of one head, with changes by name."""
    right: dict[str, object] = {
        "q": _x(2, 8),
        "kq": int8s(5, 1, 4),
        "ks": scales(5, 1),
        "vq": int8s(5, 1, 4),
        "vs": scales(5, 1),
        "first": 3,
        "scale": np.float32(0.25),
        "window": 0,
    }
    assert changes.keys() <= right.keys()
    return tuple((right | changes).values())


WRONG: dict[str, dict[str, Callable[[], Args]]] = {
    "quantise": {
        "no-limbs": lambda: (_x(2, 6), 0),
        "three-limbs": lambda: (_x(2, 6), 3),
        "one-dimension": lambda: (_x(6), 1),
        "norm": lambda: (_x(2, 6), 1, _norm(5)),
        "gate": lambda: (_x(2, 5), 1, GatePrologue()),
    },
    "product": {
        "columns": lambda: (int8s(2, 6), int8s(4, 5)),
        "one-dimension": lambda: (int8s(6), int8s(4, 6)),
        "weights": lambda: (int8s(2, 6), int8s(6)),
    },
    "rescale": {
        "shifts": lambda: (_acc(2, 3, 4), [8], scales(3), scales(4), None),
        "rows": lambda: (_acc(1, 3, 4), [0], scales(2), scales(4), None),
        "channels": lambda: (_acc(1, 3, 4), [0], scales(3), scales(1), None),
        "bias": lambda: (_acc(1, 3, 4), [0], scales(3), scales(4), scales(1)),
        "two-dimensions": lambda: (_acc(3, 4), [0], scales(3), scales(4), None),
    },
    "linear": {
        "limbs": lambda: (_x(2, 6), _w(), 3),
        "columns": lambda: (_x(2, 5), _w(), 1),
        "channels": lambda: (_x(2, 6), _w(channels=3), 1),
        "bias": lambda: (_x(2, 6), _w(bias=1), 1),
        "weight-limbs": lambda: (_x(2, 6), Matrix(int8s(3, 4, 6), scales(4)), 1),
        "norm": lambda: (_x(2, 6), _w(), 1, _norm(1)),
        "gate": lambda: (_x(2, 6), _w(), 1, GatePrologue()),
        "odd-gate": lambda: (_x(2, 13), _w(), 1, GatePrologue()),
        "residual-rows": lambda: (_x(2, 6), _w(), 1, None, _x(1, 4)),
        "residual-columns": lambda: (_x(2, 6), _w(), 1, None, _x(2, 1)),
    },
    "embed": {
        "scales": lambda: (int8s(3, 4), scales(1)),
        "one-dimension": lambda: (int8s(4), scales(4)),
    },
    "rms_norm": {
        "weights": lambda: (_x(2, 6), _x(1), EPS),
        "one-dimension": lambda: (_x(6), _x(6), EPS),
    },
    "layer_norm": {
        "weights": lambda: (_x(2, 6), _x(5), _x(6), EPS),
        "bias": lambda: (_x(2, 6), _x(6), _x(1), EPS),
    },
    "rope": {
        "no-heads": lambda: (_x(2, 8), _x(2, 1), _x(2, 1), 0, False),
        "uneven": lambda: (_x(2, 8), _x(2, 1), _x(2, 1), 3, False),
        "rows": lambda: (_x(2, 8), _x(1, 1), _x(1, 1), 2, False),
        "tables": lambda: (_x(2, 8), _x(2, 1), _x(2, 2), 2, False),
        "wide": lambda: (_x(2, 8), _x(2, 3), _x(2, 3), 2, False),
    },
    "quantise_heads": {
        "no-heads": lambda: (_x(2, 8), 0),
        "uneven": lambda: (_x(2, 8), 3),
    },
    "heads": {
        "no-heads": lambda: (_x(2, 8), _x(2, 1), _x(2, 1), 0, 1, False),
        "rows": lambda: (_x(2, 8), _x(3, 1), _x(3, 1), 2, 1, False),
        "tables": lambda: (_x(2, 8), _x(2, 1), _x(1, 1), 2, 1, False),
    },
    "attention": {
        "first": lambda: _attend(first=-1),
        "window": lambda: _attend(window=-1),
        "prefix": lambda: _attend(first=4),
        "no-heads": lambda: _attend(kq=int8s(5, 0, 4), vq=int8s(5, 0, 4), ks=scales(5, 0), vs=scales(5, 0)),
        "uneven": lambda: _attend(q=_x(2, 6)),
        "values": lambda: _attend(vq=int8s(4, 1, 4)),
        "key-scales": lambda: _attend(ks=scales(4, 1)),
        "value-scales": lambda: _attend(vs=scales(5, 2)),
        "two-dimensions": lambda: _attend(kq=int8s(5, 4)),
    },
    "gate": {"odd": lambda: (_x(2, 5),), "one-dimension": lambda: (_x(6),)},
    "add": {"rows": lambda: (_x(2, 3), _x(1, 3)), "columns": lambda: (_x(2, 3), _x(2, 1))},
    "sample": {
        "no-logits-of-rows": lambda: (
            _x(2, 0),
            np.zeros(2, np.int32),
            0,
            Sampling(),
            np.zeros((2, 2), np.uint64),
        ),
    },
    "concatenate": {
        "nothing": lambda: ([],),
        "columns": lambda: ([_x(2, 3), _x(2, 4)],),
        "types": lambda: ([_x(2, 3), int8s(2, 3)],),
    },
    "row_bytes": {
        "nothing": lambda: ([],),
        "rows": lambda: ([_x(2, 3), _x(1, 3)],),
    },
    "slice_columns": {
        "below": lambda: (_x(2, 3), -1, 2),
        "beyond": lambda: (_x(2, 3), 1, 4),
        "backwards": lambda: (_x(2, 3), 2, 1),
        "one-dimension": lambda: (_x(3), 0, 1),
    },
    "largest_square": {"two-dimensions": lambda: (int8s(2, 5),), "floats": lambda: (_x(1, 2, 5),)},
    "project": {
        "terms": lambda: (int8s(2, 5), columns(2, 4)),
        "one-dimension": lambda: (int8s(5), columns(2, 5)),
        "words": lambda: (np.zeros((2, 5), np.int64), columns(2, 5)),
        "floats": lambda: (_x(2, 5), columns(2, 5)),
        "residues": lambda: (int8s(2, 5), columns(2, 5).astype(np.uint64)),
    },
    "fold": {
        "terms": lambda: (int8s(5, 2), columns(2, 2)),
        "one-dimension": lambda: (int8s(5), columns(2, 5)),
        "floats": lambda: (_x(5, 2), columns(2, 5)),
    },
    "project61": {
        "terms": lambda: (int8s(2, 5), columns(2, 4).astype(np.uint64)),
        "residues": lambda: (int8s(2, 5), columns(2, 5)),
    },
}
"""By method and label."""


def cases() -> Iterator[Case]:
    for method, wrong in WRONG.items():
        for label, arguments in wrong.items():
            yield Case(method, f"wrong-{label}", arguments, InputError)
    d = MAX_CONTRACTION + 1
    yield Case("product", "wrong-long", lambda: (int8s(1, d), int8s(1, d)), LimitError)
    keys = np.zeros((1, 1, d), np.int8)
    yield Case(
        "attention",
        "wrong-long",
        lambda: (_x(1, d), keys, scales(1, 1), keys, scales(1, 1), 0, EPS, 0),
        LimitError,
    )
