"""Describe the adapter of clusters."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "VerifiedCluster"]


@dataclass(frozen=True)
class VerifiedCluster:
    """Judges clusters by a policy."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="verified-cluster",
            title="Verified clusters, on whichever network they are rented",
            adopter="tenants and markets who name conditions for a cluster's nodes",
            offers=(
                "a policy in YAML, with a schema: uptime, proved throughput, audits, contradictions",
                "a signed verdict for each node and the cluster, with the evidence behind each line",
            ),
            interface="ours",
            judged_by=("securesystemslib", "in-toto-attestation"),
        )


ADAPTER = VerifiedCluster()
