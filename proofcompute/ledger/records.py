"""Define what a ledger takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from proofcompute.ledger.messages import AuditVerdict
from proofcompute.ledger.trust import Trust

__all__ = [
    "LEVELS",
    "NODE_STATES",
    "Done",
    "Job",
    "Level",
    "NewJob",
    "NewNode",
    "NewReceipt",
    "NodeRecord",
    "NodeState",
    "ReceiptRecord",
    "Recorded",
    "Throughput",
    "VerdictRecord",
]

Level = Literal["receipted", "sampled", "audited", "contradicted"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""How well an answer is assured: its receipt was checked, some cells, all of it; or it was found wrong."""
NodeState = Literal["active", "quarantined", "retired"]
NODE_STATES: Final[tuple[NodeState, ...]] = get_args(NodeState)
"""Whether a node gets requests, or gets none because it was found wrong or was taken out."""


@dataclass(frozen=True)
class NewNode:
    """A node that the fleet has."""

    key: bytes
    """Public key, 32 bytes: the history belongs to it, and not to an address."""
    url: str
    name: str = ""


@dataclass(frozen=True)
class NodeRecord:
    """What the ledger knows of a node."""

    key: bytes
    url: str
    name: str
    state: NodeState
    reason: str
    """Why it is in this state, for people."""
    added: float
    """Seconds since the Unix epoch."""
    seen: float | None
    """When the newest receipt was made."""
    receipts: int
    tokens: int
    trust: Trust


@dataclass(frozen=True, kw_only=True)
class NewReceipt:
    """A receipt whose steps 1 to 5 were checked."""

    digest: bytes
    """Digest of the signed receipt, 32 bytes."""
    node: bytes
    """Public key of the node that signed it, 32 bytes."""
    request_digest: bytes
    model_id: bytes
    terms_digest: bytes = b""
    made: float
    """When it came, in seconds since the Unix epoch."""
    tokens: int = 0
    """Tokens that were generated."""
    seconds: float | None = None
    """What the answer took, in seconds from its question to its last byte, measured by who asked and not told
    by the node; None or 0: it was not measured."""
    nonce_by: str = "node"
    """Who chose the nonce: ``node`` or ``client``."""
    request: bytes = b""
    """The encoded request, if the answer is to be audited later; else empty."""
    receipt: bytes = b""
    """The encoded receipt, likewise."""


@dataclass(frozen=True, kw_only=True)
class ReceiptRecord:
    """What the ledger knows of a receipt."""

    digest: bytes
    node: bytes
    request_digest: bytes
    model_id: bytes
    terms_digest: bytes
    made: float
    tokens: int
    seconds: float | None
    """What the answer took; None: nobody measured it."""
    nonce_by: str
    level: Level


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What the proved answers of a node came to: those that were audited, in part or in whole, and held."""

    answers: int
    untimed: int
    """How many of them nobody measured."""
    tokens: int
    """Tokens that they have."""
    seconds: float
    """Sum of what they took. Those that ran at once are added up: parallel requests never raise the speed."""

    @property
    def speed(self) -> float | None:
        """Tokens of proved answers a second; None if there are none, or if some were not measured."""
        return None if self.untimed or not self.seconds else self.tokens / self.seconds


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """Work for auditors."""

    name: str
    """Names the job: one of the same name is added once."""
    kind: str
    """What has to be done, for those who do it."""
    node: bytes | None = None
    receipt: bytes | None = None
    audience: str = ""
    """The only owner that may take it; empty: anybody."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the work needs, as JSON."""
    due: float = 0.0
    """From when it may be taken, in seconds since the Unix epoch."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that an owner has taken until a deadline."""

    id: int
    name: str
    kind: str
    node: bytes | None
    receipt: bytes | None
    body: Mapping[str, Any]
    attempts: int
    """How often it was taken, this time included."""
    lease: bytes
    """Names this lease, 16 bytes: who takes the job after the deadline has another."""
    until: float
    """The deadline, in seconds since the Unix epoch."""


@dataclass(frozen=True)
class Done:
    """A job that was carried out."""

    job: Job
    verdicts: tuple[AuditVerdict, ...] = ()
    """Signed verdicts."""
    result: Mapping[str, Any] = field(default_factory=dict)
    """What else it came to, as JSON."""
    late: bool = True
    """Whether the verdicts are kept though somebody else has taken the job since."""


@dataclass(frozen=True)
class Recorded:
    """Where a verdict is in the log."""

    leaf: int
    new: bool
    """Whether it was recorded now, and not before."""


@dataclass(frozen=True)
class VerdictRecord:
    """A verdict of the log."""

    leaf: int
    verdict: AuditVerdict
