"""Which way a product takes: our kernel, or the vendor's library where that is faster.

Both accumulate int8 products in int32, and sums of integers do not depend on their order, so they give the
same bytes. The library's product writes accumulators to memory and needs a second kernel to make floats of
them; ours does both at once. Which is faster depends on shape and device: it is measured once for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from proofcompute.arithmetic.backends.cuda.array import DeviceArray
from proofcompute.arithmetic.backends.cuda.launcher import Launcher
from proofcompute.errors import DeviceError, InputError

__all__ = ["ROUTES", "Routes"]

ROUTES: Final = ("measure", "kernel", "library")
"""What ``CudaKernels`` accepts: choose by measuring, or always one of the two."""

_LEAST_ROWS: Final = 32
"""Below, a product reads its weights once and is bound by that; the library has nothing to gain."""
_WORD: Final = 4
"""The library takes channels, contractions and addresses in multiples of this, and any number of rows."""


def _class(n: int) -> int:
    """Row counts that are measured together: up to the same power of two."""
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
        """By class of rows, output channels, contraction length and limbs."""
        self.refused: dict[tuple[int, ...], str] = {}
        """Why the library did not take a product that it should."""

    def library_fits(self, n: int, m: int, d: int, *operands: DeviceArray) -> bool:
        """Whether the library takes this product at all."""
        aligned = m % _WORD == 0 and d % _WORD == 0
        return n >= _LEAST_ROWS and aligned and all(x.buffer.start % _WORD == 0 for x in operands)

    def run(
        self, shape: tuple[int, ...], kernel: Callable[[], Any], library: Callable[[], Any], *, fits: bool
    ) -> Any:
        """The result of either; ``shape`` = (rows, ...) is what a choice holds for."""
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
                way()  # loads what is loaded at the first call
                times[name] = self._on.device.timed(way)
            except DeviceError as error:
                if name == "kernel":
                    raise
                self.refused[key] = str(error)
        return min(times, key=lambda name: times[name])
