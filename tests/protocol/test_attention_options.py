"""Options of attention as operations of programs: types, encoding, and how near results are to binary64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import AttentionOptions
from proofcompute.arrays import Span
from proofcompute.encoding import wire
from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import FormatError, LimitError, ProofcomputeError
from proofcompute.program.operations import Attention, QuantiseHeads, Rope, decode_program, encode_program
from proofcompute.program.program import Program
from proofcompute.program.types import Committed, Node, Op, Segment, Spec, WeightSpec

ONE, HALF = f32_bits(1.0), f32_bits(0.5)
SINKS = WeightSpec("sinks", "constant", (6,), "f32")
F64 = npt.NDArray[np.float64]


def f32(*shape: int) -> Spec:
    return Spec("f32", shape)


def i8(*shape: int) -> Spec:
    return Spec("i8", shape)


PLAIN = Attention(6, ONE, 0)
SEPARATE = (i8(2, 2, 7), f32(2), i8(2, 2, 5), f32(2))
INFERRED: list[tuple[Op, Sequence[Spec], Sequence[Spec]]] = [
    (Rope(6, (ONE,), 1, HALF, 5), (f32(42),), (f32(42),)),
    (Rope(6, (ONE, 0, HALF), 0), (f32(6, 7),), (f32(6, 7),)),
    (QuantiseHeads(6), (f32(42),), (i8(6, 7), f32(6))),
    (QuantiseHeads(6, 2), (f32(6, 7),), (i8(6, 2, 7), f32(6))),
    (QuantiseHeads(6, 1, 6), (f32(42),), (i8(6, 7), f32(6, 2))),
    (PLAIN, (f32(42), i8(2, 7), f32(2), i8(2, 7), f32(2)), (f32(42),)),
    (PLAIN, (f32(6, 7), i8(2, 7), f32(2), i8(2, 2, 5), f32(2)), (f32(6, 5),)),
    (replace(PLAIN, limbs=2, softcap=HALF, sinks="sinks"), (f32(42), *SEPARATE), (f32(30),)),
    (replace(PLAIN, latent=5), (f32(42), i8(1, 2, 7), f32(1, 2)), (f32(30),)),
    (replace(PLAIN, latent=6), (f32(6, 7), i8(3, 7), f32(3, 2)), (f32(6, 6),)),
]


@pytest.mark.parametrize(("op", "ins", "outs"), INFERRED)
def test_types(op: Op, ins: Sequence[Spec], outs: Sequence[Spec]) -> None:
    assert tuple(op.infer(ins, {"sinks": SINKS})) == tuple(outs)
    assert len(op.reads()) == len(ins)


REFUSED: list[tuple[Op, Sequence[Spec]]] = [
    (Rope(6, (ONE,), 1, ONE, 6), (f32(42),)),
    (Rope(6, (ONE,), 1, f32_bits(float("inf"))), (f32(42),)),
    (Rope(6, (f32_bits(1.0000001),), 1), (f32(42),)),
    (Rope(6, (), 1), (f32(42),)),
    (Rope(6, (ONE,), 1), (f32(7, 6),)),
    (Rope(6, (ONE,), 1), (f32(6, 7), f32(6, 7))),
    (Rope(6, (ONE,), 1), (f32(3, 2, 7),)),
    (QuantiseHeads(6, 3), (f32(42),)),
    (QuantiseHeads(6, 0), (f32(42),)),
    (QuantiseHeads(6, 1, 7), (f32(42),)),
    (QuantiseHeads(7), (f32(6, 7),)),
    (QuantiseHeads(6), (i8(42),)),
    (replace(PLAIN, limbs=3), (f32(42), *SEPARATE)),
    (replace(PLAIN, softcap=1 << 31), (f32(42), *SEPARATE)),
    (replace(PLAIN, softcap=f32_bits(-1.0)), (f32(42), *SEPARATE)),
    (replace(PLAIN, softcap=f32_bits(float("inf"))), (f32(42), *SEPARATE)),
    (replace(PLAIN, sinks="others"), (f32(42), *SEPARATE)),
    (replace(PLAIN, heads=3, sinks="sinks"), (f32(21), i8(1, 7), f32(1), i8(1, 7), f32(1))),
    (replace(PLAIN, latent=5), (f32(42), *SEPARATE)),
    (PLAIN, (f32(42), i8(1, 7), f32(1, 2))),
    (replace(PLAIN, latent=7), (f32(42), i8(1, 7), f32(1, 2))),
    (replace(PLAIN, latent=5), (f32(42), i8(1, 7), f32(1))),
    (PLAIN, (f32(42), i8(2, 3, 7), f32(2), i8(2, 7), f32(2))),
    (PLAIN, (f32(42), i8(2, 7), f32(2), i8(2, 3, 7), f32(2))),
    (PLAIN, (f32(42), i8(2, 7), f32(2), i8(1, 7), f32(2))),
    (PLAIN, (f32(42), i8(2, 7), f32(2), i8(2, 7), f32(1))),
    (PLAIN, (f32(42), i8(2, 7), f32(2, 2), i8(2, 7), f32(2, 2))),
    (PLAIN, (f32(42), i8(4, 7), f32(4), i8(4, 7), f32(4))),
    (PLAIN, (f32(42), i8(2, 6), f32(2), i8(2, 7), f32(2))),
    (PLAIN, (f32(42), f32(2, 7), f32(2), i8(2, 7), f32(2))),
]


@pytest.mark.parametrize(("op", "ins"), REFUSED)
def test_what_does_not_fit_is_refused(op: Op, ins: Sequence[Spec]) -> None:
    with pytest.raises(FormatError):
        op.infer(ins, {"sinks": SINKS})


# -- encoding --------------------------------------------------------------------------------------------
def program(attention: Attention, quantise: QuantiseHeads, rope: Rope) -> Program:
    nodes = (
        Node("turn", rope, ("x",), ("t",)),
        Node("keys", quantise, ("t",), ("k", "ks")),
        Node("values", quantise, ("x",), ("v", "vs")),
        Node("mix", attention, ("x", "k", "ks", "v", "vs"), ("y",)),
    )
    return Program(
        inputs=(("x", f32(12)),),
        outputs=("y",),
        feedback=False,
        context=64,
        weights=(WeightSpec("sinks", "constant", (4,), "f32"),),
        committed=(Committed("kv", ("k", "ks", "v", "vs")),),
        segments=(Segment("s", nodes),),
    )


TURN, QUANTISE, ATTEND = Rope(4, (ONE,), 1), QuantiseHeads(4), Attention(4, ONE, 0)


@pytest.mark.parametrize(
    ("attention", "quantise", "rope", "counts"),
    [
        (ATTEND, QUANTISE, TURN, [3, 1, 1, 3]),
        (replace(ATTEND, limbs=2), replace(QUANTISE, limbs=2), replace(TURN, scale=HALF), [4, 2, 2, 4]),
        (replace(ATTEND, softcap=HALF), QUANTISE, replace(TURN, start=1), [5, 1, 1, 5]),
        (replace(ATTEND, sinks="sinks"), QUANTISE, TURN, [3, 1, 1, 6]),
    ],
)
def test_attributes_that_are_as_if_left_out_are_left_out(
    attention: Attention, quantise: QuantiseHeads, rope: Rope, counts: list[int]
) -> None:
    p = program(attention, quantise, rope)
    data = encode_program(p)
    assert decode_program(data) == p
    nodes: Any = wire.decode(data, limit=1 << 20, what="program")[7][0][1]  # type: ignore[index]
    assert [len(n[2]) for n in nodes][3] == counts[3]
    assert [len(n[2]) for n in nodes][1:3] == counts[1:3]


@pytest.mark.parametrize(
    ("node", "attributes", "error"),
    [
        (3, [4, ONE], FormatError),
        (3, [], FormatError),
        (3, [4, ONE, 0, 1], FormatError),
        (3, [4, ONE, 0, 2, 0], FormatError),
        (3, [4, ONE, 0, 2, 0, ""], FormatError),
        (3, [4, ONE, 0, 2, 0, "sinks", 0], FormatError),
        (3, [4, ONE, 0, 2, 0, "sinks", 0, 0], FormatError),
        (3, [4, ONE, 0, 2, 0, "sinks", 0, 1, 0], LimitError),
        (3, [4, ONE, 0, 2, 0, 0, 1], FormatError),
        (1, [4, 1], FormatError),
        (0, [4, [ONE], 1, ONE], FormatError),
        (0, [4, [ONE], 1, ONE, 0], FormatError),
    ],
)
def test_a_program_has_one_encoding(node: int, attributes: list[Any], error: type[ProofcomputeError]) -> None:
    def listed(value: Any) -> Any:
        return [listed(v) for v in value] if isinstance(value, tuple) else value

    top = listed(wire.decode(encode_program(program(ATTEND, QUANTISE, TURN)), limit=1 << 20, what="program"))
    top[7][0][1][node][2] = attributes
    with pytest.raises(error, match=r"attributes of|sinks"):
        decode_program(wire.encode(top))


# -- meaning ---------------------------------------------------------------------------------------------
K = NumpyKernels()
T, H, HK, D, E = 150, 6, 2, 40, 24


def run(op: Op, *ins: Any) -> Any:
    spans = [Span(0, 0, T)]

    class Weights:
        def constant(self, name: str) -> Any:
            return SINK_VALUES

    class Given:
        weights = Weights()

    prefix = [r.name == "PREFIX" for r in op.reads()]
    return op.run([[x] if p else x for x, p in zip(ins, prefix, strict=True)], spans, Given(), K)


def normal(seed: int, *shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SINK_VALUES = normal(9, H)


def softmax(x: F64, sinks: F64 | None, window: int) -> F64:
    """Weights [h, t, t] of scores."""
    t = np.arange(T)
    seen = (t[None] <= t[:, None]) & ((window == 0) | (t[None] > t[:, None] - window))
    e = np.where(seen, np.exp(x), 0)
    total = e.sum(-1, keepdims=True) + (0 if sinks is None else np.exp(sinks)[:, None, None])
    weights: F64 = e / total
    return weights


def apart(found: Any, expected: F64) -> float:
    """Largest relative error of a row."""
    found = found.reshape(T, -1).astype(np.float64)
    expected = expected.reshape(T, -1)
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.mark.parametrize(("limbs", "within"), [(1, 0.05), (2, 1e-4)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"softcap": f32_bits(2.0)},
        {"sinks": "sinks"},
        {"window": 9},
        {"softcap": f32_bits(2.0), "sinks": "sinks", "window": 9},
    ],
)
def test_near_to_binary64(changes: dict[str, Any], limbs: int, within: float) -> None:
    q, k, v = normal(1, T, H, D), normal(2, T, HK, D), normal(3, T, HK, E)
    scale = np.float32(D**-0.5)
    op = replace(Attention(H, f32_bits(float(scale)), 0, limbs), **changes)
    keys, values = run(QuantiseHeads(HK, limbs), k), run(QuantiseHeads(HK, limbs), v)
    (found,) = run(op, q, *keys, *values)
    assert found.shape == (T, H, E)
    (flat,) = run(op, q.reshape(T, H * D), *keys, *values)
    assert flat.tobytes() == found.tobytes()
    wide_q, wide_k, wide_v = (x.astype(np.float64) for x in (q, k, v))
    x = np.einsum("thd,shd->hts", wide_q, wide_k.repeat(H // HK, 1)) * float(scale)
    x = np.tanh(x / 2) * 2 if op.softcap else x
    sinks = SINK_VALUES.astype(np.float64) if op.sinks else None
    expected = np.einsum("hts,she->the", softmax(x, sinks, op.window), wide_v.repeat(H // HK, 1))
    assert apart(found, expected) < within


@pytest.mark.parametrize(("limbs", "within"), [(1, 0.03), (2, 2e-4)])
def test_latents_give_what_expanded_keys_and_values_do(limbs: int, within: float) -> None:
    """Latent attention by the products that absorb its matrix into queries and results, in binary64."""
    rank, nope, rope = 48, 16, 8
    q, latent, turned = normal(1, T, H, nope + rope), normal(2, T, rank), 3 * normal(3, T, rope)
    up_k, up_v = normal(4, H, nope, rank) / 7, normal(5, H, E, rank) / 7
    scale = np.float32((nope + rope) ** -0.5)
    absorbed = np.einsum("thn,hnr->thr", q[..., :nope], up_k)
    queries = np.concatenate([absorbed, q[..., nope:]], axis=2).astype(np.float32)
    keys = run(QuantiseHeads(1, limbs, rank), np.concatenate([latent, turned], axis=1))
    op = Attention(H, f32_bits(float(scale)), 0, limbs, latent=rank)
    (mixed,) = run(op, queries, *keys)
    found = np.einsum("thr,her->the", mixed, up_v)
    both = [x.astype(np.float64) for x in (q, latent, turned, up_k, up_v)]
    q, latent, turned, up_k, up_v = both  # type: ignore[assignment]
    k = np.concatenate([np.einsum("tr,hnr->thn", latent, up_k), turned[:, None].repeat(H, 1)], axis=2)
    x = np.einsum("thd,shd->hts", q, k) * float(scale)
    expected = np.einsum("hts,she->the", softmax(x, None, 0), np.einsum("tr,her->the", latent, up_v))
    assert apart(found, expected) < within


def test_weak_weights_behind_a_strong_one_count() -> None:
    """Thousands of positions with a weight below M / 32639 make a tenth of the result."""
    t, d = 20000, 8
    q = np.zeros((1, d), np.float32)
    q[0, 0] = 10
    k = np.zeros((t, 1, d), np.float32)
    k[0, 0, 0] = 1.2
    v = np.ones((t, 1, d), np.float32)
    v[0] = -1
    e = np.exp(10 * k[:, 0, 0].astype(np.float64) - 12)
    expected = (e @ v[:, 0]) / e.sum()
    for limbs, least, most in ((1, 0.05, 1.0), (2, 0.0, 1e-4)):
        (kq, ks), (vq, vs) = (K.quantise_heads(x.reshape(t, d), 1, limbs) for x in (k, v))
        found = K.attention(q, kq, ks, vq, vs, t - 1, np.float32(1), 0, AttentionOptions(limbs))
        assert least <= np.abs(found - expected).max() <= most


def test_columns_before_the_rotation_stay() -> None:
    x = normal(1, T, H, 10)
    op = Rope(H, (ONE, HALF), 0, f32_bits(1.25), 5)
    (y,) = run(op, x)
    assert y[:, :, :5].tobytes() == x[:, :, :5].tobytes()
    assert y[:, :, 9].tobytes() == x[:, :, 9].tobytes()
    angle = np.arange(T)[:, None] * np.array([1, 0.5])
    c, s = 1.25 * np.cos(angle)[:, None], 1.25 * np.sin(angle)[:, None]
    a, b = x[:, :, 5:7].astype(np.float64), x[:, :, 7:9].astype(np.float64)
    np.testing.assert_allclose(y[:, :, 5:7], a * c - b * s, atol=2e-6)
    np.testing.assert_allclose(y[:, :, 7:9], a * s + b * c, atol=2e-6)
