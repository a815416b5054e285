"""Verdicts in in-toto statements: read by the code of in-toto and securesystemslib, and what both reject."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.driver import call, done, refused
from networks.bundles import AUDITOR, KINDS, judge_key, saved, work
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import EnvelopeError, EvidenceError, InputError
from proofcompute.networks.dsse import PAYLOAD
from proofcompute.networks.in_toto import MAX_ENVELOPE, PREDICATE, check, wrap
from proofcompute.networks.work import Work

OTHER = NodeIdentity(bytes(range(9, 41)))


def theirs(envelope: bytes, auditor: bytes = AUDITOR.public) -> dict[str, Any]:
    """What securesystemslib finds in an envelope, and in-toto in its statement. Raises their errors."""
    pytest.importorskip("in_toto_attestation")
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from google.protobuf.json_format import Parse
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    key = signer.SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(auditor), keyid=auditor.hex())
    found = dsse.Envelope.from_dict(json.loads(envelope))
    found.verify([key], 1)
    assert found.payload_type == PAYLOAD
    message = Parse(found.payload, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()
    return dict(json.loads(found.payload))


@pytest.mark.parametrize("kind", KINDS)
def test_their_code_reads_the_statement(tmp_path: Path, kind: str) -> None:
    known = work(tmp_path, kind)
    envelope = wrap(known, AUDITOR).data
    said = theirs(envelope)
    assert said["subject"][0]["digest"]["sha256"] == known.bundle_sha256.hex()
    assert said["predicateType"] == PREDICATE
    assert said["predicate"]["outcome"] == kind
    assert said["predicate"]["step"] == ("0" if kind == "accepted" else "8")
    check(envelope, known)
    check(envelope, known, AUDITOR.public)


def again(envelope: bytes, **changes: Any) -> bytes:
    """The envelope with another payload, signed by the auditor again."""
    payload = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    payload.update({k: v for k, v in changes.items() if k != "predicate"})
    payload["predicate"].update(changes.get("predicate", {}))
    return enveloped(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode())


def enveloped(payload: bytes, identity: NodeIdentity = AUDITOR, **fields: Any) -> bytes:
    signed = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    signature = {"keyid": identity.public.hex(), "sig": base64.b64encode(identity.sign(signed)).decode()}
    top = {"payloadType": PAYLOAD, "payload": base64.b64encode(payload).decode(), "signatures": [signature]}
    return json.dumps({**top, **fields}).encode()


def payload_of(envelope: bytes) -> bytes:
    return base64.b64decode(json.loads(envelope)["payload"])


UNSIGNED: dict[str, Callable[[bytes], bytes]] = {
    "another payload": lambda e: enveloped(payload_of(e).replace(b'"step":"8"', b'"step":"7"'), OTHER),
    "another signer": lambda e: enveloped(payload_of(e), OTHER),
    "no signature": lambda e: enveloped(payload_of(e), signatures=[]),
    "another type": lambda e: enveloped(payload_of(e), payloadType="text/plain"),
    "a bit of the signature": lambda e: json.dumps(
        {
            **json.loads(e),
            "signatures": [{**json.loads(e)["signatures"][0], "sig": base64.b64encode(bytes(64)).decode()}],
        }
    ).encode(),
    "a bit of the payload": lambda e: json.dumps(
        {**json.loads(e), "payload": base64.b64encode(payload_of(e)[:-1] + b" ").decode()}
    ).encode(),
}
"""What nobody accepts."""


@pytest.mark.parametrize("name", UNSIGNED)
def test_what_the_auditor_did_not_sign_is_rejected_by_both(tmp_path: Path, name: str) -> None:
    known = work(tmp_path, "contradicted")
    envelope = UNSIGNED[name](wrap(known, AUDITOR).data)
    with pytest.raises(EnvelopeError):
        check(envelope, known)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - several errors of theirs
        theirs(envelope)
    assert not isinstance(caught.value, pytest.skip.Exception)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"predicate": {"outcome": "accepted"}}, "outcome"),
        ({"predicate": {"node": "00" * 32}}, "node"),
        ({"predicate": {"step": "3"}}, "step"),
        ({"predicate": {"receiptDigest": "00" * 32}}, "receiptDigest"),
        ({"predicate": {"more": "x"}}, "predicate"),
        ({"subject": [{"name": "evidence", "digest": {"sha256": "00" * 32}}]}, "subject"),
        ({"predicateType": "urn:other"}, "predicateType"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "_type"),
    ],
)
def test_a_statement_about_something_else_is_rejected_though_it_is_signed(
    tmp_path: Path, change: dict[str, Any], because: str
) -> None:
    known = work(tmp_path, "contradicted")
    with pytest.raises(EnvelopeError, match=because):
        check(again(wrap(known, AUDITOR).data, **change), known)


def test_malformed_envelopes(tmp_path: Path) -> None:
    known = work(tmp_path, "accepted")
    envelope = wrap(known, AUDITOR).data
    top = json.loads(envelope)
    sig = top["signatures"][0]
    for data, because in [
        (b"", "JSON"),
        (b"[]", "JSON"),
        (b" " * (MAX_ENVELOPE + 1), "JSON"),
        (b'{"payload":"","payload":""}', "twice"),
        (json.dumps({**top, "more": 1}).encode(), "nothing else"),
        (json.dumps({**top, "payload": 3}).encode(), "text"),
        (json.dumps({**top, "payload": "!"}).encode(), "base64"),
        (json.dumps({**top, "payload": "QQ=="[:3] + "="}).encode().replace(b"QQ=", b"QR=="), "base64"),
        (json.dumps({**top, "signatures": {}}).encode(), "signatures"),
        (json.dumps({**top, "signatures": [sig] * 17}).encode(), "signatures"),
        (json.dumps({**top, "signatures": [3]}).encode(), "has sig"),
        (json.dumps({**top, "signatures": [{**sig, "x": 1}]}).encode(), "has sig"),
        (enveloped(b"no statement"), "no statement"),
    ]:
        with pytest.raises(EnvelopeError, match=because):
            check(data, known)
    with pytest.raises(EnvelopeError, match="not 000000"):
        check(envelope, known, bytes(32))
    with pytest.raises(InputError, match="another auditor"):
        wrap(known, OTHER)
    with pytest.raises(InputError, match="no date"):
        wrap(replace(known, made=2**53 - 1), AUDITOR)


def test_a_key_id_is_only_a_hint_and_any_of_several_may_sign(tmp_path: Path) -> None:
    known = work(tmp_path, "accepted")
    envelope = json.loads(wrap(known, AUDITOR).data)
    own = envelope["signatures"][0]
    wrong = {"sig": base64.b64encode(bytes(64)).decode(), "keyid": own["keyid"]}
    check(json.dumps({**envelope, "signatures": [wrong, {"sig": own["sig"]}]}).encode(), known)


def test_files_that_are_no_evidence(tmp_path: Path) -> None:
    path = saved(tmp_path, "accepted")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(EvidenceError, match="not the one"):
        Work.of(path)
    path.write_bytes(data[:100])
    with pytest.raises(EvidenceError):
        Work.of(path)


# -- commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    AUDITOR.save(tmp_path / "auditor")
    return tmp_path / "auditor"


def test_a_verdict_travels_and_is_judged_again(tmp_path: Path, mine: Path) -> None:
    judge_key().save(tmp_path / "judge.key")
    envelope = tmp_path / "envelope"
    for kind, status in (("contradicted", 0), ("accepted", 0)):
        evidence = saved(tmp_path, kind)
        said = done("network", "in-toto", "wrap", evidence, "-o", envelope, "--identity", mine, "--force")
        assert said["interface"] == "ours"
        found = done("network", "in-toto", "verify", envelope, evidence, "--auditor", AUDITOR.public.hex())
        assert (found["holds"], found["judged"], found["outcome"]) == (True, False, kind)
        words = ("network", "in-toto", "verify", envelope, evidence, "--key", tmp_path / "judge.key")
        judged = call(*words, "--device", "numpy", "--json")
        assert judged.status == status
        assert judged.json["stands"] is True
    result = call("network", "in-toto", "verify", envelope, saved(tmp_path, "contradicted"))
    assert result.status == 1
    assert "INVALID" in result.err
    assert "evidence" in refused("network", "in-toto", "wrap", mine, "-o", tmp_path / "x", "--identity", mine)
