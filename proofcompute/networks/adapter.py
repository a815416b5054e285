"""Define what adapters of networks have in common, and where each of them is.

An adapter turns what this library proves into the form that a network already knows: documents, addresses,
signatures. It never speaks to the network itself. What a network has no form for, its adapter does not offer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final, Literal, Protocol

from proofcompute.errors import InputError

__all__ = ["ADAPTERS", "Adapter", "Description", "Document", "adapter"]

ADAPTERS: Final[Mapping[str, str]] = {
    "aci": "proofcompute.networks.aci",
    "aethir": "proofcompute.networks.aethir",
    "akash": "proofcompute.networks.akash.adapter",
    "arweave": "proofcompute.networks.arweave.adapter",
    "bittensor": "proofcompute.networks.bittensor.adapter",
    "clouds": "proofcompute.networks.clouds.adapter",
    "evm": "proofcompute.networks.evm.adapter",
    "filecoin": "proofcompute.networks.filecoin.adapter",
    "helium": "proofcompute.networks.helium",
    "in-toto": "proofcompute.networks.in_toto",
    "ionet": "proofcompute.networks.ionet.adapter",
    "model-signing": "proofcompute.networks.model_signing.adapter",
    "render": "proofcompute.networks.render",
    "solana": "proofcompute.networks.solana",
    "verified-cluster": "proofcompute.networks.cluster.adapter",
}
"""The module of each adapter, by the name of its network."""


@dataclass(frozen=True)
class Description:
    """What an adapter is for."""

    name: str
    """The network's name in commands."""
    title: str
    """The network's own name."""
    adopter: str
    """Who uses the adapter, and for what."""
    offers: tuple[str, ...]
    """What it makes, a phrase each."""
    interface: Literal["theirs", "ours"]
    """Whether the forms are those of the network, or our own because it publishes none."""
    judged_by: tuple[str, ...]
    """The network's own code or schema that accepts what the adapter makes in the tests."""


@dataclass(frozen=True)
class Document:
    """A document in the form of a network."""

    media_type: str
    data: bytes
    suffix: str
    """The ending of a file's name, with the dot."""
    interface: Literal["theirs", "ours"]
    """As in :class:`Description`."""


class Adapter(Protocol):
    """Every adapter."""

    def describe(self) -> Description:
        """Return what the adapter is for."""
        ...


def adapter(name: str) -> Adapter:
    """Return the adapter of a network. Raises InputError for a name that is none."""
    if name not in ADAPTERS:
        raise InputError(f"there is no adapter for {name!r}; there are {', '.join(ADAPTERS)}")
    found: Adapter = import_module(ADAPTERS[name]).ADAPTER
    return found
