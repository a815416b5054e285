"""Keeps a node's data of a GEMM job, in memory or in a file, and opens rows.

A file holds what openings need: request, receipt, the leaves of both trees, and the rows of A and C, or the
names of .npy files that hold them (docs/spec/messages.md#stored-proofs). So opening a few rows of a stored
proof reads and hashes those rows only, however large the matrices are. The leaves are checked against the
signed roots when a file is loaded, and rows against them when they are opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import U8, Array
from proofcompute.commitments.hashing import DIGEST
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.encoding.files import require_plain, writing
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.encoding.npy import map_npy
from proofcompute.errors import FormatError, InputError, MismatchError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.jobs.arrays import DTYPES, flat
from proofcompute.jobs.commitment import MatrixId, RowTree
from proofcompute.jobs.messages import ProductChallenge, ProductReceipt, ProductRequest, RowsPart
from proofcompute.limits import KIB, MIB
from proofcompute.protocol.frames import require_signer, write_frames

__all__ = ["ProductProof", "stored_head"]

KIND: Final = "proofcompute product proof"
VERSION: Final = 2
_MAX_HEAD: Final = 32 * KIB
_MAX_PLACE: Final = 4 * KIB
"""Bytes of the name of a file that holds a matrix."""
_GROUP: Final = 16 * MIB
"""Bytes of rows that are hashed together before they are opened."""
_RANGES: Final = 1 << 10
"""Ranges that are opened together."""
_ROWS: Final = 1 << 10
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
        parts = (part.encode() for some in self._groups(challenge) for part in self._parts(some))
        write_frames(stream, parts, self.receipt, challenge.digest, self.identity)

    def _groups(self, challenge: ProductChallenge) -> Iterator[Sequence[tuple[int, int]]]:
        """Yield the ranges of a challenge in groups that are hashed together, so that few bytes are held."""
        row = self.request.a.row_bytes + self.receipt.c.row_bytes
        group: list[tuple[int, int]] = []
        size = 0
        for first, end in challenge.ranges:
            if group and (size + (end - first) * row > _GROUP or len(group) == _RANGES):
                yield group
                group, size = [], 0
            group.append((first, end))
            size += (end - first) * row
        yield group

    def _parts(self, ranges: Sequence[tuple[int, int]]) -> Iterator[RowsPart]:
        """Yield the parts that open n >= 1 ranges."""
        of_a = [self.request.factors_of(first, end)[:2] for first, end in ranges]
        a = self._a_tree.opened(flat(self.a), of_a, "A")
        c = self._c_tree.opened(flat(self.c), ranges, "C")
        for (rows_a, proof_a), (rows_c, proof_c) in zip(a, c, strict=True):
            yield RowsPart(rows_a, proof_a, rows_c, proof_c)

    def save(self, path: StrPath, *, a: StrPath | None = None, c: StrPath | None = None) -> None:
        """Write the proof to a file that only its owner may read, because A and C may be private.

        Args:
            path: the file. It appears whole or not at all.
            a: an .npy file that holds A already. Then the proof's file holds its name instead of A, relative
                to its own folder if it lies in it; that file must stay as it is.
            c: the same for C.

        The identity is not written. Raises InputError if the other files cannot be read, MismatchError if
        they hold other matrices, or A or C was changed since it was signed; StorageError if the file system
        refuses.
        """
        path = path_of(path)
        request, receipt = self.request, self.receipt
        places = [
            _elsewhere(a, request.a, self._a_tree, path),
            _elsewhere(c, receipt.c, self._c_tree, path),
        ]
        head = wire.encode((KIND, VERSION, request.encode(), receipt.encode(), *places))
        with writing(path, 0o600) as stream:
            write_frame(stream, head)
            trees = (self._a_tree, self._c_tree)
            for tree in trees:
                stream.write(tree.leaves().tobytes())
            for what, x, tree, place in zip("AC", (self.a, self.c), trees, places, strict=True):
                for rows in tree.blocks(flat(x), _ROWS, what) if not place else ():
                    stream.write(rows)

    @staticmethod
    def load(path: StrPath, identity: NodeIdentity, *, device: str = "auto") -> ProductProof:
        """Read a proof that was saved. Its rows stay on the disk until they are opened.

        The file, and those that it refers to, must stay as they are while the proof is used.

        Raises InputError if a file cannot be read, FormatError or LimitError if it is malformed,
        MismatchError if its leaves are not those of the matrices that request and receipt name, or
        ``identity`` did not sign it.
        """
        kernels = kernels_for(device)
        path = path_of(path)
        require_plain(path, "product proof")
        try:
            with path.open("rb") as stream:
                request, receipt, places = _head(stream, path)
                named = (request.a, receipt.c)
                inside = [m for m, place in zip(named, places, strict=True) if not place]
                left = os.fstat(stream.fileno()).st_size - stream.tell()
                needed = sum(m.rows * DIGEST for m in named) + sum(m.rows * m.row_bytes for m in inside)
                if left != needed:  # before anything is allocated
                    raise FormatError(f"{path} is damaged: it does not end with its matrices")
                leaves = [np.frombuffer(stream.read(m.rows * DIGEST), np.uint8) for m in named]
                at = stream.tell()
                rows = []
                for m, place in zip(named, places, strict=True):
                    if place:
                        rows.append(_mapped(path.parent / place, m))
                    else:
                        rows.append(np.memmap(stream, DTYPES[m.dtype], "r", at, (m.rows, m.width)))
                        at += m.rows * m.row_bytes
        except OSError as e:
            raise InputError(f"cannot read product proof {path}: {e.strerror or e}") from e
        require_signer(receipt, identity)
        trees = [_tree(x, m, request, path, kernels) for x, m in zip(leaves, named, strict=True)]
        stacks, n = request.stacks, request.member_rows
        a = rows[0].reshape(*stacks.a, n, request.a.width)
        c = rows[1].reshape(*stacks.lead, n, receipt.c.width)
        return ProductProof(request, receipt, a, c, identity, *trees)


def stored_head(path: Path) -> tuple[ProductRequest, ProductReceipt, tuple[str, str]]:
    """Return request and receipt of a stored proof, and the names of the files that hold A and C, or "".

    Raises as :meth:`ProductProof.load`; neither leaves nor rows are looked at, nor the signature.
    """
    require_plain(path, "product proof")
    try:
        with path.open("rb") as stream:
            return _head(stream, path)
    except OSError as e:
        raise InputError(f"cannot read product proof {path}: {e.strerror or e}") from e


def _elsewhere(file: StrPath | None, named: MatrixId, tree: RowTree, path: Path) -> str:
    """Return the name under which a proof refers to a file, or nothing; check that it holds a matrix."""
    if file is None:
        return ""
    file = path_of(file)
    if not tree.of_rows(_mapped(file, named)):
        raise MismatchError(f"{file} holds another matrix than the one that was signed")
    try:
        return file.resolve().relative_to(path.resolve().parent).as_posix()
    except ValueError:
        return str(file.resolve())


def _tree(leaves: U8, named: MatrixId, request: ProductRequest, path: Path, kernels: Kernels) -> RowTree:
    tree = RowTree(leaves.reshape(named.rows, DIGEST), named.dtype, request.suite, kernels)
    if tree.root != named.root:
        raise MismatchError(f"{path} is damaged: its leaves are not those of the matrices that were signed")
    return tree


def _mapped(file: Path, named: MatrixId) -> Array:
    """Return all rows of the matrix in an .npy file; MismatchError unless type and shape are those named."""
    x = map_npy(file)
    fits = x.ndim >= 2 and x.flags.c_contiguous and x.dtype == DTYPES[named.dtype]
    if not fits or flat(x).shape != (named.rows, named.width):
        raise MismatchError(
            f"{file} holds {x.dtype} {list(x.shape)}; needed here: {named.dtype} with {named.rows} rows of "
            f"{named.width} in all, little-endian, in C order"
        )
    return flat(x)


def _head(stream: BinaryIO, path: Path) -> tuple[ProductRequest, ProductReceipt, tuple[str, str]]:
    what = "product proof"
    data = read_frame(stream, limit=_MAX_HEAD, what=what)
    top = wire.as_list(wire.decode(data or b"", limit=_MAX_HEAD, what=what), what, n=6)
    wire.check_head(top, KIND, VERSION)
    request = ProductRequest.decode(wire.as_bytes(top[2], "request"))
    receipt = ProductReceipt.decode(wire.as_bytes(top[3], "receipt"))
    found = (receipt.c.dtype, receipt.c.rows, receipt.c.width)
    if (receipt.request_digest, receipt.suite, found) != (request.digest, request.suite, request.shape):
        raise FormatError(f"{path} holds the receipt of another request")
    a, c = (wire.as_str(place, "name of a file", _MAX_PLACE) for place in top[4:])
    if "\0" in a + c:
        raise FormatError(f"{path} names a file with a NUL")
    return request, receipt, (a, c)
