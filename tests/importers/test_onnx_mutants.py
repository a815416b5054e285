"""Each check of an ONNX file is needed: without it, a bad file is not refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from adversary.mutation import Edit, apply
from importers.onnx_nets import model_of, node
from importers.test_onnx_hostile import beside, changed, compiled, in_folder
from proofcompute.errors import FormatError, ProofcomputeError


def outside(folder: Path) -> None:
    in_folder(folder, beside("../secret"))


def through_a_link(folder: Path) -> None:
    (folder / "folder").mkdir(exist_ok=True)
    if not (folder / "folder" / "inner").exists():
        (folder / "folder" / "inner").symlink_to(folder)
    in_folder(folder, beside("inner/secret"))


def behind_the_end(folder: Path) -> None:
    in_folder(folder, beside("net.bin", 16))


def shorter(folder: Path) -> None:
    def cut(m: object) -> None:
        tensor = m.graph.initializer[0]  # type: ignore[attr-defined]
        tensor.raw_data = tensor.raw_data[:-4]

    compiled(changed(cut))


def missing(folder: Path) -> None:
    compiled(model_of([node("Neg", "nothing", "y")], {"x": ["n", 4]}, ["y"]))


def mixing(folder: Path) -> None:
    compiled(model_of([node("Softmax", "x", "y", axis=0)], {"x": ["n", 4]}, ["y"]))


def old(folder: Path) -> None:
    compiled(model_of([node("Neg", "x", "y")], {"x": ["n", 4]}, ["y"], opset=6))


MUTANTS: dict[str, tuple[Edit, Callable[[Path], None]]] = {
    "paths stay inside": (
        Edit("importers.onnx.tensors", 'if any(p in ("", ".", "..") for p in parts):', "if False:"),
        outside,
    ),
    "no links": (
        Edit("importers.onnx.tensors", "if stat.S_ISLNK(os.lstat(path).st_mode):", "if False:"),
        through_a_link,
    ),
    "data end in the file": (
        Edit("importers.onnx.tensors", "if offset + length > found.st_size:", "if False:"),
        behind_the_end,
    ),
    "data have the size of the shape": (
        Edit("importers.onnx.tensors", "if len(raw) != _nbytes(dtype, count):", "if False:"),
        shorter,
    ),
    "nodes read what is made": (
        Edit("importers.onnx.running", "if name and name not in scope:", "if name and False:"),
        missing,
    ),
    "samples are compared": (
        Edit(
            "importers.onnx.batches",
            "if not np.allclose(apart, together, rtol=_CLOSE, atol=_CLOSE * largest, equal_nan=True):",
            "if False:",
        ),
        mixing,
    ),
    "versions are known": (
        Edit(
            "importers.onnx.opening",
            'if not 7 <= opsets.get("", 7) <= onnx.defs.onnx_opset_version():',
            "if False:",
        ),
        old,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_its_check_an_onnx_file_is_not_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, bad = MUTANTS[name]
    with pytest.raises(ProofcomputeError):
        bad(tmp_path)
    apply(monkeypatch, [edit])
    # it is compiled, or ends in what is no message, or a second check of the same stops it
    with suppress(KeyError, ValueError, TypeError, FormatError):
        bad(tmp_path)
        return
    assert name in ("data end in the file", "data have the size of the shape", "nodes read what is made")
