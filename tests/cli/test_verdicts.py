"""Many verifications in one go, public proofs, and outputs that were verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cli.driver import Files, call, done, refused
from proofcompute.protocol.messages import Receipt


# -- many ------------------------------------------------------------------------------------------------
@pytest.fixture
def audits(files: Files, tmp_path: Path) -> Path:
    """Three directories: an honest one, one whose node is rejected, one whose opening is missing."""
    for name in ("good", "bad", "lost"):
        directory = tmp_path / name
        directory.mkdir()
        for path in (files.request, files.receipt, files.challenge, files.opening):
            shutil.copy(path, directory)
    data = bytearray((tmp_path / "bad" / "opening").read_bytes())
    data[-1] ^= 1
    (tmp_path / "bad" / "opening").write_bytes(data)
    (tmp_path / "lost" / "opening").unlink()
    return tmp_path


def test_many_directories(files: Files, key: Path, audits: Path) -> None:
    """Each has its line, whatever becomes of the others; a rejection decides the status."""
    names = ("lost", "bad", "good")
    result = call("verify-many", key, *(audits / name for name in names), "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert result.status == 1
    assert [line["state"] for line in lines[:-1]] == ["unusable", "rejected", "verified"]
    assert [Path(line["directory"]).name for line in lines[:-1]] == list(names)
    assert lines[-1] == {"verified": 1, "rejected": 1, "unusable": 1}
    assert lines[1]["step"] in range(1, 11)
    one = done("verify", key, *(files.receipt, files.challenge, files.opening), "--request", files.request)
    assert set(lines[2]) == {*one, "directory", "state"}
    assert (lines[2]["answer"], lines[2]["cells"]) == (one["answer"], one["cells"])


@pytest.mark.parametrize(
    ("names", "status"), [(["good"], 0), (["good", "lost"], 2), (["lost", "bad"], 1), (["good", "good"], 0)]
)
def test_the_status_of_many(key: Path, audits: Path, names: list[str], status: int) -> None:
    result = call("verify-many", key, *(audits / name for name in names))
    assert result.status == status
    assert len(result.out.splitlines()) == len(names) + 1


# -- public ----------------------------------------------------------------------------------------------
def test_a_public_proof(files: Files, tmp_path: Path) -> None:
    proof, words = tmp_path / "proof", ("--request", files.request)
    done("open", files.run, "--public", 4, "-o", proof)
    verify = ("verify-public", files.model, files.receipt, proof, *words)
    found = done(*verify, "--cells", 4)
    assert found["verified"]
    assert found["cells"] == 4
    assert found["grinding_bits"]["0.1"] > 0
    assert found["grinding_budget_bits"] == 50
    assert found["detects_after_grinding"]["0.01"] < 1e-6
    left = done(*verify, "--cells", 4, "--grinding", 0)["detects_after_grinding"]["0.1"]
    assert 0 < left < 1
    assert (
        f"found with probability {left:.4g} after 2^0 tries"
        in call(*verify, "--cells", 4, "--grinding", 0).out
    )
    assert "detects_one" not in found
    assert "2^" in call(*verify, "--cells", 4).out
    # fewer or more cells than it opens are another proof
    for cells in (3, 5):
        result = call(*verify, "--cells", cells, "--json")
        assert (result.status, result.json["verified"], result.json["step"]) == (1, False, 6)
        assert f"the proof does not open the {cells} cells" in result.json["error"]
    data = bytearray(proof.read_bytes())
    data[len(data) // 2] ^= 1
    proof.write_bytes(data)
    assert call(*verify, "--cells", 4).status == 1


def test_public_proofs_ask_for_the_right_things(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "proof"
    assert "either" in refused("open", files.run, "-o", out)
    assert "either" in refused("open", files.run, files.challenge, "--public", 4, "-o", out)
    words = (files.receipt, files.opening, "--cells", 4, "--request", files.request)
    assert "model" in refused("verify-public", files.key, *words)
    assert not out.exists()


# -- outputs ---------------------------------------------------------------------------------------------
def test_outputs_are_written_once_they_are_verified(files: Files, key: Path, tmp_path: Path) -> None:
    out, opening = tmp_path / "answer.json", tmp_path / "opening"
    words = ("--request", files.request, "--outputs", out)
    opening.write_bytes(files.opening.read_bytes()[:-1])
    assert call("verify", key, files.receipt, files.challenge, opening, *words).status == 1
    assert not out.exists()
    done("verify", key, files.receipt, files.challenge, files.opening, *words)
    ((name, data),) = Receipt.decode(files.receipt.read_bytes()).outputs
    assert json.loads(out.read_text()) == {name: np.frombuffer(data, "<i4").tolist()}
