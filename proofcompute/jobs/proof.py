"""Keeps a node's data of a GEMM job, in memory or in a file, and opens rows.

The file has one frame, ``["proofcompute product proof", 1, request, receipt]``, then the rows of A and of C,
little-endian, and nothing else. The trees are computed again from the rows when it is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arrays import Array
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.encoding.files import writing
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.jobs.arrays import DTYPES, flat
from proofcompute.jobs.commitment import MatrixId, RowTree, leaf_rows, named_tree
from proofcompute.jobs.messages import ProductChallenge, ProductReceipt, ProductRequest, RowsPart
from proofcompute.limits import KIB
from proofcompute.protocol.frames import require_signer, write_frames

__all__ = ["ProductProof"]

KIND = "proofcompute product proof"
VERSION = 1
_MAX_HEAD = 16 * KIB
_ROWS = 1 << 10
"""Rows that are written at a time, so that writing needs no second copy of a matrix."""


@dataclass(frozen=True, eq=False)
class ProductProof:
    """A node's data of a job: the receipt for the client, and everything that is needed to open rows."""

    request: ProductRequest
    """The client's request."""
    receipt: ProductReceipt
    """The signed receipt."""
    a: Array
    """The left factor, [n, d], or a stack; an array of the backend that hashed it."""
    c: Array
    """The product, [n, m], or a stack; an array of the backend."""
    identity: NodeIdentity = field(repr=False)
    """The key that signed the receipt and signs openings."""
    _a_tree: RowTree = field(repr=False)
    _c_tree: RowTree = field(repr=False)

    def open_rows(self, challenge: ProductChallenge, stream: BinaryIO) -> None:
        """Write the opening of a challenge: a frame for each range, and a last one with the node's signature.

        Raises MismatchError if the challenge is for another receipt, FormatError if it asks for rows that do
        not exist, LimitError if a range is larger than a part of an opening may be; nothing is written then.
        Raises MismatchError too if A or C was changed since it was signed; then the opening is not finished.
        """
        challenge.check(self.request, self.receipt)
        parts = (self._part(first, end).encode() for first, end in challenge.ranges)
        write_frames(stream, parts, self.receipt, challenge.digest, self.identity)

    def _part(self, first: int, end: int) -> RowsPart:
        start, stop, _ = self.request.factors_of(first, end)
        a, a_proof = self._a_tree.opened(flat(self.a), start, stop, "A")
        c, c_proof = self._c_tree.opened(flat(self.c), first, end, "C")
        return RowsPart(a, a_proof, c, c_proof)

    def save(self, path: StrPath) -> None:
        """Write the proof to a file that only its owner may read, because A and C may be private.

        The identity is not written. Raises StorageError if the file system refuses.
        """
        with writing(path_of(path), 0o600) as stream:
            write_frame(stream, wire.encode((KIND, VERSION, self.request.encode(), self.receipt.encode())))
            for x in map(flat, (self.a, self.c)):
                for first in range(0, len(x), _ROWS):
                    stream.write(leaf_rows(x[first : first + _ROWS]).tobytes())

    @staticmethod
    def load(path: StrPath, identity: NodeIdentity, *, device: str = "auto") -> ProductProof:
        """Read a proof that was saved, and hash its rows again.

        Raises InputError if the file cannot be read, FormatError or LimitError if it is malformed,
        MismatchError if its rows are not those that request and receipt name, or ``identity`` did not sign
        it.
        """
        kernels = kernels_for(device)
        path = path_of(path)
        try:
            with path.open("rb") as stream:
                request, receipt = _head(stream, path)
                wanted = (request.a, receipt.c)
                left = os.fstat(stream.fileno()).st_size - stream.tell()
                if left != sum(m.rows * m.row_bytes for m in wanted):  # before anything is allocated
                    raise FormatError(f"{path} is damaged: it does not end with its matrices")
                a, c = (_rows(stream, m, path) for m in wanted)
        except OSError as e:
            raise InputError(f"cannot read product proof {path}: {e.strerror or e}") from e
        require_signer(receipt, identity)
        a_tree = named_tree(a, "A", request.a, request.suite, kernels)
        c_tree = named_tree(c, "C", receipt.c, request.suite, kernels)
        stacks, n = request.stacks, request.member_rows
        a, c = a.reshape(*stacks.a, n, a.shape[1]), c.reshape(*stacks.lead, n, c.shape[1])
        return ProductProof(request, receipt, a, c, identity, a_tree, c_tree)


def _head(stream: BinaryIO, path: Path) -> tuple[ProductRequest, ProductReceipt]:
    what = "product proof"
    data = read_frame(stream, limit=_MAX_HEAD, what=what)
    top = wire.as_list(wire.decode(data or b"", limit=_MAX_HEAD, what=what), what, n=4)
    wire.check_head(top, KIND, VERSION)
    request = ProductRequest.decode(wire.as_bytes(top[2], "request"))
    receipt = ProductReceipt.decode(wire.as_bytes(top[3], "receipt"))
    found = (receipt.c.dtype, receipt.c.rows, receipt.c.width)
    if (receipt.request_digest, receipt.suite, found) != (request.digest, request.suite, request.shape):
        raise FormatError(f"{path} holds the receipt of another request")
    return request, receipt


def _rows(stream: BinaryIO, named: MatrixId, path: Path) -> Array:
    out = np.empty((named.rows, named.width), DTYPES[named.dtype])
    view = out.data.cast("B")
    done = 0
    while done < len(view):
        read = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not read:
            raise FormatError(f"{path} ends inside a matrix")
        done += read
    return out.astype(named.dtype, copy=False)
