"""Describe the adapter of Bittensor's subnets."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Bittensor"]


@dataclass(frozen=True)
class Bittensor:
    """Lets a validator score miners by verdicts."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="bittensor",
            title="Bittensor",
            adopter="validators of a subnet who score miners by what audits found, and their miners",
            offers=(
                "signed requests between hotkeys (btauth/1), for httpx and for nodes' proof endpoints",
                "receipts and openings between Axon and Dendrite of SDK 10, and audits by them",
                "weights of miners from the intervals of trust that audits leave; the rule is our own",
            ),
            interface="theirs",
            judged_by=("bittensor",),
        )


ADAPTER = Bittensor()
