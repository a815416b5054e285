"""Write the calls of the anchor contract, which keeps since when a root of receipts is known.

A leaf is the digest of a receipt. Whoever holds a receipt, its path and the publisher's address is told by
the contract when the publisher first published a tree with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from proofcompute.commitments.log_tree import inclusion, leaf_hash, root_of
from proofcompute.networks.evm.contract import contract
from proofcompute.networks.evm.typed import address_of
from proofcompute.networks.evm.validation import Call

__all__ = ["anchor_call", "deployment", "included_call", "receipts_root"]


def deployment() -> bytes:
    """Return the input of the transaction that deploys the contract."""
    return contract("anchor").deployment()


def receipts_root(digests: Sequence[bytes]) -> bytes:
    """Return the root of the tree over digests of receipts, 32 bytes. Raises as :func:`.log_tree.root_of`."""
    return root_of([leaf_hash(digest) for digest in digests])


def anchor_call(digests: Sequence[bytes]) -> Call:
    """Return the call that publishes the root of receipts, given by their digests in order."""
    return contract("anchor").call("anchor", receipts_root(digests), len(digests))


def included_call(publisher: str, digests: Sequence[bytes], index: int) -> Call:
    """Return the call that asks when a publisher first published a tree with the receipt at a place.

    Raises InputError if there is no such place.
    """
    leaves = [leaf_hash(digest) for digest in digests]
    path = inclusion(leaves, index)
    who = "0x" + address_of(publisher).hex()
    return contract("anchor").call("included", who, root_of(leaves), len(leaves), index, leaves[index], path)
