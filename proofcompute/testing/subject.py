"""The steps of the protocol on one model, one by one: run, commit, open, verify."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Session
from proofcompute.errors import Cell
from proofcompute.models.model import Model
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Receipt, Request
from proofcompute.prover import StoredTrace
from proofcompute.prover.node import Node
from proofcompute.verifier import Key, Verified, keygen
from proofcompute.verifier.auditor import Auditor

__all__ = ["Audit", "Run", "Subject", "keep"]


@dataclass(eq=False)
class Run:
    """An answer that a node has committed to, and its trace."""

    node: Node
    request: Request
    receipt: Receipt
    stored: StoredTrace
    """The trace; the node may have forgotten it."""

    @staticmethod
    def of(node: Node, request: Request, receipt: Receipt) -> Run:
        """Return the run of a request that the node has answered with ``receipt``."""
        return Run(node, request, receipt, node.trace(request, receipt))

    @property
    def model(self) -> Model:
        """The model that ran."""
        return self.node.model

    @property
    def data(self) -> bytes:
        """The receipt, encoded."""
        return self.receipt.encode()

    @property
    def claim(self) -> Claim:
        """What the receipt claims. It needs no check: the receipt is our own."""
        return Claim(self.receipt, self.stored.statement)

    @property
    def answer(self) -> list[int]:
        """The generated tokens."""
        return [int(t) for t in np.frombuffer(self.receipt.outputs[0][1], "<i4")]

    def open(self, challenge: Challenge) -> bytes:
        """Return the opening that answers ``challenge``."""
        self.node.remember(self.receipt, self.stored)
        return self.node.open(self.request, self.receipt, challenge)


def keep(node: Node, session: Session) -> Run:
    """Commit to a finished session, and keep its trace."""
    return Run.of(node, session.request, node.commit(session))


@dataclass(eq=False)
class Audit:
    """A challenge and the opening that answers it."""

    challenge: Challenge
    opening: bytes


@dataclass(eq=False)
class Subject:
    """A model, its node, and the verifier's keys, each made once."""

    model: Model
    kernels: Kernels
    identity: NodeIdentity = field(default_factory=lambda: NodeIdentity(bytes(32)))
    """The node's key: a fixed one, for tests and measurements only."""
    node: Node = field(init=False)
    keys: dict[int, Key] = field(default_factory=dict)
    """Keys by their number of columns."""

    def __post_init__(self) -> None:
        # each run holds its own trace, so the node need not keep more than the one it opens
        self.node = Node(self.model, self.identity, device=self.kernels, trace_bytes=1)

    def key(self, columns: int = 2) -> Key:
        """Return the verifier's key with so many columns."""
        if columns not in self.keys:
            self.keys[columns] = keygen(self.model, self.kernels, columns=columns)
        return self.keys[columns]

    def execute(self, request: Request) -> Session:
        """Run a request without committing."""
        return self.node.run(request)

    def commit(self, session: Session) -> Receipt:
        """Hash the trace of a finished session and sign, without keeping the trace."""
        return self.node.commit(session, keep=False)

    def keep(self, session: Session) -> Run:
        """Commit to a finished session, and keep what opening it needs."""
        return keep(self.node, session)

    def finish(self, request: Request) -> Run:
        """Run a request and commit to it."""
        return self.keep(self.execute(request))

    def open(self, run: Run, cells: tuple[Cell, ...] | None = None) -> Audit:
        """Challenge some cells, by default all of them, and open them."""
        challenge = Challenge(run.receipt.digest, all_cells(run.claim) if cells is None else cells)
        return Audit(challenge, run.open(challenge))

    def verifier(self, run: Run, audit: Audit, columns: int = 2) -> Callable[[], Verified]:
        """Return an action that verifies an audit from its bytes; it has run once, so all is compiled."""
        auditor = Auditor(self.key(columns), device=self.kernels)
        check = partial(auditor.check, run.request, run.data, audit.challenge, audit.opening)
        check()
        return check
