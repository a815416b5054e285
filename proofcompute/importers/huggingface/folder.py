"""Reads the files of a checkpoint's folder: configuration, shards, end tokens, licence.

A folder has ``model.safetensors``, or shards that ``model.safetensors.index.json`` names. Files are looked
for in the folder alone; a link may lead out of it only into the ``blobs`` of the cache that the package
``huggingface_hub`` keeps, where all files of a folder are links.

The digest of a checkpoint in one file is that file's SHA-256; of one in shards, the SHA-256 of their digests
in the order of their names, concatenated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, NamedTuple, TypeVar

from proofcompute.encoding.files import require_plain
from proofcompute.errors import FormatError, InputError, LimitError, StorageError, UnsupportedError
from proofcompute.importers.hashed_file import HashedFile, OpenedFile, Opens, digest_of_all
from proofcompute.importers.huggingface.json_file import parse_object
from proofcompute.importers.huggingface.safetensors_header import StoredTensor, read_header
from proofcompute.limits import MAX_VOCABULARY, MIB

__all__ = [
    "Contents",
    "Stored",
    "digest",
    "end_tokens",
    "licence",
    "model_name",
    "read_bytes",
    "read_json",
    "read_shards",
]

_F = TypeVar("_F", bound=OpenedFile)
_F_co = TypeVar("_F_co", bound=OpenedFile, covariant=True)

MAX_SHARDS: Final = 1 << 10
"""The most files of one checkpoint."""
MAX_TENSORS: Final = 1 << 18
"""The most tensors of one checkpoint."""
MAX_CONFIG: Final = 1 * MIB
"""The most bytes of a configuration."""
MAX_INDEX: Final = 32 * MIB
"""The most bytes of an index of shards."""
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_OTHERS: Final = re.compile(r".*\.(bin|pt|pth|ckpt|h5|msgpack|pkl|pickle)")


class Stored(NamedTuple):
    """A tensor and the file that holds it."""

    file: OpenedFile
    tensor: StoredTensor

    def __str__(self) -> str:
        return f"{self.file.path.name}: tensor {self.tensor.name!r}"


@dataclass(frozen=True)
class Contents(Generic[_F_co]):
    """What the shards hold."""

    tensors: Mapping[str, Stored]
    """Name -> tensor."""
    files: tuple[_F_co, ...]
    """The shards, in the order of their names."""
    indexed: bool
    """Whether an index names them."""


def digest(contents: Contents[HashedFile]) -> bytes:
    """Return the checkpoint's digest, 32 bytes, as in the module's docstring."""
    return digest_of_all(contents.files) if contents.indexed else contents.files[0].digest


def read_json(folder: Path, name: str, limit: int = MAX_CONFIG) -> Mapping[str, Any] | None:
    """Return the object that a file of the folder holds; None if there is no such file.

    Raises FormatError, LimitError or StorageError; InputError for a link that leads out of the folder.
    """
    if not os.path.lexists(folder / name):
        return None
    return parse_object(_read(_inside(folder, name), limit), name, limit, limit // 8)


def read_bytes(folder: Path, name: str, limit: int) -> bytes | None:
    """Return the bytes of a file of the folder, or None. Raises as :func:`read_json`."""
    if not os.path.lexists(folder / name):
        return None
    data = _read(_inside(folder, name), limit)
    if len(data) > limit:
        raise LimitError(f"{name} has more than {limit} bytes")
    return data


def read_shards(folder: Path, opens: Opens[_F]) -> Contents[_F]:
    """Read the headers of all shards; ``opens`` opens each file.

    Raises FormatError, LimitError, UnsupportedError or StorageError, which name the file and the tensor;
    InputError if a file is missing or not within the folder; and the errors of ``opens``.
    """
    names, where = _names(folder)
    paths = [_inside(folder, name) for name in names]  # all, before a long read begins
    tensors: dict[str, Stored] = {}
    files = []
    for name, path in zip(names, paths, strict=True):
        found, file = _shard(path, name, opens)
        for tensor in found:
            if tensor.name in tensors:
                first = tensors[tensor.name].file.path.name
                raise FormatError(f"{name}: tensor {tensor.name!r} is in {first} too")
            if where is not None and where.get(tensor.name) != name:
                raise FormatError(f"{name}: tensor {tensor.name!r} is not so in {INDEX}")
            tensors[tensor.name] = Stored(file, tensor)
        if len(tensors) > MAX_TENSORS:
            raise LimitError(f"{folder} has more than {MAX_TENSORS} tensors")
        files.append(file)
    if where is not None and (lost := [name for name in where if name not in tensors]):
        raise FormatError(f"{where[lost[0]]} lacks the tensor {lost[0]!r} that {INDEX} announces")
    return Contents(tensors, tuple(files), where is not None)


def _shard(path: Path, name: str, opens: Opens[_F]) -> tuple[tuple[StoredTensor, ...], _F]:
    def parse(stream: BinaryIO, size: int) -> tuple[StoredTensor, ...]:
        return read_header(stream, size, name)

    return opens(path, parse)


def _names(folder: Path) -> tuple[list[str], Mapping[str, str] | None]:
    """Return the shards' names in order, and tensor -> shard if there is an index."""
    index = read_json(folder, INDEX, MAX_INDEX)
    single = os.path.lexists(folder / SINGLE)
    if index is None:
        if not single:
            _explain(folder)
        return [SINGLE], None
    if single:
        raise FormatError(f"{folder} has {SINGLE} and {INDEX}; remove the one that does not belong to it")
    where = index.get("weight_map")
    if not isinstance(where, dict) or not where:
        raise FormatError(f"{INDEX} has no weight_map")
    for tensor, name in where.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors", name):
            raise FormatError(
                f"{INDEX}: tensor {tensor[:200]!r} is in {str(name)[:200]!r}, which is no name of a shard"
            )
    names = sorted(set(where.values()))
    if len(names) > MAX_SHARDS:
        raise LimitError(f"{INDEX} names {len(names)} shards, the limit is {MAX_SHARDS}")
    return names, where


def _explain(folder: Path) -> None:
    """Raise the error that says why there are no weights."""
    try:
        others = sorted(name for name in os.listdir(folder) if _OTHERS.fullmatch(name))
    except OSError as e:
        raise StorageError(f"cannot read {folder}: {e.strerror or e}") from e
    if others:
        raise UnsupportedError(
            f"{folder} has its weights in {others[0]}, a format whose files can run code when they are "
            "loaded; convert them where that is safe, with transformers' save_pretrained, which writes "
            "safetensors"
        )
    raise InputError(f"{folder} has neither {SINGLE} nor {INDEX}")


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder; raise unless it exists and is a plain file within it."""
    path, root = folder / name, folder.resolve()
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as e:
        raise InputError(f"{name} is missing in {folder}") from e
    allowed = [root]
    for above in (root.parent, root.parent.parent):  # of a folder inside, too
        if above.name == "snapshots":
            allowed.append(above.parent / "blobs")
    if not any(target.parent == place for place in allowed):
        raise InputError(f"{name} is a link out of {folder}")
    require_plain(target, "checkpoint")
    return path


def _read(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except OSError as e:
        raise StorageError(f"cannot read {path}: {e.strerror or e}") from e


def end_tokens(folder: Path) -> tuple[int, ...]:
    """Return the ids of tokens that end an answer: of ``generation_config.json``, else of ``config.json``.

    Raises FormatError if they are no ids, and the errors of :func:`read_json`.
    """
    for name in ("generation_config.json", "config.json"):
        found = (read_json(folder, name) or {}).get("eos_token_id")
        if found is not None:
            ids = found if isinstance(found, list) else [found]
            if not all(type(i) is int and 0 <= i < MAX_VOCABULARY for i in ids):
                raise FormatError(
                    f"{name}: eos_token_id is {str(found)[:80]}, not a token or a list of tokens"
                )
            return tuple(sorted(set(ids)))
    return ()


def licence(folder: Path) -> str:
    """Return the licence that the first lines of ``README.md`` state; empty if they do not. Untrusted."""
    if not os.path.lexists(folder / "README.md"):
        return ""
    text = _read(_inside(folder, "README.md"), 64 << 10)[: 64 << 10].decode("utf-8", "replace")
    first, *lines = text.split("\n")
    if first.rstrip() != "---":
        return ""
    for line in takewhile(lambda line: not line.startswith("---"), lines):
        if found := re.match(r"license:[ \t]*[\"']?([A-Za-z0-9_.+-]{1,64})", line):
            return found[1]
    return ""


def model_name(folder: Path) -> str:
    """Return the model's name: that of the folder, or of the repository in a cache of ``huggingface_hub``."""
    root = folder.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        name = root.parent.parent.name.removeprefix("models--").replace("--", "/")
    else:
        name = root.name
    return name.encode("utf-8", "replace").decode()[:256]  # a name that is not UTF-8 holds lone surrogates
