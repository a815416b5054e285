"""The page's queries read by indexes what they show, so that the size of the fleet does not matter."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from ledger.world import NODES, filled, receipt, verdict
from proofcompute.ledger import Ledger

PAGE: dict[str, Callable[[Ledger], object]] = {
    "nodes": lambda ledger: ledger.fleet.nodes(),
    "more nodes": lambda ledger: ledger.fleet.nodes(after=ledger.fleet.node(NODES[0])),
    "receipts": lambda ledger: ledger.fleet.receipts(limit=10),
    "older receipts": lambda ledger: ledger.fleet.receipts(before=ledger.fleet.receipt(receipt(1).digest)),
    "a node's receipts": lambda ledger: ledger.fleet.receipts(NODES[0]),
    "a node's speed": lambda ledger: ledger.fleet.throughput(NODES[0], 0, 5000),
    "verdicts": lambda ledger: ledger.verdicts.verdicts(),
    "a node's verdicts": lambda ledger: ledger.verdicts.verdicts(node=NODES[0]),
    "failures": lambda ledger: ledger.verdicts.verdicts(outcome="contradicted"),
    "an answer": lambda ledger: ledger.verdicts.of_receipt(receipt(1).digest),
    "evidence": lambda ledger: ledger.verdicts.evidence_about(receipt(1).digest),
    "jobs that are due": lambda ledger: ledger.jobs.lease("a", 60),
    "a proof": lambda ledger: ledger.log.consistency(2),
}
OF_ONE_ANSWER = ("an answer", "evidence")
"""Queries that sort the few rows of one answer."""


@pytest.mark.parametrize("name", PAGE)
def test_queries_of_the_page_scan_no_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ledger.db"
    asked: list[tuple[str, Any]] = []
    with filled(str(path)) as ledger:
        ledger.verdicts.record(verdict(0), verdict(1))

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            asked.append((statement, parameters))

        event.listen(ledger.database.engine, "before_cursor_execute", note)
        PAGE[name](ledger)
    connection = sqlite3.connect(path)
    plans = [
        row[3]
        for statement, parameters in asked
        if statement.startswith("SELECT")
        for row in connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)
    ]
    connection.close()
    assert plans
    for step in plans:
        assert "TEMP B-TREE" not in step or name in OF_ONE_ANSWER
        assert not step.startswith("SCAN") or "USING" in step or step == "SCAN CONSTANT ROW", step
