"""The database is away for a while: no answer passes without its receipt, and nothing found is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client.standin import model
from gateway.standing import CHAT, IDENTITIES, STREAM, asked, entry, gateway, honest
from gateway.test_shared import IDENTITY, books_of, sharing
from proofcompute.errors import StorageError
from proofcompute.gateway.shared import LedgerBooks


class Away:
    """Calls of a method that fail for as long as, or as often as, they are told to."""

    def __init__(self, owner: Any, name: str, times: int = 1 << 30) -> None:
        self._inner, self.left, self.called = getattr(owner, name), times, 0
        setattr(owner, name, self)

    def __call__(self, *args: Any) -> Any:
        self.called += 1
        if self.left > 0:
            self.left -= 1
            raise StorageError("the database is away")
        return self._inner(*args)


def held(folder: Path) -> Path:
    model().save(folder / "weights")
    return folder


def unwritten(folder: Path, body: dict[str, Any], *, drawn: bool = False) -> None:
    """The end of an answer is passed on only if its receipt, and a drawn audit, are in the ledger."""
    made = sharing({"north": honest("north")}, folder / "ledger", held(folder))
    made.auditing.draws = lambda model: drawn  # type: ignore[method-assign]
    ledger = books_of(made).ledger
    away = Away(ledger.jobs, "draw") if drawn else Away(ledger.fleet, "add_receipts")
    (said,) = asked(made, body)
    books_of(made).close()
    assert away.called
    assert said.status == (200 if body is STREAM else 503)
    assert b'"no_books"' in said.body or b'"broken_answer"' in said.body
    assert b'"finish_reason":"' not in said.body
    assert b"receipted" not in said.body


def unrecorded(folder: Path) -> None:
    """A verdict waits for the database, and the answer is said to be audited only after it is there."""
    made = sharing({"north": honest("north")}, folder / "ledger", held(folder))
    ledger = books_of(made).ledger
    seen = []

    class Watched(Away):
        def __call__(self, *args: Any) -> Any:
            seen.append(made.records.newest(1)[0].level)
            return super().__call__(*args)

    Watched(ledger.jobs, "finish", 2)
    (said,) = asked(made, CHAT)
    assert said.status == 200
    (record,) = made.records.newest(1)
    assert record.level == "fully audited"
    assert len(ledger.verdicts.of_receipt(record.choices[0].receipt_digest)) == 1
    books_of(made).close()
    assert seen == ["receipted"] * 3


def owed(folder: Path) -> None:
    """A quarantine that could not be written is not forgotten when the database is back."""
    north = honest("north", change=lambda s: {**s, "proofcompute": None})
    made = sharing({"north": north}, folder / "ledger", held(folder))
    ledger, member = books_of(made).ledger, made.fleet.members["north"]
    away = Away(ledger.fleet, "set_state", times=3)
    asked(made, CHAT)
    assert (member.state, ledger.fleet.count_nodes()["quarantined"]) == ("quarantined", 0)
    keys = [IDENTITIES["north"].public]
    while away.left:
        with pytest.raises(StorageError):
            made.books.known(keys)
    made._learn(made.books.known(keys))
    assert (member.state, ledger.fleet.count_nodes()["quarantined"]) == ("quarantined", 1)
    # it is paid once: an operator who readmits the node is obeyed
    ledger.fleet.set_state(keys[0], "active", "")
    made._learn(made.books.known(keys))
    assert member.state == "asked"
    books_of(made).close()


def paid_later(folder: Path) -> None:
    """A gateway that is killed before the database is back writes at its next start what it owed."""
    north = honest("north", change=lambda s: {**s, "proofcompute": None})
    books = LedgerBooks(folder / "ledger", IDENTITY, [entry("north")], state=folder / "state")
    Away(books.ledger.fleet, "set_state")
    asked(gateway({"north": north}, books=books), CHAT)
    assert books.ledger.fleet.count_nodes()["quarantined"] == 0
    books.close()
    key, owed = IDENTITIES["north"].public, folder / "state" / "owed"
    assert [path.name for path in owed.iterdir()] == [key.hex()]
    for state in ("quarantined", "active"):  # the second time an operator has readmitted the node
        again = LedgerBooks(folder / "ledger", IDENTITY, [entry("north")], state=folder / "state")
        found = again.ledger.fleet.node(key)
        assert found is not None
        assert found.state == state
        assert list(owed.iterdir()) == []
        again.ledger.fleet.set_state(key, "active", "")
        again.close()


@pytest.mark.parametrize("body", [CHAT, STREAM])
@pytest.mark.parametrize("drawn", [False, True])
def test_an_answer_whose_receipt_cannot_be_written_is_not_passed_on(
    drawn: bool, body: dict[str, Any], tmp_path: Path
) -> None:
    unwritten(tmp_path, body, drawn=drawn)


def test_a_verdict_waits_for_the_ledger_and_comes_before_its_label(tmp_path: Path) -> None:
    unrecorded(tmp_path)


def test_a_quarantine_that_could_not_be_written_is_not_forgotten(tmp_path: Path) -> None:
    owed(tmp_path)


def test_a_quarantine_that_is_owed_outlives_the_gateway(tmp_path: Path) -> None:
    paid_later(tmp_path)
