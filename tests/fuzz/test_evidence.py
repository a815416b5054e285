"""Bundles of evidence against vectors made by hand, and against mutants of all kinds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

import synthetic
from fuzz import honest
from fuzz.harness import allowed, attempt, drive, peak, survives
from fuzz.mutate import mutant, mutate_bytes
from oracle import make_evidence_vectors
from proofcompute import errors
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.frames import FrameReader, frame_head
from proofcompute.errors import EvidenceError, InputError, VerificationError
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Evidence
from proofcompute.verifier.evidence import make_evidence
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.judging import verify_evidence

FILE = Path(__file__).parents[1] / "vectors" / "evidence.json"
VECTORS = json.loads(FILE.read_text())
AUDITOR = NodeIdentity(bytes([3] * 32))


def label(case: Any) -> str:
    return str(case["name"])


# -- vectors -------------------------------------------------------------------------------------------------
def test_the_oracle_writes_the_same_bytes(tmp_path: Path) -> None:
    make_evidence_vectors.main(tmp_path)
    assert (tmp_path / FILE.name).read_bytes() == FILE.read_bytes()


def test_vectors_are_mostly_negative_and_named() -> None:
    for kind in ("valid", "invalid", "signatures"):
        assert len({label(c) for c in VECTORS[kind]}) == len(VECTORS[kind])
    assert len(VECTORS["invalid"]) > 8 * len(VECTORS["valid"])
    assert sum(c["signed"] for c in VECTORS["signatures"]) == 2


@pytest.mark.parametrize("case", VECTORS["valid"], ids=label)
def test_right_bundles(case: Any) -> None:
    data = bytes.fromhex(case["hex"])
    bundle = Bundle.decode(data)
    assert bundle.encode() == data
    assert bundle.evidence.signed_digest.hex() == case["signed_digest"]
    assert bundle.evidence.opening_digest.hex() == case["opening_digest"]
    bundle.check()


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=label)
def test_wrong_bundles(case: Any) -> None:
    expected = getattr(errors, case["error"])
    with pytest.raises(expected) as caught:
        Bundle.decode(bytes.fromhex(case["hex"]))
    assert caught.type is expected


@pytest.mark.parametrize("case", VECTORS["signatures"], ids=label)
def test_whether_the_auditor_signed(case: Any) -> None:
    bundle = Bundle.decode(bytes.fromhex(case["hex"]))
    if case["signed"]:
        bundle.check()
    else:
        with pytest.raises(EvidenceError):
            bundle.check()


# -- mutants -------------------------------------------------------------------------------------------------
def honest_bundle() -> Bundle:
    """An honest opening, rejected by an auditor that makes its reason up."""
    run = honest.run()
    error = VerificationError(8, "made up", cell=honest.challenge().cells[0], operation="w")
    return make_evidence(
        AUDITOR,
        run.request,
        run.data,
        error,
        challenge=honest.challenge(),
        opening=honest.opening(),
        waited=1,
    )


def test_the_first_frame() -> None:
    heads = [frame(bytes.fromhex(c["hex"])) for c in VECTORS["valid"]]
    check = survives(Evidence.decode, Evidence.encode)
    for data in heads:
        check(data)
    drive("evidence", lambda rng: mutant(rng, heads), check)


def frame(data: bytes) -> bytes:
    found = FrameReader(io.BytesIO(data)).read(limit=len(data), what="evidence")
    assert found is not None
    return bytes(found)


def test_mutants_of_a_file_are_refused_in_bounded_memory() -> None:
    whole = [bytes.fromhex(c["hex"]) for c in VECTORS["valid"]]

    def check(data: bytes) -> None:
        def read() -> None:
            found = attempt(lambda: Bundle.decode(data), InputError)
            if isinstance(found, Bundle) and attempt(found.check, EvidenceError) is None:
                assert found.encode() == data

        assert peak(read) < allowed(len(data))

    drive("evidence file", lambda rng: mutate_bytes(rng, rng.choice(whole), whole), check)


def test_no_opening_that_was_tampered_with_counts_against_the_node() -> None:
    """The auditor signs the mutant, so nothing but the node's signature stands between it and a verdict."""
    made, key, model = honest_bundle(), honest.key(), synthetic.model()
    whole = honest.opening()
    assert verify_evidence(made, key, kernels=synthetic.KERNELS).finding is Finding.REFUTED

    def make(rng: Random) -> bytes:
        return mutate_bytes(rng, whole, [honest.other_opening()])

    def check(opening: bytes) -> None:
        run = honest.run()
        again = make_evidence(
            AUDITOR, run.request, run.data, VerificationError(8, "made up"), challenge=honest.challenge(),
            opening=opening, waited=1,
        )  # fmt: skip
        for holds in (key, model.card):
            found = verify_evidence(again, holds, kernels=synthetic.KERNELS).finding
            if opening == whole:
                assert found in (Finding.REFUTED, Finding.UNDECIDED)
            else:
                assert found is Finding.UNATTRIBUTABLE

    drive("evidence: opening", make, check)


def test_no_receipt_that_was_tampered_with_counts_against_the_node() -> None:
    run = honest.run()

    def check(receipt: bytes) -> None:
        made = make_evidence(AUDITOR, run.request, receipt, VerificationError(5, "made up"))
        found = verify_evidence(made, synthetic.model().card, kernels=synthetic.KERNELS).finding
        assert found is (Finding.REFUTED if receipt == run.data else Finding.UNATTRIBUTABLE)

    drive("evidence: receipt", lambda rng: mutate_bytes(rng, run.data, [honest.other_run().data]), check)


def test_a_frame_of_many_small_ones_takes_no_memory() -> None:
    """A judge hashes frames as they come, however many there are."""
    made = honest_bundle()
    small = b"\x40" * 200_000
    again = make_evidence(
        AUDITOR, honest.run().request, honest.run().data, VerificationError(8, "made up"),
        challenge=honest.challenge(), opening=small, waited=1,
    )  # fmt: skip
    assert frame_head(0) == b"\x40"

    def judge() -> None:
        found = verify_evidence(again, synthetic.model().card, kernels=synthetic.KERNELS)
        assert found.finding is Finding.UNATTRIBUTABLE

    assert made.evidence.opening_size
    assert peak(judge) < 8 << 20
