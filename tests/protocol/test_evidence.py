"""An auditor makes evidence of what it found, and keeps it in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

import proofcompute as pc
import synthetic
from proofcompute.encoding.window import window
from protocol.parties import auditor, node, request

AUDITOR = pc.NodeIdentity(bytes([3] * 32))


def test_an_auditor_shows_what_it_found(tmp_path: Path) -> None:
    terms = pc.Terms.of(synthetic.NODE, base=10, rate=100, retention=60)
    prover, asked = node(terms=terms), request()
    checker = auditor(synthetic.key(), terms=terms.encode())
    answer = prover.answer(asked)
    challenge = checker.challenge(asked, answer.receipt, 3)
    (tmp_path / "opening").write_bytes(prover.open(asked, answer.receipt, challenge))
    with (tmp_path / "opening").open("rb") as opening:
        found = checker.check(asked, answer.receipt, challenge, opening, waited=0.5)
        made = checker.evidence(
            AUDITOR,
            asked,
            answer.receipt,
            found,
            challenge=challenge,
            opening=opening,
            sent=1.7e9,
            waited=0.5,
        )
        made.save(tmp_path / "evidence")
    with pc.open_bundle(tmp_path / "evidence") as bundle:
        assert bundle.evidence == made.evidence
        assert (bundle.evidence.sent, bundle.evidence.waited) == (1_700_000_000_000, 500)
        assert pc.Terms.decode(bundle.evidence.terms) == terms
        verdict = pc.verify_evidence(bundle, synthetic.model(), kernels=synthetic.KERNELS)
        assert verdict.finding is pc.Finding.CONFIRMED
        again = checker.evidence(
            AUDITOR, asked, answer.receipt, found, challenge=challenge, opening=bundle.opening, waited=0.5
        )
        assert again.evidence.opening_digest == made.evidence.opening_digest


def test_terms_that_the_receipt_does_not_name_are_left_out() -> None:
    terms = pc.Terms.of(synthetic.NODE, base=10, rate=100, retention=60)
    asked, checker = request(), auditor(synthetic.key(), terms=terms.encode())
    answer = node().answer(asked)
    with pytest.raises(pc.VerificationError) as caught:
        checker.claim(asked, answer.receipt)
    for receipt in (answer.receipt, b"receipt"):
        made = checker.evidence(AUDITOR, asked, receipt, caught.value)
        assert made.evidence.terms == b""


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(pc.InputError, match="cannot read evidence"), pc.open_bundle(tmp_path / "none"):
        pass


def test_a_window_is_a_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(20)))
    with (tmp_path / "file").open("rb") as stream:
        part = window(stream, 5, 10)
        assert part.seekable()
        assert (part.read(4), part.tell()) == (bytes(range(5, 9)), 4)
        assert part.read(100) == bytes(range(9, 15))
        assert part.read(1) == b""
        assert part.seek(2) == 2
        assert part.read(1) == b"\x07"
