"""Makes inputs of floats from pixels, so that what a file leaves to its user becomes part of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.models.builder import ProgramBuilder
from proofcompute.models.building.tensor import Tensor

__all__ = ["Pixels", "picture_size"]

_CHANNELS: Final = (1, 3, 4)


@dataclass(frozen=True)
class Pixels:
    """How pixels become what an input of a network takes: see :meth:`proofcompute.ProgramBuilder.pixels`."""

    divisor: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    """One number, or one for each channel of the input."""
    std: tuple[float, ...] = (1.0,)
    reverse: bool = False
    """Whether the channels of a picture are turned round first (RGB to BGR)."""

    def declare(self, b: ProgramBuilder, name: str, shape: tuple[int, ...]) -> Tensor:
        """Declare an input of pixels, and return the floats of ``shape`` that the network takes.

        ``shape`` is [channels, height, width], or [height, width, channels] where only the last axis may be
        channels. Raises InputError if it is neither.
        """
        return b.pixels(
            name,
            picture_size(name, shape),
            divisor=self.divisor,
            mean=self.mean[0] if len(self.mean) == 1 else self.mean,
            std=self.std[0] if len(self.std) == 1 else self.std,
            reverse=self.reverse,
            channels_first=shape[0] in _CHANNELS,
        )

    def floats(self, pictures: Array, shape: tuple[int, ...]) -> Array:
        """Return what :meth:`declare` makes of pictures, uint8 [n, height, width, channels]: [n, *shape]."""
        x = (pictures[..., ::-1] if self.reverse else pictures).astype(np.float32)
        mean, std = (np.array(v, np.float32) for v in (self.mean, self.std))
        y: Array = (x / np.float32(self.divisor) - mean) / std
        return y.transpose(0, 3, 1, 2) if shape[0] in _CHANNELS else y


def picture_size(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return [height, width, channels] of an input that takes ``shape``.

    Raises InputError unless that is [channels, height, width] or [height, width, channels].
    """
    if len(shape) != 3 or not (shape[0] in _CHANNELS or shape[2] in _CHANNELS):
        raise InputError(
            f"input {name[:80]!r} takes {list(shape)} and no pictures: [channels, height, width] "
            "or [height, width, channels] with 1, 3 or 4 channels"
        )
    return (shape[1], shape[2], shape[0]) if shape[0] in _CHANNELS else (shape[0], shape[1], shape[2])
