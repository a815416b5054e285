"""What tests need around the protocol: random models, its steps one by one, and nodes that cheat.

It is for those who build on the package, to test their own gateway or auditor: that honest answers pass, and
that every node of :data:`CHEATS` is caught. ``proofcompute demo``, ``proofcompute bench`` and the package's
own tests use it too. A node that serves imports nothing from here.
"""

from __future__ import annotations

from proofcompute.testing.altered import (
    four_bits,
    one_limb,
    reweighted,
    short_context,
    with_operations,
    without_block,
)
from proofcompute.testing.cheats import CHEATS, Cheat
from proofcompute.testing.forging import Forgery, forge
from proofcompute.testing.models import (
    TINY,
    Shape,
    random_chat_model,
    random_checkpoint,
    random_decoder,
    random_network,
)
from proofcompute.testing.requests import byte_request, sample_request, token_request
from proofcompute.testing.subject import Audit, Run, Subject, keep
from proofcompute.testing.trial import bad_cells, detects, measured

__all__ = [
    "CHEATS",
    "TINY",
    "Audit",
    "Cheat",
    "Forgery",
    "Run",
    "Shape",
    "Subject",
    "bad_cells",
    "byte_request",
    "detects",
    "forge",
    "four_bits",
    "keep",
    "measured",
    "one_limb",
    "random_chat_model",
    "random_checkpoint",
    "random_decoder",
    "random_network",
    "reweighted",
    "sample_request",
    "short_context",
    "token_request",
    "with_operations",
    "without_block",
]
