"""Describe the adapter of Akash."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Akash"]


@dataclass(frozen=True)
class Akash:
    """Writes evidence for bonded auditors, and deployments for tenants."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="akash",
            title="Akash",
            adopter="bonded auditors (AEP-86) who attest providers, and tenants who deploy nodes",
            offers=(
                "evidence of auditors (akash.audit.evidence.v1) with what bundles say about delivery",
                "descriptions of deployments (SDL), whose references are checked",
            ),
            interface="theirs",
            judged_by=("@akashnetwork/chain-sdk", "the schema of auditor-cli, written down anew"),
        )


ADAPTER = Akash()
