"""Describe the adapter of OpenSSF's model signing."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "ModelSigning"]


@dataclass(frozen=True)
class ModelSigning:
    """Lets whoever publishes a public key or a model sign it, and anybody check that."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="model-signing",
            title="OpenSSF Model Signing",
            adopter="publishers of public keys and models, and whoever has to know who published a file",
            offers=(
                "signatures of a file or a folder under a key on an elliptic curve",
                "a check of such signatures, of whoever made them, that leaves no file out unsaid",
            ),
            interface="theirs",
            judged_by=("model_signing",),
        )


ADAPTER = ModelSigning()
