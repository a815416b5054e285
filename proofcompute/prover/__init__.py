"""Commit to traces, sign receipts, keep runs and open cells: the node's side (docs/spec/messages.md)."""

from __future__ import annotations

from proofcompute.prover.answering import store
from proofcompute.prover.commit import make_receipt
from proofcompute.prover.opening import open_cells
from proofcompute.prover.rundir import RunDirectory
from proofcompute.prover.stored import StoredTrace

__all__ = ["RunDirectory", "StoredTrace", "make_receipt", "open_cells", "store"]
