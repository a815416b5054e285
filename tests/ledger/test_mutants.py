"""Every check of a ledger matters: without it, a named attack gets through."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from adversary.mutation import Edit, apply
from ledger import test_fleet, test_jobs, test_log, test_verdicts
from ledger.test_quorums import (
    test_a_forged_signature_is_none,
    test_members_that_find_other_things_sign_nothing,
)
from ledger.world import WRONG, filled, receipt, verdict
from oracle import transparency_log as oracle
from proofcompute.commitments.log_tree import leaf_hash, verify_consistency, verify_inclusion
from proofcompute.errors import LedgerError, MismatchError
from proofcompute.ledger import Done, Ledger, NewJob
from proofcompute.ledger.restoring import check_ledger

Attack = Callable[[Path], None]


class Mutant(NamedTuple):
    module: str
    old: str
    new: str
    attack: Attack


def there(test: Callable[[str], None]) -> Attack:
    """A test that takes where a ledger can be made."""
    return lambda folder: test(str(folder / "ledger.db"))


def hostile(name: str) -> Attack:
    return lambda folder: test_log.test_hostile_exports_are_rejected(folder, name)


def changed(name: str) -> Attack:
    return lambda folder: test_log.test_what_is_changed_in_the_database_is_seen(folder, name)


def twice(folder: Path) -> None:
    test_log.test_an_import_takes_only_what_a_ledger_would_have(folder, *test_log.TWICE[0])


def another_log(folder: Path) -> None:
    test_log.test_an_export_makes_the_same_ledger_again(str(folder / "first.db"), folder)


def forged_by_a_job(folder: Path) -> None:
    with filled(str(folder / "ledger.db")) as ledger:
        ledger.jobs.add(NewJob(name="one", kind="audit", receipt=receipt(0).digest))
        (job,) = ledger.jobs.lease("a", 60)
        with pytest.raises(LedgerError, match="does not hold"):
            ledger.jobs.finish(Done(job, (replace(verdict(0), outcome=WRONG),)))


def exchanged_evidence(folder: Path) -> None:
    path = folder / "ledger.db"
    with filled(str(path)) as ledger:
        digest = ledger.verdicts.keep_evidence(receipt(0).digest, b"bundle")
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE evidence SET data = X'00'")
        connection.close()
        with pytest.raises(MismatchError):
            ledger.verdicts.evidence(digest)


def proofs(_: Path) -> None:
    """Proofs of one log prove nothing of another."""
    leaves, other = [b"a", b"b", b"c", b"d", b"e"], [b"a", b"x", b"c", b"d", b"e"]
    path, proof = oracle.path(0, leaves), oracle.proof(3, leaves)
    assert not verify_inclusion(0, 5, leaf_hash(b"a"), path, oracle.root(other))
    assert not verify_consistency(3, 5, oracle.root(other[:3]), oracle.root(leaves), proof)
    assert not verify_consistency(3, 5, oracle.root(leaves[:3]), oracle.root(other), proof)


def hidden_truncation(folder: Path) -> None:
    changed("the last leaves")(folder)


MUTANTS: dict[str, Mutant] = {
    "a forged verdict is recorded": Mutant(
        "recording",
        "            verdict.check_signature()",
        "            pass",
        there(test_verdicts.test_nothing_is_recorded_that_nobody_signed),
    ),
    "a forged verdict comes with a job": Mutant(
        "jobs", "                verdict.check_signature()", "                pass", forged_by_a_job
    ),
    "an auditor says two things": Mutant(
        "recording",
        "if not verdict.agrees(found.verdict):",
        "if verdict is None:",
        there(test_verdicts.test_an_auditor_that_says_two_things_is_on_record),
    ),
    "a verdict about another receipt": Mutant(
        "counting",
        "if bytes(found[name]) != getattr(verdict, name):",
        "if name is None:",
        there(test_verdicts.test_verdicts_are_about_known_receipts),
    ),
    "evidence was exchanged": Mutant(
        "recording",
        "if found is not None and hashlib.sha256(found).digest() != digest:",
        "if found is not None and digest is None:",
        exchanged_evidence,
    ),
    "a contradicted node goes on": Mutant(
        "counting",
        'if verdict.outcome.kind in self._policy.quarantined and node["state"] == "active":',
        "if verdict is None:",
        there(test_verdicts.test_an_answer_counts_once),
    ),
    "an answer counts twice": Mutant(
        "counting",
        "counts.audits - _audits(before) + _audits(now),",
        "counts.audits + _audits(now),",
        there(test_verdicts.test_an_answer_counts_once),
    ),
    "a lost lease finishes the job": Mutant(
        "jobs",
        "return [(one.job.id, one.job.lease) in held for one in done]",
        "return [one.job.id in {number for number, _ in held} for one in done]",
        there(test_jobs.test_a_job_is_taken_again_after_its_deadline_and_finished_once),
    ),
    "a lost lease writes the result": Mutant(
        "jobs",
        "if held.get((one.job.id, one.job.lease)) is False:",
        "if True:",
        there(test_jobs.test_a_job_is_taken_again_after_its_deadline_and_finished_once),
    ),
    "a forged leaf": Mutant(
        "checking", "_check_signature(number, found)  # L2", "pass  # L2", hostile("a forged leaf")
    ),
    "a forged head": Mutant(
        "checking", "head.check_signature(operator)  # L3, L5", "pass  # L3, L5", hostile("a forged head")
    ),
    "a head of another operator": Mutant(
        "messages",
        "if operator is not None and self.operator != operator:",
        "if operator == b'':",
        hostile("two operators"),
    ),
    "leaves were removed": Mutant(
        "checking",
        "if head.size > size:",
        "if head is None:",
        hidden_truncation,
    ),
    "history was rewritten": Mutant(
        "checking",
        "if head.root != tree.root:",
        "if head is None:",
        test_log.test_a_log_that_was_rewritten_does_not_fit_its_heads,
    ),
    "another log is imported": Mutant(
        "restoring", "if next(leaves) != mine:", "if not next(leaves):", another_log
    ),
    "a verdict is imported twice": Mutant(
        "restoring", "if locked_size(connection) != size + 1:", "if size < 0:", twice
    ),
    "a node of the tree was changed": Mutant(
        "restoring", "if found.get(place) != hashed:", "if hashed is None:", changed("a node")
    ),
    "a row was changed": Mutant("restoring", "if not holds:", "if holds is None:", changed("an outcome")),
    "a verdict beside the log": Mutant(
        "restoring",
        "if connection.execute(rows).scalar_one() and (most is None or most < size):",
        "if connection.execute(rows) is None:",
        test_log.test_a_verdict_beside_the_log_is_seen,
    ),
    "a head of another history is signed": Mutant(
        "log",
        "if _range(connection, 0, last.size) != last.root:",
        "if last.root is None:",
        test_log.test_heads_are_signed_only_of_what_continues,
    ),
    "bytes after an export": Mutant(
        "exports", "if not reader.ended():", "if self.size < 0:", hostile("more leaves")
    ),
    "an export of endless heads": Mutant(
        "exports", "if count > MAX_HEADS:", "if count < 0:", hostile("many heads")
    ),
    "a proof of inclusion for another root": Mutant(
        "commitments.log_tree", "return last == 0 and found == root", "return last == 0", proofs
    ),
    "a proof of consistency from another root": Mutant(
        "commitments.log_tree",
        "return last == 0 and old == first_root and new == second_root",
        "return last == 0 and new == second_root",
        proofs,
    ),
    "a proof of consistency to another root": Mutant(
        "commitments.log_tree",
        "return last == 0 and old == first_root and new == second_root",
        "return last == 0 and old == first_root",
        proofs,
    ),
    "slow answers that nobody measured": Mutant(
        "records",
        "return None if self.untimed or not self.seconds else",
        "return None if not self.seconds else",
        there(test_fleet.test_a_ledger_without_durations_is_brought_up_to_date),
    ),
    "no time at all": Mutant(
        "fleet",
        '"seconds": new.seconds or None}',
        '"seconds": new.seconds}',
        there(test_fleet.test_what_answers_took_is_kept_as_it_was_first_measured),
    ),
    "a duration that is none": Mutant(
        "fleet",
        "if one.seconds is not None and not 0 <= one.seconds <= LONGEST:",
        "if one is None:",
        there(test_fleet.test_what_answers_took_is_kept_as_it_was_first_measured),
    ),
    "the speed of answers that nobody audited": Mutant(
        "fleet",
        ', r.level.in_(["sampled", "audited"]))',
        ")",
        there(test_fleet.test_only_proved_answers_have_a_speed),
    ),
    "a forged signature of a member": Mutant(
        "recording",
        "if not signed_by_all([signed.key], signed.statement.digest, signed.signature):",
        "if signed is None:",
        there(test_a_forged_signature_is_none),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_ledger_is_deceived_only_without_the_check(name: str) -> None:
    mutant = MUTANTS[name]
    module = mutant.module if "." in mutant.module else f"ledger.{mutant.module}"
    with tempfile.TemporaryDirectory() as folder:
        mutant.attack(Path(folder))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        apply(patch, (Edit(module, mutant.old, mutant.new),))
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            mutant.attack(Path(folder))


def test_a_member_signs_what_it_found_itself(tmp_path: Path) -> None:
    where = str(tmp_path / "ledger.db")
    test_members_that_find_other_things_sign_nothing(where)
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, (Edit("auditing.committee", "if same != first:", "if same is None:"),))
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test_members_that_find_other_things_sign_nothing(str(tmp_path / "other.db"))


def test_a_ledger_that_nobody_touched_holds(tmp_path: Path) -> None:
    with Ledger.make(tmp_path / "ledger.db") as ledger:
        assert check_ledger(ledger).size == 0
