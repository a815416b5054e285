"""Rows, memos and receipts on a chain in this process (LiteSVM), and what it and we refuse."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import KINDS, saved, work
from proofcompute.errors import EnvelopeError, FormatError, InputError, UnsupportedError
from proofcompute.networks.solana import (
    Instruction,
    check_memo,
    check_proof,
    check_rows,
    memo,
    proof,
    receipts,
    rows,
    unsigned_message,
)
from proofcompute.networks.work import Work
from proofcompute.protocol.bundle import open_bundle
from proofcompute.protocol.messages import Receipt

litesvm = pytest.importorskip("solders.litesvm")
keypairs = pytest.importorskip("solders.keypair")
transactions = pytest.importorskip("solders.transaction")
messages = pytest.importorskip("solders.message")
metadata = pytest.importorskip("solders.transaction_metadata")

PAYER = keypairs.Keypair.from_seed(bytes(32))
ADDRESS = str(PAYER.pubkey())


class Svm:
    """The chain's machine with one account that has money."""

    def __init__(self) -> None:
        self.svm = litesvm.LiteSVM()
        self.svm.airdrop(PAYER.pubkey(), 10**9)

    @property
    def blockhash(self) -> str:
        return str(self.svm.latest_blockhash())

    def sent(self, data: bytes) -> list[str] | None:
        """What the programs log about a message that the payer signs; None if the transaction fails."""
        message = messages.Message.from_bytes(data)
        signed = transactions.Transaction([PAYER], message, self.svm.latest_blockhash())
        assert len(bytes(signed)) <= 1232
        said = self.svm.send_transaction(signed)
        return None if isinstance(said, metadata.FailedTransactionMetadata) else list(said.logs())

    def does(self, *instructions: Instruction) -> list[str] | None:
        return self.sent(unsigned_message(ADDRESS, self.blockhash, instructions))


def many(folder: Path, number: int) -> list[Work]:
    known = work(folder, "accepted")
    return [replace(known, bundle_sha256=bytes([i]) * 32, rows=i + 1) for i in range(number)]


def receipt_of(folder: Path, kind: str) -> bytes:
    with open_bundle(saved(folder, kind)) as bundle:
        return bundle.evidence.receipt


def test_a_memo_is_noted_with_who_signed_it(tmp_path: Path) -> None:
    data = rows([work(tmp_path, kind) for kind in KINDS]).data
    logs = Svm().does(memo(data, ADDRESS))
    assert logs is not None
    text = memo(data).data.decode()
    assert any(text in line for line in logs)
    assert any(ADDRESS in line for line in logs)
    check_memo(data, text)


def test_the_chain_checks_signatures_of_receipts(tmp_path: Path) -> None:
    known = [receipt_of(tmp_path, kind) for kind in KINDS]
    svm = Svm()
    assert svm.does(receipts(known)) is not None
    assert svm.does(receipts(known[:1]), memo(rows(many(tmp_path, 3)).data, ADDRESS)) is not None
    made = receipts([known[0] for _ in range(6)])
    assert svm.does(made) is not None


PLACES = {"key": 16, "signature": 16 + 32, "message": 16 + 96}
"""Where the parts of an instruction with one receipt begin."""


@pytest.mark.parametrize("place", PLACES)
def test_the_chain_refuses_receipts_that_nobody_signed(tmp_path: Path, place: str) -> None:
    made = receipts([receipt_of(tmp_path, "accepted")])
    changed = bytearray(made.data)
    changed[PLACES[place] + 5] ^= 1
    assert Svm().does(replace(made, data=bytes(changed))) is None


RECEIPTS: dict[str, Callable[[Receipt], Receipt]] = {
    "more rows": lambda r: replace(r, rows=r.rows + 1),
    "another trace": lambda r: replace(r, trace_root=bytes(32)),
    "another request": lambda r: replace(r, request_digest=bytes(32)),
    "a longer promise": lambda r: replace(r, retention=r.retention + 1),
    "no signature": lambda r: r.signed(bytes(64)),
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_the_chain_refuses_another_receipt_under_the_signature(tmp_path: Path, name: str) -> None:
    changed = RECEIPTS[name](Receipt.decode(receipt_of(tmp_path, "accepted")))
    assert Svm().does(receipts([changed.encode()])) is None


def test_how_many_receipts_fit(tmp_path: Path) -> None:
    known = receipt_of(tmp_path, "accepted")
    for number in (0, 9):
        with pytest.raises(InputError):
            receipts([known] * number)
    with pytest.raises(InputError, match="1232"):
        unsigned_message(ADDRESS, Svm().blockhash, [receipts([known] * 8)])
    with pytest.raises(FormatError):
        receipts([b"no receipt"])
    with pytest.raises(InputError, match="none"):
        unsigned_message("nobody", Svm().blockhash, [])
    with pytest.raises(InputError, match="none"):
        unsigned_message(ADDRESS, "no hash", [])


@pytest.mark.parametrize("number", [1, 2, 3, 6, 7])
def test_each_row_is_under_the_memo_of_all(tmp_path: Path, number: int) -> None:
    data = rows(many(tmp_path, number)).data
    text = memo(data).data.decode()
    for i in range(number):
        made = proof(data, i).data
        assert check_proof(made, text)["rows"] == str(i + 1)
        value = json.loads(made)
        other = value["row"].replace('"rows":"', '"rows":"9')
        changed: dict[str, dict[str, Any]] = {
            "another row": {"row": other},
            "another place": {"index": (i + 1) % number if number > 1 else 1},
            "beyond the end": {"index": number},
            "a longer path": {"path": [*value["path"], 64 * "0"]},
            "another path": {"path": [64 * "0" for _ in value["path"]] or [64 * "0"]},
            "no digests": {"path": ["0"]},
            "another kind": {"kind": "a proof"},
            "no text": {"row": 3},
        }
        for what, change in changed.items():
            print(what)
            with pytest.raises(EnvelopeError):
                check_proof(json.dumps({**value, **change}).encode(), text)
        with pytest.raises(EnvelopeError):
            check_proof(made, memo(rows(many(tmp_path, number + 1)).data).data.decode())
    with pytest.raises(InputError):
        proof(data, number)


LINE_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "another order": lambda line: json.dumps(
        dict(reversed(json.loads(line).items())), separators=(",", ":")
    ).encode(),
    "spaces": lambda line: line.replace(b":", b": "),
    "a number as such": lambda line: line.replace(b'"rows":"1"', b'"rows":1'),
    "another outcome": lambda line: line.replace(b'"accepted"', b'"good"'),
    "a short digest": lambda line: line.replace(b'"evidence":"00', b'"evidence":"'),
    "capitals": lambda line: line.replace(b'"evidence":"00', b'"evidence":"AB'),
    "a zero in front": lambda line: line.replace(b'"rows":"1"', b'"rows":"01"'),
    "no JSON": lambda line: line[:-1],
    "nothing": lambda line: b"",
    "more": lambda line: line[:-1] + b',"z":"1"}',
}


@pytest.mark.parametrize("name", LINE_CHANGES)
def test_rows_have_one_form(tmp_path: Path, name: str) -> None:
    first, rest = rows(many(tmp_path, 3)).data.split(b"\n", 1)
    changed = LINE_CHANGES[name](first)
    assert changed != first
    with pytest.raises(EnvelopeError):
        check_rows(changed + b"\n" + rest)


def test_rows_that_are_none(tmp_path: Path) -> None:
    known = many(tmp_path, 2)
    data = rows(known).data
    for malformed in (b"", data[:-1], data + data, b"\n"):
        with pytest.raises(EnvelopeError):
            check_rows(malformed)
    for works in ([], [known[0], known[0]]):
        with pytest.raises(InputError):
            rows(works)
    text = memo(data).data.decode()
    for other in (
        text.replace("v1", "v2"),
        text + "0",
        text[:-2],
        "x" + text,
        text.replace(":2", ":02"),
        text.replace(":2", ":3"),
        text + "\udcff",
    ):
        with pytest.raises(EnvelopeError):
            check_memo(data, other)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "solders", None)
    with pytest.raises(UnsupportedError, match=r"proofcompute\[solana\]"):
        unsigned_message(ADDRESS, "", [])


def test_rows_and_receipts_by_commands(tmp_path: Path) -> None:
    evidence, file = [saved(tmp_path, kind) for kind in KINDS], tmp_path / "rows.jsonl"
    said = done("network", "solana", "rows", *evidence, "-o", file)
    assert said["interface"] == "ours"
    text = said["memo"]
    assert done("network", "solana", "check", file, "--memo", text)["rows"] == 2
    assert call("network", "solana", "check", file, "--memo", text[:-1] + "3").status == 1
    svm = Svm()
    signed = ("--payer", ADDRESS, "--blockhash", svm.blockhash)
    made = done("network", "solana", "memo", file, *signed)
    assert svm.sent(base64.b64decode(made["message"])) is not None
    (tmp_path / "receipt").write_bytes(receipt_of(tmp_path, "accepted"))
    made = done("network", "solana", "receipts", tmp_path / "receipt", *signed)
    assert svm.sent(base64.b64decode(made["message"])) is not None
    assert "message" not in done("network", "solana", "receipts", tmp_path / "receipt")
    assert "both" in refused("network", "solana", "memo", file, "--payer", ADDRESS)
    done("network", "solana", "prove", file, "--index", 1, "-o", tmp_path / "proof")
    found = done("network", "solana", "verify", tmp_path / "proof", "--memo", text)
    assert found["row"]["outcome"] == "contradicted"


# -- mutants -------------------------------------------------------------------------------------------------


def edit(old: str, new: str = "    if False:", module: str = "networks.solana") -> Edit:
    return Edit(module, old, new)


def changed_line(name: str) -> Callable[[bytes], object]:
    def act(data: bytes) -> object:
        first, rest = data.split(b"\n", 1)
        return check_rows(LINE_CHANGES[name](first) + b"\n" + rest)

    return act


def changed_proof(**changes: Any) -> Callable[[bytes], object]:
    def act(data: bytes) -> object:
        value = {**json.loads(proof(data, 1).data), **changes}
        return check_proof(json.dumps(value).encode(), memo(data).data.decode())

    return act


MUTANTS: dict[str, tuple[Edit, Callable[[bytes], object]]] = {
    "the one form": (
        edit('json.dumps(value, separators=(",", ":")).encode() != line:', "False:"),
        changed_line("spaces"),
    ),
    "outcomes": (edit('    if value["outcome"] not in OUTCOMES:'), changed_line("another outcome")),
    "digests": (
        edit("        if not _is_digest(value[name]):", "        if False:"),
        changed_line("capitals"),
    ),
    "one row of a bundle": (
        edit("        if evidence in seen:", "        if False:"),
        lambda data: check_rows(data + data.split(b"\n")[0] + b"\n"),
    ),
    "memos": (
        edit("    if _memo_of(text) != (root_of(leaves), len(leaves)):"),
        lambda data: check_memo(data, memo(data.split(b"\n")[0] + b"\n").data.decode()),
    ),
    "roots": (
        edit("    if not verify_inclusion(index, size, leaf_hash(row.encode()), beside, root):"),
        changed_proof(index=0),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, act = MUTANTS[name]
    data = rows(many(tmp_path, 3)).data
    with pytest.raises(EnvelopeError):
        act(data)
    with monkeypatch.context() as patch:
        apply(patch, [change])
        act(data)
