"""Scales folded into a checkpoint: the same network, quantised better, and the same on every backend."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import synthetic
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import F32
from proofcompute.errors import NonFiniteError
from proofcompute.importers.architecture import Arch, Mlp, Norm
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import PRECISIONS, calibration, compile_decoder
from proofcompute.importers.compiling.program import plan_decoder
from proofcompute.importers.compiling.smoothing import SAMPLE, column_scales, total
from proofcompute.importers.float_model import FloatModel
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.vocabulary import NORMAL, Vocabulary
from proofcompute.testing.models import TINY, Shape, random_checkpoint

GPT2 = NAMED_RULES["gpt-2"].splitters
WIDE = replace(TINY, bias=True, tied=False, kv_heads=2, heads=4)
KERNELS = kernels_for("cpu")


def spiked(of: Shape | Arch = WIDE) -> Checkpoint:
    """A checkpoint with a few columns of activations that are far larger than the rest."""
    plain = random_checkpoint(3, of)

    def read_rows(name: str, a: int, b: int) -> F32:
        rows = plain.read_rows(name, a, b).copy()
        if name.endswith("norm") and name != "norm":
            rows[[i - a for i in (3, 17) if a <= i < b]] *= 40
        return rows

    return replace(plain, read_rows=read_rows)


def scales_of(checkpoint: Checkpoint, *, one_limb: bool = False) -> calibration.Scales:
    folds = plan_decoder(checkpoint.arch, PRECISIONS["w16a16"]).folds
    model = compile_decoder(checkpoint, KERNELS, "w16a16")
    return calibration.smoothed(checkpoint, folds, model, KERNELS, one_limb)


def scaled(checkpoint: Checkpoint, scales: calibration.Scales) -> Checkpoint:
    """The checkpoint with scales folded in; offsets of norms are added before that, and taken away again."""
    offset = np.float32(checkpoint.arch.norm.offset)

    def read_rows(name: str, a: int, b: int) -> F32:
        of_norm = offset if name.endswith(("norm", ".post")) else np.float32(0)
        return scales.apply(name, checkpoint.rows(name, a, b) + of_norm, a, b) - of_norm

    return replace(checkpoint, read_rows=read_rows)


def changed(mlp: Mlp = Mlp(48, "silu"), attention: Any = None, **block: Any) -> Arch:
    """The wide network with other blocks."""
    plain = WIDE.arch
    made = []
    for b in plain.blocks:
        made.append(replace(b, ffn=mlp, attention=replace(b.attention, **(attention or {})), **block))
    return replace(plain, blocks=tuple(made), norm=made[0].norm)


LAYER = Norm("layer", 2.0**-17, bias=True)
EVERY = {"q", "k", "v", "o", "gate", "up", "down"}
ARCHS: dict[str, tuple[Arch, set[str]]] = {
    "Llama's": (WIDE.arch, EVERY),
    "offsets": (changed(norm=Norm("rms", 2.0**-17, offset=1.0)), EVERY),
    "norms on both sides": (changed(norms="both"), EVERY),
    "norms behind": (changed(norms="post"), {"v", "o", "up", "down"}),
    "layer norms, plain": (changed(Mlp(48, "gelu", gated=False, bias=True), norm=LAYER), {*"qkvo", "up"}),
    "one norm for both": (changed(Mlp(48, "silu", bias=True), norm=LAYER, parallel="one"), EVERY),
    "two norms beside each other": (changed(parallel="two"), EVERY),
    "clipped gates": (changed(Mlp(48, "silu", alpha=1.5, limit=2.0)), {*"qkvo", "gate", "up"}),
    "clipped values": (changed(attention={"clip": 0.5}), {"q", "k", "v", "gate", "up", "down"}),
}
"""Networks, and which of their matrices get other columns or rows."""


@pytest.mark.parametrize("one_limb", [False, True])
@pytest.mark.parametrize("name", ARCHS)
def test_the_network_is_the_same(name: str, one_limb: bool) -> None:
    arch, touched = ARCHS[name]
    before = spiked(arch)
    scales = scales_of(before, one_limb=one_limb)
    after = scaled(before, scales)
    tokens = [5, 77, 130, 9, 255, 31, 64]
    a, b = (FloatModel(arch, c.rows).logits(tokens) for c in (before, after))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(a).max())
    different = {
        n.rsplit(".", 1)[1]
        for n, shape in before.shapes.items()
        if len(shape) == 2 and not np.array_equal(before.tensor(n), after.tensor(n))
    }
    assert different == touched


@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
def test_every_backend_compiles_the_same_model(precision: str) -> None:
    found = {compile_decoder(spiked(), kernels_for(name), precision).model_id for name in ("numpy", "cpu")}
    assert len(found) == 1


def test_int8_rows_stay_as_they_are_stored() -> None:
    """Also their neighbours' scales: what would change such rows is not folded in."""
    plain, rng = spiked(), np.random.default_rng(0)
    name = "layers.1.ffn.down"
    q = rng.integers(-128, 128, plain.shapes[name], np.int8)
    s = rng.uniform(0.01, 0.02, len(q)).astype(np.float32)

    def read_rows(wanted: str, a: int, b: int) -> F32:
        return q[a:b] * s[a:b, np.newaxis] if wanted == name else plain.read_rows(wanted, a, b)

    stored = replace(
        plain,
        read_rows=read_rows,
        read_quantised=lambda wanted, a, b: (q[a:b], s[a:b]) if wanted == name else None,
    )
    found = compile_decoder(stored, KERNELS, "w8a16").matrix("block.1.ffn.down")
    assert found.q.tobytes() == q.tobytes()
    assert found.scale.tobytes() == s.tobytes()
    scales = scales_of(stored)
    assert name not in scales.of
    assert scales.of["layers.1.ffn.up"].rows is None
    assert scales.of["layers.0.ffn.up"].rows is not None


def test_two_limb_weights_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "column_scales", None)
    compile_decoder(spiked(), kernels_for("cpu"), "w16a16")


def test_an_error_of_the_calibration_run_names_the_operation() -> None:
    plain = random_checkpoint(0)

    def read_rows(name: str, a: int, b: int) -> F32:
        rows = plain.read_rows(name, a, b)
        return np.full_like(rows, 3e38) if name == "layers.1.ffn.norm" else rows

    with pytest.raises(NonFiniteError, match=r"block\.1/ffn\.norm"):
        compile_decoder(replace(plain, read_rows=read_rows), kernels_for("cpu"), "w8a16")


def test_what_a_vocabulary_cannot_express_is_left_out() -> None:
    letters = [bytes([b]) for b in range(32, 127)] + [b"\n"]
    some = Vocabulary("bpe", tuple(letters), bytes([NORMAL] * len(letters)), GPT2)
    found = calibration.calibration_tokens(some)
    assert 500 < len(found) <= calibration.TOKENS
    few = Vocabulary("bpe", (b"a", b"b"), bytes([NORMAL] * 2), GPT2)
    assert calibration.calibration_tokens(few) == []
    plain = replace(random_checkpoint(0), words=few)
    assert calibration.smoothed(plain, (), synthetic.model(), KERNELS, True).of == {}


def test_total_is_a_sum() -> None:
    x = np.random.default_rng(0).standard_normal((13, 5))
    for n in (0, 1, 2, 3, 7, 8, 13):
        np.testing.assert_allclose(total(x[:n]), [math.fsum(c) for c in x[:n].T], rtol=0, atol=1e-14)
    assert total(x[:, 0]).shape == ()


def error(w: F32, x: F32, s: F32, one_limb: bool) -> float:
    """Squared error of a product whose operands are quantised after scaling, in binary64."""

    def rounded(v: np.ndarray) -> np.ndarray:
        top = np.abs(v).max(axis=1, keepdims=True)
        return np.asarray(np.rint(v * (127 / top)) * (top / 127))

    scaled, inputs = rounded(w.astype(np.float64) * s), x.astype(np.float64) / s
    made = (rounded(inputs) if one_limb else inputs) @ scaled.T
    return float(((made - x.astype(np.float64) @ w.T.astype(np.float64)) ** 2).sum())


@pytest.mark.parametrize("one_limb", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_scales_lower_the_error_that_they_are_chosen_by(seed: int, one_limb: bool) -> None:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((96, 64)).astype(np.float32)
    x = (rng.standard_normal((128, 64)) * np.exp(rng.standard_normal(64) * 1.5)).astype(np.float32)
    s = column_scales(w, (x.astype(np.float64) ** 2).mean(0), x if one_limb else None)
    assert s.dtype == np.float32
    assert (s > 0).all()
    plain = error(w, x, np.ones(64, np.float32), one_limb)
    assert error(w, x, s, one_limb) < (0.5 if one_limb else 0.9) * plain


@pytest.mark.parametrize(
    ("w", "x"),
    [
        (np.zeros((4, 6)), np.ones((3, 6))),
        (np.ones((4, 6)), np.zeros((3, 6))),
        (np.full((4, 6), 3e38), np.full((3, 6), 3e38)),
        (np.ones((1, 1)), np.ones((1, 1))),
    ],
)
@pytest.mark.parametrize("one_limb", [False, True])
def test_degenerate_matrices_have_finite_scales(w: np.ndarray, x: np.ndarray, one_limb: bool) -> None:
    energy = (x.astype(np.float64) ** 2).mean(0)
    s = column_scales(w.astype(np.float32), energy, x.astype(np.float32) if one_limb else None)
    assert np.isfinite(s).all()
    assert (s > 0).all()


def test_a_large_matrix_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(w: F32, energy: np.ndarray, rows: F32 | None) -> F32:
        seen.append(len(w))
        return column_scales(w, energy, rows)

    monkeypatch.setattr(calibration, "column_scales", watched)
    monkeypatch.setattr(calibration, "SAMPLE", 20)
    scales_of(random_checkpoint(0))
    assert SAMPLE == 1024
    assert max(seen) <= 2 * (20 + 3)  # rows of every query head that shares a value head are looked at
