"""Test that this thread computes as IEEE 754 says (docs/spec/arithmetic.md#elementwise-operations).

A processor rounds to nearest even and keeps subnormal numbers until somebody tells it otherwise: a library
built with ``-ffast-math`` does so when it is loaded, and others call ``fesetround`` without restoring the
mode. The setting belongs to a thread, and new threads inherit that of the thread that makes them. One
register holds it for binary32 and binary64 alike (MXCSR on x86-64, FPCR on AArch64), and Python's own numbers
are binary64, so four of their operations show it, in a tenth of a microsecond:

- 2^-1074 is above 0, unless subnormal operands are taken for zero;
- 2^-1022 / 2 is above 0, unless subnormal results are;
- 1 + 2^-53 is a tie that goes down to 1, unless rounding is upward;
- (1 + 2^-52) + 2^-53 is a tie that goes up to 1 + 2^-51, unless rounding is downward or towards zero.

If an answer is wrong, nothing is computed. The setting is not corrected, because the code that made it may
rely on it, and other threads, such as those of a BLAS, would keep theirs.
"""

from __future__ import annotations

from typing import Final

from proofcompute.errors import DeviceError

__all__ = ["require_ieee"]

_LEAST: Final = 2.0**-1074
_NORMAL: Final = 2.0**-1022
_HALF: Final = 0.5
_ONE: Final = 1.0
_TIE: Final = 2.0**-53
_ODD: Final = 1.0 + 2.0**-52
_EVEN: Final = 1.0 + 2.0**-51


def require_ieee() -> None:
    """Raise DeviceError unless this thread rounds to nearest even and keeps subnormal numbers."""
    if _LEAST > 0.0 and _NORMAL * _HALF > 0.0 and _ONE + _TIE == _ONE and _ODD + _TIE == _EVEN:
        return
    kept = _LEAST > 0.0 and _NORMAL * _HALF > 0.0
    what = "rounds in another direction than to nearest" if kept else "takes subnormal numbers for zero"
    raise DeviceError(
        f"this thread {what}: some library in this process has changed the processor's floating-point mode "
        "(often one built with -ffast-math, when it is loaded); use proofcompute in a process without it, or "
        "load it last and restore the mode afterwards"
    )
