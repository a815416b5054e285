"""A wrong checkpoint is refused by its headers, before a long hash; a glance counts for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from adversary.mutation import Edit, apply
from importers import families
from importers.gguf_writer import GgufFile
from importers.hostile_folders import HOSTILE, good_folder
from importers.tiny import tiny_file
from proofcompute.errors import FormatError, InputError, UnsupportedError
from proofcompute.importers import open_gguf
from proofcompute.importers.hashed_file import hashed
from proofcompute.importers.huggingface import open_huggingface

CASE: Final = "llama-2"


def _no_hashing(*arguments: object) -> NoReturn:
    raise AssertionError("a file was hashed")


def _renamed(names: dict[str, str]) -> GgufFile:
    """The tiny file with other names of tensors."""
    file = tiny_file()
    for tensor in file.tensors:
        tensor.name = names.get(str(tensor.name), tensor.name)
    return file


def _with(**metadata: Any) -> GgufFile:
    file = tiny_file()
    return GgufFile({**dict(file.metadata), **metadata}, file.tensors)


WRONG_FILES: Final[dict[str, tuple[GgufFile, str]]] = {
    "a missing tensor": (_renamed({"blk.0.ffn_up.weight": "blk.0.ffn_up"}), "blk.0.ffn_up.weight"),
    "another architecture": (_with(**{"general.architecture": "mamba"}), "mamba"),
    "another tokenizer": (_with(**{"tokenizer.ggml.model": "rwkv"}), "rwkv"),
    "another width": (_with(**{"llama.embedding_length": 32}), "shape"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_wrong_folder_is_refused_before_it_is_hashed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = good_folder(tmp_path / "model")
    HOSTILE[name].change(folder)
    monkeypatch.setattr("proofcompute.importers.huggingface.hashed", _no_hashing)
    with pytest.raises(HOSTILE[name].error):
        open_huggingface(folder, families.vocabulary(CASE))


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_refused_before_it_is_hashed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, words = WRONG_FILES[name]
    path = tmp_path / "x.gguf"
    path.write_bytes(file.build())
    monkeypatch.setattr("proofcompute.importers.gguf.hashed", _no_hashing)
    with pytest.raises(InputError, match=words):
        open_gguf(path)


def _meanwhile(change: Callable[[], object]) -> Callable[..., object]:
    """Return what hashes a file, but changes things the first time."""
    changes = [change]

    def replaced(*arguments: Any) -> object:
        while changes:
            changes.pop()()
        return hashed(*arguments)

    return replaced


def _file_replaced_by(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny_file().build())
    then = WRONG_FILES[name][0].build()
    monkeypatch.setattr("proofcompute.importers.gguf.hashed", _meanwhile(lambda: path.write_bytes(then)))
    open_gguf(path)


def _folder_changed_by(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = good_folder(tmp_path / "model")
    change = _meanwhile(lambda: HOSTILE[name].change(folder))
    monkeypatch.setattr("proofcompute.importers.huggingface.hashed", change)
    open_huggingface(folder, families.vocabulary(CASE))


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_file_that_is_replaced_after_the_glance_is_checked_anew(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((FormatError, UnsupportedError), match=WRONG_FILES[name][1]):
        _file_replaced_by(name, tmp_path, monkeypatch)


def test_a_folder_that_changes_after_the_glance_is_checked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match="has the shape"):
        _folder_changed_by("a transposed tensor", tmp_path, monkeypatch)


MUTANTS: Final[dict[str, tuple[Edit, Callable[[str, Path, pytest.MonkeyPatch], None], str]]] = {
    "tokens": (
        Edit("importers.gguf", "if contents.metadata != glimpse.metadata:", "if False:"),
        _file_replaced_by,
        "another tokenizer",
    ),
    "network": (
        Edit(
            "importers.gguf",
            "arch, found, notes = _network(contents, texts, context)",
            "arch, found, notes = _network(glimpse, texts, context)",
        ),
        _file_replaced_by,
        "another width",
    ),
    "tensors": (
        Edit(
            "importers.huggingface",
            "_weights(arch, family, contents.tensors, quantisation)",
            "_weights(arch, family, glimpse, quantisation)",
        ),
        _folder_changed_by,
        "a transposed tensor",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_glance_that_counted_would_let_a_lie_through(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, opened, lie = MUTANTS[name]
    apply(monkeypatch, [edit])
    opened(lie, tmp_path, monkeypatch)
