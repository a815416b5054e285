"""Weights of one block, and the functions that its layers share, in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from proofcompute.arrays import F32
from proofcompute.importers.architecture import Norm

__all__ = ["Product", "Rows", "Weights", "capped", "sigmoid", "softmax"]

Rows = Callable[[str, int, int], F32]
"""Returns rows a..b of a weight by its canonical name, such as :meth:`.Checkpoint.rows`."""
Product = Callable[[str, int, int, F32], F32]
"""Returns x W^T for rows a..b of the weight W of a name and inputs x [n, d], without bias: [n, b - a]."""


@dataclass(frozen=True)
class Weights:
    """The weights whose names begin with ``prefix``."""

    prefix: str
    rows: Rows
    product: Product

    def vector(self, name: str, n: int, first: int = 0) -> F32:
        """Return ``n`` elements of a vector, from ``first`` on."""
        return self.rows(self.prefix + name, first, first + n)

    def linear(self, name: str, rows: int, x: F32, *, bias: bool = False, first: int = 0) -> F32:
        """Return W x + b for each row x and rows first..first + rows of a matrix."""
        y = self.product(self.prefix + name, first, first + rows, x)
        return y + self.vector(f"{name}.bias", rows, first) if bias else y

    def norm(self, norm: Norm, name: str, x: F32, heads: int = 0) -> F32:
        """Return a norm over the last axis of x.

        ``heads`` is the number of heads, the axis before, if each has weights of its own; else 0.
        """
        n = x.shape[-1]
        shape = (heads, n) if heads else (n,)
        size = n * (heads or 1)
        if norm.kind == "layer":
            x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(norm.eps))
        x = x * (self.vector(name, size) + np.float32(norm.offset)).reshape(shape)
        return x + self.vector(f"{name}.bias", size).reshape(shape) if norm.bias else x


def softmax(x: F32, sink: np.float32 | None = None) -> F32:
    """Return the softmax of each row; ``sink`` is one more logit, whose share is dropped."""
    most = x.max(axis=-1, keepdims=True)
    if sink is not None:
        most = np.maximum(most, sink)
    e = np.exp(x - most)
    total = e.sum(axis=-1, keepdims=True)
    if sink is not None:
        total = total + np.exp(sink - most)
    result: F32 = e / total
    return result


def sigmoid(x: F32) -> F32:
    """Return 1 / (1 + e^-x)."""
    e: F32 = np.exp(-np.abs(x))
    result: F32 = np.where(x >= 0, np.ones_like(x), e) / (np.float32(1) + e)
    return result


def capped(x: F32, cap: float) -> F32:
    """Return tanh(x / cap) cap, or x if ``cap`` is 0."""
    result: F32 = np.tanh(x / np.float32(cap)) * np.float32(cap) if cap else x
    return result
