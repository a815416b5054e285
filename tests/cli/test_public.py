"""Public proofs without weights through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from beacons.world import beacon
from cli.driver import Files, call, done, refused
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Receipt
from proofcompute.public.key import PublicKey
from public.world import changed


@pytest.fixture(scope="module")
def public(files: Files) -> Path:
    path = files.home / "public"
    made = done("publish", files.model, "-o", path)
    assert made["bytes"] == path.stat().st_size
    return path


@pytest.fixture(scope="module")
def proof(files: Files, public: Path) -> Path:
    path = files.home / "proof"
    done("prove", public, files.run, "-o", path)
    return path


def test_a_run_is_proved_to_everybody(files: Files, public: Path, proof: Path) -> None:
    wanted = done("publish", files.model, "-o", files.home / "again")["public_id"]
    found = done("verify-proof", public, proof, "--request", files.request, "--id", wanted)
    (one,) = found["requests"]
    assert (found["verified"], found["public_id"], one["complete"]) == (True, wanted, True)
    assert 96.8 < one["soundness_bits"] < 97
    assert one["grinding_bits"] == {"0.01": None, "0.1": None}
    result = call("verify-proof", public, proof, "--request", files.request)
    assert "verified: every cell that the proof has to open" in result.out


def test_drawn_cells_and_several_runs(files: Files, public: Path, tmp_path: Path) -> None:
    made = done("prove", public, files.run, files.run, "-o", tmp_path / "proof", "--cells", 4)
    assert (made["runs"], made["cells"]) == (2, 8)
    asked = ("--request", files.request) * 2
    found = done("verify-proof", public, tmp_path / "proof", *asked, "--cells", 4)
    result = call("verify-proof", public, tmp_path / "proof", *asked)
    assert (result.status, "cells are proved, and not all" in result.err) == (1, True)
    assert [one["cells"] for one in found["requests"]] == [4, 4]
    assert found["requests"][0]["grinding_bits"]["0.1"] > 0
    alone = done("verify-proof", public, tmp_path / "proof", *asked[:2], "--cells", 4)
    assert alone["requests"] == found["requests"][:1]


def test_what_is_not_proved_is_rejected(files: Files, public: Path, proof: Path, tmp_path: Path) -> None:
    data = proof.read_bytes()
    for at in (len(data) // 2, len(data) - 5):
        (tmp_path / "proof").write_bytes(changed(data, at))
        result = call("verify-proof", public, tmp_path / "proof", "--request", files.request, "--json")
        assert result.status == 1
        assert result.json["verified"] is False
        assert "REJECTED: step" in result.err
    done("request", files.model, "--prompt", "Another", "--max-tokens", 10, "-o", tmp_path / "request")
    result = call("verify-proof", public, proof, "--request", tmp_path / "request")
    assert (result.status, "REJECTED: step 4" in result.err) == (1, True)


def test_files_that_cannot_be_used(files: Files, public: Path, proof: Path, tmp_path: Path) -> None:
    asked = ("--request", files.request)
    assert "of kind" in refused("verify-proof", files.model, proof, *asked)
    assert "of kind" in refused("verify-proof", public, public, *asked)
    assert "not the one you trust" in refused("verify-proof", public, proof, *asked, "--id", "00" * 32)
    assert "not the directory of a run" in refused("prove", public, tmp_path / "no", "-o", tmp_path / "p")
    assert "give either -o or --check" in refused("publish", files.model)
    assert "exists" in refused("prove", public, files.run, "-o", proof)
    broken = tmp_path / "public"
    broken.write_bytes(public.read_bytes()[:-1])
    assert refused("verify-proof", broken, proof, *asked)
    assert not (tmp_path / "p").exists()


def test_a_public_key_is_checked_with_the_weights(files: Files, public: Path, tmp_path: Path) -> None:
    for options in ((), ("--leaves", 20)):
        assert done("publish", files.model, "--check", public, *options)["verified"] is True
    other = tmp_path / "public"
    done("publish", files.model, "-o", other, "--rho", 3)
    key = bytearray(other.read_bytes())
    key[bytes(key).index(PublicKey.load(other).roots[0])] ^= 1
    other.write_bytes(bytes(key))
    result = call("publish", files.model, "--check", other, "--json")
    assert (result.status, result.json["verified"]) == (1, False)
    assert "REJECTED: the weights have public id" in result.err


def test_inspect_says_what_is_public(files: Files, public: Path, proof: Path) -> None:
    key, held, digests = (done("inspect", p) for p in (public, proof, public.with_name("public.codes")))
    assert (key["kind"], held["kind"], digests["kind"]) == ("public key", "public proof", "code digests")
    assert key["public_id"] == held["public_id"]
    assert key["model_id"] == digests["model_id"]
    assert held["cells"] == ["all"]
    assert digests["weights"] == len(Model.load(files.model).program.weights)


def test_runs_and_beacons_of_a_proof(files: Files, public: Path, tmp_path: Path) -> None:
    made = done("prove", public, files.run, "-o", tmp_path / "proof", "--runs", "2x3", "--cells", 1)
    asked = ("--request", files.request)
    found = done("verify-proof", public, tmp_path / "proof", *asked, "--runs", "2x3")
    (one,) = found["requests"]
    assert made["cells"] == one["cells"] > 2
    assert (one["beacon"], one["complete"]) == (False, False)
    assert done("inspect", tmp_path / "proof")["cells"] == ["2 runs of 3 rows and 1 cell"]
    result = call("verify-proof", public, tmp_path / "proof", *asked, "--attestor", "00" * 32)
    assert result.status == 1
    assert "--all opens every cell" in refused(
        "prove", public, files.run, "-o", tmp_path / "no", "--all", "--cells", 3
    )
    beacon().save(tmp_path / "beacon")
    drawn = ("prove", public, files.run, "-o", tmp_path / "no", "--beacon", tmp_path / "beacon")
    assert "a beacon draws cells" in refused(*drawn)
    assert "none of the beacons is about" in refused(*drawn, "--cells", 3)
    assert "two beacons are about" in refused(*drawn, "--cells", 3, "--beacon", tmp_path / "beacon")
    receipt = Receipt.decode((files.run / "receipt").read_bytes())
    beacon(receipt_digest=receipt.digest, request_digest=receipt.request_digest).save(tmp_path / "beacon")
    assert done(*drawn[:4], tmp_path / "drawn", *drawn[5:], "--cells", 3)["cells"] == 3
    assert done("inspect", tmp_path / "drawn")["beacons"] == 1
    text = refused("verify-proof", public, tmp_path / "drawn", *asked, "--cells", 3)
    assert "without an attestor whom you believe" in text


def test_workers_prove_each_run_with_the_bytes_of_one_process(
    files: Files, public: Path, tmp_path: Path
) -> None:
    """One run names the node's identity, the other has its own, and its trace is gone."""
    done("request", files.model, "--prompt", "Another one", "--max-tokens", 3, "-o", tmp_path / "request")
    done("run", files.model, tmp_path / "request", "-o", tmp_path / "run")
    (tmp_path / "run" / "trace").unlink()
    both = (files.run, tmp_path / "run")
    options = ("-o", tmp_path / "proofs", "--cells", 4, "--device", "auto")
    two = ("--worker", "numpy", "--worker", "numpy")
    made = done("prove", public, *both, *options, *two)
    assert (made["runs"], made["cells"]) == (2, 8)
    for number, (run, one) in enumerate(zip(both, made["proofs"], strict=True)):
        alone = tmp_path / f"alone{number}"
        done("prove", public, run, "-o", alone, "--cells", 4)
        assert (one["run"], one["new"], one["bytes"]) == (str(run), True, alone.stat().st_size)
        assert Path(one["proof"]).read_bytes() == alone.read_bytes()
    again = done("prove", public, *both, *options, *two)
    assert [one["new"] for one in again["proofs"]] == [False, False]
    assert [one["proof"] for one in again["proofs"]] == [one["proof"] for one in made["proofs"]]
    safer = done("prove", public, files.run, *options, *two[:2], "--security", 110)
    assert safer["proofs"][0]["new"] is True  # another proof than the one that was there
    said = call("prove", public, *both, *options, *two).out
    assert said.count("which was there already") == 2


def test_workers_say_what_they_cannot_prove(files: Files, public: Path, tmp_path: Path) -> None:
    auto = ("--device", "auto")
    one = ("prove", public, files.run, "-o", tmp_path / "proofs", "--worker", "numpy")
    assert "names devices" in refused(*one, "--device", "cpu")
    assert "names devices" in refused(*one, *auto, "--force")
    assert "give --worker with it" in refused("prove", public, files.run, "-o", tmp_path / "p", "--ray", "x")
    (tmp_path / "file").touch()
    assert "is no folder" in refused(
        "prove", public, files.run, "-o", tmp_path / "file", "--worker", "cpu", *auto
    )
    assert "names no cores" in refused(*one[:-1], "cpu@x", *auto)
    done("identity", "-o", tmp_path / "other")
    result = call(*one, *auto, "--cells", 2, "--identity", tmp_path / "other", "--json")
    assert result.status == 2
    assert f"{files.run}: " in result.err
    assert "not signed by this identity" in result.json["error"]
    assert list((tmp_path / "proofs").glob("*/*")) == []
