"""Defines what a checkpoint is, whatever the format of its file.

A reader, such as :func:`proofcompute.importers.gguf.open_gguf`, describes the network as an
:class:`~proofcompute.importers.architecture.Arch` and returns its weights by canonical names. The compiler
sees nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arrays import F32, I8
from proofcompute.errors import FormatError, InputError, UnsupportedError
from proofcompute.importers.architecture import Arch, tensor_shapes
from proofcompute.models.vocabulary import Vocabulary

__all__ = ["Checkpoint"]


def _no_quantised(name: str, a: int, b: int) -> None:
    """The reader of formats that store no int8 rows."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened checkpoint: the description, the vocabulary, and weights read on demand."""

    arch: Arch
    """The network."""
    words: Vocabulary | None
    """Its tokens; None of an encoder of pictures. Read :attr:`vocabulary` where there must be tokens."""
    chat_template: str | None
    """Jinja template that turns messages into a prompt; None if the file has none. Untrusted."""
    name: str
    """Name of the model in the file; may be empty. Untrusted."""
    licence: str
    """Licence stated in the file; may be empty. Untrusted."""
    digest: bytes
    """SHA-256 of the whole file, 32 bytes; for a split checkpoint, SHA-256 of its parts' digests."""
    read_rows: Callable[[str, int, int], F32]
    """The format's reader of rows a..b of a tensor; call :meth:`tensor` or :meth:`rows` instead."""
    read_quantised: Callable[[str, int, int], tuple[I8, F32] | None] = _no_quantised
    """The format's reader of rows a..b that are stored as int8 with a scale for each row, and which the value
    of a weight is the product of; None for a tensor that is stored otherwise. Call :meth:`quantised`."""
    notes: tuple[str, ...] = ()
    """Guesses and corrections that were made, in sentences for the user."""
    unused: tuple[str, ...] = ()
    """Keys of the metadata, or of config.json, that change nothing and were not read. Untrusted."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The network's tokens. Raises UnsupportedError if it reads none."""
        if self.words is None:
            raise UnsupportedError("the checkpoint has no tokens: its network reads pictures")
        return self.words

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape of every tensor."""
        return tensor_shapes(self.arch)

    def tensor(self, name: str) -> F32:
        """Return a whole tensor, float32 and C-contiguous, with the shape that ``shapes`` says.

        Raises:
            InputError: there is no such tensor.
            FormatError: a weight is NaN or infinite.
            MismatchError: the file has changed since it was opened.
            StorageError: the file cannot be read.
        """
        return self.rows(name, 0, self._shape(name)[0])

    def rows(self, name: str, a: int, b: int) -> F32:
        """Return rows a..b of a tensor, so that a large one need not be in memory at once.

        Raises as :meth:`tensor`; InputError also for rows that the tensor does not have, and DeviceError if
        this thread's floating-point mode is not that of IEEE 754, on which dequantising depends.
        """
        require_ieee()
        shape = self._rows_exist(name, a, b)
        found = self.read_rows(name, a, b)
        if found.shape != (b - a, *shape[1:]) or found.dtype != np.float32:
            raise FormatError(f"{name}: the reader gave {found.dtype} {found.shape} for rows {a}..{b}")
        if not np.isfinite(found).all():
            raise FormatError(f"{name}: a weight is NaN or infinite")
        return np.ascontiguousarray(found)

    def quantised(self, name: str, a: int, b: int) -> tuple[I8, F32] | None:
        """Return rows a..b as int8 [b - a, d] and float32 scales [b - a], whose product they are.

        Returns None if the tensor is not stored so. Raises as :meth:`rows`.
        """
        shape = self._rows_exist(name, a, b)
        found = self.read_quantised(name, a, b)
        if found is None:
            return None
        q, scale = found
        if q.shape != (b - a, *shape[1:]) or q.dtype != np.int8 or scale.shape != (b - a,):
            raise FormatError(f"{name}: the reader gave {q.dtype} {q.shape} for rows {a}..{b}")
        if scale.dtype != np.float32 or not np.isfinite(scale).all():
            raise FormatError(f"{name}: a scale is NaN or infinite")
        return np.ascontiguousarray(q), scale

    def _rows_exist(self, name: str, a: int, b: int) -> tuple[int, ...]:
        shape = self._shape(name)
        if not 0 <= a <= b <= shape[0]:
            raise InputError(f"{name}: rows {a}..{b} of {shape[0]}")
        return shape

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.shapes.get(name)
        if shape is None:
            raise InputError(f"the checkpoint has no tensor {name!r}")
        return shape
