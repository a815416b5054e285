"""Heads, exports and their verification: what an operator changes is seen by who has an earlier head."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.world import AUDITORS, NODES, WRONG, digest, filled, verdict
from proofcompute.commitments.log_tree import EMPTY, Growing, leaf_hash
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.encoding.frames import write_frame
from proofcompute.errors import EquivocationError, FormatError, InputError, LedgerError
from proofcompute.ledger import AuditVerdict, Ledger, TreeHead
from proofcompute.ledger.checking import Checked, check_heads, check_leaves
from proofcompute.ledger.exports import EXPORT, MAX_HEADS, open_export, write_export
from proofcompute.ledger.restoring import check_ledger, restore

OPERATOR = NodeIdentity(digest("operator"))


def written(where: str, count: int = 5) -> Ledger:
    """A ledger with verdicts, of which one equivocates and one is a failure, and two heads."""
    ledger = filled(where, receipts=count)
    ledger.log.sign_head(OPERATOR, 1.0)
    ledger.verdicts.record(*(verdict(n, by=n % 2) for n in range(count)))
    ledger.log.sign_head(OPERATOR, 2.0)
    with pytest.raises(EquivocationError):
        ledger.verdicts.record(verdict(1, WRONG, by=1))
    ledger.verdicts.record(verdict(2, WRONG, by=2))
    return ledger


def checked(path: Path, *earlier: TreeHead, operator: bytes | None = None) -> Checked:
    with open_export(path) as export:
        heads = check_heads(export.size, export.heads, earlier, operator)
        return check_leaves(export.size, export.leaves(), heads)


def test_a_log_holds_and_so_does_its_export(where: str, tmp_path: Path) -> None:
    with written(where) as ledger:
        found = check_ledger(ledger)
        assert (found.size, found.heads, found.quorums) == (7, 2, 0)
        assert found.auditors == {AUDITORS[0].public: 3, AUDITORS[1].public: 3, AUDITORS[2].public: 1}
        assert found.root == ledger.log.root().root
        assert write_export(ledger, tmp_path / "log") == 7
        earlier = ledger.log.heads()
        assert [head.size for head in earlier] == [0, 5]
        assert checked(tmp_path / "log", *earlier) == replace(found, heads=4)
        assert checked(tmp_path / "log", operator=OPERATOR.public) == found


def test_an_export_makes_the_same_ledger_again(where: str, tmp_path: Path) -> None:
    copy = str(tmp_path / "copy.db")
    with written(where) as ledger, Ledger.make(copy) as other:
        write_export(ledger, tmp_path / "log")
        with open_export(tmp_path / "log") as export:
            assert restore(other, export)[1] == 7
            assert restore(other, export)[1] == 0
        assert other.log.root() == ledger.log.root()
        assert other.log.heads() == ledger.log.heads()
        assert other.verdicts.equivocations() == ledger.verdicts.equivocations()
        check_ledger(other, ledger.log.heads(), OPERATOR.public)
        for key in NODES[:1]:
            mine, theirs = ledger.fleet.node(key), other.fleet.node(key)
            assert mine is not None
            assert theirs is not None
            assert (mine.trust, mine.state, mine.reason) == (theirs.trust, theirs.state, theirs.reason)
        # nobody signs what an answer took, so no export says it, and its node has no speed there
        timed, untimed = (each.fleet.throughput(NODES[0], 0, 9000) for each in (ledger, other))
        assert timed.speed is not None
        assert (untimed.answers, untimed.untimed, untimed.speed) == (timed.answers, timed.answers, None)
        # what comes later is appended
        ledger.verdicts.record(verdict(3, by=0))
        write_export(ledger, tmp_path / "later")
        with open_export(tmp_path / "later") as export:
            assert restore(other, export)[1] == 1
        # and another log is refused
        other.verdicts.record(verdict(4, by=2))
        ledger.verdicts.record(verdict(0, by=2))
        ledger.verdicts.record(verdict(4, by=2))
        write_export(ledger, tmp_path / "last")
        with open_export(tmp_path / "last") as export, pytest.raises(LedgerError, match="another log"):
            restore(other, export)


def test_heads_are_signed_only_of_what_continues(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with written(str(path)) as ledger:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 2")
        connection.close()
        with pytest.raises(LedgerError, match="not what was signed"):
            ledger.log.sign_head(OPERATOR, 3.0)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE log SET size = 3")
        connection.close()
        with pytest.raises(LedgerError, match="5 leaves was signed, and there are 3"):
            ledger.log.sign_head(OPERATOR, 3.0)


CHANGES = {
    "a leaf": (
        "UPDATE leaves SET data = (SELECT data FROM leaves WHERE number = 0) WHERE number = 3",
        "node 3",
    ),
    "no verdict": ("UPDATE leaves SET data = X'00' WHERE number = 3", "node 3"),
    "a leaf is missing": ("DELETE FROM leaves WHERE number = 3", "not all there"),
    "the last leaves": ("UPDATE log SET size = 4", "leaves were removed"),
    "a node": ("UPDATE log_nodes SET hash = zeroblob(32) WHERE level = 1 AND number = 1", "level 1"),
    "an outcome": ("UPDATE verdicts SET outcome = 'accepted' WHERE leaf = 6", "of leaf 6"),
    "a row": ("DELETE FROM verdicts WHERE leaf = 0", "of leaf 0"),
    "an equivocation": ("DELETE FROM equivocations", "of leaf 5"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_in_the_database_is_seen(tmp_path: Path, name: str) -> None:
    path, (statement, message) = tmp_path / "ledger.db", CHANGES[name]
    written(str(path)).close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
    with Ledger(path) as ledger, pytest.raises(LedgerError, match=message):
        check_ledger(ledger)


def test_a_verdict_beside_the_log_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    written(str(path)).close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "INSERT INTO verdicts SELECT 7, receipt, zeroblob(32), auditor, node, outcome, step, "
            '"check", made FROM verdicts WHERE leaf = 0'
        )
    connection.close()
    with Ledger(path) as ledger, pytest.raises(LedgerError, match="not in its log"):
        check_ledger(ledger)


def test_a_log_that_was_rewritten_does_not_fit_its_heads(tmp_path: Path) -> None:
    """The operator makes the whole ledger again, without the failure, and signs it anew."""
    with written(str(tmp_path / "first.db")) as ledger:
        earlier = ledger.log.sign_head(OPERATOR, 3.0)
    with filled(str(tmp_path / "second.db"), receipts=5) as other:
        other.verdicts.record(*(verdict(n) for n in range(5)), verdict(3, by=1), verdict(4, by=1))
        other.log.sign_head(OPERATOR, 4.0)
        check_ledger(other)
        write_export(other, tmp_path / "log")
        with pytest.raises(LedgerError, match="history was rewritten"):
            check_ledger(other, [earlier])
        with pytest.raises(LedgerError, match="history was rewritten"):
            checked(tmp_path / "log", earlier)
        with pytest.raises(LedgerError, match="of the operator"):
            check_ledger(other, operator=AUDITORS[0].public)
        stranger = TreeHead.of(7, other.log.root().root, 5, AUDITORS[0])
        with pytest.raises(LedgerError, match="of the operator"):
            check_ledger(other, [stranger])
        forged = replace(stranger, operator=OPERATOR.public)
        with pytest.raises(LedgerError, match="signature of the operator"):
            check_ledger(other, [forged])
    with filled(str(tmp_path / "third.db"), receipts=5) as shorter:
        shorter.verdicts.record(*(verdict(n, by=n % 2) for n in range(5)))
        with pytest.raises(LedgerError, match="leaves were removed"):
            check_ledger(shorter, [earlier])


def frames(path: Path, *payloads: bytes) -> Path:
    with path.open("wb") as stream:
        for payload in payloads:
            write_frame(stream, payload)
    return path


def front(size: int, heads: int = 0) -> bytes:
    return wire.encode((EXPORT, 1, size, heads))


STRANGER = TreeHead.of(1, leaf_hash(verdict(0).encode()), 6, AUDITORS[0])
LEAF, HEAD = verdict(0).encode(), TreeHead.of(1, leaf_hash(verdict(0).encode()), 5, OPERATOR)
EMPTY_HEAD = TreeHead.of(0, EMPTY, 5, OPERATOR)
HOSTILE: dict[str, tuple[list[bytes], str]] = {
    "nothing": ([], "empty"),
    "something else": ([wire.encode(("proofcompute receipt", 1, 0, 0))], "not a proofcompute ledger export"),
    "no array": ([b"\xff"], "major type"),
    "fewer leaves": ([front(2), LEAF], "ends before leaf 1"),
    "more leaves": ([front(1), LEAF, LEAF], "goes on"),
    "many heads": ([front(1, MAX_HEADS + 1)], "at most 65536"),
    "fewer heads": ([front(1, 2), HEAD.encode()], "ends before its heads"),
    "heads in no order": ([front(1, 2), HEAD.encode(), EMPTY_HEAD.encode(), LEAF], "in order"),
    "a head of more": ([front(0, 1), HEAD.encode()], "none is of more leaves"),
    "a head that is none": ([front(1, 1), LEAF], "expected 7 elements"),
    "a forged head": ([front(1, 1), replace(HEAD, made=6).encode(), LEAF], "signature of the operator"),
    "a false head": ([front(1, 1), TreeHead.of(1, EMPTY, 5, OPERATOR).encode(), LEAF], "rewritten"),
    "two operators": (
        [front(1, 2), EMPTY_HEAD.encode(), STRANGER.encode(), LEAF],
        "of the operator",
    ),
    "a leaf that says nothing": ([front(1), b"\x00"], "leaf 0 is no verdict"),
    "a forged leaf": ([front(1), replace(verdict(0), made=1).encode()], "leaf 0: the signature"),
    "a giant leaf": ([front(1), bytes(1 << 20)], "1048576 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_exports_are_rejected(tmp_path: Path, name: str) -> None:
    payloads, message = HOSTILE[name]
    path = frames(tmp_path / "log", *payloads)
    with pytest.raises(LedgerError, match=message):
        checked(path)
    with Ledger.make(tmp_path / "ledger.db") as ledger, pytest.raises(LedgerError, match=message):
        with open_export(path) as export:
            restore(ledger, export)
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.log.size == 0


TWICE: list[tuple[list[AuditVerdict], str]] = [
    ([verdict(0), verdict(0)], "leaf 1 says again"),
    ([verdict(0), verdict(0, made=7)], "leaf 1 says again"),
    ([verdict(0), replace(verdict(0), node=NODES[1]).signed(AUDITORS[1])], "leaf 1: the"),
]


@pytest.mark.parametrize(("leaves", "message"), TWICE)
def test_an_import_takes_only_what_a_ledger_would_have(
    tmp_path: Path, leaves: list[AuditVerdict], message: str
) -> None:
    path = frames(tmp_path / "log", front(len(leaves)), *(leaf.encode() for leaf in leaves))
    with Ledger.make(tmp_path / "ledger.db") as ledger, open_export(path) as export:
        with pytest.raises(LedgerError, match=message):
            restore(ledger, export)
        assert ledger.log.size == 0


def test_a_truncated_file_is_rejected(tmp_path: Path) -> None:
    whole = frames(tmp_path / "log", front(1, 1), HEAD.encode(), LEAF).read_bytes()
    assert checked(tmp_path / "log").size == 1
    for end in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:end])
        with pytest.raises(LedgerError):
            checked(tmp_path / "cut")
    with pytest.raises(InputError, match="cannot read"):
        checked(tmp_path / "missing")


def test_heads_are_encoded_in_one_way(tmp_path: Path) -> None:
    HEAD.save(tmp_path / "head")
    assert TreeHead.load(tmp_path / "head") == HEAD
    for data in (HEAD.encode()[:-1], LEAF):
        with pytest.raises(FormatError):
            TreeHead.decode(data)


def test_a_growing_tree_names_its_nodes() -> None:
    tree = Growing()
    made = [node for n in range(8) for node in tree.append(leaf_hash(b"%d" % n))]
    assert sorted(place for place, _ in made) == [(level, n) for level in range(4) for n in range(8 >> level)]
    assert dict(made)[3, 0] == tree.root
