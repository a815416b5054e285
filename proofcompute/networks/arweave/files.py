"""Say by tags what a file is, so that others find it by model, node or outcome."""

from __future__ import annotations

import hashlib

from proofcompute.errors import EnvelopeError
from proofcompute.networks.arweave.items import Item
from proofcompute.networks.arweave.tags import Tag
from proofcompute.networks.work import Work

__all__ = ["check_evidence", "tags_of"]


def tags_of(kind: str, work: Work | None) -> tuple[Tag, ...]:
    """Return the tags of a file of a kind, and of a bundle of evidence those of what it says.

    The names that begin with ``Proofcompute`` are our own.
    """
    usual: tuple[Tag, ...] = (
        ("Content-Type", "application/octet-stream"),
        ("App-Name", "proofcompute"),
        ("Proofcompute-Kind", kind),
    )
    if work is None:
        return usual
    return (
        *usual,
        ("Proofcompute-Outcome", work.outcome.kind),
        ("Proofcompute-Model", work.model_id.hex()),
        ("Proofcompute-Node", work.node.hex()),
        ("Proofcompute-Auditor", work.auditor.hex()),
        ("Proofcompute-Receipt", work.receipt_digest.hex()),
        ("Proofcompute-Request", work.request_digest.hex()),
    )


def check_evidence(item: Item, work: Work, owner: bytes | None = None) -> None:
    """Check that an item holds a bundle of evidence, and that its tags say what the bundle says.

    Further tags are the owner's own. Raises EnvelopeError if the signature does not hold, the data is
    another, or a tag of ours says something else or is there twice.
    """
    item.check(owner)
    if len(item.data) != work.bundle_size or hashlib.sha256(item.data).digest() != work.bundle_sha256:
        raise EnvelopeError("the data item holds something else than this bundle of evidence")
    for name, value in tags_of("evidence", work):
        said = [v for n, v in item.tags if n == name]
        if said != [value]:
            raise EnvelopeError(f"the data item's tag {name} says something else than the evidence")
