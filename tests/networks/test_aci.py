"""Receipts of attested gateways: the vectors of the specification, verdicts in them, and refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adversary.mutation import Edit, apply
from cli.driver import call, done, refused
from networks.bundles import judge_key, saved, work
from proofcompute.errors import EnvelopeError, InputError, UnsupportedError
from proofcompute.networks.aci import EVENT, canonical, check, check_receipt, event, keyset_digest, keyset_of
from proofcompute.networks.work import Work

pytest.importorskip("rfc8785")
ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")

NOW = 1_750_000_000
# The values of "ACI Test Vectors" (specification of aci/1, 2026), by their places there.
PUBLIC = "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"
E2EE = "5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22"
DIGEST = "sha256:53a5cd44b30dcc51999754c719f2628a041f174ecbf9662a6f8e898a10cd9371"
SESSION = "95ad1cb4dd25445808c2e9d116caf420b05703730b506395e8fc1ca6faeae28f"
RECEIVED = "sha256:94d809bf47380d8a2eab0eb6e126d4dda9364b0b4725cdf7ead52dd70b2aa87b"
RETURNED = "sha256:dedfffe5b14d031b8e2c01996d021a15293cb7c63b56be7e4be9e89b6f0a5f61"
SIGNATURE = (
    "d5b005e093bde3b577faf270b7184b09e169cacb0ecb206b103bd2581f997db0"
    "3da616175454b063323a23ac1dc68f1ce506c2a6eba8aa0561d5e724f0b80c03"
)
REQUEST = b'{"messages":[{"content":"hi","role":"user"}],"model":"demo-model"}'
RESPONSE = b'{"choices":[],"id":"chatcmpl-123"}'
KEYSET = {
    "subject": "dstack-app://example-app",
    "not_after": 1_800_000_000,
    "receipt_signing_keys": [{"key_id": "receipt-1", "algo": "ed25519", "public_key": PUBLIC}],
    "e2ee_public_keys": [{"key_id": "e2ee-1", "algo": "x25519-aes-256-gcm-hkdf-sha256", "public_key": E2EE}],
    "tls_public_keys": [{"spki_sha256": 32 * "c0", "domain": "api.example.com"}],
}
RECEIPT: dict[str, Any] = {
    "api_version": "aci/1",
    "receipt_id": "rcpt-0001",
    "chat_id": "chatcmpl-123",
    "model": "demo-model",
    "workload_keyset_digest": DIGEST,
    "endpoint": "/v1/chat/completions",
    "method": "POST",
    "served_at": NOW,
    "event_log": [
        {"type": "request.received", "body_hash": RECEIVED},
        {"type": "request.forwarded", "body_hash": RECEIVED},
        {
            "type": "upstream.verified",
            "result": "verified",
            "required": True,
            "model_id": "demo-model",
            "session_id": SESSION,
        },
        {"type": "response.returned", "body_hash": RETURNED},
    ],
    "key_id": "receipt-1",
    "signature": SIGNATURE,
}
KEYS = json.dumps(KEYSET, indent=2).encode()


def signed(document: dict[str, Any], seed: bytes = bytes([2]) * 32) -> bytes:
    """As the gateway of the vectors signs, by another library's Ed25519."""
    bare = {name: value for name, value in document.items() if name != "signature"}
    signature = ed25519.Ed25519PrivateKey.from_private_bytes(seed).sign(canonical(bare))
    return json.dumps({**bare, "signature": signature.hex()}, indent=1).encode()


def carrying(*events: dict[str, Any], **changes: Any) -> dict[str, Any]:
    log = RECEIPT["event_log"]
    return {**RECEIPT, "event_log": [*log[:3], *events, log[3]], **changes}


@pytest.fixture
def known(tmp_path: Path) -> Work:
    return work(tmp_path, "contradicted")


def test_the_vectors_of_the_specification() -> None:
    assert keyset_digest(KEYS) == DIGEST
    events = check_receipt(
        json.dumps(RECEIPT).encode(), KEYS, DIGEST, now=NOW, request=REQUEST, response=RESPONSE
    )
    assert [each["type"] for each in events] == [each["type"] for each in RECEIPT["event_log"]]
    assert json.loads(signed(RECEIPT))["signature"] == SIGNATURE


def test_a_receipt_carries_a_verdict(known: Work) -> None:
    made = json.loads(event(known).data)
    data = signed(carrying(made))
    check(data, known, KEYS, DIGEST, now=NOW, request=REQUEST, response=RESPONSE)
    check(data, known, KEYS, DIGEST, now=NOW)
    for other in (replace(known, made=1), replace(known, rows=1), replace(known, node=bytes(32))):
        with pytest.raises(EnvelopeError, match="another verdict"):
            check(data, other, KEYS, DIGEST, now=NOW)
    for number, log in ((0, []), (2, [made, made])):
        with pytest.raises(EnvelopeError, match=f"{number} verdicts"):
            check(signed(carrying(*log)), known, KEYS, DIGEST, now=NOW)
    with pytest.raises(EnvelopeError, match="another verdict"):
        check(signed(carrying({**made, "more": "1"})), known, KEYS, DIGEST, now=NOW)


def changed(**changes: Any) -> bytes:
    return json.dumps({**RECEIPT, **changes}).encode()


def resigned(**changes: Any) -> bytes:
    return signed({**RECEIPT, **changes})


BAD: dict[str, Callable[[], bytes]] = {
    "another model": lambda: changed(model="other"),
    "another time": lambda: changed(served_at=NOW + 1),
    "another order of events": lambda: changed(event_log=RECEIPT["event_log"][::-1]),
    "an event more": lambda: json.dumps(carrying({"type": EVENT})).encode(),
    "another key's signature": lambda: signed(RECEIPT, bytes(32)),
    "a signature of capitals": lambda: changed(signature=SIGNATURE.upper()),
    "no signature": lambda: changed(signature=None),
    "an unknown key": lambda: resigned(key_id="receipt-2"),
    "another keyset": lambda: resigned(workload_keyset_digest="sha256:" + 64 * "0"),
    "another version": lambda: resigned(api_version="aci/2"),
    "another field": lambda: resigned(more=1),
    "no log": lambda: resigned(event_log=[]),
    "an event that is none": lambda: resigned(event_log=[*RECEIPT["event_log"], 3]),
    "the end first": lambda: resigned(event_log=RECEIPT["event_log"][::-1]),
    "another beginning": lambda: resigned(event_log=RECEIPT["event_log"][1:]),
    "nothing returned": lambda: resigned(event_log=RECEIPT["event_log"][:3]),
    "returned twice": lambda: resigned(event_log=[*RECEIPT["event_log"], RECEIPT["event_log"][3]]),
    "no canonical form": lambda: changed(served_at=1 << 60),
    "no JSON": lambda: b"{",
}


@pytest.mark.parametrize("name", BAD)
def test_receipts_that_do_not_hold(name: str) -> None:
    with pytest.raises(EnvelopeError):
        check_receipt(BAD[name](), KEYS, DIGEST, now=NOW)


def of_keys(**changes: Any) -> tuple[bytes, bytes, str]:
    """A receipt under another keyset, which is attested."""
    keys = json.dumps({**KEYSET, **changes}).encode()
    return signed({**RECEIPT, "workload_keyset_digest": keyset_digest(keys)}), keys, keyset_digest(keys)


def test_keysets_that_do_not_hold() -> None:
    whole = json.dumps(RECEIPT).encode()
    check_receipt(*of_keys(), now=NOW)
    entry = KEYSET["receipt_signing_keys"][0]  # type: ignore[index]
    for keys in (
        {"not_after": NOW - 1},
        {"not_after": None},
        {"receipt_signing_keys": [{**entry, "algo": "ecdsa"}]},
        {"receipt_signing_keys": [entry, entry]},
        {"receipt_signing_keys": [{**entry, "public_key": E2EE}]},
        {"receipt_signing_keys": [{**entry, "public_key": "00"}]},
        {"receipt_signing_keys": None},
    ):
        with pytest.raises(EnvelopeError):
            check_receipt(*of_keys(**keys), now=NOW)
    with pytest.raises(EnvelopeError, match="attested"):
        check_receipt(whole, KEYS, "sha256:" + 64 * "0", now=NOW)
    for name, body in (("request", b"another"), ("response", RESPONSE + b"\n")):
        with pytest.raises(EnvelopeError, match="another body"):
            check_receipt(whole, KEYS, DIGEST, now=NOW, **{name: body})
    for digest in (DIGEST[7:], DIGEST[:-1], DIGEST.upper(), "sha256:" + 64 * "z"):
        with pytest.raises(InputError):
            keyset_of(digest)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rfc8785", None)
    with pytest.raises(UnsupportedError, match=r"proofcompute\[aci\]"):
        keyset_digest(KEYS)


def test_a_verdict_in_a_receipt_by_commands(tmp_path: Path) -> None:
    evidence, file = saved(tmp_path, "contradicted"), tmp_path / "event"
    assert done("network", "aci", "event", evidence, "-o", file)["interface"] == "ours"
    names = ("receipt", "keyset", "request", "response")
    contents = (signed(carrying(json.loads(file.read_bytes()))), KEYS, REQUEST, RESPONSE)
    paths = {name: tmp_path / f"{name}.json" for name in names}
    for name, content in zip(names, contents, strict=True):
        paths[name].write_bytes(content)
    words = ("network", "aci", "verify", paths["receipt"], evidence, "--keyset", paths["keyset"], "--at", NOW)
    bodies = ("--request", paths["request"], "--response", paths["response"])
    digest = ("--keyset-digest", DIGEST)
    assert done(*words, *digest, *bodies)["judged"] is False
    judge_key().save(tmp_path / "judge.key")
    judged = call(*words, *digest, "--key", tmp_path / "judge.key", "--device", "numpy", "--json")
    assert (judged.status, judged.json["stands"]) == (0, True)
    assert call(*words, *digest, "--request", paths["response"]).status == 1
    assert "digest" in refused(*words, "--keyset-digest", "53a5")


# -- mutants -------------------------------------------------------------------------------------------------


def edit(old: str, new: str = "    if False:") -> Edit:
    return Edit("networks.aci", old, new)


def bad(name: str) -> Callable[[Work], object]:
    return lambda _: check_receipt(BAD[name](), KEYS, DIGEST, now=NOW)


MUTANTS: dict[str, tuple[Edit, Callable[[Work], object]]] = {
    "the attested keyset": (
        edit("    if keyset_digest(keyset) != digest:"),
        lambda _: check_receipt(resigned(workload_keyset_digest="sha256:x"), KEYS, "sha256:x", now=NOW),
    ),
    "the end of a keyset": (
        edit("    if type(end) is not int or now > end:"),
        lambda _: check_receipt(*of_keys(not_after=NOW - 1), now=NOW),
    ),
    "the form": (edit('    if set(top) != _FIELDS or top["api_version"] != VERSION:'), bad("another field")),
    "whose keyset": (edit('    if top["workload_keyset_digest"] != digest:'), bad("another keyset")),
    "signatures": (
        edit('    if not signature_holds(_key(keys, top["key_id"]), signed, _bytes(top["signature"], 64)):'),
        bad("another model"),
    ),
    "the beginning": (edit('    if events[0]["type"] != _RECEIVED:'), bad("the end first")),
    "one of each": (edit("        if len(found) != 1:", "        if not found:"), bad("returned twice")),
    "bodies": (
        edit(
            '        if body is not None and found[0].get("body_hash") != _hash(body):', "        if False:"
        ),
        lambda _: check_receipt(json.dumps(RECEIPT).encode(), KEYS, DIGEST, now=NOW, request=b"another"),
    ),
    "one verdict": (edit("    if len(carried) != 1:"), lambda known: twice(known)),
    "that verdict": (
        edit("    if carried[0] != _event(work):"),
        lambda known: check(
            signed(carrying(json.loads(event(known).data))), replace(known, made=1), KEYS, DIGEST, now=NOW
        ),
    ),
}


def twice(known: Work) -> None:
    made = json.loads(event(known).data)
    check(signed(carrying(made, made)), known, KEYS, DIGEST, now=NOW)


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_what_it_refuses_passes(
    known: Work, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, act = MUTANTS[name]
    with pytest.raises(EnvelopeError):
        act(known)
    with monkeypatch.context() as patch:
        apply(patch, [change])
        act(known)
