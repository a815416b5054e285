"""Verdicts of quorums: what makes one, what breaks one, and what would pass without each check."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adversary.mutation import Edit, apply
from proofcompute.bls.curve import LIBRARIES, curve
from proofcompute.bls.signatures import VerdictKey, signed_by_all, total_signature
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, StorageError, VerdictError, VerdictFault
from proofcompute.protocol.messages import Outcome
from proofcompute.verdicts import (
    Expected,
    Member,
    QuorumPolicy,
    QuorumVerdict,
    SignedVerdict,
    VerdictStatement,
    combine,
    precompile_inputs,
    sign_verdict,
    verify_verdict,
)
from proofcompute.verdicts.quorum import decoded
from proofcompute.verdicts.used import remembered
from verdicts.world import (
    BEGIN,
    DAY,
    END,
    KEYS,
    NOW,
    RECEIPT,
    REQUEST,
    STRANGER,
    expected,
    member,
    policy,
    policy_of,
    signed,
    statement,
    verdict,
)

pytest.importorskip("py_ecc")


def order(*numbers: int) -> tuple[int, ...]:
    """Numbers among the policy's members, which are in the order of their keys, of the keys with numbers."""
    return tuple(sorted(policy().place_of(KEYS[n].public) for n in numbers))


# -- what holds -------------------------------------------------------------------------------------------
def test_a_quorum_signs_what_each_of_them_found() -> None:
    each = [sign_verdict(KEYS[n], policy(), statement()) for n in (2, 0)]
    made = combine(policy(), each)
    assert made.signers == order(0, 2)
    assert len(made.signature) == 96
    assert verify_verdict(policy(), made, expected()) == statement()
    assert combine(policy(), each[::-1]) == made  # in whatever order they come
    assert verify_verdict(policy(), verdict(0, 1, 2), expected(request_digest=None)) == statement()


@pytest.mark.parametrize("library", LIBRARIES)
def test_both_libraries_come_to_the_same(library: str) -> None:
    pytest.importorskip(LIBRARIES[library])
    made = verdict()
    keys = [policy().members[n].key for n in made.signers]
    assert signed_by_all(keys, made.statement.digest, made.signature, curve(library))
    assert not signed_by_all(keys, made.statement.digest, made.signature[:-1], curve(library))


def test_verdicts_have_one_encoding(tmp_path: Path) -> None:
    made, one = verdict(), signed(KEYS[1])
    assert QuorumVerdict.decode(made.encode()) == made == decoded(made.encode())
    assert SignedVerdict.decode(one.encode()) == one
    made.save(tmp_path / "verdict")
    assert QuorumVerdict.load(tmp_path / "verdict") == made
    one.save(tmp_path / "signed")
    assert SignedVerdict.load(tmp_path / "signed") == one
    data = made.encode()
    assert len(data) < 600
    for bad in (data + b"\0", data[:-1], one.encode(), data.replace(b"quorum", b"Quorum")):
        with pytest.raises(VerdictError) as caught:
            decoded(bad)
        assert caught.value.fault is VerdictFault.MALFORMED
    with pytest.raises(VerdictError, match="at most"):
        decoded(data + bytes(20_000))
    value = statement().value()
    assert VerdictStatement.decode(wire.encode(value)) == statement()
    with pytest.raises(FormatError, match="terms digest: 3 bytes"):
        VerdictStatement.from_value((*value[:5], b"abc", *value[6:]))


def test_every_field_is_signed() -> None:
    made = statement(terms_digest=b"t" * 32)
    others: dict[str, Any] = {
        "policy": b"p" * 32,
        "request_digest": b"x" * 32,
        "receipt_digest": b"x" * 32,
        "terms_digest": b"x" * 32,
        "check": "replay",
        "challenge_digest": b"x" * 32,
        "outcome": Outcome("accepted"),
        "valid_from": NOW - 1,
        "valid_until": NOW + 1,
    }
    assert set(others) == set(made.__dataclass_fields__)
    digests = {made.digest}
    for name, value in others.items():
        fields: dict[str, Any] = {name: value}
        if name == "check":
            fields["challenge_digest"] = b""
        changed = replace(made, **fields)
        digests.add(changed.digest)
        assert VerdictStatement.from_value(changed.value()) == changed
    assert len(digests) == 1 + len(others)


def test_a_subject_is_the_kind_of_outcome_of_one_receipt() -> None:
    made = statement()
    again = statement(
        outcome=Outcome("contradicted", 2), valid_until=NOW, check="receipt", challenge_digest=b""
    )
    assert again.subject == made.subject
    assert statement(outcome=Outcome("accepted")).subject != made.subject
    assert statement(receipt_digest=REQUEST).subject != made.subject


WRONG: dict[str, dict[str, Any]] = {
    "another check": {"check": "some"},
    "cells without a challenge": {"challenge_digest": b""},
    "a replay of a challenge": {"check": "replay"},
    "an answer accepted by its receipt": {
        "check": "receipt",
        "challenge_digest": b"",
        "outcome": Outcome("accepted"),
    },
    "silence in a replay": {"check": "replay", "challenge_digest": b"", "outcome": Outcome("silent")},
    "step 8 in a receipt": {
        "check": "receipt",
        "challenge_digest": b"",
        "outcome": Outcome("contradicted", 8),
    },
    "an end before the beginning": {"valid_until": NOW - 2 * DAY},
}


@pytest.mark.parametrize("name", WRONG)
def test_statements_that_mean_nothing(name: str) -> None:
    with pytest.raises(FormatError, match="verdict:"):
        statement(**WRONG[name])


# -- what does not ----------------------------------------------------------------------------------------
def rogue() -> tuple[QuorumPolicy, QuorumVerdict]:
    """A member whose key is chosen after the others', so that it alone signs for two."""
    library = curve()
    others = library.negated(library.g1(KEYS[0].public))
    key = library.encode(library.total([library.g1(STRANGER.public), others]))
    rules = policy_of(member(KEYS[0]), Member(key, STRANGER.possession()))
    said = statement(policy=rules.digest)
    return rules, QuorumVerdict(said, (0, 1), STRANGER.sign(said.digest))


def doubled() -> QuorumVerdict:
    """One signature, counted twice."""
    one = KEYS[0].sign(statement().digest)
    return QuorumVerdict(statement(), order(0) * 2, total_signature([one, one]))


def alone() -> QuorumVerdict:
    return QuorumVerdict(statement(), order(0), KEYS[0].sign(statement().digest))


def under(**changes: Any) -> QuorumVerdict:
    """What the same members signed of another statement."""
    said = statement(**changes)
    each = [KEYS[n].sign(said.digest) for n in (0, 2)]
    return QuorumVerdict(said, order(0, 2), total_signature(each))


def with_stranger() -> QuorumVerdict:
    each = [key.sign(statement().digest) for key in (KEYS[0], STRANGER)]
    return QuorumVerdict(statement(), order(0, 1), total_signature(each))


class Case(NamedTuple):
    """A false verdict, the fault, and the edits without which it would pass."""

    shown: Callable[[], QuorumVerdict]
    fault: VerdictFault
    edits: tuple[Edit, ...]
    rules: Callable[[], QuorumPolicy] = policy
    expected: Callable[[], Expected] = expected


F = VerdictFault
QUORUM = "verdicts.quorum"
CASES = {
    "another policy, of the signers' own": Case(
        lambda: under(policy=b"p" * 32),
        F.POLICY,
        (Edit(QUORUM, "if statement.policy != policy.digest:", "if 0:"),),
    ),
    "a verdict from before its policy": Case(
        lambda: under(valid_from=BEGIN - 1, valid_until=BEGIN + 1),
        F.POLICY,
        (
            Edit(
                QUORUM,
                "if not policy.valid_from <= statement.valid_from <=",
                "if not statement.valid_from <=",
            ),
        ),
        expected=lambda: expected(now=BEGIN),
    ),
    "a verdict that outlives its policy": Case(
        lambda: under(valid_from=END - 1, valid_until=END + 1),
        F.POLICY,
        (Edit(QUORUM, "statement.valid_until <= policy.valid_until:", "statement.valid_until:"),),
        expected=lambda: expected(now=END),
    ),
    "a verdict for ever": Case(
        lambda: under(valid_until=NOW + 31 * DAY),
        F.POLICY,
        (
            Edit(
                QUORUM,
                "statement.valid_until - statement.valid_from > policy.longest:",
                "policy.longest < 0:",
            ),
        ),
    ),
    "a verdict about another receipt": Case(
        lambda: under(receipt_digest=b"x" * 32),
        F.SUBJECT,
        (Edit(QUORUM, "if statement.receipt_digest != expected.receipt_digest:", "if 0:"),),
    ),
    "a verdict about another request": Case(
        lambda: under(request_digest=b"x" * 32),
        F.SUBJECT,
        (Edit(QUORUM, "if expected.request_digest not in (None, statement.request_digest):", "if 0:"),),
    ),
    "a verdict that expired": Case(
        verdict,
        F.TIME,
        (Edit(QUORUM, "if not expected.now <= statement.valid_until:", "if 0:"),),
        expected=lambda: expected(now=NOW + DAY + 1),
    ),
    "a verdict ahead of its time": Case(
        verdict,
        F.TIME,
        (Edit(QUORUM, "if not expected.now >= statement.valid_from:", "if 0:"),),
        expected=lambda: expected(now=NOW - DAY - 1),
    ),
    "one signature counted twice": Case(
        doubled, F.SIGNER, (Edit(QUORUM, "if len(set(verdict.signers)) != len(verdict.signers):", "if 0:"),)
    ),
    "one signer where two are needed": Case(
        alone, F.THRESHOLD, (Edit(QUORUM, "if count < policy.threshold:", "if 0:"),)
    ),
    "a rogue key": Case(
        lambda: rogue()[1],
        F.POSSESSION,
        (Edit(QUORUM, "    policy.check_possession(list(verdict.signers))  # Q6", "    pass"),),
        rules=lambda: rogue()[0],
    ),
    "a stranger's signature for a member's": Case(
        with_stranger,
        F.SIGNATURE,
        (Edit(QUORUM, "if not signed_by_all(keys, statement.digest, verdict.signature):", "if 0:"),),
    ),
    "a statement that was changed": Case(
        lambda: replace(verdict(), statement=statement(outcome=Outcome("accepted"))),
        F.SIGNATURE,
        (Edit(QUORUM, "if not signed_by_all(keys, statement.digest, verdict.signature):", "if 0:"),),
    ),
    "a verdict that was used before": Case(
        verdict,
        F.REPLAYED,
        (Edit(QUORUM, "if statement.subject in expected.used:", "if 0:"),),
        expected=lambda: expected(used={statement().subject}),
    ),
    "the same verdict for another time": Case(
        lambda: under(valid_until=NOW + 2 * DAY),
        F.REPLAYED,
        (Edit("verdicts.statement", "(self.receipt_digest, self.outcome.kind)", "(self.digest,)"),),
        expected=lambda: expected(used={statement().subject}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_false_verdict_passes_only_without_the_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[name]
    shown, rules, asked = case.shown(), case.rules(), case.expected()
    with pytest.raises(VerdictError) as caught:
        verify_verdict(rules, shown, asked)
    assert caught.value.fault is case.fault
    apply(monkeypatch, case.edits)
    fresh = replace(shown, statement=VerdictStatement.from_value(shown.statement.value()))
    assert verify_verdict(rules, fresh, asked) == shown.statement


def test_no_number_is_no_time() -> None:
    with pytest.raises(VerdictError) as caught:
        verify_verdict(policy(), verdict(), expected(now=math.nan))
    assert caught.value.fault is VerdictFault.TIME


def test_a_signer_outside_of_the_policy() -> None:
    shown = replace(verdict(), signers=(0, 3))
    for check in (
        lambda: verify_verdict(policy(), shown, expected()),
        lambda: precompile_inputs(policy(), shown),
        lambda: policy().place_of(STRANGER.public),
        lambda: policy().keys_of([3, 0]),
        lambda: policy().keys_of([-1, 1]),
        lambda: sign_verdict(STRANGER, policy(), statement()),
    ):
        with pytest.raises(VerdictError) as caught:
            check()
        assert caught.value.fault is VerdictFault.SIGNER
    with pytest.raises(FormatError, match="not in order"):
        replace(verdict(), signers=(2, 0))
    with pytest.raises(FormatError, match="0 signers"):
        replace(verdict(), signers=())


# -- combining --------------------------------------------------------------------------------------------
class Parts(NamedTuple):
    """Signatures that make no verdict, the fault, and the edit without which they would make one."""

    signed: Callable[[], list[SignedVerdict]]
    fault: VerdictFault
    edit: Edit | None


PARTS = {
    "nothing": Parts(list, F.THRESHOLD, None),
    "one of two": Parts(
        lambda: [signed(KEYS[0])], F.THRESHOLD, Edit(QUORUM, "if count < policy.threshold:", "if 0:")
    ),
    "one twice": Parts(
        lambda: [signed(KEYS[0]), signed(KEYS[0]), signed(KEYS[1])],
        F.SIGNER,
        Edit(QUORUM, "if number in found:", "if 0:"),
    ),
    "a stranger": Parts(lambda: [signed(KEYS[0]), signed(STRANGER)], F.SIGNER, None),
    "different statements": Parts(
        lambda: [signed(KEYS[0]), signed(KEYS[1], statement(outcome=Outcome("accepted")))], F.MIXED, None
    ),
    "another's signature": Parts(
        lambda: [signed(KEYS[0]), replace(signed(KEYS[1]), signature=signed(KEYS[2]).signature)],
        F.SIGNATURE,
        Edit(QUORUM, "if not signed_by_all([one.key], statement.digest, one.signature):", "if 0:"),
    ),
    "another policy": Parts(lambda: [signed(KEYS[0], statement(policy=b"p" * 32))], F.POLICY, None),
}


@pytest.mark.parametrize("name", PARTS)
def test_signatures_that_make_no_verdict(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = PARTS[name]
    each = case.signed()
    with pytest.raises(VerdictError) as caught:
        combine(policy(), each)
    assert caught.value.fault is case.fault
    if case.edit is not None:
        apply(monkeypatch, [case.edit])
        assert combine(policy(), each)


def test_mixed_statements_would_make_a_sum_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    other = signed(KEYS[1], statement(outcome=Outcome("accepted")))
    with pytest.raises(VerdictError, match="signed another statement: it differs in outcome"):
        combine(policy(), [signed(KEYS[0]), other])
    edits = (
        Edit(QUORUM, "if one.statement != statement:", "if 0:"),
        Edit(
            QUORUM,
            "signed_by_all([one.key], statement.digest,",
            "signed_by_all([one.key], one.statement.digest,",
        ),
    )
    apply(monkeypatch, edits)
    made = combine(policy(), [signed(KEYS[0]), other])
    with pytest.raises(VerdictError) as caught:
        verify_verdict(policy(), made, expected())
    assert caught.value.fault is VerdictFault.SIGNATURE


# -- policies ---------------------------------------------------------------------------------------------
def test_the_digest_of_a_policy_does_not_depend_on_how_it_is_written() -> None:
    made = policy()
    top = json.loads(made.to_json())
    top["keys"].reverse()
    again = json.dumps(dict(reversed(list(top.items())))).encode()
    assert QuorumPolicy.from_json(again).digest == made.digest
    assert len(made.digest) == 32


def test_every_field_of_a_policy_is_in_its_digest() -> None:
    made = policy()
    others = [
        replace(made, name="others"),
        replace(made, threshold=1),
        replace(made, valid_from=BEGIN + 1),
        replace(made, valid_until=END - 1),
        replace(made, longest=1),
        replace(made, members=made.members[:2]),
        replace(made, members=(*made.members[:2], replace(made.members[2], name="x"))),
        replace(made, members=(*made.members[:2], replace(made.members[2], proof=made.members[0].proof))),
    ]
    assert len({one.digest for one in [made, *others]}) == 1 + len(others)


def written(**changes: Any) -> bytes:
    top = json.loads(policy().to_json())
    top.update(changes)
    return json.dumps({name: value for name, value in top.items() if value is not None}).encode()


BAD_POLICIES: dict[str, dict[str, Any]] = {
    "another kind": {"kind": "proofcompute policy"},
    "another version": {"version": 2},
    "a version that is true": {"version": True},
    "no threshold": {"threshold": None},
    "a threshold of none": {"threshold": 0},
    "a threshold that nobody reaches": {"threshold": 4},
    "a threshold that is a text": {"threshold": "2"},
    "a threshold that is true": {"threshold": True},
    "something unknown": {"weights": [1, 2, 3]},
    "no keys": {"keys": []},
    "keys that are none": {"keys": {}},
    "a key that is a text": {"keys": ["key"]},
    "a key without its proof": {"keys": [{"name": "", "key": "00" * 48}]},
    "a short key": {"keys": [{"name": "", "key": "00" * 47, "proof": "00" * 96}]},
    "a key of other digits": {"keys": [{"name": "", "key": "0g" * 48, "proof": "00" * 96}]},
    "a key with spaces": {"keys": [{"name": "", "key": "0 " * 48, "proof": "00" * 96}]},
    "an end before its beginning": {"valid_until": BEGIN - 1},
    "a negative time": {"valid_from": -1},
    "a long name": {"name": "x" * 257},
}


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_policies_that_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        QuorumPolicy.from_json(written(**BAD_POLICIES[name]))


def test_a_policy_names_each_key_once() -> None:
    keys = json.loads(policy().to_json())["keys"]
    with pytest.raises(InputError, match="each key once"):
        QuorumPolicy.from_json(written(keys=[keys[0], {**keys[0], "name": "again"}]))
    with pytest.raises(LimitError, match="at most 1024"):
        QuorumPolicy.from_json(written(keys=[0] * 1025))
    with pytest.raises(LimitError):
        QuorumPolicy.from_json(b" " * (1 << 21))


def test_a_policy_whose_member_proved_nothing() -> None:
    made = policy_of(member(KEYS[0]), replace(member(KEYS[1]), proof=member(KEYS[0]).proof))
    with pytest.raises(VerdictError) as caught:
        made.check_possession()
    assert caught.value.fault is VerdictFault.POSSESSION
    policy().check_possession()


# -- used verdicts ----------------------------------------------------------------------------------------
def test_used_verdicts_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "used"
    for first in (True, False):
        with remembered(path) as (used, remember):
            assert (statement().subject not in used) == first
            if first:
                verify_verdict(policy(), verdict(), expected(used=used))
                remember(statement().subject)
            else:
                with pytest.raises(VerdictError, match="used before"):
                    verify_verdict(policy(), verdict(), expected(used=used))
    assert path.stat().st_size == 32
    path.write_bytes(bytes(33))
    with pytest.raises(FormatError, match="damaged"), remembered(path):
        pass
    with remembered(None) as (used, remember):
        remember(RECEIPT)
        assert not used


@pytest.mark.parametrize("written", [0, 31, None])
def test_a_used_verdict_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    """What the file system took of it is cut off again, so that the file is not damaged."""
    path, write = tmp_path / "used", os.write
    with remembered(path) as (_, remember):
        remember(REQUEST)

    def full(fd: int, data: bytes) -> int:
        if written is None or len(data) < len(RECEIPT):
            raise OSError(28, "No space left on device")
        return write(fd, data[:written])

    with monkeypatch.context() as patch:
        patch.setattr("proofcompute.encoding.files.os.write", full)
        with remembered(path) as (_, remember), pytest.raises(StorageError, match="No space left"):
            remember(RECEIPT)
    with remembered(path) as (used, remember):
        assert used == {REQUEST}
        remember(RECEIPT)
    assert path.read_bytes() == REQUEST + RECEIPT


# -- on a chain -------------------------------------------------------------------------------------------
def point(data: bytes, at: int) -> Any:
    """The point that a precompiled contract reads at a place: two or four numbers of 64 bytes."""
    from py_ecc.optimized_bls12_381 import FQ, FQ2, b, b2, is_on_curve

    size = len(data)
    numbers = [int.from_bytes(data[i : i + 64], "big") for i in range(0, size, 64)]
    assert all(data[i : i + 16] == bytes(16) for i in range(0, size, 64)), at
    if size == 128:
        found: Any = (FQ(numbers[0]), FQ(numbers[1]), FQ(1))
        assert is_on_curve(found, b)
    else:
        found = (FQ2(numbers[:2]), FQ2(numbers[2:]), FQ2([1, 0]))
        assert is_on_curve(found, b2)
    return found


def test_precompiled_contracts_come_to_the_same() -> None:
    """The inputs, read by the layout of EIP-2537 and computed with py_ecc."""
    import hashlib

    from py_ecc.bls.hash_to_curve import clear_cofactor_G2, hash_to_G2, map_to_curve_G2
    from py_ecc.optimized_bls12_381 import FQ2, FQ12, G1, add, final_exponentiate, neg, normalize, pairing

    made = verdict()
    found = precompile_inputs(policy(), made)
    keys = [point(found.keys[i : i + 128], i) for i in range(0, len(found.keys), 128)]
    assert len(keys) == 2
    mapped = [
        clear_cofactor_G2(map_to_curve_G2(FQ2([int.from_bytes(f[i : i + 64], "big") for i in (0, 64)])))
        for f in found.fields
    ]
    given = [point(found.mapped[i : i + 256], i) for i in (0, 256)]
    assert [normalize(p) for p in mapped] == [normalize(p) for p in given]
    hashed = hash_to_G2(made.statement.digest, b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_", hashlib.sha256)
    assert normalize(add(*mapped)) == normalize(hashed)
    assert len(found.pairing) == 768
    parts = [
        (point(found.pairing[i : i + 128], i), point(found.pairing[i + 128 : i + 384], i)) for i in (0, 384)
    ]
    (key, first), (minus, second) = parts
    assert normalize(key) == normalize(add(*keys))
    assert normalize(first) == normalize(hashed)
    assert normalize(minus) == normalize(neg(G1))
    product = FQ12.one()
    for g1, g2 in parts:
        product *= pairing(g2, g1, final_exponentiate=False)
    assert final_exponentiate(product) == FQ12.one()
    assert second is not first


def test_precompiled_contracts_take_points_only() -> None:
    with pytest.raises(VerdictError) as caught:
        precompile_inputs(policy(), replace(verdict(), signature=bytes(96)))
    assert caught.value.fault is VerdictFault.SIGNATURE


def test_errors_keep_their_fault() -> None:
    import pickle

    error = VerdictError(VerdictFault.MIXED, "text")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (again.fault, str(again)) == (VerdictFault.MIXED, "text")


def test_keys_are_made_afresh() -> None:
    assert VerdictKey.new() != VerdictKey.new()
