"""Signatures of model signing made field by field, most of them malformed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from proofcompute.networks.dsse import encoded, enveloped
from proofcompute.networks.model_signing import bundle
from proofcompute.networks.model_signing.bundle import MAX_SIGNATURE
from proofcompute.networks.model_signing.keys import SigningKey

__all__ = ["KEY", "MALFORMED", "OTHER", "made"]

KEY, OTHER = SigningKey.new(), SigningKey.new()


def statement(**changes: Any) -> dict[str, Any]:
    """A statement about one file, with changes of its parts."""
    resource = {"name": "a", "algorithm": "sha256", "digest": "ab" * 32, **changes.pop("resource", {})}
    way = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, **changes.pop("way", {})}
    found = changes.pop("resources", [resource])
    state = b"".join(bytes.fromhex(each["digest"]) for each in found if isinstance(each, dict))
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "n", "digest": {"sha256": hashlib.sha256(state).hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": way, "resources": found, **changes.pop("predicate", {})},
        **changes,
    }


def resource(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "algorithm": "sha256", "digest": "ab" * 32, **fields}


def made(value: Any = None, *, signatures: Any = None, material: Any = None, **top: Any) -> bytes:
    """A signature of a statement, or of anything else, by the key."""
    payload = value if isinstance(value, bytes) else json.dumps(value or statement()).encode()
    envelope = enveloped(payload, KEY.sign(encoded(payload)), "")
    if signatures is not None:
        envelope["signatures"] = signatures(envelope["signatures"])
    known = {"publicKey": {"hint": KEY.public.hint}, "tlogEntries": []}
    return json.dumps(
        {
            "mediaType": bundle.MEDIA_TYPE,
            "verificationMaterial": material or known,
            "dsseEnvelope": envelope,
            **top,
        }
    ).encode()


def sig_of(change: Callable[[bytes], bytes]) -> Callable[[Any], Any]:
    return lambda found: [{"sig": base64.b64encode(change(base64.b64decode(found[0]["sig"]))).decode()}]


def padded(der: bytes) -> bytes:
    """The same two numbers, the first with a zero before it that it does not need."""
    return bytes([0x30, der[1] + 1, 2, der[3] + 1, 0]) + der[4:]


MALFORMED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "JSON"),
    "a list": (lambda: b"[]", "JSON"),
    "a key twice": (lambda: made()[:-1] + b', "mediaType": ""}', "twice"),
    "too large": (lambda: b" " * (MAX_SIGNATURE + 1), "limit"),
    "another media type": (lambda: made(mediaType="x"), "not of the type"),
    "a field more": (lambda: made(more=1), "nothing else"),
    "a certificate": (lambda: made(material={"x509CertificateChain": {}}), "not under a key"),
    "raw bytes of a key": (
        lambda: made(material={"publicKey": {"rawBytes": "", "hint": KEY.public.hint}}),
        "another key",
    ),
    "no hint": (lambda: made(material={"publicKey": {}}), "another key"),
    "entries of a log": (
        lambda: made(material={"publicKey": {"hint": KEY.public.hint}, "tlogEntries": [{}]}),
        "log",
    ),
    "no material": (lambda: made(verificationMaterial=[]), "not under a key"),
    "no envelope": (lambda: made(dsseEnvelope=3), "payloadType"),
    "two signatures": (lambda: made(signatures=lambda found: found * 2), "more than one"),
    "no signature": (lambda: made(signatures=lambda found: []), "1 to"),
    "a signature cut": (lambda: made(signatures=sig_of(lambda s: s[:-1])), "did not sign"),
    "bytes after a signature": (lambda: made(signatures=sig_of(lambda s: s + b"\0")), "did not sign"),
    "a number with a zero before it": (lambda: made(signatures=sig_of(padded)), "did not sign"),
    "a number below zero": (
        lambda: made(signatures=sig_of(lambda s: bytes.fromhex("30060201ff0201ff"))),
        "did not sign",
    ),
    "a length in two bytes": (
        lambda: made(signatures=sig_of(lambda s: b"\x30\x81" + s[1:])),
        "did not sign",
    ),
    "an empty signature": (lambda: made(signatures=sig_of(lambda s: b"")), "did not sign"),
    "zeros": (lambda: made(signatures=sig_of(lambda s: bytes.fromhex("3006020100020100"))), "did not sign"),
    "three numbers": (
        lambda: made(signatures=sig_of(lambda s: bytes.fromhex("3009020101020101020101"))),
        "did not sign",
    ),
    "no statement": (lambda: made(b"text"), "JSON"),
    "a statement of another version": (
        lambda: made(statement(_type="https://in-toto.io/Statement/v0.1")),
        "version 1",
    ),
    "an older predicate": (
        lambda: made(statement(predicateType="https://model_signing/Digests/v0.1")),
        "predicate",
    ),
    "a field of the statement more": (lambda: made(statement(more=1)), "nothing else"),
    "a field of the predicate more": (lambda: made(statement(predicate={"more": 1})), "nothing else"),
    "no subject": (lambda: made(statement(subject=[])), "one subject"),
    "two subjects": (lambda: made(statement(subject=statement()["subject"] * 2)), "one subject"),
    "a subject without a name": (
        lambda: made(statement(subject=[{"name": 3, "digest": {"sha256": ""}}])),
        "texts",
    ),
    "two digests of a subject": (
        lambda: made(statement(subject=[{"name": "n", "digest": {"sha256": "", "sha512": ""}}])),
        "nothing else",
    ),
    "another root": (
        lambda: made(statement(subject=[{"name": "n", "digest": {"sha256": "00" * 32}}])),
        "not that of its files",
    ),
    "no way": (lambda: made(statement(predicate={"serialization": 1})), "how files were hashed"),
    "pieces": (lambda: made(statement(way={"method": "shards", "shard_size": 1})), "whole files by SHA-256"),
    "pieces of whole files": (lambda: made(statement(way={"shard_size": 1})), "not known here"),
    "a way without its method": (
        lambda: made(statement(predicate={"serialization": {"hash_type": "sha256"}})),
        "whole files by SHA-256",
    ),
    "another hash": (lambda: made(statement(way={"hash_type": "blake2b"})), "whole files by SHA-256"),
    "links are no truth": (lambda: made(statement(way={"allow_symlinks": "no"})), "links"),
    "a number left out": (lambda: made(statement(way={"ignore_paths": [3]})), "texts"),
    "a text left out": (lambda: made(statement(way={"ignore_paths": "a"})), "list"),
    "no files": (lambda: made(statement(resources=[])), "no file"),
    "files are no list": (lambda: made(statement(predicate={"resources": {}})), "no file"),
    "a file that is none": (lambda: made(statement(resources=[3])), "nothing else"),
    "a file twice": (lambda: made(statement(resources=[resource("a")] * 2)), "twice"),
    "not in order": (
        lambda: made(statement(resources=[resource("b"), resource("a")])),
        "order",
    ),
    "in the order of characters": (
        lambda: made(statement(resources=[resource("a-b"), resource("a/b")])),
        "order",
    ),
    "the whole, and a file": (
        lambda: made(statement(resources=[resource("."), resource("a")])),
        "no name",
    ),
    "a digest by another hash": (lambda: made(statement(resource={"algorithm": "sha512"})), "another hash"),
    "a digest in capitals": (lambda: made(statement(resource={"digest": "AB" * 32})), "is none"),
    "a short digest": (lambda: made(statement(resource={"digest": "ab" * 31})), "is none"),
    **{
        f"the name {name[:8]!r}": (lambda name=name: made(statement(resource={"name": name})), "no name")  # type: ignore[misc]
        for name in (
            "..",
            "../a",
            "/a",
            "a/",
            "a//b",
            "./a",
            "",
            "a\\b",
            "a\0",
            "a\x1b[2J",
            "a\x85",
            "x" * 1025,
        )
    },
    "a name that is a number": (lambda: made(statement(resource={"name": 3})), "no name"),
}
