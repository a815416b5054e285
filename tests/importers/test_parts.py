"""Split checkpoints: all parts are read, in their places, and belong together."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from importers.gguf_writer import U16, GgufFile, Typed
from importers.tiny import tiny_file, write_tiny_gguf
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, ProofcomputeError
from proofcompute.importers import open_gguf

PARTS = 3
CUTS = (0, 0, 7, 20)
"""The first part has metadata only, as gguf-split can make them."""


def part_files() -> list[GgufFile]:
    """The tiny file in three parts, as gguf-split would write them."""
    whole = tiny_file()
    found = []
    for i, (a, b) in enumerate(itertools.pairwise(CUTS)):
        split: dict[Any, Any] = {
            "split.no": Typed(U16, i),
            "split.count": Typed(U16, PARTS),
            "split.tensors.count": len(whole.tensors),
        }
        found.append(GgufFile({**dict(whole.metadata), **split} if i == 0 else split, whole.tensors[a:b]))
    return found


def written(tmp_path: Path, parts: list[GgufFile]) -> Path:
    paths = [tmp_path / f"tiny-{i + 1:05}-of-{PARTS:05}.gguf" for i in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part.build())
    return paths[0]


def test_parts_are_read_as_the_whole_file(tmp_path: Path) -> None:
    first = written(tmp_path, part_files())
    split, whole = open_gguf(first), open_gguf(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert (split.arch, split.vocabulary) == (whole.arch, whole.vocabulary)
    for name in whole.shapes:
        assert split.tensor(name).tobytes() == whole.tensor(name).tobytes()
    files = sorted(tmp_path.glob("tiny-*"))
    digests = [hashlib.sha256(f.read_bytes()).digest() for f in files]
    assert split.digest == hashlib.sha256(b"".join(digests)).digest()
    assert split.unused == whole.unused == ()


def test_a_part_that_changes_is_noticed(tmp_path: Path) -> None:
    checkpoint = open_gguf(written(tmp_path, part_files()))
    last = tmp_path / "tiny-00003-of-00003.gguf"
    data = bytearray(last.read_bytes())
    data[-1] ^= 1
    last.write_bytes(data)
    with pytest.raises(MismatchError, match="has changed since"):
        checkpoint.tensor("norm")


def metadata(part: GgufFile) -> dict[Any, Any]:
    assert isinstance(part.metadata, dict)
    return part.metadata


def drop(parts: list[GgufFile]) -> None:
    del parts[2]


def meta(i: int, key: str, value: Any) -> Callable[[list[GgufFile]], None]:
    def apply(parts: list[GgufFile]) -> None:
        metadata(parts[i])[key] = value

    return apply


def repeat(parts: list[GgufFile]) -> None:
    parts[2].tensors.append(dataclasses.replace(parts[1].tensors[0]))


REFUSED: dict[str, tuple[Callable[[list[GgufFile]], None], type[ProofcomputeError], str]] = {
    "missing": (drop, InputError, "part 3 of 3 is missing: .*tiny-00003-of-00003.gguf"),
    "another part": (meta(1, "split.no", Typed(U16, 2)), FormatError, "00002.* is part 3 of 3, not part 2"),
    "of another number": (
        meta(2, "split.count", Typed(U16, 4)),
        FormatError,
        "part 3 of 4, not part 3 of 3",
    ),
    "no part": (meta(2, "split.count", Typed(U16, 1)), FormatError, "part 3 of 1"),
    "other metadata": (meta(1, "general.name", "x"), FormatError, "'general.name' is not as in part 1"),
    "more metadata": (meta(1, "llama.x", 1), FormatError, "'llama.x' is not as in part 1"),
    "a tensor twice": (repeat, FormatError, "an earlier part has the tensor"),
    "too few tensors": (
        meta(0, "split.tensors.count", 21),
        FormatError,
        "announces 21 tensors in 3",
    ),
    "too many parts": (meta(0, "split.count", Typed(U16, 60000)), LimitError, "split.count is 60000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path, name: str) -> None:
    change, error, words = REFUSED[name]
    parts = part_files()
    change(parts)
    with pytest.raises(error, match=words):
        open_gguf(written(tmp_path, parts))


def test_a_part_may_repeat_what_the_first_says(tmp_path: Path) -> None:
    parts = part_files()
    meta(1, "general.architecture", "llama")(parts)
    assert len(open_gguf(written(tmp_path, parts)).arch.blocks) == 2


def test_a_later_part_names_the_first(tmp_path: Path) -> None:
    written(tmp_path, part_files())
    with pytest.raises(InputError, match=r"part 2 of 3 .* give part 1, tiny-00001-of-00003\.gguf"):
        open_gguf(tmp_path / "tiny-00002-of-00003.gguf")


def test_a_part_with_another_name_says_what_it_should_be(tmp_path: Path) -> None:
    first = written(tmp_path, part_files())
    renamed = first.rename(tmp_path / "model.gguf")
    with pytest.raises(InputError, match=r"one of 3 parts .* NAME-00001-of-00003\.gguf"):
        open_gguf(renamed)
