"""Let a gateway say, with each request, whose nonce it has and who is told of its answer.

A transport serves all requests to one node. What belongs to one of them travels in the request's extensions,
which the HTTP library carries and never sends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction
from proofcompute.errors import InputError

__all__ = ["EXTENSION", "Relayed", "relayed_of"]

EXTENSION: Final = "proofcompute"
"""Name of the extension of a request."""


@dataclass(frozen=True, eq=False)
class Relayed:
    """One request that a gateway passes on."""

    nonce: bytes
    """The nonce to send, 32 bytes: that of the gateway's client, or one that the gateway drew."""
    on_checked: Callable[[Checked], None]
    """Is called with each choice whose receipt was checked, in the thread that reads it."""
    on_contradiction: Callable[[Contradiction], None]
    """Is called with what contradicts the answer, before it is raised."""


def relayed_of(request: Any) -> Relayed | None:
    """Return what a gateway said of a request; None for other clients. Raises InputError for what is none."""
    found = request.extensions.get(EXTENSION)
    if found is not None and not (isinstance(found, Relayed) and len(found.nonce) == 32):
        raise InputError(f"the extension {EXTENSION} of a request is a Relayed with a nonce of 32 bytes")
    return found
