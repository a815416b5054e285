"""Verdicts: recorded once, counted once, and never denied."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from ledger.world import ACCEPTED, AUDITORS, MODEL, NODES, WRONG, digest, filled, receipt, verdict
from proofcompute.errors import EquivocationError, FormatError, InputError, LedgerError, MismatchError
from proofcompute.ledger import PARTS, AuditVerdict, Recorded, TrustPolicy
from proofcompute.protocol.messages import Outcome

CELLS: dict[str, Any] = {"check": "cells", "challenge_digest": digest("challenge"), "cells": 16, "total": 64}


def test_a_verdict_is_recorded_once(where: str) -> None:
    with filled(where) as ledger:
        one = verdict(0)
        assert ledger.verdicts.record(one) == [Recorded(0, True)]
        assert ledger.verdicts.record(one) == [Recorded(0, False)]
        later = verdict(0, made=99, detection=1)  # the same again, by an auditor that was interrupted
        assert ledger.verdicts.record(later, verdict(1)) == [Recorded(0, False), Recorded(1, True)]
        assert ledger.log.size == 2
        assert ledger.verdicts.verdict(0).verdict == one
        assert AuditVerdict.decode(ledger.log.leaf(0)) == one
        assert [v.leaf for v in ledger.verdicts.verdicts()] == [1, 0]
        assert [v.leaf for v in ledger.verdicts.verdicts(before=1, node=NODES[0])] == [0]
        assert ledger.verdicts.verdicts(outcome="contradicted") == []
        assert ledger.verdicts.verdicts(node=NODES[1]) == []
        with pytest.raises(InputError, match="no auditor's verdict"):
            ledger.verdicts.verdict(2)


def test_an_auditor_that_says_two_things_is_on_record(where: str) -> None:
    with filled(where) as ledger:
        ledger.verdicts.record(verdict(0))
        second = verdict(0, WRONG)
        with pytest.raises(EquivocationError, match="said accepted"):
            ledger.verdicts.record(second, verdict(1))
        with pytest.raises(EquivocationError):
            ledger.verdicts.record(second)  # is kept once
        assert ledger.log.size == 3
        (pair,) = ledger.verdicts.equivocations()
        assert (pair[0].verdict, pair[1].verdict) == (verdict(0), second)
        for each in pair:
            each.verdict.check_signature()
        node = ledger.fleet.node(NODES[0])  # the second is nobody's word
        assert node is not None
        assert (node.state, node.trust.counts.failed) == ("active", 0.0)
        assert [v.verdict.outcome for v in ledger.verdicts.of_receipt(receipt(0).digest)] == [ACCEPTED]


def test_other_auditors_and_other_challenges_may_find_other_things(where: str) -> None:
    with filled(where) as ledger:
        ledger.verdicts.record(verdict(0, **CELLS), verdict(0, WRONG, by=1), verdict(0, WRONG))
        found = ledger.verdicts.of_receipt(receipt(0).digest)
        assert [v.verdict.outcome.kind for v in found] == ["accepted", "contradicted", "contradicted"]
        assert ledger.verdicts.equivocations() == []


def test_an_answer_counts_once(where: str) -> None:
    half: dict[str, Any] = {**CELLS, "detection": PARTS // 2}
    with filled(where) as ledger:

        def counts() -> tuple[float, float, float]:
            node = ledger.fleet.node(NODES[0])
            assert node is not None
            return node.trust.counts.audits, node.trust.counts.detection, node.trust.counts.failed

        ledger.verdicts.record(verdict(0, **half))
        assert counts() == (1.0, 0.5, 0.0)
        ledger.verdicts.record(verdict(0, by=1, **half))  # two halves find three quarters
        assert counts() == (1.0, 0.75, 0.0)
        ledger.verdicts.record(verdict(1, **half))
        assert counts() == (2.0, 1.25, 0.0)
        node = ledger.fleet.node(NODES[0])
        assert node is not None
        assert node.state == "active"
        ledger.verdicts.record(verdict(1, WRONG, by=1))
        assert counts() == (2.0, 1.75, 1.0)
        ledger.verdicts.record(verdict(1, WRONG, by=2))
        assert counts() == (2.0, 1.75, 1.0)
        node = ledger.fleet.node(NODES[0])
        assert node is not None
        assert node.state == "quarantined"
        assert "leaf 3: contradicted at step 9" in node.reason


def test_failures_weigh_as_the_policy_says(where: str) -> None:
    silent = Outcome("silent")
    policy = TrustPolicy(
        weights={"contradicted": 4.0, "silent": 0.5, "refused": 0.0}, quarantined=frozenset({"silent"})
    )
    with filled(where, policy=policy) as ledger:
        ledger.verdicts.record(verdict(0, WRONG))
        node = ledger.fleet.node(NODES[0])
        assert node is not None
        assert (node.trust.counts.audits, node.trust.counts.failed, node.state) == (4.0, 4.0, "active")
        ledger.verdicts.record(verdict(1, silent, **CELLS))
        node = ledger.fleet.node(NODES[0])
        assert node is not None
        assert (node.trust.counts.audits, node.trust.counts.failed, node.state) == (5.0, 4.5, "quarantined")


@pytest.mark.parametrize(
    ("verdicts", "level"),
    [
        ([verdict(0, **CELLS)], "sampled"),
        ([verdict(0, **{**CELLS, "cells": 64})], "audited"),
        ([verdict(0)], "audited"),
        ([verdict(0), verdict(0, **CELLS)], "audited"),
        ([verdict(0, Outcome("silent"), **CELLS)], "receipted"),
        ([verdict(0, WRONG), verdict(0, by=1)], "contradicted"),
    ],
)
def test_verdicts_say_how_well_an_answer_is_assured(
    where: str, verdicts: list[AuditVerdict], level: str
) -> None:
    with filled(where) as ledger:
        ledger.verdicts.record(*verdicts)
        found = ledger.fleet.receipt(receipt(0).digest)
        assert found is not None
        assert found.level == level


def test_nothing_is_recorded_that_nobody_signed(where: str) -> None:
    with filled(where) as ledger:
        forged = replace(verdict(0), outcome=WRONG)
        with pytest.raises(LedgerError, match="does not hold"):
            ledger.verdicts.record(verdict(1), forged)
        with pytest.raises(LedgerError, match="does not hold"):
            ledger.verdicts.record(replace(verdict(0), auditor=AUDITORS[1].public))
        assert ledger.log.size == 0


def test_verdicts_are_about_known_receipts(where: str) -> None:
    with filled(where) as ledger:
        with pytest.raises(InputError, match="knows no receipt"):
            ledger.verdicts.record(verdict(1), verdict(50))
        for name in ("node", "request_digest", "model_id"):
            changed: dict[str, Any] = {name: NODES[1]}
            with pytest.raises(MismatchError, match=name):
                ledger.verdicts.record(replace(verdict(0), **changed).signed(AUDITORS[0]))
        assert ledger.log.size == 0


def test_evidence_is_kept_by_its_digest(where: str) -> None:
    with filled(where) as ledger:
        kept = ledger.verdicts.keep_evidence(receipt(0).digest, b"bundle")
        assert kept == hashlib.sha256(b"bundle").digest()
        assert ledger.verdicts.keep_evidence(receipt(0).digest, b"bundle") == kept
        assert ledger.verdicts.evidence(kept) == b"bundle"
        assert ledger.verdicts.evidence_about(receipt(0).digest) == [kept]
        assert ledger.verdicts.evidence(digest("none")) is None
        with pytest.raises(InputError, match="knows no receipt"):
            ledger.verdicts.keep_evidence(digest("none"), b"bundle")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"check": "guess"}, "the check is one of"),
        ({"challenge_digest": digest("c")}, "belongs to a check of cells"),
        ({"outcome": Outcome("silent")}, "said of a challenge"),
        ({"check": "receipt"}, "only the receipt"),
        ({"check": "receipt", "outcome": WRONG}, "step 9 cannot fail"),
        ({"cells": 3, "total": 2}, "3 cells of 2"),
    ],
)
def test_verdicts_that_say_nothing_are_none(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        verdict(0, **fields)


def test_verdicts_are_encoded_in_one_way() -> None:
    one = verdict(3, Outcome("contradicted", 8), by=1, **CELLS, evidence_digest=digest("bundle"))
    again = AuditVerdict.decode(one.encode())
    assert again == one
    again.check_signature()
    assert (again.chance, again.complete, again.model_id) == (1.0, False, MODEL)
    with pytest.raises(FormatError):
        AuditVerdict.decode(one.encode()[:-1])
