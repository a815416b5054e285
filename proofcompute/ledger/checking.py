"""Check a log against heads that were signed of it (docs/spec/ledger.md#verifying-a-log).

L1. The export decodes, within its limits.
L2. Each leaf is an audit verdict that its auditor signed, or a verdict of a quorum.
L3. Each head is signed by the operator.
L4. Each head's root is that of the log when it had as many leaves.
L5. Each earlier head that the verifier holds is of the same operator, and holds in the same way.
L6. A database has the rows and the nodes that belong to its leaves, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from proofcompute.commitments import log_tree
from proofcompute.errors import FormatError, LedgerError, LimitError
from proofcompute.ledger.messages import AuditVerdict, TreeHead
from proofcompute.verdicts import QuorumVerdict

__all__ = ["Checked", "check_heads", "check_leaves", "leaf_of"]


@dataclass(frozen=True)
class Checked:
    """What a log was found to be."""

    size: int
    root: bytes
    heads: int
    """Heads that hold, those of the verifier included."""
    auditors: dict[bytes, int]
    """Verdicts by the key of the auditor."""
    quorums: int
    """Verdicts of quorums; their signatures take the quorums' policies, and were not checked."""


_KINDS: Final = (AuditVerdict, QuorumVerdict)


def leaf_of(number: int, data: bytes) -> AuditVerdict | QuorumVerdict:
    """Return what a leaf says. Raises LedgerError if it is no verdict; who signed it is not checked."""
    found: AuditVerdict | QuorumVerdict | None = None
    why = ""
    for kind in _KINDS:
        try:
            found = kind.decode(data)
        except (FormatError, LimitError) as e:
            why = why or str(e)
    if found is None:
        raise LedgerError(f"leaf {number} is no verdict: {why}")
    return found


def check_heads(
    size: int, heads: Sequence[TreeHead], earlier: Sequence[TreeHead], operator: bytes | None
) -> list[TreeHead]:
    """Check who signed heads, and return all that the log must fit.

    Args:
        size: leaves of the log.
        heads: the heads that come with the log.
        earlier: heads that the verifier got before.
        operator: the operator's public key; None: the one of the first head, earlier ones first.

    Raises LedgerError if one does not hold, or if the log is shorter than one says.
    """
    every = [*earlier, *heads]
    for head in every:
        operator = head.operator if operator is None else operator
        head.check_signature(operator)  # L3, L5
        if head.size > size:
            raise LedgerError(
                f"the log has {size} leaves, and the operator signed one of {head.size}: leaves were removed"
            )
    return sorted(every, key=lambda head: head.size)


def check_leaves(size: int, leaves: Iterable[bytes], heads: Sequence[TreeHead]) -> Checked:
    """Check all leaves of a log, and heads of :func:`check_heads`, reading each leaf once.

    Raises LedgerError if a leaf is no signed verdict, or if a head is not of this log.
    """
    tree, waiting = log_tree.Growing(), list(reversed(heads))
    auditors: dict[bytes, int] = {}
    quorums = 0
    _compare(tree, waiting)
    for number, data in enumerate(leaves):
        found = leaf_of(number, data)
        if isinstance(found, AuditVerdict):
            _check_signature(number, found)  # L2
            auditors[found.auditor] = auditors.get(found.auditor, 0) + 1
        else:
            quorums += 1
        tree.append(log_tree.leaf_hash(data))
        _compare(tree, waiting)
    if tree.size != size:
        raise LedgerError(f"the log has {tree.size} leaves, not {size}")
    return Checked(size, tree.root, len(heads), auditors, quorums)


def _check_signature(number: int, verdict: AuditVerdict) -> None:
    try:
        verdict.check_signature()
    except LedgerError as e:
        raise LedgerError(f"leaf {number}: {e}") from e


def _compare(tree: log_tree.Growing, waiting: list[TreeHead]) -> None:
    """Compare the root with the heads of logs of this size (L4, L5)."""
    while waiting and waiting[-1].size == tree.size:
        head = waiting.pop()
        if head.root != tree.root:
            raise LedgerError(
                f"the log is not what the operator signed when it had {head.size} leaves: its history was "
                "rewritten; keep the head and this log, which show it"
            )
