"""Key pairs of the parties, fixed so that attacks can be repeated. They sign nothing but attacks."""

from __future__ import annotations

from typing import Final

from proofcompute.commitments.signing import NodeIdentity

__all__ = ["AUDITOR", "NODE", "STRANGER"]

NODE: Final = NodeIdentity(bytes(range(32)))
"""The node that is audited."""
STRANGER: Final = NodeIdentity(bytes(range(1, 33)))
"""Another node."""
AUDITOR: Final = NodeIdentity(bytes(range(2, 34)))
"""Who signs evidence."""
