"""Chooses how a product is computed: by our kernel, or by the vendor's library where that is faster.

Both accumulate int8 products in int32, and sums of integers do not depend on their order, so they give the
same bytes. The library writes accumulators to memory and needs a second kernel to convert them to floats;
ours does both at once. Which one is faster depends on shape and device, and is measured once for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.launcher import Launcher
from proofcompute.errors import DeviceError, InputError

__all__ = ["ROUTES", "Routes"]

ROUTES: Final = ("measure", "kernel", "library")
"""The rules that ``CudaKernels`` accepts: choose by measuring, or always use one of the two."""

_LEAST_ROWS: Final = 32
"""Least rows for the library: with fewer, reading the weights once is the bound, and it cannot be faster."""
_WORD: Final = 4
"""The library takes channels, contractions and addresses that are multiples of this, and any rows."""


def _class(n: int) -> int:
    """Return the class of a row count: row counts up to the same power of two are measured together."""
    return (n - 1).bit_length()


@final
class Routes:
    """The choices of one device."""

    def __init__(self, on: Launcher, rule: str) -> None:
        if rule not in ROUTES:
            raise InputError(f"products go by one of {', '.join(ROUTES)}, not {rule!r}")
        self._on = on
        self._rule = rule if on.device.library else "kernel"
        self.chosen: dict[tuple[int, ...], str] = {}
        """The choice by class of rows, output channels, contraction length and limbs."""
        self.refused: dict[tuple[int, ...], str] = {}
        """Why the library refused a product that it should take."""

    def library_fits(self, n: int, m: int, d: int, *operands: DeviceArray) -> bool:
        """Return whether the library takes this product at all."""
        aligned = m % _WORD == 0 and d % _WORD == 0
        return n >= _LEAST_ROWS and aligned and all(x.buffer.start % _WORD == 0 for x in operands)

    def run(
        self, shape: tuple[int, ...], kernel: Callable[[], Any], library: Callable[[], Any], *, fits: bool
    ) -> Any:
        """Return the result of either one; a choice holds for ``shape`` = (rows, ...)."""
        if self._rule == "kernel" or not fits:
            return kernel()
        if self._rule == "library":
            return library()
        key = (_class(shape[0]), *shape[1:])
        if key not in self.chosen:
            if self._on.capturing:
                return kernel()
            self.chosen[key] = self._faster(key, kernel, library)
        return kernel() if self.chosen[key] == "kernel" else library()

    def _faster(self, key: tuple[int, ...], kernel: Callable[[], Any], library: Callable[[], Any]) -> str:
        times = {}
        for name, way in (("kernel", kernel), ("library", library)):
            try:
                way()  # loads what a first call loads
                times[name] = self._on.device.timed(way)
            except DeviceError as error:
                if name == "kernel":
                    raise
                self.refused[key] = str(error)
        return min(times, key=lambda name: times[name])
