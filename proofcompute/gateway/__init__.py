"""Stand between clients of OpenAI's interface and nodes that nobody trusts (docs/guides/gateway.md)."""

from __future__ import annotations

from proofcompute.errors.extras import lacking

try:
    from proofcompute.gateway.app import application
    from proofcompute.gateway.clusters import ClusterVerdict, Shown, read_clusters
    from proofcompute.gateway.federation import ModelsFile, NodesFile, read_models, read_nodes
    from proofcompute.gateway.gateway import Gateway
    from proofcompute.gateway.journal import Books, Journal
    from proofcompute.gateway.settings import Patience, Place
except ModuleNotFoundError as e:
    raise lacking(e, "a gateway", "gateway") from e

__all__ = [
    "Books",
    "ClusterVerdict",
    "Gateway",
    "Journal",
    "ModelsFile",
    "NodesFile",
    "Patience",
    "Place",
    "Shown",
    "application",
    "read_clusters",
    "read_models",
    "read_nodes",
]
