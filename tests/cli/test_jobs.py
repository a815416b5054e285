"""The commands ``job ...``: products between a node and a client, files that do not fit, a node that lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beacons.world import ATTESTOR, OTHER, beacon
from cli.driver import call, done, refused
from jobs.cases import Job, recommitted
from proofcompute.arrays import Array
from proofcompute.beacons import Round
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.kinds import kind_of
from proofcompute.jobs import ProductProof, product_request

NODE = NodeIdentity(bytes(range(32)))


@dataclass(frozen=True)
class Place:
    """The files of a job in one folder."""

    folder: Path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def matrices(self, a: Array, b: Array) -> None:
        np.save(self / "a.npy", a)
        np.save(self / "b.npy", b)
        NODE.save(self / "id")

    def requested(self, by: str = "b.npy", *options: object) -> dict[str, Any]:
        return done("job", "request", self / "a.npy", self / by, "-o", self / "request", *options)

    def proved(self, *options: object) -> dict[str, Any]:
        files = (self / "request", self / "a.npy", self / "b.npy")
        written = ("-o", self / "proof", "--receipt", self / "receipt", "--identity", self / "id")
        return done("job", "prove", *files, *written, *(options or ("--result", self / "c.npy")))

    def challenged(self, *options: object) -> dict[str, Any]:
        files = (self / "request", self / "receipt", self / "c.npy")
        return done("job", "challenge", *files, "-o", self / "challenge", *options)

    def opened(self) -> dict[str, Any]:
        options = ("-o", self / "opening", "--identity", self / "id")
        return done("job", "open", self / "proof", self / "challenge", *options)

    def checked(self, held: str = "b.npy", c: str = "c.npy") -> tuple[object, ...]:
        names = (held, "request", "receipt", "challenge", "opening", c)
        return ("job", "verify", *(self / name for name in names))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def integers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def test_a_job_with_a_key(place: Place) -> None:
    a, b = integers(40, 30), integers(30, 20, seed=1)
    place.matrices(a, b)
    made = done("job", "keygen", place / "b.npy", "-o", place / "key")
    assert (made["columns"], (place / "key").stat().st_mode & 0o777) == (2, 0o600)
    (place / "b-of-the-node.npy").write_bytes((place / "b.npy").read_bytes())
    assert place.requested("key", "--node", NODE.public.hex()) == {
        "request": str(place / "request"),
        "digest": made_request(place),
        "dtype": "int32",
        "rows": 40,
        "width": 20,
    }
    proved = place.proved()
    assert (proved["rows"], proved["node"]) == (40, NODE.public.hex())
    assert (place / "proof").stat().st_mode & 0o777 == 0o600
    np.testing.assert_array_equal(np.load(place / "c.npy"), a.astype(np.int32) @ b.astype(np.int32))
    drawn = place.challenged("--rows", 7)
    assert (drawn["rows"], drawn["total_rows"]) == (7, 40)
    assert place.opened()["rows"] == 7
    shown = {
        n: done("inspect", place / n) for n in ("key", "request", "receipt", "challenge", "proof", "a.npy")
    }
    assert shown["key"]["verifications"] == 0
    assert shown["request"]["digest"] == shown["receipt"]["request_digest"] == made_request(place)
    assert shown["receipt"]["signature_holds"] is True
    assert shown["challenge"]["rows"] == 7
    assert shown["proof"]["a_is_in"] == "this file"
    assert shown["proof"]["receipt_digest"] == shown["challenge"]["receipt_digest"]
    assert (shown["a.npy"]["dtype"], shown["a.npy"]["shape"]) == ("|i1", [40, 30])
    (place / "b.npy").unlink()  # the verifier has its key
    found = done(*place.checked("key"))
    assert (found["verified"], found["rows"], found["complete"], found["received"]) == (True, 7, False, True)
    text = call(*place.checked("key")).out
    assert "7 of 40" in text
    assert "the one that you received" in text
    assert done(*place.checked("key"))["soundness_bits"] < found["soundness_bits"]  # every use counts


def made_request(place: Place) -> str:
    from proofcompute.jobs import ProductRequest

    return ProductRequest.decode((place / "request").read_bytes()).digest.hex()


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_a_stack_with_b_itself(place: Place, dtype: str) -> None:
    rng = np.random.default_rng(4)
    a, b = ((rng.standard_normal(shape) * 100).astype(dtype) for shape in ((2, 1, 5, 8), (3, 8, 4)))
    place.matrices(a, np.asfortranarray(b))
    place.requested("b.npy", "--suite", "blake3")
    place.proved("--result", place / "c.npy", "--refer")
    assert (place / "proof").stat().st_size < 3000
    assert np.load(place / "c.npy").shape == (2, 3, 5, 4)
    assert place.challenged("--rows", 2, "--each")["rows"] == 12
    place.opened()
    found = done(*place.checked())
    assert (found["rows"], found["total_rows"]) == (12, 30)
    assert (found["error_caught"] is None) == (dtype == "int16")
    named = ("job", "challenge", place / "request", place / "receipt", place / "c.npy")
    assert done(*named, "-o", place / "all", "--all")["rows"] == 30


def test_terms_and_signers(place: Place) -> None:
    place.matrices(integers(6, 5), integers(5, 4))
    place.requested("b.npy", "--node", NODE.public.hex())
    terms = ("--identity", place / "id", "--rate", 9, "--retention", 500)
    done("terms", "-o", place / "terms", *terms)
    place.proved("--result", place / "c.npy", "--terms", place / "terms", "--retention", 700)
    place.challenged("--terms", place / "terms", "--retention", 700, "--node", NODE.public.hex())
    place.opened()
    assert done(*place.checked(), "--node", NODE.public.hex())["verified"]
    files = ("job", "challenge", place / "request", place / "receipt", place / "c.npy", "-o", place / "again")
    late = call(*files, "--retention", 701, "--json")
    assert (late.status, late.json["step"]) == (1, 5)
    other = NodeIdentity(bytes(range(1, 33)))
    assert "is for node" in refused(*files, "--node", other.public.hex())
    assert "hexadecimal" in refused(*files, "--node", "node")
    other.save(place / "other")
    words = ("job", "prove", place / "request", place / "a.npy", place / "b.npy", "-o", place / "second")
    options = ("--receipt", place / "r", "--result", place / "d.npy")
    assert "addresses" in refused(*words, *options, "--identity", place / "other")
    assert not (place / "r").exists()


def test_an_auditor_that_never_had_the_product(place: Place) -> None:
    place.matrices(integers(6, 5), integers(5, 4))
    place.requested()
    place.proved()
    place.challenged("--all")
    place.opened()
    words = place.checked()[:-1]
    assert done(*words, "--not-received")["received"] is False
    assert "you received none" in call(*words, "--not-received").out
    assert "--not-received" in refused(*words)
    assert "--not-received" in refused(*place.checked(), "--not-received")


def test_a_product_from_elsewhere(place: Place) -> None:
    a, b = integers(9, 8), integers(8, 7, seed=1)
    place.matrices(a, b)
    place.requested()
    c = a.astype(np.int32) @ b.astype(np.int32)
    wrong = c.copy()
    wrong[3, 3] += 1
    np.save(place / "c.npy", wrong)
    words = ("job", "prove", place / "request", place / "a.npy", place / "b.npy", "-o", place / "proof")
    options = ("--identity", place / "id", "--receipt", place / "receipt")
    assert "nothing was signed" in refused(*words, *options, "--product", place / "c.npy")
    assert not (place / "receipt").exists()
    assert not (place / "proof").exists()
    assert "--result" in refused(*words, *options)
    assert "--result" in refused(*words, *options, "--product", place / "c.npy", "--result", place / "d.npy")
    same = ("--identity", place / "id", "--receipt", place / "proof", "--result", place / "d.npy")
    assert "different files" in refused(*words, *same)
    np.save(place / "c.npy", c)
    place.proved("--product", place / "c.npy", "--refer")
    place.challenged("--all")
    place.opened()
    assert done(*place.checked())["complete"]


def test_a_node_that_lies_is_rejected(place: Place) -> None:
    """It signs and sends a wrong element, and opens what it signed."""
    a, b = integers(9, 8), integers(8, 7, seed=1)
    place.matrices(a, b)
    place.requested()
    place.proved()
    honest = ProductProof.load(place / "proof", NODE, device="numpy")
    c = np.array(honest.c)
    c[4, 4] += 1
    liar = recommitted(Job(a, b, honest.request, honest), c).proof
    liar.save(place / "proof")
    (place / "receipt").write_bytes(liar.receipt.encode())
    sent = np.load(place / "c.npy")
    files = (place / "request", place / "receipt", place / "c.npy")
    rejected = call("job", "challenge", *files, "-o", place / "challenge", "--all", "--json")
    assert (rejected.status, rejected.json["step"]) == (1, 5)  # what it sent is not what it signed
    np.save(place / "c.npy", c)
    place.challenged("--all")
    place.opened()
    rejected = call(*place.checked(), "--json")
    assert (rejected.status, rejected.json["step"], rejected.json["attributable"]) == (1, 8, True)
    assert rejected.json["node"] == NODE.public.hex()
    assert rejected.err.startswith("proofcompute: REJECTED: step 8")
    np.save(place / "c.npy", sent)
    assert call(*place.checked(), "--json").json["step"] == 5


def test_a_stale_receipt_is_rejected(place: Place) -> None:
    place.matrices(integers(6, 5), integers(5, 4))
    place.requested()
    place.proved()
    a, b = np.load(place / "a.npy"), np.load(place / "b.npy")
    (place / "request").write_bytes(product_request(a, b, device="numpy").encode())
    files = (place / "request", place / "receipt", place / "c.npy")
    rejected = call("job", "challenge", *files, "-o", place / "challenge", "--json")
    assert (rejected.status, rejected.json["step"]) == (1, 4)


def test_files_that_are_mixed_up_or_cannot_be_read(place: Place) -> None:
    place.matrices(integers(6, 5), integers(5, 4))
    done("job", "keygen", place / "b.npy", "-o", place / "key")
    place.requested("key")
    place.proved()
    place.challenged()
    place.opened()
    kinds = {name: kind_of(place / name) for name in ("key", "request", "receipt", "challenge", "proof")}
    assert kinds == {name: f"product {name}" for name in kinds}
    names = ["key", "request", "receipt", "challenge", "opening", "c.npy"]
    good = place.checked("key")
    for i, name in enumerate(names):
        other = list(good)
        other[2 + i] = place / "id"
        result = call(*other, "--json")
        assert result.status == (1 if name in ("receipt", "opening") else 2), (name, result.err)
        other[2 + i] = place / "none"
        assert call(*other, "--json").status == 2
    assert "exists" in refused("job", "keygen", place / "b.npy", "-o", place / "key")
    other_suite = ("job", "request", place / "a.npy", place / "key", "-o", place / "r", "--suite", "blake3")
    assert "another key" in refused(*other_suite)
    (place / "p.npy").write_bytes(b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (), }")
    for bad in ("p.npy", "id", "none"):
        assert refused("job", "request", place / bad, place / "key", "-o", place / "r")
    assert "do not fit" in refused("job", "request", place / "a.npy", place / "a.npy", "-o", place / "r")
    assert not (place / "r").exists()
    large = place / "receipt"
    large.write_bytes(bytes(5000))
    assert call(*good, "--json").json["step"] == 1


def test_products_are_proved_to_everybody(place: Place) -> None:
    place.matrices(integers(9, 30), integers(30, 20, seed=1))
    wanted = done("job", "publish", place / "b.npy", "-o", place / "public")["public_id"]
    assert done("job", "publish", place / "b.npy", "--check", place / "public")["verified"] is True
    place.requested()
    place.proved()
    of, signed = (place / "public", place / "b.npy", place / "proof"), ("--identity", place / "id")
    made = done("job", "prove-public", *of, "-o", place / "shown", *signed)
    assert (made["products"], made["rows"]) == (1, 9)
    done("job", "prove-public", *of, "-o", place / "some", *signed, "--rows", 3)
    factor, held = (done("inspect", place / name) for name in ("public", "shown"))
    assert (factor["kind"], factor["public_id"], held["public_id"]) == ("public factor", wanted, wanted)
    assert (held["of"], held["rows"]) == ("products", ["all"])
    np.save(place / "other.npy", integers(30, 20, seed=2))
    result = call("job", "publish", place / "other.npy", "--check", place / "public", "--json")
    assert (result.status, result.json["verified"]) == (1, False)
    other = (place / "public", place / "other.npy", place / "proof")
    assert "is of another B" in refused("job", "prove-public", *other, "-o", place / "no", *signed)

    (place / "b.npy").unlink()  # the verifier has never had it
    checked = ("job", "verify-public", place / "public", place / "shown", "--request", place / "request")
    found = done(*checked, "--product", place / "c.npy", "--id", wanted)
    (one,) = found["products"]
    assert (one["complete"], one["received"]) == (True, True)
    assert 96.8 < one["soundness_bits"] < 97
    assert done(*checked, "--not-received")["products"][0]["received"] is False
    sampled = ("job", "verify-public", place / "public", place / "some", "--request", place / "request")
    assert "rows are proved, and not all" in call(*sampled, "--not-received").err
    assert done(*sampled, "--not-received", "--rows", 3)["products"][0]["rows"] == 3
    assert "verified: every row" in call(*checked, "--not-received").out
    np.save(place / "c.npy", np.load(place / "c.npy") + 1)
    result = call(*checked, "--product", place / "c.npy", "--json")
    assert (result.status, result.json["step"]) == (1, 5)
    assert "say --not-received" in refused(*checked)
    assert "not the one you trust" in refused(*checked, "--not-received", "--id", "00" * 32)


def test_rows_of_products_are_drawn_from_a_beacon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Round, "check", lambda self, chain: None)  # the tests of beacons check pairings
    place.matrices(integers(9, 30), integers(30, 20, seed=1))
    done("job", "publish", place / "b.npy", "-o", place / "public")
    place.requested()
    place.proved()
    receipt = ProductProof.load(place / "proof", NodeIdentity.load(place / "id")).receipt
    prove = (
        "job",
        "prove-public",
        place / "public",
        place / "b.npy",
        place / "proof",
        "--identity",
        place / "id",
    )
    drawn = (*prove, "-o", place / "shown", "--beacon", place / "beacon")
    beacon().save(place / "beacon")
    assert "a beacon draws rows" in refused(*drawn)
    assert "none of the beacons is about" in refused(*drawn, "--rows", 3)
    beacon(receipt_digest=receipt.digest, request_digest=receipt.request_digest).save(place / "beacon")
    done(*drawn, "--rows", 3)
    assert done("inspect", place / "shown")["beacons"] == 1
    shown = (place / "public", place / "shown", "--request", place / "request", "--not-received")
    verify = ("job", "verify-public", *shown, "--rows", 3)
    assert done(*verify, "--attestor", ATTESTOR.public.hex())["products"][0]["attempts"] == 1
    assert "receipts that a node could try  1" in call(*verify, "--attestor", ATTESTOR.public.hex()).out
    assert "without an attestor" in refused(*verify)
    other = call(*verify, "--attestor", OTHER.public.hex(), "--json")
    assert (other.status, other.json["step"]) == (1, 6)
