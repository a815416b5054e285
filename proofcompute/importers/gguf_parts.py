"""Reads a GGUF checkpoint that is one file, or split into parts in one directory.

``gguf-split`` names the parts ``NAME-00001-of-00003.gguf`` and so on. The first part holds the metadata. Each
part states its number (``split.no`` from 0), the number of parts (``split.count``), and the number of tensors
in all. The later parts are found by their names; they may repeat metadata, but neither add to nor contradict
it.

The digest of a checkpoint in one file is the SHA-256 of that file; of a split checkpoint, the SHA-256 of the
parts' digests, concatenated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, Generic, NamedTuple, TypeVar

from proofcompute.encoding.files import require_plain
from proofcompute.errors import FormatError, InputError
from proofcompute.importers.gguf_fields import Fields
from proofcompute.importers.gguf_scan import GgufHeader, GgufTensor, Value, scan_stream
from proofcompute.importers.hashed_file import HashedFile, OpenedFile, Opens, digest_of_all

__all__ = ["Contents", "Stored", "digest", "read_parts"]

_F = TypeVar("_F", bound=OpenedFile)
_F_co = TypeVar("_F_co", bound=OpenedFile, covariant=True)

MAX_PARTS: Final = 1 << 10
"""The most files of one checkpoint."""


class Stored(NamedTuple):
    """A tensor and the file that holds it."""

    file: OpenedFile
    tensor: GgufTensor


@dataclass(frozen=True)
class Contents(Generic[_F_co]):
    """Everything that the headers of a checkpoint's files hold."""

    metadata: Mapping[str, Value]
    """Key -> value, of the first file."""
    tensors: Mapping[str, Stored]
    """Name -> tensor, of all files."""
    files: tuple[_F_co, ...]
    """The files, in the order of their numbers."""


def digest(contents: Contents[HashedFile]) -> bytes:
    """Return the checkpoint's digest, 32 bytes, as in the module's docstring."""
    first, *others = contents.files
    return digest_of_all(contents.files) if others else first.digest


def read_parts(path: Path, opens: Opens[_F]) -> Contents[_F]:
    """Read the checkpoint whose only or first file is at ``path``; ``opens`` opens each file.

    Raises FormatError, LimitError, UnsupportedError or StorageError; InputError if ``path`` is a later part,
    or if a later part is missing; and the errors of ``opens``.
    """
    count = 1

    def first(header: GgufHeader) -> None:
        nonlocal count
        number, count = _numbers(header, path)
        if number:
            raise InputError(
                f"{path.name} is part {number + 1} of {count} of a split checkpoint; give part 1, "
                f"{_sibling(path, 1, count).name}, and the others are found beside it"
            )
        for k in range(2, count + 1):  # check that all exist before a long read begins
            _require_part(_sibling(path, k, count), k, count)

    header, file = _read(path, first, opens)
    tensors = {t.name: Stored(file, t) for t in header.tensors.values()}
    files = [file]
    for k in range(2, count + 1):
        sibling = _sibling(path, k, count)
        check_part = partial(_check_part, first=header, path=sibling, number=k - 1, count=count)
        part, file = _read(sibling, check_part, opens)
        for tensor in part.tensors.values():
            if tensor.name in tensors:
                raise FormatError(f"{sibling.name}: an earlier part has the tensor {tensor.name!r} too")
            tensors[tensor.name] = Stored(file, tensor)
        files.append(file)
    total = Fields(header.metadata, "split.").integer("tensors.count", 0, 1 << 31, len(tensors))
    if total != len(tensors):
        raise FormatError(
            f"{path.name}: the header announces {total} tensors in {count} parts, which have {len(tensors)}"
        )
    return Contents(header.metadata, tensors, tuple(files))


def _read(path: Path, check: Callable[[GgufHeader], None], opens: Opens[_F]) -> tuple[GgufHeader, _F]:
    def parse(stream: BinaryIO, size: int) -> GgufHeader:
        header = scan_stream(stream, size, path.name)
        check(header)
        return header

    require_plain(path, "checkpoint")
    return opens(path, parse)


def _numbers(header: GgufHeader, path: Path) -> tuple[int, int]:
    """Return the number of a part, from 0, and the number of parts."""
    fields = Fields(header.metadata, "split.")
    count = fields.integer("count", 0, MAX_PARTS, 0) or 1
    number = fields.integer("no", 0, MAX_PARTS - 1, 0)
    if number >= count:
        raise FormatError(f"{path.name}: part {number + 1} of {count}")
    return number, count


def _check_part(header: GgufHeader, first: GgufHeader, path: Path, number: int, count: int) -> None:
    if _numbers(header, path) != (number, count):
        found, of = _numbers(header, path)
        raise FormatError(f"{path.name} is part {found + 1} of {of}, not part {number + 1} of {count}")
    for key, value in header.metadata.items():
        if not key.startswith("split.") and first.metadata.get(key) != value:
            raise FormatError(f"{path.name}: metadata key {key!r} is not as in part 1")


def _sibling(path: Path, k: int, count: int) -> Path:
    """Return the path that part ``k``, from 1, must have."""
    match = re.fullmatch(r"(.*)-[0-9]{5}-of-[0-9]{5}\.gguf", path.name)
    if match is None:
        raise InputError(
            f"{path.name} is one of {count} parts of a split checkpoint, but is not named "
            f"NAME-00001-of-{count:05}.gguf, so the others cannot be found; rename the parts, or join them"
        )
    return path.with_name(f"{match[1]}-{k:05}-of-{count:05}.gguf")


def _require_part(path: Path, k: int, count: int) -> None:
    if not path.exists():
        raise InputError(f"part {k} of {count} is missing: {path}")
