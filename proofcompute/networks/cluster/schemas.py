"""Say what policies of clusters and records about them are, as JSON schemas. Both forms are our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["POLICY", "POLICY_KIND", "RECORDS", "RECORDS_KIND"]

POLICY_KIND: Final = "proofcompute cluster policy"
RECORDS_KIND: Final = "proofcompute cluster records"

_KEY: Final = {"type": "string", "pattern": r"^[0-9a-f]{64}\Z"}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 128}
_SHARE: Final = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": 1 << 53}
_HOURS: Final = {"type": "number", "exclusiveMinimum": 0, "maximum": 1e6}
_TIME: Final = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z\Z"}


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **optional},
    }


POLICY: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What a cluster must show to be called verified",
    **_object(
        {
            "kind": {"const": POLICY_KIND},
            "version": {"const": 1},
            "name": _NAME,
            "auditors": {
                "description": "Public keys of the auditors whose evidence counts.",
                "type": "array",
                "minItems": 1,
                "maxItems": 256,
                "uniqueItems": True,
                "items": _KEY,
            },
            "node": {
                "description": "What each node must show; what is left out is not asked for.",
                "minProperties": 1,
                **_object(
                    {},
                    uptime={"description": "Least share of probes that it answered.", **_SHARE},
                    throughput={
                        "description": "Least generated tokens a second of proved answers, by hardware.",
                        "type": "object",
                        "minProperties": 1,
                        "maxProperties": 256,
                        "propertyNames": _NAME,
                        "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1e12},
                    },
                    audited={"description": "Least share of its answers that were audited.", **_SHARE},
                    audits={"description": "Least number of audited answers.", **_COUNT},
                    contradictions={"description": "Most answers that were contradicted.", **_COUNT},
                    silences={"description": "Most challenges that it left without an answer.", **_COUNT},
                    refusals={"description": "Most challenges that it refused.", **_COUNT},
                    newest={"description": "Most hours since the newest evidence.", **_HOURS},
                    by={"description": "Least number of auditors who audited it.", **_COUNT},
                ),
            },
            "cluster": _object(
                {},
                nodes={"description": "Least number of verified nodes.", **_COUNT},
                share={"description": "Least share of the nodes that are verified.", **_SHARE},
            ),
            "valid": {"description": "Hours for which a verdict holds.", **_HOURS},
        }
    ),
}
"""The schema of a policy."""

RECORDS: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What the operator of a cluster recorded about its nodes",
    **_object(
        {
            "kind": {"const": RECORDS_KIND},
            "version": {"const": 1},
            "cluster": _NAME,
            "from": _TIME,
            "until": _TIME,
            "nodes": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 10_000,
                "propertyNames": _KEY,
                "additionalProperties": _object(
                    {"answers": _COUNT},
                    hardware=_NAME,
                    probes=_object({"asked": _COUNT, "answered": _COUNT}),
                    seconds={
                        "description": "Seconds that answers took, by the digests of their receipts.",
                        "type": "object",
                        "maxProperties": 100_000,
                        "propertyNames": _KEY,
                        "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1e9},
                    },
                ),
            },
        },
        log=_object({"size": _COUNT, "root": _KEY}),
    ),
}
"""The schema of records. ``log`` is the head of the ledger's log at the time, if there is one."""
