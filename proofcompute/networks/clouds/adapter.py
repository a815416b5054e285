"""Describe the adapter of clouds that attest."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Clouds"]


@dataclass(frozen=True)
class Clouds:
    """Binds receipts into attestations, and checks that they are."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="clouds",
            title="AWS, Google and Microsoft",
            adopter="enterprises that trust attestation, and want to know that answers are right as well",
            offers=(
                "receipts bound into documents of Nitro Enclaves and quotes of SGX and TDX, checked",
                "receipts bound into tokens of Confidential Space and of Azure Attestation, checked",
            ),
            interface="theirs",
            judged_by=("dcap-qvl, on real quotes", "PyJWT", "cryptography"),
        )


ADAPTER = Clouds()
