"""Say what an auditor's evidence on Akash is, as a JSON schema.

The rules are those of the schema ``akash.audit.evidence.v1`` that Akash's auditor-cli embeds (AEP-86),
written down here anew. Another version of the schema can be given wherever this one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["DELIVERED", "EVIDENCE", "KIND", "ORDER", "SHAPE", "SUSTAINED", "TIERS"]

KIND: Final = "akash.audit.evidence.v1"
TIERS: Final = ("L1", "L2", "L3", "L4")
DELIVERED: Final = "resource_delivery_verified"
"""The check that what a provider offers was delivered."""
SUSTAINED: Final = "sustained_baseline_checked"
"""The check that what held at the attestation still holds."""

_STATUSES: Final = ("pass", "fail", "not_applicable", "not_evaluated")
_CHECKS: Final = (
    *("provider_registered_on_chain", "provider_bond_sufficient", "provider_age_sufficient"),
    *("lease_completion_sufficient", "no_recent_slashing", "snapshot_not_suspended"),
    *("snapshot_hash_matches_chain", "inventory_nonce_matches", "inventory_signature_valid"),
    *("software_identity_recorded", DELIVERED, "network_baseline_verified", "location_verified"),
    *("identity_verified", "virtualization_status_verified", "capability_verified"),
    *("contact_responsiveness_checked", "data_isolation_verified", "physical_audit_verified", SUSTAINED),
)
_CAPABILITIES: Final = (
    "tee_hardware_attestation",
    "confidential_computing",
    "persistent_storage",
    "bare_metal",
)
_FAULTS: Final = (
    *("unspecified", "provider_fault", "auditor_fault", "shared_fault", "no_fault", "inconclusive"),
)
_REASONS: Final = (
    *("unspecified", "provider_no_longer_qualifies", "snapshot_mismatch", "software_identity_changed"),
    *("capability_misrepresented", "provider_non_responsive", "auditor_evidence_error"),
    *("auditor_operational_exit", "fraudulent_provider", "compromised_provider", "provider_non_cooperation"),
    *("faulty_auditor", "negligent_auditor", "evidence_insufficient", "emergency_safety_action"),
    *("cancelled_unconsumed", "expired_unconsumed", "auditor_a_correct", "auditor_b_correct"),
    *("both_auditors_wrong", "provider_fault", "shared_fault", "evidence_inconclusive"),
    *("governance_timeout_review", "resource_misrepresentation", "capacity_overstatement"),
    *("fraudulent_snapshot", "provider_compromise", "sla_breach", "non_cooperation_during_audit"),
)

_TEXT: Final = {"type": "string", "minLength": 1}
_ANY_TEXT: Final = {"type": "string"}
_ADDRESS: Final = {"type": "string", "pattern": r"^akash1[0-9a-z]+\Z"}
_COUNT: Final = {"type": "string", "pattern": r"^[0-9]+\Z"}
_DIGEST: Final = {"type": "string", "pattern": r"^sha256:[A-Fa-f0-9]{64}\Z"}
_SPEED: Final = {"type": "integer", "minimum": 0}


def _one(names: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **optional},
    }


EVIDENCE: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        {
            "schema_version": {"const": KIND},
            "chain_id": _TEXT,
            "provider": _ADDRESS,
            "auditor": _ADDRESS,
            "audit_escrow_id": _COUNT,
            "target_tier": _one(TIERS),
            "attested_tier": _one(TIERS),
            "attested_capabilities": {"type": "array", "uniqueItems": True, "items": _one(_CAPABILITIES)},
            "collected_at": _ANY_TEXT,
            "block_height": _COUNT,
            "snapshot_hash": _DIGEST,
            "challenge_snapshot_hash": _DIGEST,
            "inventory_nonce": _ANY_TEXT,
            "software": _object(
                {
                    "version": _TEXT,
                    "binary_hash": _DIGEST,
                    "verification_status": _one(
                        (
                            *("signature_valid", "signature_invalid", "unknown_key"),
                            *("observed_only", "unsigned_binary", "not_applicable"),
                        )
                    ),
                },
                artifact_ref=_TEXT,
                signature=_ANY_TEXT,
                signature_ref=_TEXT,
                signature_type=_one(("cosign_keyful", "raw_detached", "not_applicable")),
                public_key_ref=_TEXT,
            ),
            "network_baseline": _object(
                {
                    "mbps_down": _SPEED,
                    "mbps_up": _SPEED,
                    "latency_ms_p95": {"type": "number", "minimum": 0},
                    "proof_ref": _DIGEST,
                }
            ),
            "sustained_validation": _object(
                {
                    "baseline_id": _DIGEST,
                    "window": _one(("attestation_ttl",)),
                    "last_checked_at": _ANY_TEXT,
                    "status": _one(("baseline_established", *_STATUSES)),
                    "proof_ref": _DIGEST,
                }
            ),
            "checks": {
                "type": "array",
                "minItems": 1,
                "items": _object(
                    {"name": _one(_CHECKS), "status": _one(_STATUSES), "proof_ref": _DIGEST},
                    observed_at=_ANY_TEXT,
                    details={
                        "type": "object",
                        "additionalProperties": {"type": ["string", "number", "boolean"]},
                    },
                ),
            },
            "fault_context": _object({"fault_attribution": _one(_FAULTS), "reason": _one(_REASONS)}),
        }
    ),
}
"""The schema; what it says of times and base64 is checked by :mod:`proofcompute.networks.akash.evidence`."""


def _shape(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    kept = {
        name: value
        for name, value in schema.items()
        if name not in ("const", "additionalProperties") and not (name == "enum" and "L1" not in value)
    }
    if "required" in kept:
        kept["required"] = [each for each in kept["required"] if each != "challenge_snapshot_hash"]
    return {name: _shape(value) for name, value in kept.items()}


SHAPE: Final[Mapping[str, Any]] = _shape(EVIDENCE)
"""What is the same in all versions of the schema: fields, types and tiers."""

ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "": (
        *("schema_version", "chain_id", "provider", "auditor", "audit_escrow_id", "target_tier"),
        *("attested_tier", "attested_capabilities", "collected_at", "block_height", "snapshot_hash"),
        *("challenge_snapshot_hash", "inventory_nonce", "software", "network_baseline"),
        *("sustained_validation", "checks", "fault_context"),
    ),
    "software": (
        *("version", "binary_hash", "artifact_ref", "signature", "signature_ref", "signature_type"),
        *("public_key_ref", "verification_status"),
    ),
    "network_baseline": ("mbps_down", "mbps_up", "latency_ms_p95", "proof_ref"),
    "sustained_validation": ("baseline_id", "window", "last_checked_at", "status", "proof_ref"),
    "checks": ("name", "status", "proof_ref", "observed_at", "details"),
    "fault_context": ("fault_attribution", "reason"),
}
"""The order of fields in the one form of a document, by the object that they are in."""
