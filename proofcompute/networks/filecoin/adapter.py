"""Describe the adapter of Filecoin and IPFS; the work is done in :mod:`.car` and :mod:`.piece`."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Filecoin"]


@dataclass(frozen=True)
class Filecoin:
    """Addresses and packs files, so that evidence, keys and models are kept for good."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="filecoin",
            title="Filecoin and IPFS",
            adopter="whoever keeps receipts, evidence, keys and models where others find them",
            offers=(
                "the CID of a file (UnixFS, profile unixfs-v1-2025)",
                "its CAR file, written and read",
                "the piece commitments (CommP) of file and CAR, in both versions of their CIDs",
            ),
            interface="theirs",
            judged_by=("ipfs-unixfs-importer", "@ipld/car", "@web3-storage/data-segment"),
        )


ADAPTER = Filecoin()
