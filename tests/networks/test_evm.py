"""Verdicts as typed data and responses of validators: read by ethers, and what both reject."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.evidence import bundle, good, waited
from cli.driver import call, done, refused
from networks.bundles import KINDS, judge_key, saved, work
from networks.judging import judged
from proofcompute.errors import EnvelopeError, FormatError, InputError, UnsupportedError
from proofcompute.networks.evm.signed import check
from proofcompute.networks.evm.typed import Domain, EvmKey, address_of, keccak, message, sign, typed_digest
from proofcompute.networks.evm.validation import TAG, check_response, request_call, response_call
from proofcompute.networks.work import Work

pytest.importorskip("eth_keys")
pytest.importorskip("eth_abi")

KEY = EvmKey(bytes(range(1, 33)))
OTHER = EvmKey(bytes(range(2, 34)))
CONTRACT = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
"""An address of the examples of EIP-55."""
DOMAIN = Domain(31337, CONTRACT)
URI = "ipfs://bafkreigs4kw7of33pkfp3w6bfuldjtzd5inhcaqpnijqqbykczaa7nup3y"
HALF = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
ORDER = 2 * HALF + 1


def test_their_code_finds_the_signer(tmp_path: Path) -> None:
    known = [work(tmp_path, kind) for kind in KINDS]
    documents = [json.loads(sign(w, KEY, DOMAIN).data) for w in known]
    answers = judged("evm.mjs", [{"document": d} for d in documents])
    for w, document, said in zip(known, documents, answers, strict=True):
        assert said == {"digest": "0x" + typed_digest(message(w), DOMAIN).hex(), "signer": KEY.address}
        check(json.dumps(document).encode(), w, KEY.address, DOMAIN)
        check(json.dumps(document).encode(), w, KEY.address.lower(), Domain(31337, CONTRACT.lower()))


def high_s(signature: str) -> str:
    raw = bytes.fromhex(signature[2:])
    s = ORDER - int.from_bytes(raw[32:64])
    return "0x" + (raw[:32] + s.to_bytes(32) + bytes([55 - raw[64]])).hex()


def one_bit(signature: str) -> str:
    """The lowest bit of s is another: the recovery identifier stays one that exists."""
    raw = bytearray.fromhex(signature[2:])
    raw[63] ^= 1
    return "0x" + raw.hex()


def messaged(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**document, "message": {**document["message"], **changes}}


CHANGED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another outcome": lambda d: messaged(d, outcome=1),
    "another node": lambda d: messaged(d, node="0x" + 64 * "0"),
    "another receipt": lambda d: messaged(d, receipt="0x" + 64 * "1"),
    "another step": lambda d: messaged(d, step=1),
    "another time": lambda d: messaged(d, made=1),
    "another chain": lambda d: {**d, "domain": {**d["domain"], "chainId": 1}},
    "another contract": lambda d: {**d, "domain": {**d["domain"], "verifyingContract": KEY.address}},
    "a bit of the signature": lambda d: {**d, "signature": one_bit(d["signature"])},
    "a high s": lambda d: {**d, "signature": high_s(d["signature"])},
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_verdict_is_signed_by_nobody_for_both(tmp_path: Path, name: str) -> None:
    """For ethers another address signed it, or none; contracts that compare the signer reject it too."""
    known = work(tmp_path, "contradicted")
    document = CHANGED[name](json.loads(sign(known, KEY, DOMAIN).data))
    with pytest.raises(EnvelopeError):
        check(json.dumps(document).encode(), known, KEY.address, DOMAIN)
    (said,) = judged("evm.mjs", [{"document": document}])
    assert said.get("signer") != KEY.address


def test_who_signed_is_compared(tmp_path: Path) -> None:
    known = work(tmp_path, "accepted")
    document = sign(known, OTHER, DOMAIN).data
    with pytest.raises(EnvelopeError, match=f"signed by {OTHER.address}"):
        check(document, known, KEY.address, DOMAIN)
    check(document, known, OTHER.address, DOMAIN)
    lying = {**json.loads(document), "signer": KEY.address}
    for signer in (KEY.address, OTHER.address):
        with pytest.raises(EnvelopeError, match="signed by"):
            check(json.dumps(lying).encode(), known, signer, DOMAIN)


def test_a_verdict_of_another_bundle_is_rejected(tmp_path: Path) -> None:
    document = sign(work(tmp_path, "accepted"), KEY, DOMAIN).data
    with pytest.raises(EnvelopeError, match="message"):
        check(document, work(tmp_path, "contradicted"), KEY.address, DOMAIN)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"more": 1}, "nothing else"),
        ({"primaryType": "Mail"}, "primaryType"),
        ({"types": {}}, "types"),
        ({"domain": None}, "domain"),
        ({"message": []}, "message"),
        ({"signature": 3}, "130"),
        ({"signature": "0x" + "zz" * 65}, "hexadecimal"),
        ({"signature": "0x" + "00" * 65}, "canonical"),
        ({"signature": "0x" + "AB" * 65}, "canonical"),
        ({"signature": "0x" + "05" * 32 + "01" * 32 + "1b"}, "any key|signed by"),
    ],
)
def test_malformed_documents(tmp_path: Path, change: dict[str, Any], because: str) -> None:
    known = work(tmp_path, "accepted")
    document = json.loads(sign(known, KEY, DOMAIN).data)
    with pytest.raises(EnvelopeError, match=because):
        check(json.dumps({**document, **change}).encode(), known, KEY.address, DOMAIN)
    with pytest.raises(EnvelopeError, match="JSON"):
        check(b"{", known, KEY.address, DOMAIN)


def test_true_is_not_one(tmp_path: Path) -> None:
    known = work(tmp_path, "accepted")
    document = messaged(json.loads(sign(known, KEY, DOMAIN).data), outcome=True)
    with pytest.raises(EnvelopeError, match="message"):
        check(json.dumps(document).encode(), known, KEY.address, DOMAIN)


@pytest.mark.parametrize(
    "text",
    ["", "0x12", CONTRACT[2:], "0x" + "g" * 40, CONTRACT.replace("fB", "Fb"), "0x" + " 00" * 20],
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"address|digit"):
        address_of(text)


@pytest.mark.parametrize("chain", [0, -1, 1 << 63])
def test_chains_that_are_none(chain: int) -> None:
    with pytest.raises(InputError, match="chain"):
        Domain(chain, CONTRACT)


def test_keys_are_the_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "evm.key"
    path.write_text("0x" + KEY.secret.hex() + "\n")
    path.chmod(0o644)
    with pytest.raises(InputError, match="others"):
        EvmKey.load(path)
    path.chmod(0o600)
    assert EvmKey.load(path) == KEY
    assert KEY.secret.hex() not in repr(KEY)
    for text in ("", "12", "0" * 64, f"{ORDER:x}", "g" * 64):
        path.write_text(text)
        with pytest.raises(FormatError, match="64 hexadecimal"):
            EvmKey.load(path)


# -- registries of validators -----------------------------------------------------------------------------


def test_their_code_reads_the_calls(tmp_path: Path) -> None:
    evidence = saved(tmp_path, "contradicted")
    known, receipt = Work.of(evidence), bundle(good()).evidence.receipt
    asked = [request_call(KEY.address, 7, URI, receipt)]
    asked += [response_call(evidence, known, URI, old_tag=old) for old in (False, True)]
    request, text, old = judged("evm.mjs", [{"call": "0x" + c.data.hex()} for c in asked])
    wanted = [KEY.address, "7", URI, "0x" + keccak(receipt).hex()]
    assert request == {tag: {"name": "validationRequest", "args": wanted} for tag in ("string", "bytes32")}
    digest = "0x" + keccak(evidence.read_bytes()).hex()
    of_receipt = "0x" + keccak(receipt_of(evidence)).hex()
    found = [of_receipt, "0", URI, digest]
    assert text == {"string": {"name": "validationResponse", "args": [*found, TAG]}}
    padded = "0x" + TAG.encode().ljust(32, b"\0").hex()
    assert old == {"bytes32": {"name": "validationResponse", "args": [*found, padded]}}
    for made in asked[1:]:
        assert check_response(made.data, evidence, known) == URI


def receipt_of(evidence: Path) -> bytes:
    from proofcompute.protocol.bundle import Bundle

    return Bundle.decode(evidence.read_bytes()).evidence.receipt


FALSE: dict[str, Callable[[bytes], bytes]] = {
    "another answer": lambda c: c[:67] + b"\x64" + c[68:],
    "another receipt": lambda c: c[:4] + bytes(32) + c[36:],
    "another bundle": lambda c: c[:100] + bytes(32) + c[132:],
    "another tag": lambda c: c.replace(TAG.encode(), TAG.encode().upper()),
}
"""What says something false in the right form; of that ethers knows nothing."""
MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "another function": lambda c: b"\x01" + c[1:],
    "cut off": lambda c: c[:-32],
    "bytes after the end": lambda c: c + bytes(32),
    "an answer beyond a byte": lambda c: c[:40] + b"\x01" + c[41:],
    "text that is none": lambda c: c.replace(URI.encode(), b"\xff" * len(URI)),
    "an offset beyond the end": lambda c: c[:68] + b"\xff" * 32 + c[100:],
    "nothing": lambda c: b"",
}
"""What both refuse."""


def test_changed_calls_are_rejected(tmp_path: Path) -> None:
    evidence = saved(tmp_path, "contradicted")
    known = Work.of(evidence)
    data = response_call(evidence, known, URI).data
    malformed = {name: change(data) for name, change in MALFORMED.items()}
    for changed in (*(change(data) for change in FALSE.values()), *malformed.values(), bytes(9000)):
        with pytest.raises(EnvelopeError):
            check_response(changed, evidence, known)
    answers = judged("evm.mjs", [{"call": "0x" + c.hex()} for c in malformed.values()])
    assert [name for name, said in zip(malformed, answers, strict=True) if "error" not in said] == []


def test_silence_is_no_response(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_bytes(waited(99.0)().encode())
    known = Work.of(silent)
    with pytest.raises(InputError, match="no word"):
        response_call(silent, known, URI)
    evidence = saved(tmp_path, "accepted")
    data = response_call(evidence, Work.of(evidence), URI).data
    with pytest.raises(EnvelopeError, match="no such response"):
        check_response(data, silent, known)
    with pytest.raises(EnvelopeError, match="something else"):
        check_response(data, evidence, replace(Work.of(evidence), outcome=work(tmp_path, KINDS[1]).outcome))


@pytest.mark.parametrize(
    ("validator", "agent", "uri"),
    [("0x" + "0" * 40, 1, URI), (CONTRACT, -1, URI), (CONTRACT, 1 << 256, URI), (CONTRACT, 1, ""),
     (CONTRACT, 1, "x" * 3000), (CONTRACT, 1, "a:\n"), (CONTRACT, 1, "nowhere"),
     (CONTRACT, 1, "a:\udcff")],
)  # fmt: skip
def test_requests_that_no_registry_holds(validator: str, agent: int, uri: str) -> None:
    with pytest.raises(InputError):
        request_call(validator, agent, uri, b"receipt")


def test_what_lacks_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever only checks is told what to install, too."""
    evidence = saved(tmp_path, "accepted")
    known = Work.of(evidence)
    document, call_data = sign(known, KEY, DOMAIN).data, response_call(evidence, known, URI).data
    for name in [n for n in sys.modules if n.split(".")[0] in ("eth_abi", "eth_keys")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "eth_abi", None)
    monkeypatch.setitem(sys.modules, "eth_keys", None)
    with pytest.raises(UnsupportedError, match=r"proofcompute\[evm\]"):
        check(document, known, KEY.address, DOMAIN)
    with pytest.raises(UnsupportedError, match=r"proofcompute\[evm\]"):
        check_response(call_data, evidence, known)


# -- commands ---------------------------------------------------------------------------------------------


def test_a_verdict_goes_to_a_contract_and_is_judged_again(tmp_path: Path) -> None:
    judge_key().save(tmp_path / "judge.key")
    own, document, evidence = tmp_path / "evm.key", tmp_path / "signed", saved(tmp_path, "contradicted")
    own.write_text(KEY.secret.hex())
    own.chmod(0o600)
    where = ("--chain", 31337, "--contract", CONTRACT)
    said = done("network", "evm", "sign", evidence, "-o", document, "--signing-key", own, *where)
    assert said["interface"] == "ours"
    words = ("network", "evm", "verify", document, evidence, "--signer", KEY.address, *where)
    assert done(*words)["judged"] is False
    result = call(*words, "--key", tmp_path / "judge.key", "--device", "numpy", "--json")
    assert (result.status, result.json["stands"]) == (0, True)
    assert call(*words[:-1], KEY.address).status == 1
    assert "address" in refused(*words[:-1], "0x12")


def test_a_response_is_printed_and_checked(tmp_path: Path) -> None:
    evidence = saved(tmp_path, "accepted")
    asked = ("--validator", CONTRACT, "--agent", 7, "--uri", URI)
    assert done("network", "evm", "request-validation", evidence, *asked)["interface"] == "theirs"
    said = done("network", "evm", "respond", evidence, "--uri", URI)
    found = done("network", "evm", "verify-response", said["data"], evidence)
    assert (found["uri"], found["outcome"]) == (URI, "accepted")
    for data in (said["data"][:-2], "0xzz", "0x" + 9000 * "00"):
        assert call("network", "evm", "verify-response", data, evidence).status == 1
