"""Put what an auditor of this library found into the evidence of an auditor of Akash, and check it there.

A bonded auditor collects facts about a provider with Akash's auditor-cli, which writes a draft of
``akash.audit.evidence.v1``: canonical JSON whose SHA-256 the chain keeps. A bundle of evidence adds what that
tool cannot see: whether a node of the provider computed what it was asked for. The check
``resource_delivery_verified`` says so, and ``sustained_baseline_checked`` says that what held in an earlier
document still holds. The ``proof_ref`` of both is the SHA-256 of the bundle's file.

The auditor of Akash answers for the document with its bond. Whether the bundle is right, a judge decides.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from proofcompute.encoding.strict_json import Json, read_json
from proofcompute.errors import EnvelopeError, FormatError, InputError, LimitError
from proofcompute.networks.adapter import Document
from proofcompute.networks.akash.schema import DELIVERED, EVIDENCE, ORDER, SHAPE, SUSTAINED, TIERS
from proofcompute.networks.structured import fault
from proofcompute.networks.work import Work

__all__ = ["MAX_DOCUMENT", "attest", "canonical", "check", "read"]

MAX_DOCUMENT: Final = 1 << 20
"""The most bytes of a document that is read."""
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_STATUS: Final = {"accepted": "pass", "contradicted": "fail"}
"""What an outcome says about delivery; silence and refusal say nothing about it."""
_ESCAPED: Final = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def read(document: bytes, schema: Mapping[str, Any] = EVIDENCE) -> dict[str, Json]:
    """Return an auditor's document, of whichever tool, if it is valid and in its one form.

    Raises EnvelopeError if it is no JSON, does not fit the schema or what its fields mean, or has another
    form than Akash's tool writes, so that its hash would be another.
    """
    try:
        found = read_json(document, MAX_DOCUMENT)
    except (FormatError, LimitError) as e:
        raise EnvelopeError(f"the document is not JSON as it is read here: {e}") from e
    wrong = fault(found, schema) or fault(found, SHAPE)
    if wrong is not None:
        raise EnvelopeError(f"the document does not fit the schema of an auditor's evidence: {wrong}")
    _check_meaning(found)
    if canonical(found) != document:
        raise EnvelopeError("the document is not in its one form: without spaces, its fields in their order")
    return found


def _check_meaning(found: dict[str, Any]) -> None:
    """Check what the schema does not say: tiers, numbers of 64 bits, base64 and times."""
    if TIERS.index(found["attested_tier"]) > TIERS.index(found["target_tier"]):
        raise EnvelopeError("the document attests a tier above the one that was asked for")
    for name in ("audit_escrow_id", "block_height"):
        if int(found[name][:21]) >= 1 << 64 or len(found[name]) > 20:
            raise EnvelopeError(f"the document's {name} has more than 64 bits")
    for name, text in (
        ("inventory_nonce", found["inventory_nonce"]),
        ("software.signature", found["software"].get("signature", "")),
    ):
        try:
            base64.b64decode(text, validate=True)
        except ValueError:
            raise EnvelopeError(f"the document's {name} is not base64") from None
    times = [found["collected_at"], found["sustained_validation"]["last_checked_at"]]
    times += [each["observed_at"] for each in found["checks"] if "observed_at" in each]
    for text in times:
        if not _is_time(text):
            raise EnvelopeError(f"{text[:64]!r} is no time of RFC 3339")


def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


# -- the one form ------------------------------------------------------------------------------------------


def canonical(value: Mapping[str, Json]) -> bytes:
    """Return a document in the form that Go's encoder gives it, which is what Akash's tool hashes.

    Raises EnvelopeError for a field that the form has no place for.
    """
    return _fields(value, "").encode()


def _fields(value: Mapping[str, Json], kind: str) -> str:
    order = ORDER[kind]
    if set(value) - set(order):
        raise EnvelopeError(f"the document has fields beyond its own: {sorted(set(value) - set(order))}")
    return (
        "{" + ",".join(f"{_text(name)}:{_field(name, value[name])}" for name in order if name in value) + "}"
    )


def _field(name: str, value: Json) -> str:
    if name == "checks" and isinstance(value, list):
        return "[" + ",".join(_fields(each, name) for each in value if isinstance(each, dict)) + "]"
    if name == "attested_capabilities" and isinstance(value, list):
        return _any(sorted(value, key=str))
    if name in ORDER and isinstance(value, dict):
        return _fields(value, name)
    return _any(value)


def _any(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_text(k)}:{_any(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_any, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) or type(value) is int:
        return _number(float(value))  # what Go's decoder takes any number for
    return json.dumps(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


def _number(value: float) -> str:
    """Return the shortest digits of a number, with an exponent below 1e-6 and from 1e21 on."""
    if value == 0:
        return "-0" if str(value)[0] == "-" else "0"
    if 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(repr(value)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits, _, exponent = repr(value).partition("e")
    return f"{digits.removesuffix('.0')}e{exponent[0]}{exponent[1:].lstrip('0')}"


# -- what a bundle adds ------------------------------------------------------------------------------------


def attest(
    draft: bytes, work: Work, baseline: bytes | None = None, schema: Mapping[str, Any] = EVIDENCE
) -> Document:
    """Return an auditor's document with what a bundle of evidence says.

    Args:
        draft: the document that the auditor has: its facts stay as they are.
        work: what the bundle says.
        baseline: the document of the attestation, in which a node had delivered. With one, the new document
            also says whether what held then still holds.
        schema: another version of the schema than the usual one.

    Raises EnvelopeError if draft or baseline is malformed, InputError if they do not belong together.
    """
    made = canonical(_with(read(draft, schema), work, baseline, schema))
    read(made, schema)
    return Document("application/json", made, ".evidence.json", "theirs")


def check(
    document: bytes, work: Work, baseline: bytes | None = None, schema: Mapping[str, Any] = EVIDENCE
) -> None:
    """Check that an auditor's document says what a bundle says, and of a baseline what both say.

    Raises EnvelopeError if it is malformed, or says something else; InputError if the baseline does not
    belong to it, or is missing.
    """
    found = read(document, schema)
    sustained = _named(found, SUSTAINED)
    if baseline is None and sustained is not None and sustained["proof_ref"] == _ref(work.bundle_sha256):
        raise InputError("the document compares the bundle with a baseline: give it too")
    names = [DELIVERED] if baseline is None else [DELIVERED, SUSTAINED]
    for name in names:
        if _named(found, name) is None:
            raise EnvelopeError(f"the document has no check {name}")
    expected = _with(found, work, baseline, schema)
    if canonical(expected) != document:
        wrong = [name for name in names if _named(found, name) != _named(expected, name)]
        wrong += [n for n in ("sustained_validation", "fault_context") if found[n] != expected[n]]
        raise EnvelopeError(f"the document says something else than the evidence: {', '.join(wrong)}")


def _named(found: Mapping[str, Any], name: str) -> dict[str, Json] | None:
    """Return the check of a name. Raises EnvelopeError if there are several."""
    checks = [each for each in found["checks"] if each["name"] == name]
    if len(checks) > 1:
        raise EnvelopeError(f"the document has the check {name} {len(checks)} times")
    return checks[0] if checks else None


def _with(
    document: Mapping[str, Json], work: Work, baseline: bytes | None, schema: Mapping[str, Any]
) -> dict[str, Json]:
    """Return a document with the checks of a bundle, and what follows from them."""
    found: dict[str, Any] = dict(document)
    checked: dict[str, Json] = {
        "name": DELIVERED,
        "status": _STATUS.get(work.outcome.kind, "not_evaluated"),
        "proof_ref": _ref(work.bundle_sha256),
        "observed_at": _moment(work),
        "details": {
            "auditor_key": work.auditor.hex(),
            "model_id": work.model_id.hex(),
            "node_key": work.node.hex(),
            "outcome": work.outcome.kind,
            "receipt_digest": work.receipt_digest.hex(),
            "rows": str(work.rows),
        },
    }
    found["checks"] = _put(found, checked)
    fails, reason = checked["status"] == "fail", "provider_no_longer_qualifies"
    if baseline is not None:
        before = read(baseline, schema)
        _check_baseline(before, found)
        changed = _changed(before, found)
        if changed is not None:
            status, reason = "fail", changed
        else:
            status = str(checked["status"])
        fails = fails or status == "fail"
        digest = _ref(hashlib.sha256(baseline).digest())
        compared: dict[str, Json] = {
            "name": SUSTAINED,
            "status": status,
            "proof_ref": _ref(work.bundle_sha256),
            "observed_at": _moment(work),
            "details": {"baseline_evidence_hash": digest, "outcome": work.outcome.kind},
        }
        found["checks"] = _put(found, compared)
        found["sustained_validation"] = {
            "baseline_id": digest,
            "window": "attestation_ttl",
            "last_checked_at": _moment(work),
            "status": status,
            "proof_ref": _ref(work.bundle_sha256),
        }
    if fails:
        found["fault_context"] = {"fault_attribution": "provider_fault", "reason": reason}
    return found


def _put(found: Mapping[str, Any], check: Mapping[str, Json]) -> list[Any]:
    """Return the checks with one in the place of that of its name, or at the end."""
    if _named(found, str(check["name"])) is None:
        return [*found["checks"], check]
    return [check if each["name"] == check["name"] else each for each in found["checks"]]


def _check_baseline(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in ("chain_id", "provider", "auditor"):
        if before[name] != now[name]:
            raise InputError(f"the baseline is of another {name} than the document")
    delivered = _named(before, DELIVERED)
    if delivered is None or delivered["status"] != "pass":
        raise InputError(f"nothing was delivered in the baseline: its {DELIVERED} is no pass")


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return why what held in the baseline does not hold now, in the words of Akash's tool."""
    if before["software"]["binary_hash"] != now["software"]["binary_hash"]:
        return "software_identity_changed"
    if sorted(before["attested_capabilities"]) != sorted(now["attested_capabilities"]):
        return "capability_misrepresented"
    failing: Sequence[Any] = [each for each in now["checks"] if each["name"] != SUSTAINED]
    if before["attested_tier"] != now["attested_tier"] or any(c["status"] == "fail" for c in failing):
        return "provider_no_longer_qualifies"
    return None


def _ref(digest: bytes) -> str:
    return f"sha256:{digest.hex()}"


def _moment(work: Work) -> str:
    try:
        moment = datetime.fromtimestamp(work.made / 1000, UTC)
    except (OverflowError, ValueError) as e:
        raise InputError(f"the evidence was signed at {work.made} ms, which is no date") from e
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{moment.microsecond // 1000:03d}Z"
