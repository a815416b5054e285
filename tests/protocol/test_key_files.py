"""Keys that cannot be read or written, and numbers in them that a key cannot hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import synthetic
from proofcompute.errors import FormatError, LimitError, StorageError
from proofcompute.verifier import Key
from proofcompute.verifier import key as key_module
from proofcompute.verifier.partial import PartialKey, partial_path, progress_of
from protocol.unfinished_keys import SEED, WEIGHTS, Reader, interrupted, make


def test_a_key_of_more_bytes_than_a_key_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    data = synthetic.key().encode()
    monkeypatch.setattr(key_module, "LARGEST", len(data))
    Key.decode(data)
    monkeypatch.setattr(key_module, "LARGEST", len(data) - 1)
    with pytest.raises(LimitError, match="larger than"):
        Key.decode(data)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_scale_that_is_not_finite(value: float) -> None:
    """The checksum fits: whoever made the key put it there."""
    key = synthetic.key()
    name, (scale, bias) = next(iter(key.scales.items()))
    bad = scale.copy()
    bad[-1] = value
    data = replace(key, scales={**key.scales, name: (bad, bias)}).encode()
    with pytest.raises(FormatError, match=f"{name} holds a number that is not finite"):
        Key.decode(data)


def test_a_file_of_another_kind_is_no_key(tmp_path: Path) -> None:
    """Said by its first bytes, whoever may read it."""
    path = tmp_path / "card"
    path.write_bytes(synthetic.model().card.encode())
    with pytest.raises(FormatError, match="is of kind card; a verifier's key is needed"):
        Key.load(path)


def test_a_place_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """No file system takes such a name; what is there may be this key with a log of its own."""
    key = synthetic.key()
    with pytest.raises(StorageError, match="which is to be replaced: File name too long"):
        key.save(tmp_path / ("x" * 300))
    assert key.log.attempt() == 1


def test_an_interrupted_key_that_holds_nothing(tmp_path: Path) -> None:
    path = partial_path(tmp_path / "key")
    path.touch(0o600)
    with pytest.raises(FormatError, match="holds nothing yet"):
        progress_of(path)


def test_an_interrupted_key_with_a_weight_too_many(tmp_path: Path) -> None:
    path, card = tmp_path / "key", synthetic.model().card
    interrupted(path, WEIGHTS[-1])
    with PartialKey.begin(path, card, 2, SEED) as partial:
        first = partial.entries[0]
        assert len(partial.entries) == len(WEIGHTS) - 1
        last = synthetic.model().card.program.weights[-1]
        partial.append(synthetic.key()._entry(last))
        partial.append(first)
    with pytest.raises(FormatError, match="more weights than the program has"):
        make(path, Reader())


def test_an_interrupted_key_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is there, and whoever made it learns that a second secret is beside it."""
    path = tmp_path / "key"

    def refuses(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuses)
        with pytest.raises(StorageError, match="remove it, it is secret"):
            make(path, Reader())
    assert partial_path(path).exists()
    assert Key.load(path).columns.seed == SEED
