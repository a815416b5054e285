"""What is hashed is what is read, whatever becomes of the file meanwhile."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import synthetic
from importers.tiny import write_tiny_gguf
from proofcompute.errors import MismatchError, StorageError
from proofcompute.importers import open_gguf
from proofcompute.importers.compiling import compile_decoder
from proofcompute.importers.hashed_file import PIECE, glanced, hashed

DATA = np.random.default_rng(1).bytes(3 * PIECE + 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(DATA)
    return file


def test_reads_are_those_of_the_file(path: Path) -> None:
    first, file = hashed(path, lambda stream, size: (stream.read(10), size))
    assert first == (DATA[:10], len(DATA))
    assert (file.size, file.digest) == (len(DATA), hashlib.sha256(DATA).digest())
    rng = np.random.default_rng(2)
    for offset, end in [
        (0, 0),
        (0, len(DATA)),
        (PIECE, 2 * PIECE),
        *np.sort(rng.integers(0, len(DATA), (40, 2))),
    ]:
        assert file.read(int(offset), int(end - offset)) == DATA[offset:end]


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1])
def test_files_of_any_size(path: Path, size: int) -> None:
    path.write_bytes(DATA[:size])
    _, file = hashed(path, lambda stream, _: stream.read())
    assert file.digest == hashlib.sha256(DATA[:size]).digest()
    assert file.read(0, size) == DATA[:size]


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(len(DATA)))
    other.replace(path)


def write_in_place(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(PIECE + 5)
        file.write(b"#")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_by_mapping(path: Path) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[PIECE + 5] ^= 1
        os.utime(path, ns=(1, 1))


def cut(path: Path) -> None:
    os.truncate(path, PIECE + 100)


@pytest.mark.parametrize("change", [replace, write_in_place, write_by_mapping, cut])
def test_a_file_that_changed_is_not_read(path: Path, change: Callable[[Path], None]) -> None:
    _, file = hashed(path, lambda stream, _: stream.read(1))
    change(path)
    with pytest.raises(MismatchError, match="has changed"):
        file.read(PIECE, 200)
    with pytest.raises(MismatchError, match="has changed"):
        file.read(0, len(DATA))


def test_a_file_that_is_gone(path: Path) -> None:
    _, file = hashed(path, lambda stream, _: None)
    path.unlink()
    with pytest.raises(StorageError):
        file.read(0, 1)
    with pytest.raises(StorageError):
        hashed(path, lambda stream, _: None)


@pytest.mark.parametrize("size", [2 * PIECE, 5 * PIECE])
def test_a_file_that_changes_its_size_while_it_is_hashed(path: Path, size: int) -> None:
    def parse(stream: object, _: int) -> None:
        os.truncate(path, size)

    with pytest.raises(MismatchError, match="changed while"):
        hashed(path, parse)


def test_what_is_parsed_is_what_is_hashed(path: Path) -> None:
    """The file is another while it is parsed, and then the first one again."""

    def parse(stream: object, _: int) -> bytes:
        path.write_bytes(bytes(len(DATA)))
        found: bytes = stream.read(100)  # type: ignore[attr-defined]
        path.write_bytes(DATA)
        return found

    found, file = hashed(path, parse)
    assert found == bytes(100)
    assert file.digest != hashlib.sha256(DATA).digest()
    with pytest.raises(MismatchError):
        file.read(0, 100)


def test_a_model_is_of_the_file_that_its_manifest_names(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    checkpoint = open_gguf(path)
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-4000, os.SEEK_END)
        file.write(bytes(2000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(MismatchError, match="has changed"):
        compile_decoder(checkpoint, synthetic.KERNELS, "w8a16")


def test_a_glance_reads_as_the_file_is_now(path: Path) -> None:
    found, file = glanced(path, lambda stream, size: (stream.read(10), size))
    assert found == (DATA[:10], len(DATA))
    assert file.read(PIECE - 5, 10) == DATA[PIECE - 5 : PIECE + 5]
    path.write_bytes(DATA[:100])
    with pytest.raises(MismatchError, match="has changed"):
        file.read(90, 11)
    path.unlink()
    with pytest.raises(StorageError):
        file.read(0, 1)
    with pytest.raises(StorageError):
        glanced(path, lambda stream, _: None)
