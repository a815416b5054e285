"""Describe the adapter of chains with Ethereum's machine."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Evm"]


@dataclass(frozen=True)
class Evm:
    """Signs verdicts for contracts, and writes calls of validation registries."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="evm",
            title="Ethereum and chains with its machine",
            adopter="contracts that pay for verified work, and registries of validators",
            offers=(
                "verdicts as typed data (EIP-712), signed and checked; the struct is our own",
                "validation requests and responses of ERC-8004 registries, with text or bytes32 tags",
                "an escrow contract that pays by verdicts of a committee; it is our own",
                "a contract that keeps since when a root of receipts is known; it is our own",
            ),
            interface="theirs",
            judged_by=("ethers", "anvil", "vyper"),
        )


ADAPTER = Evm()
