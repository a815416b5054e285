"""What other systems' own tools make is read here, and each change of it is refused.

Elsewhere those tools judge what is made here. Bundles of Arweave and CARs of IPFS that others make are read
in ``test_arweave`` and ``test_filecoin`` too; here they are changed.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from networks.bundles import AUDITOR, saved, work
from networks.judging import judged
from networks.test_akash import FULL
from networks.test_filecoin import data_of, mutations
from proofcompute.errors import EnvelopeError
from proofcompute.networks.aethir import read_report, report
from proofcompute.networks.akash.sdl import check as check_sdl
from proofcompute.networks.akash.sdl import describe
from proofcompute.networks.arweave.items import unbundle
from proofcompute.networks.bittensor.auth import Nonces, Refused, authenticate
from proofcompute.networks.evm.signed import check as check_verdict
from proofcompute.networks.evm.typed import Domain, EvmKey, keccak, message, typed_data
from proofcompute.networks.evm.validation import TAG, check_response, response_call
from proofcompute.networks.filecoin.car import check_car, unpack
from proofcompute.networks.in_toto import check as check_statement
from proofcompute.networks.in_toto import wrap
from proofcompute.networks.solana import check_memo, memo, rows
from proofcompute.networks.structured import read_yaml
from proofcompute.networks.work import Work

KEY, OTHER = EvmKey(bytes(range(1, 33))), EvmKey(bytes(range(2, 34)))
URI = "ipfs://bafkreigs4kw7of33pkfp3w6bfuldjtzd5inhcaqpnijqqbykczaa7nup3y"
DOMAIN = Domain(31337, "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# -- EVM ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ethers:
    """What ethers makes about one bundle."""

    evidence: Path
    verdict: dict[str, Any]
    """Typed data that a wallet signed; the signer is the one that it names."""
    call: bytes
    """The call of a response."""
    report: dict[str, Any]
    """A report whose text a wallet signed."""

    @property
    def known(self) -> Work:
        return Work.of(self.evidence)


@pytest.fixture(scope="module")
def ethers(tmp_path_factory: pytest.TempPathFactory) -> Ethers:
    evidence = saved(tmp_path_factory.mktemp("bundle"), "accepted")
    known = Work.of(evidence)
    document = typed_data(dict(message(known)), DOMAIN)
    told = json.loads(report(known, OTHER).data)
    of_receipt = response_call(evidence, known, URI).data[4:36]
    response = ["0x" + of_receipt.hex(), 100, URI, "0x" + keccak(evidence.read_bytes()).hex(), TAG]
    key = "0x" + KEY.secret.hex()
    verdict, text, call = judged(
        "evm.mjs",
        [
            {"key": key, "sign": document},
            {"key": key, "sign": told["msg"]},
            {"respond": response, "tag": "string"},
        ],
    )
    return Ethers(
        evidence,
        {**document, **verdict},
        bytes.fromhex(call["call"][2:]),
        {**told, "address": text["signer"], "sig": text["signature"]},
    )


TYPED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another outcome": lambda d: {**d, "message": {**d["message"], "outcome": 2}},
    "another bundle": lambda d: {**d, "message": {**d["message"], "evidence": "0x" + 64 * "0"}},
    "more rows": lambda d: {**d, "message": {**d["message"], "rows": d["message"]["rows"] + 1}},
    "another chain": lambda d: {**d, "domain": {**d["domain"], "chainId": 1}},
    "another signer": lambda d: {**d, "signer": OTHER.address},
    "a bit of the signature": lambda d: {
        **d,
        "signature": "0x" + flipped(bytes.fromhex(d["signature"][2:]), 40).hex(),
    },
    "another type": lambda d: {**d, "primaryType": "Mail"},
}


@pytest.mark.parametrize("name", TYPED)
def test_typed_data_that_a_wallet_signed(ethers: Ethers, name: str) -> None:
    check_verdict(json.dumps(ethers.verdict).encode(), ethers.known, KEY.address, DOMAIN)
    changed = TYPED[name](ethers.verdict)
    with pytest.raises(EnvelopeError):
        check_verdict(json.dumps(changed).encode(), ethers.known, KEY.address, DOMAIN)


CALLS: dict[str, Callable[[bytes], bytes]] = {
    "another function": lambda c: flipped(c, 0),
    "another receipt": lambda c: flipped(c, 4 + 7),
    "another answer": lambda c: flipped(c, 4 + 32 + 31),
    "another bundle": lambda c: flipped(c, 4 + 3 * 32 + 9),
    "another tag": lambda c: c.replace(TAG.encode(), TAG.encode().upper()),
    "cut off": lambda c: c[:-32],
    "bytes after the end": lambda c: c + bytes(32),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_response_that_ethers_encodes(ethers: Ethers, name: str) -> None:
    assert check_response(ethers.call, ethers.evidence, ethers.known) == URI
    changed = CALLS[name](ethers.call)
    assert changed != ethers.call
    with pytest.raises(EnvelopeError):
        check_response(changed, ethers.evidence, ethers.known)


# -- Aethir ------------------------------------------------------------------------------------------------


def retold(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**document, "msg": json.dumps({**json.loads(document["msg"]), **changes}, separators=(",", ":"))}


REPORTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another outcome": lambda d: retold(d, outcome=2),
    "another node": lambda d: retold(d, node="0x" + 64 * "0"),
    "other rows": lambda d: retold(d, rows=8),
    "another checker": lambda d: {**d, "address": OTHER.address},
    "a bit of the signature": lambda d: {**d, "sig": "0x" + flipped(bytes.fromhex(d["sig"][2:]), 40).hex()},
    "another version": lambda d: {**d, "version": "2"},
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_that_a_wallet_signed(ethers: Ethers, name: str) -> None:
    found = read_report(json.dumps(ethers.report).encode())
    assert found.checker.hex() == KEY.address[2:].lower()
    with pytest.raises(EnvelopeError):
        read_report(json.dumps(REPORTS[name](ethers.report)).encode())


# -- Akash -------------------------------------------------------------------------------------------------

SDL: dict[str, tuple[str, str]] = {
    "a profile that is missing": ("profile: node", "profile: other"),
    "no image": ("image: ", "picture: "),
    "another version": ("version: '2.0'", "version: '3.0'"),
    "a price of nothing": ("    pricing:\n", "    prices:\n"),
    "an alias": ("count: 3", "count: *three"),
    "no port": ("port: 8000", "port: 0"),
}


@pytest.fixture(scope="module")
def written() -> tuple[str, dict[str, Any]]:
    """A description as their writer of YAML puts it, and the schema that their package publishes."""
    text, published = judged("akash.mjs", [{"write": read_yaml(describe(FULL).data)}, {"schema": True}])
    return text["yaml"], published["schema"]


@pytest.mark.parametrize("name", SDL)
def test_a_description_that_their_writer_wrote(written: tuple[str, dict[str, Any]], name: str) -> None:
    """Their schema is given too, as whoever deploys would."""
    text, schema = written
    check_sdl(text.encode(), schema)
    changed = text.replace(*SDL[name])
    assert changed != text
    with pytest.raises(EnvelopeError):
        check_sdl(changed.encode(), schema)


# -- Arweave -----------------------------------------------------------------------------------------------

BUNDLES: dict[str, Callable[[bytes], bytes]] = {
    "another number of items": lambda b: flipped(b, 0),
    "another size of an item": lambda b: flipped(b, 32),
    "another id of an item": lambda b: flipped(b, 64 + 3),
    "another type of signature": lambda b: flipped(b, 32 + 2 * 64),
    "a bit of the signature": lambda b: flipped(b, 32 + 2 * 64 + 2 + 9),
    "another owner": lambda b: flipped(b, 32 + 2 * 64 + 2 + 64 + 9),
    "a bit of a tag": lambda b: flipped(b, b.index(b"text/plain")),
    "another word": lambda b: b.replace(b"hello", b"hallo"),
    "cut off": lambda b: b[:-1],
}


LAX = {"another id of an item"}
"""What arbundles does not look at: a bundle may name an item by an id that is not the item's."""


def test_a_bundle_that_arbundles_made() -> None:
    """Both refuse what is changed, but for what arbundles does not look at."""
    tags = [{"name": "Content-Type", "value": "text/plain"}]
    wanted = [{"data": "hello", "tags": tags}, {"data": "more", "tags": []}]
    (made,) = judged("arweave.mjs", [{"make": {"key": bytes(range(32)).hex(), "items": wanted}}])
    body = bytes.fromhex(made["bundle"])
    assert [item.data for item in unbundle(body)] == [b"hello", b"more"]
    changed = {name: change(body) for name, change in BUNDLES.items()}
    for each in changed.values():
        assert each != body
        with pytest.raises(EnvelopeError):
            unbundle(each)
    good, *answers = judged("arweave.mjs", [{"bundle": each.hex()} for each in (body, *changed.values())])
    assert good["valid"] is True
    assert {name for name, said in zip(changed, answers, strict=True) if said.get("valid") is True} == LAX


# -- Filecoin ----------------------------------------------------------------------------------------------


def test_a_car_that_ipfs_made(tmp_path: Path) -> None:
    """Both refuse each change of it."""
    file, car = tmp_path / "file", tmp_path / "car"
    file.write_bytes(data_of(100))
    judged("filecoin.mjs", [{"file": file, "make": car, "raw": True, "leaf": 16, "links": 3}])
    out = io.BytesIO()
    unpack(io.BytesIO(car.read_bytes()), out)
    assert out.getvalue() == data_of(100)
    changed = mutations(car.read_bytes())
    for number, data in enumerate(changed.values()):
        (tmp_path / str(number)).write_bytes(data)
        with pytest.raises(EnvelopeError):
            check_car(io.BytesIO(data))
    answers = judged("filecoin.mjs", [{"car": tmp_path / str(n)} for n in range(len(changed))])
    assert [name for name, said in zip(changed, answers, strict=True) if "error" not in said] == []


# -- Bittensor ---------------------------------------------------------------------------------------------

SIGNED: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "another body": ("signature", lambda a: {**a, "body": a["body"] + b"x"}),
    "another method": ("signature", lambda a: {**a, "method": "PATCH"}),
    "another target": ("signature", lambda a: {**a, "target": a["target"] + "/x"}),
    "another receiver": ("receiver", lambda a: {**a, "me": a["headers"]["X-Bittensor-Hotkey"]}),
    "a bit of the signature": (
        "signature",
        lambda a: headed(a, Signature="0x" + flipped(bytes.fromhex(signature_of(a)), 3).hex()),
    ),
    "another nonce": ("signature", lambda a: headed(a, Nonce=str(a["now"] + 1))),
    "too old": ("stale", lambda a: {**a, "now": a["now"] + 11 * 10**9}),
    "no version": ("malformed", lambda a: headed(a, Version="")),
}


def headed(asked: dict[str, Any], **changes: str) -> dict[str, Any]:
    changed = {f"X-Bittensor-{name}": value for name, value in changes.items()}
    return {**asked, "headers": {**asked["headers"], **changed}}


def signature_of(asked: dict[str, Any]) -> str:
    text: str = asked["headers"]["X-Bittensor-Signature"]
    return text[2:]


@pytest.mark.parametrize("name", SIGNED)
def test_a_request_that_the_sdk_signed(name: str) -> None:
    """Recorded from the SDK that the file names."""
    pytest.importorskip("bittensor_core")
    golden = json.loads((Path(__file__).parent / "data" / "btauth.json").read_text("utf-8"))
    reason, change = SIGNED[name]
    for case in golden["requests"]:
        asked = {
            **{each: case[each] for each in ("headers", "method", "target")},
            "body": bytes.fromhex(case["body"]),
            "me": case["receiver"],
            "now": int(case["nonce"]),
        }
        authenticate(**asked, nonces=Nonces())
        with pytest.raises(Refused) as raised:
            authenticate(**change(asked), nonces=Nonces())
        assert raised.value.reason == reason


# -- in-toto -----------------------------------------------------------------------------------------------

ENVELOPES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another type": lambda e: {**e, "payloadType": "text/plain"},
    "a bit of the payload": lambda e: {**e, "payload": changed_base64(e["payload"])},
    "a bit of the signature": lambda e: {
        **e,
        "signatures": [{**e["signatures"][0], "sig": changed_base64(e["signatures"][0]["sig"])}],
    },
    "no signature": lambda e: {**e, "signatures": []},
    "more": lambda e: {**e, "more": 1},
    "a signature that is none": lambda e: {**e, "signatures": [{**e["signatures"][0], "sig": "AAAA"}]},
}


def changed_base64(text: str) -> str:
    return base64.b64encode(flipped(base64.b64decode(text), 20)).decode()


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_that_securesystemslib_signed(tmp_path: Path, name: str) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    known = work(tmp_path, "contradicted")
    own = json.loads(wrap(known, AUDITOR).data)
    theirs = dsse.Envelope(base64.b64decode(own["payload"]), own["payloadType"], {})
    theirs.sign(signer.CryptoSigner(Ed25519PrivateKey.from_private_bytes(AUDITOR.seed)))
    envelope = theirs.to_dict()
    check_statement(json.dumps(envelope).encode(), known, AUDITOR.public)
    with pytest.raises(EnvelopeError):
        check_statement(json.dumps(ENVELOPES[name](envelope)).encode(), known, AUDITOR.public)


# -- Solana ------------------------------------------------------------------------------------------------

MEMOS: dict[str, Callable[[str], str]] = {
    "another root": lambda t: t.replace(t.split(":")[3], 64 * "0"),
    "another number of rows": lambda t: t[:-1] + "3",
    "another kind": lambda t: t.replace("v1", "v2"),
    "a space": lambda t: t + " ",
    "capitals": lambda t: t.upper(),
    "cut off": lambda t: t[:-2],
}


@pytest.mark.parametrize("name", MEMOS)
def test_a_memo_of_a_transaction_that_solders_made(tmp_path: Path, name: str) -> None:
    instructions = pytest.importorskip("solders.instruction")
    messages = pytest.importorskip("solders.message")
    transactions = pytest.importorskip("solders.transaction")
    keypairs = pytest.importorskip("solders.keypair")
    from solders.hash import Hash
    from solders.pubkey import Pubkey

    data = rows([work(tmp_path, kind) for kind in ("accepted", "contradicted")]).data
    payer, text = keypairs.Keypair(), memo(data).data.decode()
    program = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
    made = messages.Message.new_with_blockhash(
        [instructions.Instruction(program, text.encode(), [])], payer.pubkey(), Hash.default()
    )
    raw = bytes(transactions.Transaction([payer], made, Hash.default()))
    (found,) = transactions.Transaction.from_bytes(raw).message.instructions
    said = bytes(found.data).decode()
    check_memo(data, said)
    assert MEMOS[name](said) != said
    with pytest.raises(EnvelopeError):
        check_memo(data, MEMOS[name](said))
