"""Define the messages between client, node and verifier (docs/spec/messages.md)."""

from __future__ import annotations

from proofcompute.protocol.messages.boundary import MAX_BOUNDARY, Boundary
from proofcompute.protocol.messages.challenge import Challenge, ProofAsked
from proofcompute.protocol.messages.closing import FramesHash, OpeningEnd, frame_digest, frames_digest
from proofcompute.protocol.messages.evidence import OUTCOMES, Evidence, Outcome
from proofcompute.protocol.messages.opening import (
    GroupOpening,
    GroupShape,
    HintShape,
    OpeningHead,
    Part,
    PartShape,
    TableOpening,
    TableShape,
)
from proofcompute.protocol.messages.pipeline import MAX_STAGES, Pipeline, Stage
from proofcompute.protocol.messages.receipt import STOP_REASONS, Receipt
from proofcompute.protocol.messages.request import Generation, Request
from proofcompute.protocol.messages.terms import Terms

__all__ = [
    "MAX_BOUNDARY",
    "MAX_STAGES",
    "OUTCOMES",
    "STOP_REASONS",
    "Boundary",
    "Challenge",
    "Evidence",
    "FramesHash",
    "Generation",
    "GroupOpening",
    "GroupShape",
    "HintShape",
    "OpeningEnd",
    "OpeningHead",
    "Outcome",
    "Part",
    "PartShape",
    "Pipeline",
    "ProofAsked",
    "Receipt",
    "Request",
    "Stage",
    "TableOpening",
    "TableShape",
    "Terms",
    "frame_digest",
    "frames_digest",
]
