"""Define the settings of a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from proofcompute.errors import InputError
from proofcompute.serving.settings import ServiceLimits

__all__ = ["Patience", "Place"]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a gateway waits for nodes, in seconds, and how often it turns to another one."""

    connect: float = 5.0
    """For a connection."""
    first: float = 30.0
    """For the first text of a stream; then another node is asked."""
    idle: float = 60.0
    """For each further text."""
    whole: float = 600.0
    """For a whole answer, streamed or not."""
    opening: float = 600.0
    """For an opening, at most, whatever the node's terms allow."""
    attempts: int = 3
    """Nodes that are asked for one answer, at most."""
    rest: float = 5.0
    """For which a node that failed is not asked again; the time doubles with each failure in a row."""
    longest_rest: float = 300.0
    """The longest such time."""
    closing: float = 10.0
    """For audits that run, and for a database that is away, when the gateway ends. What is not done by then
    is left to others who work on the ledger."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) not in (int, float) or not value > 0:
                raise InputError(f"a gateway's patience {name} is a number above 0, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a gateway listens, and what it takes from clients."""

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: Path | None = None
    """Certificate chain in PEM; None: no TLS."""
    tls_key: Path | None = None
    """Its private key, PKCS #8 in PEM."""
    limits: ServiceLimits = field(default_factory=ServiceLimits)
