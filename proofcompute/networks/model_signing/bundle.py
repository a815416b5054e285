"""Write and read signatures of model signing: who signed which files, with which digests.

A signature is a file of JSON: a Sigstore bundle of version 0.3 with the signer's key by its hash, and a DSSE
envelope. Its payload is an in-toto statement of the type that model signing defines ("OpenSSF Model Signing
Specification", version 1.0). Its subject has the name of what was signed, which is informative, and SHA-256
over the digests of all files in a row; the predicate lists the files with their digests, by name.

Read is the one form that the tool of that project writes for keys: digests of whole files by SHA-256, ordered
by the parts of their names. Signatures under certificates or of Sigstore's service, digests of pieces of
files, other hashes, and fields that are not known here are refused, since what they ask for is not checked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, LimitError
from proofcompute.networks.dsse import STATEMENT, encoded, enveloped, parts
from proofcompute.networks.model_signing.keys import SigningKey, VerifyingKey

__all__ = ["MAX_SIGNATURE", "MEDIA_TYPE", "WHOLE", "Manifest", "is_name", "opened", "ordered", "sealed"]

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE: Final = "https://model_signing/signature/v1.0"
"""The type of the statement's predicate."""
MAX_SIGNATURE: Final = 1 << 24
"""The most bytes of a signature that is read; one of a thousand files has some 300 KB."""
WHOLE: Final = "."
"""The name of the file where a file alone is signed, and no folder."""
_MAX_NAME: Final = 1024
"""The most bytes of a file's name."""
_DIGEST: Final = 64
"""Hexadecimal digits of a digest."""


@dataclass(frozen=True)
class Manifest:
    """What a signature says."""

    name: str
    """Of the folder or file when it was signed; nothing depends on it."""
    files: Mapping[str, bytes]
    """SHA-256 of each file by its name below the folder, or of one file by :data:`WHOLE`."""
    left_out: tuple[str, ...]
    """What the signer left out, by name."""


def _require(holds: bool, because: str) -> None:
    if not holds:
        raise EnvelopeError(f"the signature does not hold: {because}")


def is_name(text: str) -> bool:
    """Return whether a text is a file's name below a folder, and the same on every system."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # a name of the file system that is no text
        return False
    plain = not any(c == "\\" or ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
    return size <= _MAX_NAME and plain and all(part not in ("", ".", "..") for part in text.split("/"))


def ordered(names: Iterable[str]) -> list[str]:
    """Return names in the order of a manifest, by their parts: a/b comes before a-b."""
    return sorted(names, key=lambda name: name.split("/"))


def _root(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(files.values())).hexdigest()


def sealed(manifest: Manifest, key: SigningKey) -> bytes:
    """Return the signature of a manifest, whose files are in order."""
    serialization: dict[str, Json] = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    if manifest.left_out:
        serialization["ignore_paths"] = list(manifest.left_out)
    value: dict[str, Json] = {
        "_type": STATEMENT,
        "subject": [{"name": manifest.name, "digest": {"sha256": _root(manifest.files)}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": serialization,
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest.hex()}
                for name, digest in manifest.files.items()
            ],
        },
    }
    payload = json.dumps(value, separators=(",", ":")).encode()
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.public.hint}, "tlogEntries": []},
        "dsseEnvelope": enveloped(payload, key.sign(encoded(payload)), ""),
    }
    data = json.dumps(bundle, separators=(",", ":")).encode() + b"\n"
    if len(data) > MAX_SIGNATURE:
        raise LimitError(f"the signature would have {len(data)} bytes, the limit is {MAX_SIGNATURE}")
    return data


def opened(signature: bytes, key: VerifyingKey) -> Manifest:
    """Return what a signature says, after these checks:

    1. it is a bundle of the right type, for a key and not for a certificate, and the key is the caller's;
    2. there is one signature, which holds under that key over the payload as it came;
    3. the payload is a statement of model signing, about one thing, and its fields have their forms;
    4. the names of files are such below a folder, each once, in order;
    5. the digest of the subject is that of the files' digests.

    Raises EnvelopeError.
    """
    # 1.
    top = _json(signature, "bundle")
    _require(top.get("mediaType") == MEDIA_TYPE, f"it is not of the type {MEDIA_TYPE}")
    _fields(top, {"mediaType", "verificationMaterial", "dsseEnvelope"}, "bundle")
    material = top["verificationMaterial"]
    # An empty list may be left out in the JSON of protocol buffers.
    known = isinstance(material, dict) and {"publicKey"} <= set(material) <= {"publicKey", "tlogEntries"}
    _require(known, "it is not under a key; certificates and logs are not checked here")
    assert isinstance(material, dict)  # noqa: S101
    _require(material.get("tlogEntries", []) == [], "it has entries of a log, which are not checked here")
    named = material["publicKey"] == {"hint": key.hint}
    _require(named, "it is under another key than the one that is trusted")
    # 2.
    payload, signatures = parts(top["dsseEnvelope"])
    _require(len(signatures) == 1, "it has more than one signature")
    _require(key.signed(encoded(payload), signatures[0]), "the key did not sign it")
    # 3.
    statement = _json(payload, "statement")
    _fields(statement, {"_type", "subject", "predicateType", "predicate"}, "statement")
    _require(statement["_type"] == STATEMENT, "its payload is no in-toto statement of version 1")
    _require(statement["predicateType"] == PREDICATE, f"its predicate is not of the type {PREDICATE}")
    name, root = _subject(statement["subject"])
    predicate = _fields(statement["predicate"], {"serialization", "resources"}, "predicate")
    left_out = _serialization(predicate["serialization"])
    # 4.
    files = _resources(predicate["resources"])
    # 5.
    _require(root == _root(files), "the digest of its subject is not that of its files")
    return Manifest(name, files, left_out)


def _json(data: bytes, what: str) -> dict[str, Json]:
    try:
        return read_json(data, MAX_SIGNATURE)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the {what} of the signature is not JSON as it is read here: {e}") from e


def _fields(value: Json, names: set[str], what: str) -> dict[str, Json]:
    if not isinstance(value, dict) or set(value) != names:
        raise EnvelopeError(f"the {what} of the signature has {', '.join(sorted(names))}, and nothing else")
    return value


def _subject(value: Json) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 1:
        raise EnvelopeError("the signature has one subject")
    subject = _fields(value[0], {"name", "digest"}, "subject")
    digest = _fields(subject["digest"], {"sha256"}, "subject's digest")
    name, root = subject["name"], digest["sha256"]
    if not isinstance(name, str) or not isinstance(root, str):
        raise EnvelopeError("the name and the digest of the signature's subject are texts")
    return name, root


def _serialization(value: Json) -> tuple[str, ...]:
    """Return what the signer left out, after the way of hashing was compared with the one that is read."""
    if not isinstance(value, dict):
        raise EnvelopeError("the signature does not say how files were hashed")
    way = (value.get("method"), value.get("hash_type"))
    _require(way == ("files", "sha256"), "its digests are not of whole files by SHA-256")
    known = {"method", "hash_type", "allow_symlinks", "ignore_paths"}
    _require(set(value) <= known, "its files were hashed in a way that is not known here")
    _require(isinstance(value.get("allow_symlinks"), bool), "it does not say whether links were followed")
    paths = value.get("ignore_paths", [])
    if not isinstance(paths, list):
        raise EnvelopeError("what the signature leaves out is a list")
    left_out = tuple(path for path in paths if isinstance(path, str))
    _require(len(left_out) == len(paths), "what it leaves out are texts")
    return left_out


def _resources(value: Json) -> dict[str, bytes]:
    if not isinstance(value, list) or not value:
        raise EnvelopeError("the signature is of no file")
    found: dict[str, bytes] = {}
    for each in value:
        resource = _fields(each, {"name", "algorithm", "digest"}, "file")
        name, digest = resource["name"], resource["digest"]
        if not isinstance(name, str) or not (is_name(name) or (name == WHOLE and len(value) == 1)):
            raise EnvelopeError(f"{str(name)[:80]!r} is no name of a file below a folder")
        _require(resource["algorithm"] == "sha256", "the digest of a file is by another hash")
        lower = isinstance(digest, str) and len(digest) == _DIGEST and set(digest) <= set("0123456789abcdef")
        _require(lower, f"the digest of {name[:80]!r} is none")
        found[name] = bytes.fromhex(str(digest))
    names = [each["name"] for each in value if isinstance(each, dict)]
    _require(names == ordered(found), "its files are not in order, or one is there twice")
    return found
