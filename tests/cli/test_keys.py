"""``keygen``: interrupted, and taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.driver import Files, call, done, limited, refused
from proofcompute.models.file import ModelFile
from proofcompute.verifier import Key
from proofcompute.verifier.partial import partial_path


@pytest.fixture
def partial(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key that somebody interrupted at its ninth weight; the path that it would have had."""
    path, read = tmp_path / "key", ModelFile.weight
    names = [s.name for s in ModelFile.open(files.model).card.program.weights]

    def weight(self: ModelFile, name: str) -> object:
        if name == names[8]:
            raise KeyboardInterrupt
        return read(self, name)

    with monkeypatch.context() as m:
        m.setattr(ModelFile, "weight", weight)
        result = call("keygen", files.model, "-o", path, "--columns", 3)
    assert result.status == 130
    assert f"to continue: proofcompute keygen {files.model} -o {path} --columns 3" in result.out
    assert not path.exists()
    return path


def test_an_interrupted_keygen_goes_on(files: Files, partial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, read = [], ModelFile.weight

    def weight(self: ModelFile, name: str) -> object:
        asked.append(name)
        return read(self, name)

    monkeypatch.setattr(ModelFile, "weight", weight)
    made = done("keygen", files.model, "-o", partial, "--columns", 3)
    key = Key.load(partial)
    assert (key.columns.k, key.model_id.hex()) == (3, made["model_id"])
    assert asked == [s.name for s in key.program.weights][8:]
    assert not partial_path(partial).exists()
    checked = done(
        "verify", partial, files.receipt, files.challenge, files.opening, "--request", files.request
    )
    assert checked["cells"] == checked["total_cells"]


def test_inspect_says_how_far_it_is(partial: Path) -> None:
    facts = done("inspect", partial_path(partial))
    assert (facts["kind"], facts["weights_done"], facts["columns"]) == ("interrupted key", 8, 3)
    assert len(facts) == 5  # and no seed


def test_it_is_not_taken_for_a_key(files: Files, partial: Path) -> None:
    text = refused(
        "verify",
        partial_path(partial),
        files.receipt,
        files.challenge,
        files.opening,
        "--request",
        files.request,
    )
    assert "interrupted key" in text
    assert "proofcompute keygen" in text


def test_other_columns_are_refused(files: Files, partial: Path) -> None:
    assert "3 columns, not 2" in refused("keygen", files.model, "-o", partial)


def test_a_full_disk_keeps_what_is_done(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "key"
    status, error = limited(2_000, "keygen", files.model, "-o", path)
    assert status == 2
    assert "cannot write" in error
    assert "what is done is kept" in error
    assert [p.name for p in tmp_path.iterdir()] == ["key.partial"]
    assert partial_path(path).stat().st_mode & 0o777 == 0o600
    done("keygen", files.model, "-o", path)
    assert Key.load(path).model_id == ModelFile.open(files.model).card.model_id
