"""Takes arrays of any library, and gives results back as arrays of that library, by DLPack.

NumPy arrays are taken as they are. Any other array has ``__dlpack__`` and ``__dlpack_device__`` (CuPy,
PyTorch, JAX, ...), and its memory is used where it lies, without a copy if it is C-contiguous. A backend on
the CPU takes what the host can read; one on a CUDA device also takes what lies on that device, and copies
what lies on the host. https://data-apis.org/array-api/latest/design_topics/data_interchange.html
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.jobs.arrays import check_matrix, matrix

__all__ = ["Library", "Taken", "kernels_of", "take"]

_ON_HOST: Final = (1, 3)
"""Kinds of devices of DLPack whose memory the host reads: the CPU's, and that which CUDA has pinned."""
_ON_CUDA: Final = (2, 13)
"""Kinds of devices of DLPack whose memory CUDA reads: its own, and managed memory."""


@final
@dataclass(frozen=True)
class Library:
    """The library of an array that a caller gave, and where the array lies."""

    module: Any
    """Its module, with ``from_dlpack`` and ``isfinite``."""
    host: bool
    """Whether the host can read the memory."""

    @property
    def numpy(self) -> bool:
        """Whether it is NumPy."""
        return self.module is np

    def give(self, x: Array, kernels: Kernels) -> Any:
        """Return an array of the backend as one of this library, where the caller's array lies.

        The memory is shared where both are in one place. Raises InputError if the library does not take it.
        """
        if self.host:
            x = kernels.host(x)
        if self.numpy:
            return x
        try:
            return self.module.from_dlpack(x)
        except (BufferError, RuntimeError, TypeError, ValueError) as e:
            raise InputError(
                f"{self.module.__name__} does not take the product, {x.dtype} {list(x.shape)} ({e}); give A "
                "as a NumPy array"
            ) from e


@final
@dataclass(frozen=True, eq=False)
class Taken:
    """A matrix, or a stack of matrices, that a caller gave."""

    array: Array
    """As an array of the backend: C-contiguous, in native byte order."""
    original: Any
    """As the caller gave it."""
    library: Library

    def lent_to(self, other: Library, kernels: Kernels) -> Any:
        """Return the matrix as an array of another library, which can multiply it by its own."""
        return self.original if self.library.module is other.module else other.give(self.array, kernels)


def take(x: object, what: str, allowed: tuple[str, ...], kernels: Kernels) -> Taken:
    """Take a caller's matrix or stack of matrices, of one of the ``allowed`` element types.

    Raises InputError for anything but an array of that type that lies where the backend can read it, and
    LimitError for one that is too large.
    """
    if isinstance(x, np.ndarray):
        host = matrix(x, what, allowed)
        return Taken(host if _on_host(kernels) else kernels.array(host), x, Library(np, host=True))
    found = _place(x, what)
    library = Library(_module(x, what), host=found[0] in _ON_HOST)
    if library.host:
        host = matrix(_from_host(x, what), what, allowed)
        return Taken(host if _on_host(kernels) else kernels.array(host), x, library)
    if _on_host(kernels):
        raise InputError(
            f"{what} lies on {_named(found)}, and this job computes on the CPU; move {what} to the host, or "
            'make the job with device="cuda"'
        )
    array = kernels.array(x)
    check_matrix(array, what, allowed)
    return Taken(array, x, library)


def kernels_of(x: object, device: str) -> Kernels:
    """Return the backend ``device``; for "auto", that of the CUDA device on which an array lies, if on one.

    Raises DeviceError if there is no such backend.
    """
    if device == "auto" and not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__"):
        kind, number = _place(x, "B")
        if kind in _ON_CUDA:
            return kernels_for(f"cuda:{number}")
    return kernels_for(device)


def _on_host(kernels: Kernels) -> bool:
    return kernels.name != "cuda"


def _place(x: Any, what: str) -> tuple[int, int]:
    """Return the kind and the number of the device on which an array lies."""
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
    if kind not in (*_ON_HOST, *_ON_CUDA):
        place = _named((kind, number))
        raise InputError(f"{what} lies on {place}, which cannot be read here; copy it to the host first")
    return kind, number


def _named(place: tuple[int, int]) -> str:
    kind, number = place
    return f"CUDA device {number}" if kind in _ON_CUDA else f"a device of kind {kind} of DLPack"


def _from_host(x: Any, what: str) -> Array:
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(
            f"{what} is a {type(x).__name__} that cannot be shared: {e}. Detach it from gradients, resolve "
            "what it leaves to do, and convert elements that NumPy does not have (bfloat16) to float32"
        ) from e


def _module(x: Any, what: str) -> Any:
    """Return the library of an array: its namespace, or the package of its type that takes DLPack."""
    if hasattr(x, "__array_namespace__"):
        found = x.__array_namespace__()
        if hasattr(found, "from_dlpack"):
            return found
    for kind in type(x).__mro__:
        found = sys.modules.get(kind.__module__.partition(".")[0])
        if found is not None and hasattr(found, "from_dlpack"):
            return found
    raise InputError(
        f"{what} is of {type(x).__module__}, which takes no results by DLPack; give it as a NumPy array"
    )
