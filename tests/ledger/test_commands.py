"""The commands ``ledger ...``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ledger.world import WRONG, filled, receipt, verdict
from proofcompute.cli import main
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.ledger import Ledger


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    NodeIdentity.new().save(tmp_path / "operator")
    return tmp_path / "operator"


def said(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["ledger", *map(str, arguments), "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_ledger_from_its_making_to_its_verification(
    where: str, tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "init", where)["size"] == 0
    with filled(where) as ledger:
        ledger.verdicts.record(verdict(0), verdict(1))
    first = said(capsys, "head", where, "--identity", identity, "-o", tmp_path / "head")
    assert first["size"] == 2
    with Ledger(where) as ledger:
        ledger.verdicts.record(verdict(2, WRONG))
        root = ledger.log.root().root.hex()
    shown = said(capsys, "show", where)
    assert [node["state"] for node in shown["nodes"]] == ["active", "active", "quarantined"]
    assert (shown["size"], shown["root"], shown["equivocations"]) == (3, root, 0)
    none = {"answers": 0, "untimed": 0, "tokens_a_second": None}
    assert [node["proved"] for node in shown["nodes"]] == [none] * 3
    now = time.time()
    with Ledger(where) as ledger:
        ledger.fleet.add_receipts(
            [receipt(n, node=1, made=now, seconds=s) for n, s in ((10, 2.0), (11, None))]
        )
        for number, shows in ((10, "3.5 proved tokens/s in 1 answers"), (11, "1 of 2 proved answers")):
            ledger.verdicts.record(verdict(number, node=1))
            assert main(["ledger", "show", where]) == 0
            assert shows in capsys.readouterr().out
    root = said(capsys, "show", where)["root"]
    assert said(capsys, "export", where, "-o", tmp_path / "log")["size"] == 5
    for what in (where, tmp_path / "log"):
        found = said(capsys, "verify", what, "--head", tmp_path / "head", "--operator", first["operator"])
        assert (found["verified"], found["size"], found["root"], found["heads"]) == (True, 5, root, 2)
    copy = tmp_path / "copy.db"
    said(capsys, "init", copy)
    assert said(capsys, "import", tmp_path / "log", copy, "--operator", first["operator"])["new"] == 5
    assert said(capsys, "verify", copy, "--head", tmp_path / "head")["root"] == root
    assert main(["ledger", "show", str(copy)]) == 0
    assert main(["ledger", "verify", str(copy)]) == 0
    assert "trust 0.6000" in capsys.readouterr().out


def test_a_rewritten_ledger_is_rejected(
    tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with filled(str(tmp_path / "a.db")) as ledger:
        ledger.verdicts.record(verdict(0), verdict(1, WRONG))
    said(capsys, "head", tmp_path / "a.db", "--identity", identity, "-o", tmp_path / "head")
    with filled(str(tmp_path / "b.db")) as ledger:
        ledger.verdicts.record(verdict(0), verdict(1))
    found = said(capsys, "verify", tmp_path / "b.db", "--head", tmp_path / "head", status=1)
    assert found["verified"] is False
    assert "history was rewritten" in found["error"]
    (tmp_path / "head").write_bytes((tmp_path / "head").read_bytes()[:-1])
    said(capsys, "verify", tmp_path / "a.db", "--head", tmp_path / "head", status=1)


def test_what_cannot_be_used_is_refused(
    tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ("show", tmp_path / "missing.db"),
        ("verify", tmp_path / "missing.db"),
        ("verify", identity),
        ("import", identity, tmp_path / "missing.db"),
        ("export", tmp_path / "missing.db", "-o", tmp_path / "log"),
        ("init", "mysql://u:secret@h/d"),
        ("verify", tmp_path / "missing.db", "--operator", "zz"),
    ):
        assert "secret" not in said(capsys, *arguments, status=2)["error"]


def test_files_of_ledgers_are_shown(
    tmp_path: Path, identity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with filled(str(tmp_path / "a.db")) as ledger:
        ledger.verdicts.record(verdict(0))
    said(capsys, "head", tmp_path / "a.db", "--identity", identity, "-o", tmp_path / "head")
    said(capsys, "export", tmp_path / "a.db", "-o", tmp_path / "log")
    for file, kind in (("head", "ledger head"), ("log", "ledger export")):
        assert main(["inspect", str(tmp_path / file), "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["kind"], found["size"]) == (kind, 1)
