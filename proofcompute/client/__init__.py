"""Ask nodes from the client's side, check their receipts, and audit them.

It takes the extra ``client``: ``pip install 'proofcompute[client]'``.
"""

from __future__ import annotations

from proofcompute.client.challenger import Audited, Challenger
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction, Stated, contradiction_in
from proofcompute.client.pipeline import PipelineAnswer, ask_pipeline
from proofcompute.client.reopening import StageOpener
from proofcompute.client.spotchecks import SpotChecks
from proofcompute.client.stages import HttpStage
from proofcompute.client.transport import ProofTransport

__all__ = [
    "Audited",
    "Challenger",
    "Checked",
    "Contradiction",
    "HttpStage",
    "PipelineAnswer",
    "ProofTransport",
    "SpotChecks",
    "StageOpener",
    "Stated",
    "ask_pipeline",
    "contradiction_in",
]
