"""Points, policies, verdicts and beacons against vectors that were made without the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proofcompute.beacons import Beacon, check_beacon
from proofcompute.bls.curve import LIBRARIES, curve
from proofcompute.errors import BeaconError, FormatError, UnsupportedError, VerdictError
from proofcompute.verdicts import Expected, QuorumPolicy, verify_verdict
from proofcompute.verdicts.quorum import decoded

pytest.importorskip("py_ecc")

FILE = Path(__file__).parents[1] / "vectors" / "verdicts.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
RECEIPT, REQUEST = (bytes.fromhex(VECTORS[f"{name}_digest"]) for name in ("receipt", "request"))
POLICIES = {case["name"]: case for case in VECTORS["policies"]}


def label(case: Any) -> str:
    return str(case["name"])


def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    from oracle import make_verdict_vectors

    make_verdict_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


def test_vectors_are_mostly_negative_and_named() -> None:
    for kind, right in (("points", "accepted"), ("beacons", "holds")):
        cases = VECTORS[kind]
        assert len({label(c) for c in cases}) == len(cases)
        assert 0 < 3 * sum(c[right] for c in cases) < len(cases)
    verdicts = VECTORS["verdicts"]
    assert len({label(c) for c in verdicts}) == len(verdicts) > 5 * sum(c["fault"] is None for c in verdicts)
    assert len({c["fault"] for c in verdicts}) == 9


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("case", VECTORS["points"], ids=label)
def test_points(case: Any, library: str) -> None:
    pytest.importorskip(LIBRARIES[library])
    data, used = bytes.fromhex(case["hex"]), curve(library)
    decode = used.g1 if len(data) < 60 else used.g2
    if case["accepted"]:
        assert used.encode(decode(data)) == data
    else:
        with pytest.raises(FormatError):
            decode(data)


@pytest.mark.parametrize("name", POLICIES)
def test_policies(name: str) -> None:
    found = QuorumPolicy.from_json(POLICIES[name]["json"].encode())
    assert found.digest.hex() == POLICIES[name]["digest"]


@pytest.mark.parametrize("case", VECTORS["verdicts"], ids=label)
def test_verdicts(case: Any) -> None:
    policy = QuorumPolicy.from_json(POLICIES[case["policy"]]["json"].encode())
    expected = Expected(receipt_digest=RECEIPT, request_digest=REQUEST, now=case["now"])
    data = bytes.fromhex(case["hex"])
    if case["fault"] is None:
        found = verify_verdict(policy, decoded(data), expected)
        assert (found.digest.hex(), found.subject.hex()) == (case["statement"], case["subject"])
        assert decoded(data).encode() == data
    else:
        with pytest.raises(VerdictError) as caught:
            verify_verdict(policy, decoded(data), expected)
        assert caught.value.fault.value == case["fault"]


@pytest.mark.parametrize("case", VECTORS["beacons"], ids=label)
def test_beacons(case: Any) -> None:
    data, attestors = bytes.fromhex(case["hex"]), [bytes.fromhex(VECTORS["attestor"])]
    if case["holds"]:
        found = Beacon.decode(data)
        assert check_beacon(found, RECEIPT, REQUEST, attestors) == 1
        assert (found.encode(), found.seed.hex()) == (data, case["seed"])
    else:
        with pytest.raises((BeaconError, FormatError, UnsupportedError)):
            check_beacon(Beacon.decode(data), RECEIPT, REQUEST, attestors)
