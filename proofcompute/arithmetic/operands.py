"""Define what a product multiplies by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofcompute.arrays import F32, I8

__all__ = ["Matrix"]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A quantised weight matrix: row j holds output channel j. With groups, there is a matrix for each."""

    q: I8
    """[limbs, m, d] int8; limb 0 is the high one when there are two. With groups, [groups, limbs, m, d]."""
    scale: F32
    """[m] float32, one scale per output channel. With groups, [groups, m]."""
    bias: F32 | None = None
    """[m] float32, added last; None where the layer has none. With groups, [groups, m]."""

    @property
    def groups(self) -> int:
        """The number of matrices; 1 for a single one."""
        return int(self.q.shape[0]) if self.q.ndim == 4 else 1

    @property
    def m(self) -> int:
        """Output channels, of each group."""
        return int(self.q.shape[-2])

    def group(self, i: int) -> Matrix:
        """Return one of several matrices, without copying it."""
        bias = None if self.bias is None else _only(self.bias, i)
        return Matrix(_only(self.q, i), _only(self.scale, i), bias)


def _only(x: Any, i: int) -> Any:
    return x[i : i + 1].reshape(x.shape[1:])
