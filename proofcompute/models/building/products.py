"""Builds products: with weight matrices, of two activations, and convolutions; and loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from proofcompute.arrays import F32, Array
from proofcompute.errors import InputError
from proofcompute.limits import MAX_RANK
from proofcompute.models.building.assembly import Scope, floats
from proofcompute.models.building.moving import Margin, Moving, each, margins
from proofcompute.models.building.tensor import Tensor
from proofcompute.program.operations import Contract, Embed, Experts, Linear, Scan
from proofcompute.program.types import Spec

__all__ = ["FLOAT_CONTRACTION", "Products", "in_floats"]

FLOAT_CONTRACTION: Final = 32
"""Convolutions that sum no more products than this are computed in float32: quantising rows so short costs
much accuracy, and checking their products costs what computing them costs.
"""


def in_floats(window: int, inner: int, groups: int) -> bool:
    """Return whether a convolution with so many places in its window, and channels in a group, has no site.

    If each channel is convolved by itself, there would be as many products with weights as channels.
    """
    return window * inner <= FLOAT_CONTRACTION or (inner == 1 and groups > 1)


class Products(Moving):
    """Methods that multiply. Weights are quantised row by row."""

    def linear(
        self,
        x: Tensor,
        weight: Array,
        bias: Array | None = None,
        *,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """Add x W^T + bias over the last axis, for W [out, d] and bias [out], both float32.

        ``limbs`` of the activations and ``weight_limbs`` of the weights are 1 (8 bits) or 2 (16 bits). The
        other axes of a row are rows of the product, each quantised with a scale of its own. Raises
        NonFiniteError if a weight is not finite.
        """
        if not x.shape or np.ndim(weight) != 2 or np.shape(weight)[1] != x.shape[-1]:
            raise InputError(f"weights {list(np.shape(weight))} do not fit rows of {list(x.shape)}")
        name = self._name("linear", name)
        matrix = f"{name}.weight"
        weights = {matrix: self._matrix(matrix, weight, bias, weight_limbs)}
        return self._add(name, Linear(matrix, limbs), (x,), weights)

    def experts(
        self,
        x: Tensor,
        numbers: Tensor,
        weight: Array,
        bias: Array | None = None,
        *,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """Add products of x [d] or [r, d] with those matrices of W [groups, out, d] that numbers name.

        The numbers are int32 [r], the result is [r, out]. A number without a matrix is an error when the
        program runs.
        """
        name = self._name("experts", name)
        matrix = f"{name}.weight"
        weights = {matrix: self._matrix(matrix, weight, bias, weight_limbs, 3)}
        return self._add(name, Experts(matrix, limbs), (x, numbers), weights)

    def embed(
        self, numbers: Tensor, table: Array, *, weight_limbs: int = 1, name: str | None = None
    ) -> Tensor:
        """Add rows of a float32 table [n, d], chosen by an int32 input of the program."""
        name = self._name("embed", name)
        matrix = f"{name}.weight"
        return self._add(
            name, Embed(matrix), (numbers,), {matrix: self._matrix(matrix, table, None, weight_limbs)}
        )

    def contract(self, x: Tensor, y: Tensor, *, limbs: int = 2, name: str | None = None) -> Tensor:
        """Add x y for matrices [..., n, d] and [..., d, m] of a row, which a verifier computes again.

        Floats are quantised to 1 or 2 limbs; 0 limbs are for integers, whose exact product is int64.
        """
        return self._add(self._name("contract", name), Contract(limbs), (x, y))

    # -- convolutions --------------------------------------------------------------------------------
    def conv(
        self,
        x: Tensor,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: int | Sequence[int] = 1,
        pads: Margin = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """Add a convolution of x [places ..., channels], whose last axis are the channels.

        The float32 weight is [out, *window, channels / groups]. ``pads`` zeros stand at the ends of each axis
        of places: one number, or for each axis a number or those before and after it. It is a view in windows
        and a :meth:`linear`, so each window has its own scale; or, if at most FLOAT_CONTRACTION products are
        summed, or channels are convolved each by itself, float32 products and sums without one.
        """
        w = floats(weight, "a weight", len(x.shape) + 1)
        out, *size, inner = w.shape
        if x.dtype != "f32" or len(size) < 1 or groups < 1 or inner * groups != x.shape[-1] or out % groups:
            raise InputError(f"weights {list(w.shape)} in {groups} groups do not fit rows of {list(x.shape)}")
        low, high = margins(pads, len(size), "pads")
        if any((*low, *high)):
            x = self.pad(x, low, high)
        if in_floats(math.prod(size), inner, groups):
            return self._float_conv(x, w, bias, strides, dilation, groups, name)
        if set(size) == {1} and set(each(strides, len(size), "strides")) == {1}:
            seen, places = self.reshape(x, (*x.shape[:-1], *size, x.shape[-1])), x.shape[:-1]
        else:
            seen = self.windows(x, size, strides, dilation)
            places = seen.shape[: len(size)]
        if groups == 1:
            rows = self.reshape(seen, (*places, -1))
            return self.linear(
                rows, w.reshape(out, -1), bias, limbs=limbs, weight_limbs=weight_limbs, name=name
            )
        parts = []
        for g in range(groups):
            rows = self.reshape(seen[..., g * inner : (g + 1) * inner], (*places, -1))
            here = slice(g * out // groups, (g + 1) * out // groups)
            b = None if bias is None else floats(bias, "a bias", 1)[here]
            part = w[here].reshape(out // groups, -1)
            parts.append(self.linear(rows, part, b, limbs=limbs, weight_limbs=weight_limbs))
        return self.concat(parts, -1, name=name)

    def conv_transpose(
        self,
        x: Tensor,
        weight: Array,
        bias: Array | None = None,
        *,
        strides: int | Sequence[int] = 1,
        pads: Margin = 0,
        more: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        limbs: int = 2,
        weight_limbs: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """Add a transposed convolution of x [places ..., channels], as ONNX and PyTorch define it.

        The float32 weight is [channels, *window, out / groups]. Each axis of places is (n - 1) stride +
        dilation (window - 1) + 1 + ``more`` - pads long; ``pads`` are cut off its ends, as for :meth:`conv`.
        It is a :meth:`conv` of the row with zeros between its places, by the window read backwards.
        """
        w = floats(weight, "a weight", len(x.shape) + 1)
        channels, *size, out = w.shape
        count = len(size)
        if count < 1 or groups < 1 or channels != x.shape[-1] or channels % groups:
            raise InputError(f"weights {list(w.shape)} in {groups} groups do not fit rows of {list(x.shape)}")
        by, apart, longer = (
            each(v, count, what) for v, what in ((strides, "strides"), (dilation, "dilation"), (more, "more"))
        )
        if min((*by, *apart)) < 1 or min(longer) < 0:
            raise InputError(f"{by} and {apart} are no strides and no dilation")
        low, high = margins(pads, count, "pads")
        reach = [a * (k - 1) for k, a in zip(size, apart, strict=True)]
        before = [r - p for r, p in zip(reach, low, strict=True)]
        after = [r - p + m - (s - 1) for r, p, m, s in zip(reach, high, longer, by, strict=True)]
        wide = self.spread(x, by) if set(by) != {1} else x
        if min((*before, *after)) < 0:
            cut = [
                slice(max(0, -a), n + min(0, b)) for a, b, n in zip(before, after, wide.shape, strict=False)
            ]
            wide = self.slice(wide, (*cut, slice(None)))
        margin = [(max(0, a), max(0, b)) for a, b in zip(before, after, strict=True)]
        parted = w.reshape(groups, channels // groups, *size, out)
        turned = np.flip(parted, tuple(range(2, 2 + count)))
        ready = np.ascontiguousarray(turned.transpose(0, count + 2, *range(2, 2 + count), 1))
        return self.conv(
            wide, ready.reshape(groups * out, *size, channels // groups), bias, pads=margin,
            dilation=dilation, groups=groups, limbs=limbs, weight_limbs=weight_limbs, name=name,
        )  # fmt: skip

    def _float_conv(
        self,
        x: Tensor,
        w: F32,
        bias: Array | None,
        strides: int | Sequence[int],
        dilation: int | Sequence[int],
        groups: int,
        name: str | None,
    ) -> Tensor:
        """Add a convolution in float32: [places, window, groups, in, 1] times [window, groups, in, out].

        Axes of one element are left out, so that a row has few enough.
        """
        out, *size, inner = w.shape
        count, outs = len(size), out // groups
        channels = [n for n in (groups, inner) if n > 1]
        last = [1] * (outs > 1)
        x = self.reshape(x, (*x.shape[:-1], *channels))
        wide = 2 * count + len(channels) + len(last) <= MAX_RANK
        seen = self.windows(self.reshape(x, (*x.shape, *last)) if wide else x, size, strides, dilation)
        places = seen.shape[:count]
        if not wide:
            seen, size, count = (
                self.reshape(seen, (math.prod(places), math.prod(size), *channels, *last)),
                [math.prod(size)],
                1,
            )
        turned = w.reshape(groups, outs, *size, inner).transpose(*range(2, 2 + count), 0, 2 + count, 1)
        weights = np.ascontiguousarray(turned).reshape(*size, *channels, *[outs] * (outs > 1))
        summed_axes = (*range(count, 2 * count), *[2 * count + (groups > 1)] * (inner > 1))
        summed = self.reduce("sum", seen * self.constant(weights), summed_axes)
        if bias is None:
            return self.reshape(summed, (*places, out), name=name)
        return self.map(
            "add", self.reshape(summed, (*places, out)), self.constant(floats(bias, "a bias", 1)), name=name
        )

    # -- loops ---------------------------------------------------------------------------------------
    def scan(
        self,
        body: Callable[..., tuple[Sequence[Tensor], Sequence[Tensor]]],
        carried: Sequence[Tensor] = (),
        scanned: Sequence[Tensor] = (),
        whole: Sequence[Tensor] = (),
        *,
        count: int | None = None,
        name: str | None = None,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Add a loop of a fixed number of steps inside each row.

        ``body`` is called once, with a tensor for each value of ``carried``, ``scanned`` and ``whole``, in
        this order, and adds the operations of a step. It sees carried values of the step before, entry t of
        what is scanned ([count, ...]) in step t, and all of ``whole``, besides constants and numbers. It
        returns the carried values for the next step, of the same types, and the values to collect.

        Returns the carried values after the last step, and what was collected, [count, ...].
        """
        if count is None:
            if not scanned or not scanned[0].shape:
                raise InputError("scan: needs a count, or something to scan")
            count = scanned[0].shape[0]
        given = [*carried, *scanned, *whole]
        first = len(carried)
        kinds = [
            Spec(x.dtype, x.shape[1:]) if first <= i < first + len(scanned) and x.shape else x.spec
            for i, x in enumerate(given)
        ]
        params = [Tensor(f"in.{i}", spec, self) for i, spec in enumerate(kinds)]
        self._scopes.append(Scope(set(params)))
        try:
            following, collected = _returned(body(*params))
            results = [self._use(x) for x in (*following, *collected)]
            nodes = tuple(self._scopes[-1].nodes)
        finally:
            self._scopes.pop()
        if len(following) != first:
            raise InputError(f"scan: {len(following)} values for the next step, where {first} are carried")
        op = Scan(count, first, len(scanned), len(whole), nodes, tuple(results))
        name = self._name("scan", name)
        names = [name] if len(results) == 1 else [f"{name}.{i}" for i in range(len(results))]
        made = self._add_all(names, op, given)
        return made[:first], made[first:]


def _returned(pair: object) -> tuple[list[Tensor], list[Tensor]]:
    """Return what the body of a loop gave, if that is two lists of tensors; else raise InputError."""
    lists = (
        [[*part] for part in pair if isinstance(part, list | tuple)] if isinstance(pair, list | tuple) else []
    )
    if len(lists) != 2 or not all(isinstance(x, Tensor) for part in lists for x in part):
        raise InputError("scan: the body does not return two lists of tensors")
    return lists[0], lists[1]
