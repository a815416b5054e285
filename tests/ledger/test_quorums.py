"""Verdicts of quorums in a ledger: proposed once, signed by members, and in the log."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from client.standin import KERNELS, NAME, model
from ledger.test_desk import cheating, committee, desk, scheduled
from ledger.world import filled, receipt
from proofcompute.auditing import Committee, FleetModel, Plan
from proofcompute.bls.signatures import VerdictKey
from proofcompute.errors import InputError, VerdictError
from proofcompute.ledger import Ledger
from proofcompute.protocol.messages import Outcome
from proofcompute.verdicts import QuorumPolicy, SignedVerdict, VerdictStatement, combine, sign_verdict

KEYS = [VerdictKey.new() for _ in range(2)]


def statement(policy: QuorumPolicy, n: int = 0, **more: Any) -> VerdictStatement:
    now = int(time.time())
    about = receipt(n)
    fields: dict[str, Any] = {
        "policy": policy.digest,
        "request_digest": about.request_digest,
        "receipt_digest": about.digest,
        "check": "replay",
        "outcome": Outcome("contradicted", 9),
        "valid_from": now - 5,
        "valid_until": now + 600,
    }
    return VerdictStatement(**{**fields, **more})


def test_the_first_proposal_stays(where: str) -> None:
    policy = committee(*KEYS, threshold=2)
    with filled(where) as ledger:
        first = statement(policy)
        assert ledger.verdicts.propose(first) == first
        assert ledger.verdicts.propose(replace(first, valid_until=first.valid_until + 1)) == first
        with pytest.raises(InputError, match="knows no receipt"):
            ledger.verdicts.propose(statement(policy, 50))


def test_signatures_become_the_quorums_verdict(where: str) -> None:
    policy = committee(*KEYS, threshold=2)
    with filled(where) as ledger:
        about = ledger.verdicts.propose(statement(policy))
        signed = [sign_verdict(key, policy, about) for key in KEYS]
        assert ledger.verdicts.add_signature(policy, signed[0]) == signed[:1]
        assert ledger.verdicts.add_signature(policy, signed[0]) == signed[:1]
        both = ledger.verdicts.add_signature(policy, signed[1])
        assert {one.key for one in both} == {key.public for key in KEYS}
        made = combine(policy, both)
        first, again = (ledger.verdicts.record_quorum(policy, made) for _ in range(2))
        assert (first.leaf, first.new, again.leaf, again.new) == (0, True, 0, False)
        assert ledger.verdicts.quorums(receipt(0).digest) == [(0, made)]
        with pytest.raises(VerdictError):
            ledger.verdicts.record_quorum(policy, replace(made, signers=(0,)))
        unknown = statement(policy, 50)
        stray = combine(policy, [sign_verdict(key, policy, unknown) for key in KEYS])
        with pytest.raises(InputError, match="knows no receipt"):
            ledger.verdicts.record_quorum(policy, stray)


def test_a_forged_signature_is_none(where: str) -> None:
    policy = committee(*KEYS, threshold=2)
    with filled(where) as ledger:
        about = ledger.verdicts.propose(statement(policy))
        good = sign_verdict(KEYS[0], policy, about)
        with pytest.raises(VerdictError, match="does not hold"):
            ledger.verdicts.add_signature(policy, SignedVerdict(about, KEYS[1].public, good.signature))
        stranger = VerdictKey.new()
        with pytest.raises(VerdictError, match="not in the policy"):
            ledger.verdicts.add_signature(
                policy, SignedVerdict(about, stranger.public, stranger.sign(about.digest))
            )
        other = statement(policy, 1)
        with pytest.raises(InputError, match="nobody proposed"):
            ledger.verdicts.add_signature(policy, sign_verdict(KEYS[0], policy, other))


def test_members_that_find_other_things_sign_nothing(where: str) -> None:
    """Somebody proposes another outcome than what the evidence shows; an honest member does not sign it."""
    policy = committee(*KEYS, threshold=1)
    plan = Plan(every=60, cells="all", replay=True, max_tokens=4)
    with Ledger.make(where) as ledger:
        member = Committee(policy, KEYS[0])
        made = desk(ledger, cheating(), plan)
        scheduled(ledger, made, plan)
        made.run(until_idle=True)
        (one,) = ledger.verdicts.verdicts()
        found = one.verdict
        assert member.call(ledger, found.receipt_digest, found.evidence_digest, NAME) == 2
        known = ledger.fleet.receipt(found.receipt_digest)
        assert known is not None
        lie = statement(
            policy,
            receipt_digest=found.receipt_digest,
            request_digest=found.request_digest,
            terms_digest=known.terms_digest,
            outcome=replace(found.outcome, step=found.outcome.step % 10 + 1),
        )
        assert ledger.verdicts.propose(lie) == lie
        (job,) = ledger.jobs.lease(member.owner, 60, kinds=["sign"])
        with pytest.raises(VerdictError, match="was proposed"):
            member.sign(ledger, job, {NAME: FleetModel(NAME, model())}, KERNELS, time.time)
        assert ledger.verdicts.quorums(found.receipt_digest) == []
        with pytest.raises(InputError, match="another committee"):
            Committee(committee(KEYS[0], threshold=1), KEYS[0]).sign(ledger, job, {}, KERNELS, time.time)
        with pytest.raises(InputError, match="not here"):
            member.sign(ledger, job, {}, KERNELS, time.time)
