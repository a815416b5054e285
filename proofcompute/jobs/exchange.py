"""Takes arrays of any library, and gives results back as arrays of that library, by DLPack.

NumPy arrays are taken as they are. Any other array has ``__dlpack__`` and ``__dlpack_device__`` (CuPy,
PyTorch, JAX, ...), and its memory is used where it lies, without a copy if it is C-contiguous. A backend on
the CPU takes what the host can read; one on a CUDA device also takes what lies on that device, and copies
what lies on the host. https://data-apis.org/array-api/latest/design_topics/data_interchange.html
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.errors import InputError
from proofcompute.jobs.arrays import check_matrix, matrix
from proofcompute.jobs.dlpack import ON_CUDA, ON_HOST, named_place, place_of

__all__ = ["Library", "Taken", "kernels_of", "library_of", "take"]


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
    hosted: Array | None = None
    """As NumPy's array, if it was given on the host."""

    def on_host(self, kernels: Kernels) -> Array:
        """Return the matrix on the host; it is brought there if it lies on a device only."""
        return kernels.host(self.array) if self.hosted is None else self.hosted

    def copied(self, kernels: Kernels) -> Taken:
        """Return the same in memory of its own."""
        if self.hosted is None:
            array = self.array.copy()
            return Taken(array, self.library.give(array, kernels), self.library)
        hosted = self.hosted.copy()
        array = hosted if self.array is self.hosted else self.array  # a copy of what the host has already
        return Taken(array, self.library.give(hosted, kernels), self.library, hosted)

    def lent_to(self, other: Library, kernels: Kernels) -> Any:
        """Return the matrix as an array of another library, where it can multiply it by its own."""
        return self.original if self.library == other else other.give(self.array, kernels)


def take(x: object, what: str, allowed: tuple[str, ...], kernels: Kernels) -> Taken:
    """Take a caller's matrix or stack of matrices, of one of the ``allowed`` element types.

    Raises InputError for anything but an array of that type that lies where the backend can read it, and
    LimitError for one that is too large.
    """
    if isinstance(x, np.ndarray):
        return _hosted(matrix(x, what, allowed), x, Library(np, host=True), kernels)
    library = library_of(x, what)
    if library.host:
        return _hosted(matrix(x, what, allowed), x, library, kernels)
    if _on_host(kernels):
        raise InputError(
            f"{what} lies on {named_place(place_of(x, what))}, and this job computes on the CPU; move "
            f"{what} to the "
            'host, or make the job with device="cuda"'
        )
    array = kernels.array(x)
    check_matrix(array, what, allowed)
    return Taken(array, x, library)


def library_of(x: object, what: str) -> Library:
    """Return the library of an array and whether it lies on the host. Raises InputError for no array."""
    if isinstance(x, np.ndarray):
        return Library(np, host=True)
    host = place_of(x, what)[0] in ON_HOST
    return Library(_module(x, what), host)


def _hosted(x: Array, original: object, library: Library, kernels: Kernels) -> Taken:
    return Taken(x if _on_host(kernels) else kernels.array(x), original, library, x)


def kernels_of(x: object, device: str) -> Kernels:
    """Return the backend ``device``; for "auto", that of the CUDA device on which an array lies, if on one.

    Raises DeviceError if there is no such backend.
    """
    if device == "auto" and not isinstance(x, np.ndarray) and hasattr(x, "__dlpack_device__"):
        kind, number = place_of(x, "B")
        if kind in ON_CUDA:
            return kernels_for(f"cuda:{number}")
    return kernels_for(device)


def _on_host(kernels: Kernels) -> bool:
    return kernels.name != "cuda"


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
