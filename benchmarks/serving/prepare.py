"""Prepares what is measured: the demo model in our form and in that of the others, servers and prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.serving.bench import Bench, Plan
from benchmarks.serving.peers import Wanted, find
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.receipts import Receipts
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import InputError
from proofcompute.importers import import_checkpoint, packaged_smollm2

__all__ = ["prepare"]

PRECISION: Final = "w8a16"


def prepare(folder: Path, plan: Plan, wanted: Wanted) -> Bench:
    """Write the models into ``folder`` and find the other systems.

    Raises InputError if the demo model is not installed.
    """
    kernels = kernels_for("cpu")
    source, target = packaged_smollm2(), folder / "demo.pcm"
    model = import_checkpoint(source, kernels, PRECISION)
    model.save(target)
    vocabulary = model.card.vocabulary
    if vocabulary is None:
        raise InputError("the demo model has no vocabulary")
    peers = find(source, folder, wanted, slots=max(plan.counts), ends=vocabulary.end_ids)
    identity = NodeIdentity.new()
    identity.save(folder / "node.key")
    return Bench(
        plan, target, folder / "node.key", Prompts(vocabulary), Receipts(model.card, identity.public), peers
    )
