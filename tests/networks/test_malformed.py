"""What other systems' files may not be, which their own tools never make: each refusal by name."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adversary.evidence import bundle, good
from networks.bundles import AUDITOR, work
from networks.test_filecoin import packed
from proofcompute.errors import EnvelopeError, EvidenceError
from proofcompute.networks.arweave.tags import decode
from proofcompute.networks.clouds import quotes
from proofcompute.networks.filecoin.car import check_car
from proofcompute.networks.filecoin.cids import DAG_PB, RAW, Cid, varint
from proofcompute.networks.filecoin.unixfs import Node
from proofcompute.networks.in_toto import check, wrap
from proofcompute.networks.solana import check_proof, check_rows, memo, rows
from proofcompute.networks.work import Work
from proofcompute.protocol.messages import Receipt

CID = bytes(Cid.of(RAW, b"abc"))


# -- Filecoin ---------------------------------------------------------------------------------------------
def part(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def node(*links: bytes, sizes: int | None = None, more: bytes = b"") -> bytes:
    """A node of a file over links of three bytes each."""
    count = len(links) if sizes is None else sizes
    inner = number(1, 2) + number(3, 3 * count) + number(4, 3) * count + more
    return b"".join(part(2, link) for link in links) + part(1, inner)


LINK = part(1, CID) + part(2, b"") + number(3, 3)


def test_nodes_of_files_in_another_form() -> None:
    assert Node.decode(node(LINK, LINK)).size == 6
    for block, because in [
        (node(number(3, 3) + part(1, CID)), "not in order"),
        (node(part(1, CID) + part(1, CID)), "not in order"),
        (node(part(1, CID + b"\0")), "bytes follow the CID"),
        (node(LINK + number(4, 1)), "a link has a field 4"),
        (node(part(2, b"") + number(3, 3)), "a link has no CID"),
        (node(LINK, more=number(9, 1)), "field 9 of a UnixFS node"),
        (node(LINK, more=number(1, 2)), "field 1 of a UnixFS node"),
        (node(LINK, sizes=2), "1 links and 2 sizes"),
        (node(LINK, more=part(2, b"") + part(2, b"")), "field 2 of a UnixFS node"),
        (part(1, number(1, 2)) + part(2, LINK), "links come first"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            Node.decode(block)


def test_a_node_of_too_many_links() -> None:
    from proofcompute.networks.filecoin import unixfs

    Node.decode(node(*[LINK] * unixfs._MAX_LINKS))
    with pytest.raises(EnvelopeError, match="more than"):
        Node.decode(node(*[LINK] * (unixfs._MAX_LINKS + 1)))


def test_cids_of_other_digests() -> None:
    for size in (33, 1 << 20):
        with pytest.raises(EnvelopeError, match=f"a digest of {size} bytes"):
            Cid.read(b"\x01\x55\x12" + varint(size) + bytes(32), 0)
    with pytest.raises(EnvelopeError, match="a digest of 32 bytes"):
        Cid.read(CID[:-1], 0)


def test_a_car_of_another_root_or_of_two() -> None:
    dag_cbor = pytest.importorskip("dag_cbor")
    from multiformats import CID as Their

    found, car = packed(b"some bytes")
    assert check_car(io.BytesIO(car), found.cid) == found.cid
    with pytest.raises(EnvelopeError, match="not of"):
        check_car(io.BytesIO(car), Cid.of(DAG_PB, b"other"))
    root = Their.decode(bytes(found.cid))
    for roots in ([], [root, root], ["text"]):
        head = dag_cbor.encode({"roots": roots, "version": 1})
        with pytest.raises(EnvelopeError, match="one root"):
            check_car(io.BytesIO(varint(len(head)) + head + car[1 + car[0] :]))
    for version in (True, 1.0, 2):
        head = dag_cbor.encode({"roots": [root], "version": version})
        with pytest.raises(EnvelopeError, match="version 1"):
            check_car(io.BytesIO(varint(len(head)) + head + car[1 + car[0] :]))


@pytest.mark.parametrize(
    "head",
    [
        b"\x81" * 4000,
        b"\xa1\x61a" * 1300,
        b"\x5b" + b"\xff" * 8,
        b"\x9b" + b"\xff" * 8,
        b"\x7b\x7f" + b"\xff" * 7,
    ],
    ids=["lists in lists", "maps in maps", "endless bytes", "an endless list", "an endless text"],
)
def test_heads_that_no_reader_survives(head: bytes) -> None:
    pytest.importorskip("dag_cbor")
    with pytest.raises(EnvelopeError, match="canonical"):
        check_car(io.BytesIO(varint(len(head)) + head))


# -- others -----------------------------------------------------------------------------------------------
def test_tags_that_end_inside_a_text() -> None:
    with pytest.raises(EnvelopeError, match="end early"):
        decode(b"\x02\x02a\x08bc", 1)


def test_base64_has_one_form(tmp_path: Path) -> None:
    """The unused bits of the last digit are zero, so that nobody makes a second envelope of one."""
    known = work(tmp_path, "accepted")
    top = json.loads(wrap(known, AUDITOR).data)
    (signature,) = top["signatures"]
    text = signature["sig"]
    assert text.endswith("==")
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:-3] + digits[digits.index(text[-3]) + 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    with pytest.raises(EnvelopeError, match="not canonical base64"):
        check(json.dumps({**top, "signatures": [{**signature, "sig": other}]}).encode(), known)


def test_a_proof_that_is_no_json(tmp_path: Path) -> None:
    lines = rows([work(tmp_path, "accepted")]).data
    assert len(check_rows(lines)) == 1
    for data in (b"", b"[]", b"{", bytes(1 << 20)):
        with pytest.raises(EnvelopeError, match="no JSON"):
            check_proof(data, memo(lines).data.decode())


def quote_of(*, tdx: bool, attributes: bytes) -> Any:
    """A library that accepts a quote with these attributes; no machine to debug gave us a real one."""
    report = SimpleNamespace(td_attributes=attributes, attributes=attributes)
    return SimpleNamespace(
        QuoteCollateralV3=SimpleNamespace(from_json=lambda text: None),
        verify=lambda quote, known, now: SimpleNamespace(status="UpToDate"),
        Quote=SimpleNamespace(parse=lambda quote: SimpleNamespace(report=report, is_tdx=lambda: tdx)),
    )


@pytest.mark.parametrize(("tdx", "bit"), [(True, 1), (False, 2)])
def test_quotes_of_enclaves_to_debug(tdx: bool, bit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    library = quote_of(tdx=tdx, attributes=bytes([bit]) + bytes(7))
    monkeypatch.setattr(quotes, "_library", lambda: library)
    with pytest.raises(EnvelopeError, match="debugged"):
        quotes.checked_quote(b"quote", "{}", 0)


def test_work_is_a_whole_run_for_the_request_of_its_evidence(tmp_path: Path) -> None:
    from pipelines.line import PIPELINE

    honest = bundle(good())
    receipt = Receipt.decode(honest.evidence.receipt)
    for changed, because in [
        (replace(receipt, request_digest=bytes(32)), "another request"),
        (replace(receipt, pipeline=PIPELINE, stage=1), "one stage"),
    ]:
        unsigned = replace(honest.evidence, receipt=changed.encode())
        evidence = unsigned.signed(AUDITOR.sign(unsigned.signed_digest))
        path = tmp_path / because
        path.write_bytes(replace(honest, evidence=evidence).encode())
        with pytest.raises(EvidenceError, match=because):
            Work.of(path)
