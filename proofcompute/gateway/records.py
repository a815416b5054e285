"""Keep what is known of each answer that a gateway gave, and say how far it was checked.

Levels of assurance, the lowest first:

============= ==========================================================================================
advertised    nobody but the node says that the answer is the model's: its receipt has not come, or the
              answer was broken off before
receipted     steps 1 to 5 hold: the node signed that the pinned model gives this answer to this question
sampled       cells of its computation were opened and hold
fully audited every cell was checked, or the answer was computed again
contradicted  something that the node sent is false
============= ==========================================================================================

An answer of several choices has the lowest level of its choices, and is contradicted if one of them is.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import Any, Final, Literal

from proofcompute.client.checked import Checked
from proofcompute.errors import Cell
from proofcompute.protocol.messages import Receipt, Request

__all__ = ["LEVELS", "Audit", "Choice", "Level", "Record", "Records", "output_digest"]

Level = Literal["advertised", "receipted", "sampled", "fully audited", "contradicted"]
LEVELS: Final[tuple[Level, ...]] = ("advertised", "receipted", "sampled", "fully audited", "contradicted")
NonceBy = Literal["client", "gateway"]
MOST_RECORDS: Final = 16_384
MOST_AUDITED: Final = 4096
"""Audited cells of an answer that are shown."""


def output_digest(receipt: Receipt) -> str:
    """Return the SHA-256 of the outputs that a receipt states: of each name and its bytes, with their
    lengths.
    """
    state = sha256()
    for name, data in receipt.outputs:
        for part in (name.encode(), data):
            state.update(len(part).to_bytes(8, "little"))
            state.update(part)
    return state.hexdigest()


@dataclass(frozen=True)
class Audit:
    """What an audit of one choice came to."""

    level: Level
    by: str
    """``replay``, ``opening`` or ``public``."""
    when: float
    seconds: float
    cells: tuple[Cell, ...] = ()
    failed: Cell | None = None
    detects_one: float = 0.0
    """Probability that one altered cell would have been found."""
    error: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the audit as JSON."""
        return {
            "level": self.level,
            "by": self.by,
            "time": _time(self.when),
            "seconds": round(self.seconds, 3),
            "cells": [list(cell) for cell in self.cells[:MOST_AUDITED]],
            "failed": None if self.failed is None else list(self.failed),
            "detects_one": self.detects_one,
            "error": self.error,
        }


@dataclass(frozen=True)
class Choice:
    """One choice of an answer whose receipt was checked: the fields of evidence."""

    request_digest: bytes
    receipt_digest: bytes
    output_digest: str
    numerics: int
    parameters: Mapping[str, Any]
    segments: tuple[int, ...]
    """First row of each segment."""
    rows: int
    prompt: int
    seconds: float | None
    """What the answer took, measured by the gateway."""
    audit: Audit | None = None

    @staticmethod
    def of(checked: Checked) -> Choice:
        """Return what is kept of a checked answer: digests and numbers, neither prompt nor text."""
        receipt, statement = checked.claim.receipt, checked.claim.statement
        return Choice(
            checked.request.digest,
            receipt.digest,
            output_digest(receipt),
            receipt.numerics,
            _parameters(checked.request),
            statement.first_rows,
            statement.rows,
            statement.prompt,
            checked.seconds,
        )

    @property
    def level(self) -> Level:
        """How far it was checked."""
        return "receipted" if self.audit is None else self.audit.level

    def describe(self) -> dict[str, Any]:
        """Return the choice as JSON."""
        return {
            "level": self.level,
            "request_digest": self.request_digest.hex(),
            "receipt_digest": self.receipt_digest.hex(),
            "output_digest": self.output_digest,
            "numerics": self.numerics,
            "parameters": dict(self.parameters),
            "first_rows": list(self.segments),
            "rows": self.rows,
            "prompt_rows": self.prompt,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "audit": None if self.audit is None else self.audit.describe(),
        }


def _parameters(request: Request) -> dict[str, Any]:
    g = request.generation
    if g is None:
        return {}
    s = g.sampling
    return {
        "max_tokens": g.max_tokens,
        "temperature": s.temperature,
        "top_k": s.top_k,
        "top_p": s.top_p,
        "repetition_penalty": s.repetition_penalty,
        "seed": g.seed.hex(),
        "stops": len(g.stops),
        "ignore_end": g.ignore_end,
    }


def _time(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


@dataclass(eq=False)
class Record:
    """One answer. Threads may share it; its lists only grow."""

    model: str
    model_id: bytes
    nonce: bytes
    nonce_by: NonceBy
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    when: float = field(default_factory=time.time)
    n: int = 1
    """Choices that were asked for."""
    node: str = ""
    """Name of the node that answers; the last one if several were asked."""
    node_key: bytes = b""
    choices: list[Choice] = field(default_factory=list)
    tried: list[tuple[str, str]] = field(default_factory=list)
    """Nodes that were asked before, and what came of it."""
    contradiction: str = ""
    failed: Cell | None = None
    evidence: str = ""
    """Name of the evidence, if others can judge the contradiction."""
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def level(self) -> Level:
        """The assurance of the answer."""
        if self.contradiction:
            return "contradicted"
        if len(self.choices) < self.n:
            return "advertised"
        return min((choice.level for choice in self.choices), key=LEVELS.index)

    def restart(self, why: str) -> None:
        """Forget what the node that was asked gave, of which the client saw nothing: another one is asked."""
        with self._lock:
            self.tried.append((self.node, why))
            self.choices.clear()
            self.contradiction, self.failed, self.evidence = "", None, ""

    def place(self, receipt: bytes) -> int | None:
        """Return the number of the choice with a receipt; None if another node has answered since."""
        return next((at for at, one in enumerate(self.choices) if one.receipt_digest == receipt), None)

    def attach(self, receipt: bytes, audit: Audit) -> None:
        """Note what an audit of the choice with this receipt came to, unless another node has answered since.

        A contradiction stays whatever comes later.
        """
        with self._lock:
            if (at := self.place(receipt)) is None:
                return
            old = self.choices[at]
            if old.audit is None or LEVELS.index(audit.level) > LEVELS.index(old.audit.level):
                self.choices[at] = Choice(**{**vars(old), "audit": audit})
            if audit.level == "contradicted":
                self.contradiction = self.contradiction or audit.error
                self.failed = self.failed or audit.failed

    def describe(self) -> dict[str, Any]:
        """Return the answer's assurance as JSON."""
        return {
            "v": 1,
            "answer": self.id,
            "level": self.level,
            "node": self.node_key.hex(),
            "node_name": self.node,
            "model": self.model,
            "model_id": self.model_id.hex(),
            "nonce": self.nonce.hex(),
            "nonce_by": self.nonce_by,
            "time": _time(self.when),
            "when": self.when,
            "choices": [choice.describe() for choice in self.choices],
            "tried": [{"node": node, "why": why} for node, why in self.tried],
            "contradiction": self.contradiction or None,
            "evidence": self.evidence or None,
        }

    def brief(self) -> dict[str, Any]:
        """Return what the answer itself says of its assurance, without what can be looked up by its id."""
        return {
            "v": 1,
            "answer": self.id,
            "level": self.level,
            "nonce_by": self.nonce_by,
            "node": self.node_key.hex(),
            "model_id": self.model_id.hex(),
            "numerics": self.choices[0].numerics if self.choices else None,
            "request_digests": [choice.request_digest.hex() for choice in self.choices],
            "output_digests": [choice.output_digest for choice in self.choices],
            "time": _time(self.when),
        }


class Records:
    """The newest answers, by their ids and by the digests of their checked requests."""

    def __init__(self, most: int = MOST_RECORDS) -> None:
        self._most, self._lock = most, Lock()
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._digests: dict[bytes, str] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Keep an answer, and drop the oldest one beyond the limit."""
        with self._lock:
            self._records[record.id] = record
            if len(self._records) > self._most:
                _, old = self._records.popitem(last=False)
                for choice in old.choices:
                    self._digests.pop(choice.request_digest, None)

    def checked(self, record: Record, choice: Choice) -> None:
        """Add a choice whose receipt was checked, so that its completion id finds the answer."""
        with self._lock:
            record.choices.append(choice)
            self._digests.setdefault(choice.request_digest, record.id)

    def find(self, name: str) -> Record | None:
        """Return an answer by the gateway's id for it or by its completion id."""
        with self._lock:
            if (found := self._records.get(name)) is not None:
                return found
            digest = name.rpartition("-")[2]
            if len(digest) != 64:
                return None
            try:
                return self._records.get(self._digests.get(bytes.fromhex(digest), ""))
            except ValueError:
                return None

    def newest(self, most: int) -> list[Record]:
        """Return the newest answers, the newest first."""
        with self._lock:
            return list(reversed(list(self._records.values())[-most:]))
