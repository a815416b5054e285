"""Gives Numba's CUDA target the five operations of :mod:`proofcompute.arithmetic.backends.scalar.rounded`.

Each becomes the libdevice function of that name, which is one ``.rn`` instruction that nothing fuses or
approximates. In Numba's simulator nothing is compiled, and their plain Python meaning is the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import config
from numba.cuda.extending import overload

from proofcompute.arithmetic.backends.scalar.rounded import OPTIONS, minus, over, plus, root, times

__all__ = ["SIMULATED"]

SIMULATED: bool = bool(config.ENABLE_CUDASIM)
"""Whether Numba's simulator stands in for a device (``NUMBA_ENABLE_CUDASIM=1``)."""


def _on_cuda(function: Callable[..., Any], replacement: Callable[..., Any]) -> None:
    @overload(function, jit_options=OPTIONS, strict=False, target="cuda")
    def choose(*types: Any) -> Callable[..., Any]:
        return replacement


if not SIMULATED:
    from numba.cuda import libdevice

    _on_cuda(plus, lambda a, b: libdevice.fadd_rn(a, b))
    _on_cuda(minus, lambda a, b: libdevice.fsub_rn(a, b))
    _on_cuda(times, lambda a, b: libdevice.fmul_rn(a, b))
    _on_cuda(over, lambda a, b: libdevice.fdiv_rn(a, b))
    _on_cuda(root, lambda a: libdevice.fsqrt_rn(a))
