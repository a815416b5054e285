"""A node and an auditor of the synthetic model, and a request that addresses the node."""

from __future__ import annotations

import proofcompute as pc
import synthetic


def node(**options: object) -> pc.Node:
    return pc.Node(synthetic.model(), synthetic.NODE, device=synthetic.KERNELS, **options)  # type: ignore[arg-type]


def auditor(holds: pc.Key | pc.Model | pc.ModelCard | None = None, **options: object) -> pc.Auditor:
    held = pc.keygen(synthetic.model(), synthetic.KERNELS) if holds is None else holds
    return pc.Auditor(held, device=synthetic.KERNELS, **options)  # type: ignore[arg-type]


def request(**changes: object) -> pc.Request:
    return synthetic.request(synthetic.model(), node=synthetic.NODE.public, **changes)  # type: ignore[arg-type]
