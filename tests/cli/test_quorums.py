"""Quorums and beacons on the command line: keys, policies, verdicts, and rounds joined to statements."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from beacons.world import ATTESTOR, BEFORE, PUBLISHED, ROUND
from cli.driver import Files, call, done, refused
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.protocol.messages import Receipt
from proofcompute.verdicts import QuorumPolicy

pytest.importorskip("py_ecc")


class Committee(NamedTuple):
    """Three auditors, and evidence of an honest and of a silent node."""

    home: Path
    policy: Path
    accepted: Path
    silent: Path


@pytest.fixture(scope="module")
def committee(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Committee:
    home = tmp_path_factory.mktemp("committee")
    made = [done("verdict", "keygen", "-o", home / f"secret{n}", "--name", f"auditor {n}") for n in range(3)]
    members = [Path(one["member"]) for one in made]
    done("verdict", "policy", *members, "--threshold", 2, "--name", "us", "-o", home / "policy")
    NodeIdentity(bytes(range(3, 35))).save(home / "auditor")
    key, nothing = home / "key", home / "nothing"
    key.write_bytes(files.key.read_bytes())
    key.chmod(0o600)
    nothing.write_bytes(b"")
    for name, opening in (("accepted", files.opening), ("silent", nothing)):
        call(
            "verify", key, files.receipt, files.challenge, opening, "--request", files.request,
            "--waited", 0.5, "--evidence", home / name, "--identity", home / "auditor",
        )  # fmt: skip
    return Committee(home, home / "policy", home / "accepted", home / "silent")


def sign(
    committee: Committee, files: Files, number: int, to: Path, *more: object, what: str = "accepted"
) -> Path:
    words = ("--policy", committee.policy, "--secret", committee.home / f"secret{number}")
    evidence = getattr(committee, what)
    done("verdict", "sign", evidence, *words, "--model", files.model, "--device", "numpy", "-o", to, *more)
    return to


@pytest.fixture(scope="module")
def verdict(committee: Committee, files: Files) -> Path:
    home = committee.home
    first = sign(committee, files, 0, home / "first")
    second = sign(committee, files, 2, home / "second", "--like", first)
    done("verdict", "combine", first, second, "--policy", committee.policy, "-o", home / "verdict")
    return home / "verdict"


def test_secrets_stay_secret(committee: Committee) -> None:
    secret = committee.home / "secret0"
    assert secret.stat().st_mode & 0o777 == 0o600
    hidden = secret.read_bytes()[-32:].hex()
    for words in (("inspect", secret), ("verdict", "keygen", "-o", committee.home / "other")):
        result = call(*words)
        assert result.status == 0
        assert hidden not in result.out + result.err
    facts = done("inspect", secret)
    member = json.loads((committee.home / "secret0.member").read_text("utf-8"))
    assert (facts["kind"], facts["public"]) == ("verdict key", member["key"])
    assert "--force" in refused("verdict", "keygen", "-o", secret)


def test_a_quorum_accepts_an_answer(
    committee: Committee, files: Files, verdict: Path, tmp_path: Path
) -> None:
    words = ("verdict", "verify", verdict, "--policy", committee.policy, "--receipt", files.receipt)
    found = done(*words)
    assert (found["outcome"], found["check"], len(found["signers"])) == ("accepted", "cells", 2)
    assert found["receipt_digest"] == Receipt.decode(files.receipt.read_bytes()).digest.hex()
    text = call(*words).out
    assert "2 of 3 say: accepted" in text
    assert "auditor 0" in text
    used = ("--used", tmp_path / "used")
    done(*words, *used)
    again = call(*words, *used, "--json")
    assert (again.status, again.json["fault"]) == (1, "replayed")
    late = call(*words, "--at", 4_000_000_000, "--json")
    assert (late.status, late.json["fault"], late.json["verified"]) == (1, "time", False)
    assert "REJECTED" in late.err


def test_a_verdict_that_was_changed(
    committee: Committee, files: Files, verdict: Path, tmp_path: Path
) -> None:
    bad, data = tmp_path / "verdict", verdict.read_bytes()
    words = ("verdict", "verify", bad, "--policy", committee.policy, "--receipt", files.receipt)
    for wrong, fault in (
        (data[:-1], "malformed"),
        (data[:-1] + bytes([data[-1] ^ 1]), "signature"),
        (data.replace(b"accepted", b"bccepted"), "malformed"),
    ):
        bad.write_bytes(wrong)
        result = call(*words, "--json")
        assert (result.status, result.json["fault"]) == (1, fault)
    others = json.loads(committee.policy.read_text("utf-8"))
    others["threshold"] = 1
    (tmp_path / "policy").write_text(json.dumps(others), "utf-8")
    words = ("verdict", "verify", verdict, "--policy", tmp_path / "policy", "--receipt", files.receipt)
    assert call(*words, "--json").json["fault"] == "policy"
    (tmp_path / "policy").write_text("{}", "utf-8")
    assert "quorum policy" in refused(*words)
    assert "kind request" in refused(*words[:3], "--policy", committee.policy, "--receipt", files.request)
    (tmp_path / "receipt").write_bytes(b"receipt")
    words = ("verdict", "verify", verdict, "--policy", committee.policy, "--receipt", tmp_path / "receipt")
    assert "does not decode" in refused(*words)
    (tmp_path / "signed").write_bytes(b"signed")
    result = call(
        "verdict", "combine", tmp_path / "signed", "--policy", committee.policy, "-o", bad, "--force"
    )
    assert result.status == 1


def test_who_found_something_else_does_not_sign(committee: Committee, files: Files, tmp_path: Path) -> None:
    first = sign(committee, files, 0, tmp_path / "first", "--own-word", what="silent")
    words = ("--policy", committee.policy, "--model", files.model, "--device", "numpy", "-o", tmp_path / "no")
    mine = ("--secret", committee.home / "secret1")
    result = call("verdict", "sign", committee.accepted, *words, *mine, "--like", first, "--json")
    assert (result.status, result.json["fault"]) == (1, "mixed")
    assert "only the auditor's word" in refused("verdict", "sign", committee.silent, *words, *mine)
    done("verdict", "keygen", "-o", tmp_path / "stranger")
    result = call("verdict", "sign", committee.accepted, *words, "--secret", tmp_path / "stranger", "--json")
    assert (result.status, result.json["fault"]) == (1, "signer")
    (tmp_path / "bad").write_bytes(committee.accepted.read_bytes()[:-1])
    result = call("verdict", "sign", tmp_path / "bad", *words, *mine, "--json")
    assert result.status == 1
    assert "ends inside" in result.json["error"]
    assert not (tmp_path / "no").exists()
    alone = call("verdict", "combine", first, "--policy", committee.policy, "-o", tmp_path / "no", "--json")
    assert (alone.status, alone.json["fault"]) == (1, "threshold")


def test_evidence_carries_the_verdict_of_a_quorum(
    committee: Committee, files: Files, verdict: Path, tmp_path: Path
) -> None:
    to = tmp_path / "evidence"
    done("verdict", "attach", verdict, committee.accepted, "-o", to)
    judge = ("verify-evidence", to, "--model", files.model, "--device", "numpy")
    found = done(*judge, "--policy", committee.policy)
    assert found["finding"] == "confirmed"
    assert (found["quorum"]["holds"], found["quorum"]["agrees"]) == (True, True)
    assert "as found here" in call(*judge, "--policy", committee.policy).out
    assert done(*judge)["quorum"] == {"holds": None}
    assert "NOT checked, which takes --policy" in call(*judge).out
    assert done("inspect", to)["verdict"] == "accepted, of 2 signers"
    # the same verdict, put into evidence of another kind
    done("verdict", "attach", verdict, committee.silent, "-o", to, "--force")
    result = call(*judge, "--policy", committee.policy, "--json")
    assert (result.status, result.json["quorum"]["agrees"]) == (3, True)  # after a replay
    bare = ("verify-evidence", committee.accepted, "--model", files.model, "--device", "numpy")
    result = call(*bare, "--policy", committee.policy, "--json")
    assert (result.status, result.json["quorum"]["fault"]) == (1, "malformed")
    assert done(*bare)["quorum"] is None


def test_inspecting_and_calldata(committee: Committee, verdict: Path) -> None:
    facts = done("inspect", verdict)
    assert (facts["kind"], facts["outcome"], facts["signers"]) == ("quorum verdict", "accepted", 2)
    assert facts["policy"] == QuorumPolicy.load(committee.policy).digest.hex()
    assert done("inspect", committee.home / "first")["kind"] == "signed verdict"
    found = done("verdict", "calldata", verdict, "--policy", committee.policy)
    assert len(found["pairing"]) == 2 * 768
    assert "pairing" in call("verdict", "calldata", verdict, "--policy", committee.policy).out


# -- beacons ----------------------------------------------------------------------------------------------
def test_a_receipt_is_attested_and_joined_to_its_round(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, log, to = tmp_path / "attestor", tmp_path / "log", tmp_path / "statement"
    ATTESTOR.save(identity)
    monkeypatch.setattr("proofcompute.beacons.attesting.time.time", lambda: BEFORE / 1000 - 3)
    attest = ("beacon", "attest", files.receipt, "--identity", identity, "--log", log, "-o", to)
    made = done(*attest)
    assert made["round"] == ROUND.number
    assert "2023" in call(*attest, "--force").out
    assert done("inspect", to)["round"] == ROUND.number
    assert "no chain" in refused(*attest, "--force", "--chain", "fastnet")
    published, beacon = tmp_path / "round.json", tmp_path / "beacon"
    published.write_text(json.dumps(PUBLISHED["rounds"][0]), "utf-8")
    joined = done("beacon", "join", to, published, "-o", beacon)
    assert joined["randomness"] == PUBLISHED["rounds"][0]["randomness"]
    verify = ("beacon", "verify", beacon, files.receipt, "--attestor")
    assert done(*verify, ATTESTOR.public.hex())["attempts"] == 1
    assert "if its attestor is to be believed" in call(*verify, ATTESTOR.public.hex()).out
    assert call(*verify, "00" * 32).status == 1
    assert done("inspect", beacon)["signature_holds"] is True
    # a public proof whose cells are drawn from it, checked with the model
    proof = tmp_path / "proof"
    done("open", files.run, "--public", 3, "--beacon", beacon, "-o", proof)
    words = ("verify-public", files.model, files.receipt, proof, "--cells", 3, "--request", files.request)
    drawn = (*words, "--beacon", beacon, "--attestor")
    found = done(*drawn, ATTESTOR.public.hex())
    assert (found["beacon"], found["grinding_budget_bits"]) == (True, 0)
    assert found["detects_after_grinding"]["0.1"] > 0.1
    assert "after 1 attested tries" in call(*drawn, ATTESTOR.public.hex()).out
    result = call(*drawn, "00" * 32, "--json")
    assert (result.status, result.json["step"]) == (1, 6)
    assert call(*words).status == 1
    assert "--attestor" in refused(*words, "--beacon", beacon)
    assert "--public" in refused(
        "open", files.run, files.challenge, "--beacon", beacon, "-o", tmp_path / "no"
    )
    # another receipt of the same request, and rounds that are not the statement's
    other = Receipt.decode(files.receipt.read_bytes())
    node = NodeIdentity.load(files.identity)
    changed = replace(other, retention=5)
    (tmp_path / "receipt").write_bytes(changed.signed(node.sign(changed.signed_digest)).encode())
    again = call("beacon", "attest", tmp_path / "receipt", *attest[3:], "--force", "--json")
    assert again.status == 1
    assert "another receipt of this request" in again.json["error"]
    (tmp_path / "receipt").write_bytes(changed.signed(bytes(64)).encode())
    assert "nobody's" in call("beacon", "attest", tmp_path / "receipt", *attest[3:], "--force").err
    for number, text in ((1, "this is round 657413"), (0, "did not sign")):
        one = dict(PUBLISHED["rounds"][number])
        if number == 0:
            one = {"round": 1000, "signature": PUBLISHED["foreign"]["signature"]}
        published.write_text(json.dumps(one), "utf-8")
        result = call("beacon", "join", to, published, "-o", tmp_path / "no")
        assert result.status == 1
        assert text in result.err
    (tmp_path / "receipt").write_bytes(b"receipt")
    assert "does not decode" in call("beacon", "attest", tmp_path / "receipt", *attest[3:], "--force").err
    beacon.write_bytes(beacon.read_bytes()[:-1])
    result = call(*drawn, ATTESTOR.public.hex(), "--json")
    assert (result.status, result.json["step"]) == (1, 1)
    assert call(*verify, ATTESTOR.public.hex()).status == 1
