"""Keep an unfinished key in ``KEY.partial``, a sequence of frames that only grows.

=======  ===============================================================================================
frame    holds
=======  ===============================================================================================
first    ``[kind, version, model id, seed, columns]``
next     ``[entry, link]`` for each finished weight, in program order: its entry in the key, and the
         digest of the frame before (its link, or all of the first frame) and this entry
=======  ===============================================================================================

The links detect damage: whatever follows a changed or missing frame does not fit. They do not protect against
somebody who may write into the file. A process that was stopped may leave the last frame cut short; that
frame is made again. **The file is as secret as the key**, and only its owner may read it (mode 0600). Each
frame is on the disk before the next weight is read, so a power failure loses the work on one weight.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.encoding.files import check_private, exclusive, is_plain, read_limited, read_private
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, StorageError
from proofcompute.errors.sealed import sealed
from proofcompute.limits import MAX_COLUMNS, MAX_KEY
from proofcompute.models.card import ModelCard
from proofcompute.verifier.key import LARGEST, Entry, decode_body, decode_entry, encode_entry

__all__ = ["SEED", "PartialKey", "partial_path", "progress_of"]

KIND = "proofcompute interrupted key"
VERSION = 2
SEED = 32
"""Bytes of a key's seed."""


def partial_path(key: Path) -> Path:
    """Return the path of the partial file that belongs to a key's path."""
    return key.with_name(f"{key.name}.partial")


@sealed
def progress_of(path: Path) -> tuple[bytes, int, int]:
    """Return model id, columns and number of finished weights of a partial key, none of which is secret.

    Raises InputError if others may read the file, and FormatError if its frames are damaged. The entries in
    the frames are not checked.
    """
    frames, _ = _frames(read_private(path, MAX_KEY, "interrupted key"))
    if not frames:
        raise FormatError(f"{path} holds nothing yet")
    model_id, _secret, columns = _decode_head(frames[0])
    return model_id, columns, len(frames) - 1


@dataclass(eq=False)
class PartialKey:
    """The partial file while it is open, which only one process may do at a time."""

    path: Path
    seed: bytes = field(repr=False)
    """The seed of the key."""
    entries: list[Entry] = field(repr=False)
    """Entries of the finished weights, in program order."""
    _fd: int
    _link: bytes = field(repr=False)
    """Link of the last entry; before the first entry, all of the first frame, which holds the seed."""

    @staticmethod
    @contextmanager
    def begin(key: Path, card: ModelCard, columns: int, seed: bytes | None) -> Iterator[PartialKey]:
        """Open the partial file of ``key``, or begin one.

        With ``seed`` None, the seed is the file's or a new one. Raises the errors that
        :func:`.keymaking.write_key` names.
        """
        path = partial_path(key)
        with exclusive(path, "interrupted key") as fd:
            check_private(fd, path, "interrupted key", made_here=True)
            found = _read(path, fd, card, columns)
            if found is not None and seed not in (None, found.seed):
                raise MismatchError(f"{path} is of another seed; remove it to make the key anew")
            # a key that was written may have been used, so no second key may have its seed
            if found is None or _is_finished(key, found.seed):
                found = _start(path, fd, card, columns, seed or secrets.token_bytes(SEED))
            yield found

    @sealed
    def append(self, entry: Entry) -> None:
        """Append the entry of one more weight to the file. Raises StorageError if it cannot be written."""
        encoded = encode_entry(entry)
        self._link = _linked(self._link, encoded)
        _append(self.path, self._fd, wire.encode((encoded, self._link)))
        self.entries.append(entry)

    def discard(self) -> None:
        """Remove the file once the key is complete. Raises StorageError if it cannot be removed."""
        try:
            self.path.unlink()
        except OSError as e:
            raise StorageError(
                f"cannot remove {self.path}: {e.strerror or e}; remove it, it is secret"
            ) from e


@sealed
def _start(path: Path, fd: int, card: ModelCard, columns: int, seed: bytes) -> PartialKey:
    os.ftruncate(fd, 0)
    head = wire.encode((KIND, VERSION, card.model_id, seed, columns))
    _append(path, fd, head)
    return PartialKey(path, seed, [], fd, head)


@sealed
def _is_finished(key: Path, seed: bytes) -> bool:
    """Return whether ``key`` is the finished key with this seed, even if others may read it."""
    if not is_plain(key):
        return False
    try:
        return decode_body(read_limited(key, LARGEST, "key"))[0].columns.seed == seed
    except InputError:
        return False


@sealed
def _read(path: Path, fd: int, card: ModelCard, columns: int) -> PartialKey | None:
    """Read the file and cut off an incomplete last frame; return None if no frame is complete."""
    data = read_limited(path, MAX_KEY, "interrupted key", fd)
    try:
        frames, end = _frames(data)
        if not frames:
            return None
        partial = _begun(path, fd, frames[0], card, columns)
        for payload, spec in zip(frames[1:], card.program.weights, strict=False):
            value, link = wire.as_list(wire.decode(payload, limit=MAX_KEY, what="entry"), "entry", n=2)
            entry = decode_entry(spec, value, columns)
            partial._link = _linked(partial._link, encode_entry(entry))
            if link != partial._link:
                raise FormatError(f"{spec.name} does not follow what is before it")
            partial.entries.append(entry)
        if len(frames) - 1 > len(card.program.weights):
            raise FormatError("more weights than the program has")
    except (FormatError, LimitError) as e:
        raise FormatError(f"{path} is damaged ({e}); remove it to make the key anew") from e
    os.ftruncate(fd, end)
    return partial


def _begun(path: Path, fd: int, head: bytes, card: ModelCard, columns: int) -> PartialKey:
    model_id, seed, k = _decode_head(head)
    if model_id != card.model_id:
        raise MismatchError(f"{path} is an interrupted key of another model; finish it first, or remove it")
    if k != columns:
        raise MismatchError(f"{path} has {k} columns, not {columns}; finish it first, or remove it")
    return PartialKey(path, seed, [], fd, head)


def _decode_head(head: bytes) -> tuple[bytes, bytes, int]:
    """Return model id, seed and columns from the first frame. Raises FormatError if it is malformed."""
    top = wire.as_list(wire.decode(head, limit=MAX_KEY, what="first frame"), "first frame", n=5)
    if top[:2] != (KIND, VERSION):
        raise FormatError("it is no interrupted key of this version")
    columns = wire.as_int(top[4], "columns", 1, MAX_COLUMNS)
    return wire.as_bytes(top[2], "model id", DIGEST), wire.as_bytes(top[3], "seed", SEED), columns


def _frames(data: bytes) -> tuple[list[bytes], int]:
    """Return the complete frames of ``data`` and the offset where they end.

    Raises FormatError if anything but an incomplete last frame follows them.
    """
    stream, frames, end = io.BytesIO(data), [], 0
    while end < len(data):
        try:
            payload = read_frame(stream, limit=MAX_KEY, what="frame")
        except FormatError:
            if stream.tell() < len(data):
                raise
            break
        frames.append(payload or b"")
        end = stream.tell()
    return frames, end


def _linked(link: bytes, encoded: tuple[wire.Value, ...]) -> bytes:
    return hashing.message_digest("sha256", "interrupted key", link + wire.encode(encoded))


def _append(path: Path, fd: int, payload: bytes) -> None:
    frame = io.BytesIO()
    write_frame(frame, payload)
    data = frame.getbuffer()
    try:
        if os.write(fd, data) != len(data):
            raise OSError("only a part was written")
        os.fsync(fd)
    except OSError as e:
        raise StorageError(
            f"cannot write {path}: {e.strerror or e}; free some space and run again: what is done is kept"
        ) from e
