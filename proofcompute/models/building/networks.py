"""Builds layers of networks: pictures, norms, pools and recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofcompute.arrays import F32, Array
from proofcompute.encoding.wire import f32_bits
from proofcompute.errors import InputError, LimitError
from proofcompute.limits import MAX_WIDTH
from proofcompute.models.building.assembly import constant_weight, floats
from proofcompute.models.building.moving import Margin, each, margins
from proofcompute.models.building.products import Products
from proofcompute.models.building.tensor import Tensor
from proofcompute.program.operations import Gru, LayerNorm, Lstm, Pool, RmsNorm

__all__ = ["Networks"]


class Networks(Products):
    """Methods for layers."""

    # -- pictures ------------------------------------------------------------------------------------
    def pixels(
        self,
        name: str,
        shape: tuple[int, int, int],
        *,
        divisor: float = 255.0,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        reverse: bool = False,
        channels_first: bool = False,
    ) -> Tensor:
        """Declare an input of pixels, uint8 [height, width, channels]; return them as a network takes them.

        They are (x / divisor - mean) / std in float32, each step rounded, which is what torchvision's
        ``ToTensor`` and ``Normalize`` do. ``mean`` and ``std`` are numbers, or one for each channel of the
        result. ``reverse`` turns the order of the channels round first (RGB to BGR); the result is
        [height, width, channels], or [channels, height, width] with ``channels_first``. Since this is part
        of the program, a request binds the pixels themselves.
        """
        height, width, channels = shape
        scales = [np.asarray(values, np.float32) for values in (divisor, mean, std)]
        if scales[0].ndim or not all(a.shape in ((), (channels,)) for a in scales[1:]):
            raise InputError(f"{name}: mean and std are numbers, or {channels} of them")
        if not all(np.isfinite(a).all() for a in scales) or not (scales[0].all() and scales[2].all()):
            raise InputError(f"{name}: divisor, mean and std are finite, and only the mean may be 0")
        x = self.input(name, (height, width, channels), "u8")
        if reverse:
            x = self.flip(x, 2)
        y = self.cast(x, "f32")
        for function, by, nothing in zip(("div", "sub", "div"), scales, (1, 0, 1), strict=True):
            if (by != nothing).any():
                y = self.map(function, y, self.constant(by) if by.ndim else float(by))
        return self.transpose(y, (2, 0, 1)) if channels_first else y

    # -- norms ---------------------------------------------------------------------------------------
    def layer_norm(
        self, x: Tensor, weight: Array, bias: Array, *, eps: float = 1e-5, name: str | None = None
    ) -> Tensor:
        """Add (x - mean) / sqrt(variance + eps) * weight + bias, over the last axis."""
        name = self._name("layer_norm", name)
        names = (f"{name}.weight", f"{name}.bias")
        weights = {n: constant_weight(n, _vector(x, v)) for n, v in zip(names, (weight, bias), strict=True)}
        return self._add(name, LayerNorm(*names, f32_bits(eps)), (x,), weights)

    def rms_norm(self, x: Tensor, weight: Array, *, eps: float = 1e-5, name: str | None = None) -> Tensor:
        """Add x / sqrt(mean of squares + eps) * weight, over the last axis."""
        name = self._name("rms_norm", name)
        kept = f"{name}.weight"
        op = RmsNorm(kept, f32_bits(eps))
        return self._add(name, op, (x,), {kept: constant_weight(kept, _vector(x, weight))})

    def group_norm(
        self,
        x: Tensor,
        groups: int,
        weight: Array,
        bias: Array,
        *,
        eps: float = 1e-5,
        name: str | None = None,
    ) -> Tensor:
        """Add a norm over all places and the channels (last axis) of each group, then weight and bias.

        One group is a layer norm over the whole row, as many as channels an instance norm.
        """
        scale, shift = _vector(x, weight), _vector(x, bias)
        channels = x.shape[-1]
        if groups < 1 or channels % groups:
            raise InputError(f"group norm: {channels} channels are not {groups} groups")
        rows = self.reshape(x, (-1, groups, channels // groups))
        centred = rows - self.mean(rows, (0, 2), keep=True)
        variance = self.mean(centred * centred, (0, 2), keep=True)
        normed = self.reshape(centred / self.map("sqrt", variance + eps), x.shape)
        return self.map("add", normed * self.constant(scale), self.constant(shift), name=name)

    @staticmethod
    def fold_batch_norm(
        weight: Array,
        bias: Array | None,
        gamma: Array,
        beta: Array,
        mean: Array,
        variance: Array,
        *,
        eps: float = 1e-5,
    ) -> tuple[F32, F32]:
        """Return weights [out, ...] and biases [out] of a layer with the batch norm behind it folded in.

        All are arrays of finite floats, each but the weight [out]. They are computed in binary64 and rounded
        once. Raises InputError for a negative variance, or where a result is beyond binary32.
        """
        w = _finite("weight", weight)
        if not w.ndim:
            raise InputError("fold_batch_norm: a weight has an axis of outputs")
        b = np.zeros(len(w)) if bias is None else _finite("bias", bias)
        g, shift, m, v = (
            _finite(name, values)
            for name, values in (("gamma", gamma), ("beta", beta), ("mean", mean), ("variance", variance))
        )
        for name, values in (("bias", b), ("gamma", g), ("beta", shift), ("mean", m), ("variance", v)):
            if values.shape != w.shape[:1]:
                raise InputError(
                    f"fold_batch_norm: {name} has the shape {list(values.shape)}, not {[len(w)]}"
                )
        if (v < 0).any() or not eps >= 0 or (v + eps == 0).any():
            raise InputError(f"fold_batch_norm: a variance, with eps {eps}, is not positive")
        factor = g / np.sqrt(v + eps)
        with np.errstate(over="ignore"):
            folded = (w * factor.reshape(-1, *(1,) * (w.ndim - 1))).astype(np.float32)
            shifted = ((b - m) * factor + shift).astype(np.float32)
        if not (np.isfinite(folded).all() and np.isfinite(shifted).all()):
            raise InputError("fold_batch_norm: a weight or bias is beyond binary32")
        return folded, shifted

    # -- pools ---------------------------------------------------------------------------------------
    def pool(
        self,
        kind: str,
        x: Tensor,
        size: Sequence[int],
        *,
        strides: int | Sequence[int] | None = None,
        pads: Margin = 0,
        dilation: int | Sequence[int] = 1,
        whole: bool = False,
        name: str | None = None,
    ) -> Tensor:
        """Add the ``max``, ``mean`` or ``sum`` of windows over the first axes of x [places ..., channels].

        Windows follow one another unless ``strides`` says otherwise. Margins of ``pads`` elements, as for
        :meth:`conv`, count neither for a maximum nor for a mean; if ``whole``, they are zeros that a mean
        counts. Every window must hold an element of the row.
        """
        count = len(size)
        by = tuple(size) if strides is None else each(strides, count, "strides")
        apart, (low, high) = each(dilation, count, "dilation"), margins(pads, count, "pads")
        if low == high and set(apart) == {1} and not whole:
            return self._add(self._name("pool", name), Pool(kind, tuple(size), by, low), (x,))
        if kind not in ("max", "sum", "mean"):
            raise InputError(f"pool: no kind {kind!r}")
        if count > len(x.shape) or min((*size, *by, *apart), default=0) < 1:
            raise InputError(f"pool: windows of {list(size)} over a row of {list(x.shape)}")
        held = [
            _held(n, k, s, a, before, after)
            for n, k, s, a, before, after in zip(x.shape, size, by, apart, low, high, strict=False)
        ]
        if not all(numbers and min(numbers) > 0 for numbers in held):
            raise InputError("pool: a window without an element of the row")
        axes = tuple(range(count, 2 * count))
        padded = self.pad(x, low, high, value=-math.inf if kind == "max" else 0.0) if any(low + high) else x
        seen = self.windows(padded, size, by, apart)
        if kind != "mean":
            return self.reduce(kind, seen, axes, name=name)
        counts = np.full([len(n) for n in held], math.prod(size) if whole else 1, np.float32)
        for i, numbers in enumerate(() if whole else held):
            counts *= np.array(numbers, np.float32).reshape(-1, *(1,) * (count - 1 - i))
        divisor = counts.reshape(*counts.shape, *(1,) * (len(x.shape) - count))
        total = self.reduce("sum", seen, axes)
        if len(set(divisor.reshape(-1).tolist())) == 1:
            return self.map("div", total, float(divisor.reshape(-1)[0]), name=name)
        return self.map("div", total, self.constant(divisor), name=name)

    # -- recurrent layers ----------------------------------------------------------------------------
    def lstm(
        self,
        x: Tensor,
        weight: Array,
        recurrent: Array,
        bias: Array | None = None,
        recurrent_bias: Array | None = None,
        *,
        start: tuple[Tensor, Tensor] | None = None,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add a long short-term memory over x [steps, d].

        Returns all outputs [steps, h], the last one and the last cell. Weights [4 h, d] and [4 h, h] hold
        input, forget, cell and output gate, in this order. The product of the inputs is made once for all
        steps, the recurrent one in each step. ``start`` are output and cell before the first step; zeros if
        None.
        """
        name = self._name("lstm", name)
        names = (f"{name}.input", f"{name}.recurrent")
        weights = {
            n: self._matrix(n, w, b, weight_limbs)
            for n, w, b in zip(names, (weight, recurrent), (bias, recurrent_bias), strict=True)
        }
        h, c = start or (self._zeros(recurrent),) * 2
        made = self._add_all((name, f"{name}.last", f"{name}.cell"), Lstm(*names, limbs), (x, h, c), weights)
        return made[0], made[1], made[2]

    def gru(
        self,
        x: Tensor,
        weight: Array,
        recurrent: Array,
        bias: Array | None = None,
        recurrent_bias: Array | None = None,
        *,
        start: Tensor | None = None,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Add a gated recurrent unit over x [steps, d]; return all outputs [steps, h] and the last one.

        Weights [3 h, d] and [3 h, h] hold reset, update and new gate, in this order; the reset gate is
        applied behind the recurrent product.
        """
        name = self._name("gru", name)
        names = (f"{name}.input", f"{name}.recurrent")
        weights = {
            n: self._matrix(n, w, b, weight_limbs)
            for n, w, b in zip(names, (weight, recurrent), (bias, recurrent_bias), strict=True)
        }
        h = self._zeros(recurrent) if start is None else start
        made = self._add_all((name, f"{name}.last"), Gru(*names, limbs), (x, h), weights)
        return made[0], made[1]

    def _zeros(self, recurrent: Array) -> Tensor:
        return self.broadcast(self.number(0.0), (floats(recurrent, "a weight", 2).shape[1],))


def _held(n: int, size: int, by: int, apart: int, before: int, after: int) -> list[int]:
    """Return how many elements of an axis each window along it holds."""
    places = (before + n + after - (size - 1) * apart - 1) // by + 1
    if places > MAX_WIDTH:
        raise LimitError(f"pool: {places} windows along an axis, the limit is {MAX_WIDTH}")
    held = []
    for start in range(-before, places * by - before, by):
        first, last = max(0, -(start // apart)), min(size - 1, (n - 1 - start) // apart)
        held.append(max(0, last - first + 1))
    return held


def _finite(name: str, values: Array) -> NDArray[np.float64]:
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"fold_batch_norm: {name} is not an array of finite numbers")
    return values.astype(np.float64)


def _vector(x: Tensor, values: Array) -> F32:
    v = floats(values, "a norm's weight", 1)
    if not x.shape or v.shape != x.shape[-1:]:
        raise InputError(f"a norm's weight {list(v.shape)} does not fit rows of {list(x.shape)}")
    return v
