"""Nodes, terms, receipts and answers, in both databases."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from ledger.world import AUDITORS, MODEL, NODES, WRONG, digest, filled, receipt, verdict
from proofcompute.errors import InputError, LimitError, MismatchError, StorageError, UnsupportedError
from proofcompute.ledger import Ledger, NewNode
from proofcompute.ledger.database import Database, shown
from proofcompute.ledger.migrating import migrate
from proofcompute.ledger.tables import metadata
from proofcompute.limits import MAX_RECEIPT, MAX_TERMS


def test_migrations_make_the_tables_that_are_used(where: str) -> None:
    Ledger.make(where).close()
    Ledger.make(where).close()  # what is there stays
    database = Database(where)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_a_ledger_without_durations_is_brought_up_to_date(where: str) -> None:
    """Receipts of before have none, and a speed that would leave them out is no speed."""
    database = Database(where)
    database.make_file()
    with database.writing() as connection:
        migrate(connection, "0001")
        old = receipt(0)
        node = {"key": old.node, "url": "http://127.0.0.1:1", "name": "", "state": "active", "reason": ""}
        counts = dict.fromkeys(("added", "audits", "detection", "failed", "trust", "low", "high"), 0.0)
        for table, row in (
            ("nodes", {**node, **counts, "receipts": 1, "tokens": 7}),
            (
                "receipts",
                {"digest": old.digest, "node": old.node, "request_digest": old.request_digest}
                | {"model_id": MODEL, "terms_digest": b"", "made": old.made, "tokens": 7, "nonce_by": "node"}
                | {"level": "audited"},
            ),
        ):
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608
    database.close()
    with pytest.raises(UnsupportedError, match="schema 0001, and this version knows 0002"):
        Ledger(where)
    with Ledger.make(where) as ledger:
        kept = ledger.fleet.receipt(old.digest)
        assert kept is not None
        assert (kept.tokens, kept.level, kept.seconds) == (7, "audited", None)
        ledger.fleet.add_receipts([receipt(1)])
        ledger.verdicts.record(verdict(1))
        assert ledger.fleet.seconds([old.digest, receipt(1).digest]) == {receipt(1).digest: 2.0}
        found = ledger.fleet.throughput(NODES[0], 0, 2000)
        assert (found.answers, found.untimed, found.tokens, found.speed) == (2, 1, 14, None)
        later = ledger.fleet.throughput(NODES[0], receipt(1).made, 2000)
        assert (later.answers, later.untimed, later.speed) == (1, 0, 3.5)


def test_what_answers_took_is_kept_as_it_was_first_measured(where: str) -> None:
    with filled(where, receipts=0) as ledger:
        known = [receipt(0), receipt(1, seconds=5.0), receipt(2, seconds=None), receipt(3, seconds=0.0)]
        assert ledger.fleet.add_receipts(known) == 4
        # whoever brings a receipt again changes nothing of it
        assert (
            ledger.fleet.add_receipts([replace(known[0], seconds=0.001), replace(known[2], seconds=1.0)]) == 0
        )
        digests = [one.digest for one in known]
        assert ledger.fleet.seconds([*digests, digest("none")]) == {digests[0]: 2.0, digests[1]: 5.0}
        assert ledger.fleet.seconds([]) == {}
        for wrong in (-1.0, float("nan"), float("inf"), 1e10):
            with pytest.raises(InputError, match="seconds"):
                ledger.fleet.add_receipts([receipt(4, seconds=wrong)])
        many = [digest(("unknown", n)) for n in range(2500)]
        assert ledger.fleet.seconds([*many, digests[1]]) == {digests[1]: 5.0}


def test_only_proved_answers_have_a_speed(where: str) -> None:
    with filled(where, receipts=0) as ledger:
        assert ledger.fleet.throughput(NODES[0], 0, 2000).speed is None
        ledger.fleet.add_receipts([receipt(n) for n in range(6)])
        ledger.fleet.add_receipts([receipt(9, node=1, seconds=0.5)])
        some = replace(verdict(1), check="cells", challenge_digest=b"c" * 32, cells=1, total=10)
        ledger.verdicts.record(verdict(0), some.signed(AUDITORS[0]), verdict(2, WRONG), verdict(9, node=1))
        found = ledger.fleet.throughput(NODES[0], 0, 2000)
        # two answers of seven tokens, audited in whole and in part; nobody audited three, and one was wrong
        assert (found.answers, found.untimed, found.tokens, found.seconds) == (2, 0, 14, 4.0)
        assert found.speed == 3.5
        ledger.verdicts.record(verdict(0, WRONG, by=1))
        assert ledger.fleet.throughput(NODES[0], 0, 2000).answers == 1


def test_a_ledger_of_another_version_is_not_used(where: str) -> None:
    Ledger.make(where).close()
    database = Database(where)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(UnsupportedError, match="schema 9999"):
        Ledger(where)


def test_what_is_no_ledger_is_refused(tmp_path: Path, where: str) -> None:
    with pytest.raises(InputError, match="ledger init"):
        Ledger(where)
    text_file = tmp_path / "notes.txt"
    text_file.write_text("no database at all, but a text of some length\n" * 40)
    with pytest.raises(InputError, match="no SQLite database"):
        Ledger(text_file)
    with pytest.raises(StorageError, match="cannot make"):
        Ledger.make(tmp_path / "missing" / "ledger.db")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("mysql://u:secret@h/d", UnsupportedError),
        ("sqlite://", InputError),
        ("sqlite:///:memory:", InputError),
        ("://secret", InputError),
    ],
)
def test_other_databases_are_refused_without_their_passwords(url: str, error: type[Exception]) -> None:
    with pytest.raises(error) as found:
        Ledger(url)
    assert "secret" not in str(found.value)


def test_a_password_is_never_shown() -> None:
    url = "postgresql://u:secret@127.0.0.1:1/d"
    assert shown(url) == "postgresql://u:***@127.0.0.1:1/d"
    with pytest.raises(StorageError) as found:
        Ledger(url)
    assert "secret" not in str(found.value)


def test_only_its_owner_reads_a_file(tmp_path: Path) -> None:
    Ledger.make(tmp_path / "ledger.db").close()
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600


def test_nodes_are_known_by_their_keys(where: str) -> None:
    with filled(where) as ledger:
        moved = ledger.fleet.add_node(NewNode(NODES[0], "http://127.0.0.1:2", "moved"))
        assert (moved.url, moved.name, moved.receipts, moved.tokens) == ("http://127.0.0.1:2", "moved", 3, 21)
        assert moved.seen == 1002.0
        assert moved.trust.estimate == 0.5
        assert (moved.trust.low, moved.trust.high) == (0.0, 1.0)
        assert ledger.fleet.node(digest("nobody")) is None
        assert ledger.fleet.count_nodes() == {"active": 3, "quarantined": 0, "retired": 0}
        ledger.fleet.set_state(NODES[1], "retired", "sold")
        one = ledger.fleet.node(NODES[1])
        assert one is not None
        assert (one.state, one.reason) == ("retired", "sold")
        assert [n.key for n in ledger.fleet.nodes(states=["retired"])] == [NODES[1]]
        with pytest.raises(InputError, match="knows no node"):
            ledger.fleet.set_state(digest("nobody"), "retired", "")
        with pytest.raises(InputError, match="and not gone"):
            ledger.fleet.set_state(NODES[1], "gone", "")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="32 bytes"):
            ledger.fleet.add_node(NewNode(b"short", "http://127.0.0.1:2"))


def test_lists_go_on_behind_their_last_row(where: str) -> None:
    with filled(where, receipts=0) as ledger:
        first = ledger.fleet.nodes(limit=2)
        rest = ledger.fleet.nodes(limit=2, after=first[-1])
        assert sorted(NODES) == [n.key for n in first + rest]
        # two of the same time, and one of another node
        rows = [receipt(n, made=5.0 + n // 2) for n in range(6)] + [receipt(9, node=1)]
        assert ledger.fleet.add_receipts(rows) == 7
        found = ledger.fleet.receipts(NODES[0], limit=4)
        found += ledger.fleet.receipts(NODES[0], limit=4, before=found[-1])
        wanted = sorted(rows[:6], key=lambda r: (r.made, r.digest), reverse=True)
        assert [r.digest for r in found] == [r.digest for r in wanted]
        assert [r.digest for r in ledger.fleet.receipts(limit=1)] == [rows[6].digest]
        with pytest.raises(InputError, match="1 to 1000"):
            ledger.fleet.receipts(limit=1001)


def test_receipts_are_kept_once(where: str) -> None:
    with filled(where, receipts=0) as ledger:
        one = receipt(1, request=b"asked", receipt=b"signed", terms_digest=digest("terms"))
        assert ledger.fleet.add_receipts([one, one]) == 1
        assert ledger.fleet.add_receipts([one]) == 0
        node = ledger.fleet.node(NODES[0])
        assert node is not None
        assert (node.receipts, node.tokens) == (1, 7)
        kept = ledger.fleet.receipt(one.digest)
        assert kept is not None
        assert (kept.level, kept.terms_digest, kept.model_id) == ("receipted", digest("terms"), MODEL)
        assert ledger.fleet.answer(one.digest) == (b"asked", b"signed")
        assert ledger.fleet.receipt(digest("none")) is None
        with pytest.raises(MismatchError):
            ledger.fleet.add_receipts([replace(one, request_digest=digest("other"))])
        with pytest.raises(InputError, match="knows no node"):
            ledger.fleet.add_receipts([replace(one, digest=digest("other"), node=digest("nobody"))])
        with pytest.raises(LimitError):
            ledger.fleet.add_receipts([replace(one, receipt=bytes(MAX_RECEIPT + 1))])
        with pytest.raises(InputError, match="32 bytes"):
            ledger.fleet.add_receipts([replace(one, digest=b"short")])
        assert ledger.fleet.forget_answers(before=one.made) == 0
        assert ledger.fleet.forget_answers(before=one.made + 1) == 1
        assert ledger.fleet.answer(one.digest) is None
        assert ledger.fleet.receipt(one.digest) == kept


def test_terms_are_kept_in_order(where: str) -> None:
    times = iter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    Ledger.make(where).close()
    with Ledger(where, clock=lambda: next(times)) as ledger:
        ledger.fleet.add_node(NewNode(NODES[0], "http://127.0.0.1:1"))
        assert ledger.fleet.add_terms(NODES[0], digest(1), b"first")
        assert ledger.fleet.add_terms(NODES[0], digest(2), b"second")
        assert not ledger.fleet.add_terms(NODES[0], digest(1), b"first")
        assert ledger.fleet.terms(NODES[0]) == [b"first", b"second"]
        with pytest.raises(LimitError):
            ledger.fleet.add_terms(NODES[0], digest(3), bytes(MAX_TERMS + 1))
        with pytest.raises(InputError, match="knows no node"):
            ledger.fleet.add_terms(NODES[1], digest(3), b"third")
