"""Finds out where an array of another library lies, and shares its memory if the host can read it (DLPack).

https://data-apis.org/array-api/latest/design_topics/data_interchange.html
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np

from proofcompute.arrays import Array
from proofcompute.errors import InputError

__all__ = ["ON_CUDA", "ON_HOST", "AnyArray", "ForeignArray", "host_array", "named_place", "place_of"]


class ForeignArray(Protocol):
    """An array of a library with DLPack."""

    def __dlpack__(self, *args: Any, **options: Any) -> Any:
        """Lend the memory."""
        ...

    def __dlpack_device__(self) -> tuple[Any, Any]:
        """Say where the memory lies."""
        ...


AnyArray = Array | ForeignArray
"""An array of NumPy or of another library."""
ON_HOST: Final = (1, 3)
"""Kinds of devices whose memory the host reads: the CPU's, and that which CUDA has pinned."""
ON_CUDA: Final = (2, 13)
"""Kinds of devices whose memory CUDA reads: its own, and managed memory."""


def place_of(x: Any, what: str) -> tuple[int, int]:
    """Return the kind and the number of the device on which an array lies; ``what`` names it in errors.

    Raises InputError unless it is an array with DLPack on a device whose memory can be read here.
    """
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise InputError(
            f"{what} is {type(x).__name__}; give an array of NumPy or a library with DLPack (CuPy, PyTorch)"
        )
    if hasattr(x, "is_neg") and x.is_neg():  # PyTorch shares the memory and says nothing of the signs
        raise InputError(f"{what} is a view whose signs are not changed yet; call resolve_neg() first")
    try:
        kind, number = map(int, x.__dlpack_device__())
    except (BufferError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(f"{what}: {type(x).__name__} does not say where it lies: {e}") from e
    if kind not in (*ON_HOST, *ON_CUDA):
        place = named_place((kind, number))
        raise InputError(f"{what} lies on {place}, which cannot be read here; copy it to the host first")
    return kind, number


def named_place(place: tuple[int, int]) -> str:
    """Return a device as people read it."""
    kind, number = place
    return f"CUDA device {number}" if kind in ON_CUDA else f"a device of kind {kind} of DLPack"


def host_array(x: object, what: str) -> Array:
    """Return an array as NumPy's, on the same memory; ``what`` names it in errors.

    Raises InputError unless it is NumPy's, or has DLPack and lies on the host.
    """
    if isinstance(x, np.ndarray):
        return x
    place = place_of(x, what)
    if place[0] not in ON_HOST:
        raise InputError(f"{what} lies on {named_place(place)}; copy it to the host first")
    try:
        return np.from_dlpack(x)  # type: ignore[arg-type]
    except (BufferError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(
            f"{what} is a {type(x).__name__} that cannot be shared: {e}. Detach it from gradients, resolve "
            "what it leaves to do, and convert elements that NumPy does not have (bfloat16) to float32"
        ) from e
