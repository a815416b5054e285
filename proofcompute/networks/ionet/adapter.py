"""Describe the adapter of io.net."""

from __future__ import annotations

from dataclasses import dataclass

from proofcompute.networks.adapter import Description

__all__ = ["ADAPTER", "Ionet"]


@dataclass(frozen=True)
class Ionet:
    """Writes deployments of nodes, and lists them for a gateway."""

    def describe(self) -> Description:
        """See Adapter."""
        return Description(
            name="ionet",
            title="io.net",
            adopter="tenants who rent clusters there and want their answers proved",
            offers=(
                "deployment files for its command iocloud (ionet.io/v1)",
                "the deployed nodes as a file for proofcompute's gateway, which is our own form",
            ),
            interface="theirs",
            judged_by=("ionet-cloud",),
        )


ADAPTER = Ionet()
