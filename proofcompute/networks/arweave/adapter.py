"""Describe the adapter of Arweave."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Arweave"]


@dataclass(frozen=True)
class Arweave:
    """Signs files as data items, and bundles them."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="arweave",
            title="Arweave",
            adopter="whoever keeps evidence for good, with a time that nobody changes",
            offers=(
                "data items (ANS-104) with tags by which others find them, signed and checked",
                "bundles of data items, made and taken apart",
            ),
            interface="theirs",
            judged_by=("arbundles", "arlocal"),
        )


ADAPTER = Arweave()
