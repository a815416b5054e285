"""Define the settings of the sampler, which a request states.

This is a module of its own, so that messages hold settings without loading kernels.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from proofcompute.errors import InputError

__all__ = ["Sampling", "check_sampling"]


@dataclass(frozen=True)
class Sampling:
    """The settings by which the next token is chosen."""

    temperature: float = 0.0
    """The divisor of the logits; 0 means argmax and ignores top_k and top_p. A binary32 value."""
    top_k: int = 0
    """The number of highest logits that are kept; 0 keeps all."""
    top_p: float = 1.0
    """The share of the mass that the shortest prefix, in descending order, must have to be kept. Binary32."""
    repetition_penalty: float = 1.0
    """The divisor of positive logits, and the factor of others, for tokens that occurred before. Binary32."""

    def __post_init__(self) -> None:
        """Round numbers to the nearest binary32, because a request states binary32 numbers."""
        for name in ("temperature", "top_p", "repetition_penalty"):
            object.__setattr__(self, name, _nearest(getattr(self, name)))
        top_k: object = self.top_k
        if isinstance(top_k, np.integer):
            object.__setattr__(self, "top_k", int(top_k))


def _nearest(value: float) -> float:
    """Return the nearest binary32 number, or ``value`` if there is none; check_sampling then refuses it."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        return value
    try:
        found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return value
    return found


def _is_binary32(x: float) -> bool:
    # It is compared with the largest binary32 first, because the conversion could overflow.
    return abs(x) <= 3.4028234663852886e38 and float(np.float32(x)) == x


def check_sampling(how: Sampling) -> None:
    """Raise InputError, naming the field, unless ``how`` is usable.

    All but top_k must be finite binary32 values: temperature at least 0, 0 < top_p <= 1,
    repetition_penalty greater than 0. top_k is an integer of at least 0.
    """
    for name in ("temperature", "top_p", "repetition_penalty"):
        value: object = getattr(how, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_binary32(value):
            raise InputError(f"{name} must be a finite binary32 number, not {value!r}")
    if how.temperature < 0:
        raise InputError(f"temperature must be at least 0, not {how.temperature}")
    if not 0 < how.top_p <= 1:
        raise InputError(f"top_p must be greater than 0 and at most 1, not {how.top_p}")
    if how.repetition_penalty <= 0:
        raise InputError(f"repetition_penalty must be greater than 0, not {how.repetition_penalty}")
    top_k: object = how.top_k
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 0:
        raise InputError(f"top_k must be an integer of at least 0, not {top_k!r}")
