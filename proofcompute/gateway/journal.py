"""Keep what must outlive a gateway: receipts and verdicts, evidence, and which nodes are quarantined.

A :class:`Journal` is a folder, or memory if none is named. A ledger that several gateways share has the same
methods (:mod:`proofcompute.gateway.shared`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple, Protocol

from proofcompute.auditing.working import DRAWN
from proofcompute.client.challenger import Audited
from proofcompute.client.checked import Checked
from proofcompute.client.entries import State
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import FormatError
from proofcompute.ledger import Job
from proofcompute.ledger.trust import Counts
from proofcompute.limits import KIB, MIB
from proofcompute.models.card import ModelCard
from proofcompute.protocol.messages import Challenge

__all__ = ["Books", "Journal", "Known", "Left", "Quarantine"]

MAX_EVIDENCE_FILE: Final = 256 * MIB
"""Bytes of one evidence that is handed out."""
_MEMORY: Final = 64
"""Evidence that is kept without a folder."""


class Quarantine(NamedTuple):
    """Why a node is not asked any more."""

    why: str
    evidence: str
    """Name of the evidence; empty if nobody else could judge it."""


class Known(NamedTuple):
    """What books say of a node."""

    quarantine: Quarantine | None
    """Why it is not asked; None: it is."""
    counts: Counts | None
    """What audits of it came to, by anybody who writes there; None: only this gateway does."""


class Left(NamedTuple):
    """An audit that was drawn, and that whoever had it did not make."""

    job: Job
    """The job, which this gateway has taken."""
    checked: Checked | None
    """The answer; None: it cannot be audited any more, and the job is finished."""
    why: str
    """Why it cannot; empty if it can."""


class Books(Protocol):
    """Where a gateway writes; any thread may call it."""

    @property
    def often(self) -> float:
        """Seconds in which :meth:`hold` is called once at least."""
        ...

    def receipt(self, node: bytes, checked: Checked, drawn: Mapping[str, Any] | None) -> Job | None:
        """Write a receipt, before the end of its answer is passed on, and in one step that it is audited.

        Args:
            node: public key of the node.
            checked: the answer.
            drawn: what is to be known of the answer when it is audited, as JSON; None: it was not drawn.

        Returns the job of the audit, which this gateway has taken; None: there is none, or somebody has it.
        """
        ...

    def drew(self, job: Job, challenge: Challenge) -> None:
        """Write the challenge of an audit, before it is sent.

        Raises LedgerError if another one has the job by now.
        """
        ...

    def verdict(self, job: Job, audited: Audited, state: State, evidence: bytes) -> bool:
        """Write what an audit came to, and the SHA-256 digest of its evidence (empty: none).

        Returns whether the job was still this gateway's. If it was not, whoever has it writes a verdict, and
        this one is written only if it is against the node.
        """
        ...

    def undone(self, job: Job, why: str) -> bool:
        """Write that an audit came to no verdict; whether nobody tries again."""
        ...

    def left(self, nodes: Sequence[bytes], cards: Mapping[str, ModelCard]) -> list[Left]:
        """Take some audits about these nodes that were drawn, and that nobody makes who is alive.

        Args:
            nodes: public keys.
            cards: the cards of the models whose answers this gateway can audit, by name.
        """
        ...

    def hold(self, jobs: Sequence[Job]) -> None:
        """Keep jobs from being taken by others."""
        ...

    def let_go(self, jobs: Sequence[Job]) -> None:
        """Leave jobs to others at once, since the gateway ends; nothing is waited for after that."""
        ...

    def keep(self, node: bytes, receipt: bytes | None, data: bytes, suffix: str) -> str:
        """Keep evidence, about the receipt with this digest if it was checked, and return its name."""
        ...

    def evidence(self, name: str) -> bytes | None:
        """Return evidence by its name; None if there is none."""
        ...

    def quarantine(self, node: bytes, found: Quarantine) -> None:
        """Write that a node is not asked any more."""
        ...

    def known(self, nodes: Iterable[bytes]) -> dict[bytes, Known]:
        """Return what is known of nodes, by public key."""
        ...


class Journal:
    """A folder with ``evidence/`` and ``quarantine/``, one file for each; None: memory.

    An operator who removes a node's file from ``quarantine/`` lets it be asked again at the next start.
    Receipts are not kept, so audits that were drawn and not made are lost with the gateway.
    """

    often: float = math.inf

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._lock, self._numbers = folder, Lock(), count()
        self._evidence: OrderedDict[str, bytes] = OrderedDict()
        self._quarantined: dict[bytes, Quarantine] = {}
        if folder is not None:
            for name in ("evidence", "quarantine"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((folder / "quarantine").glob("*.json")):
                self._quarantined.update((_quarantine_of(path),))

    def receipt(self, node: bytes, checked: Checked, drawn: Mapping[str, Any] | None) -> Job | None:
        """Write nothing: who asked has the receipt."""
        if drawn is None:
            return None
        return Job(
            id=next(self._numbers),
            name=DRAWN,
            kind=DRAWN,
            node=node,
            receipt=checked.claim.receipt.digest,
            body=drawn,
            attempts=1,
            lease=b"",
            until=math.inf,
        )

    def drew(self, job: Job, challenge: Challenge) -> None:
        """Write nothing: nobody else goes on."""

    def verdict(self, job: Job, audited: Audited, state: State, evidence: bytes) -> bool:
        """Write nothing: verdicts that matter have evidence."""
        return True

    def undone(self, job: Job, why: str) -> bool:
        """See :class:`Books`: nobody else can."""
        return True

    def left(self, nodes: Sequence[bytes], cards: Mapping[str, ModelCard]) -> list[Left]:
        """See :class:`Books`: there are none."""
        return []

    def hold(self, jobs: Sequence[Job]) -> None:
        """See :class:`Books`: there are no others."""

    def let_go(self, jobs: Sequence[Job]) -> None:
        """See :class:`Books`: there are no others."""

    def keep(self, node: bytes, receipt: bytes | None, data: bytes, suffix: str) -> str:
        """See :class:`Books`."""
        name = f"{hashlib.sha256(data).hexdigest()}.{suffix}"
        if self._folder is not None:
            write_atomic(self._folder / "evidence" / name, data)
            return name
        with self._lock:
            self._evidence[name] = data
            if len(self._evidence) > _MEMORY:
                self._evidence.popitem(last=False)
        return name

    def evidence(self, name: str) -> bytes | None:
        """See :class:`Books`. A name that :meth:`keep` did not make is none."""
        digest, _, suffix = name.partition(".")
        if (
            len(digest) != 64
            or not set(digest) <= set("0123456789abcdef")
            or suffix not in ("evidence", "json")
        ):
            return None
        if self._folder is None:
            return self._evidence.get(name)
        path = self._folder / "evidence" / name
        return read_limited(path, MAX_EVIDENCE_FILE, "evidence") if path.is_file() else None

    def quarantine(self, node: bytes, found: Quarantine) -> None:
        """See :class:`Books`."""
        with self._lock:
            self._quarantined[node] = found
        if self._folder is not None:
            text = json.dumps({"node": node.hex(), "why": found.why, "evidence": found.evidence}, indent=1)
            write_atomic(self._folder / "quarantine" / f"{node.hex()}.json", text.encode())

    def known(self, nodes: Iterable[bytes]) -> dict[bytes, Known]:
        """See :class:`Books`."""
        with self._lock:
            return {key: Known(self._quarantined.get(key), None) for key in nodes}


def _quarantine_of(path: Path) -> tuple[bytes, Quarantine]:
    try:
        found: dict[str, Any] = json.loads(read_limited(path, 64 * KIB, "quarantine"))
        node = bytes.fromhex(found["node"])
        return node, Quarantine(str(found["why"]), str(found["evidence"]))
    except (ValueError, KeyError, TypeError) as e:
        raise FormatError(f"{path} is not what a gateway wrote: {e}") from None
