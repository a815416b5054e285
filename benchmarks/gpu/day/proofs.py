"""Publishes small models, and makes and checks public proofs of them, on the device and by the definition."""

from __future__ import annotations

from benchmarks.gpu.day.findings import Findings
from benchmarks.gpu.day.plan import Settings
from proofcompute.public.publishing import publish
from public import world

__all__ = ["equal"]


def equal(out: Findings, settings: Settings) -> None:
    """Compare public ids and proofs byte for byte, and the verdicts on them."""
    for kind in ("w8a16",) if settings.few else ("w8a16", "w16a16", "experts22"):
        k = settings.kernels()
        published = publish(world.model(kind), k)
        out.say("public id", kind=kind, bad=published.key.public_id != world.published(kind).key.public_id)
        wanted = world.proof(kind)
        out.say("proof", kind=kind, bad=world.proof(kind, kernels=k) != wanted)
        found, right = (world.verified(kind, wanted, kernels=one) for one in (k, world.KERNELS))
        out.say("verdict", kind=kind, bad=found != right)
