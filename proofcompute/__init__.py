"""Check on a CPU that an untrusted node's neural-network inference is exactly what the model gives.

All public names are exported here and loaded when they are first used, so ``import proofcompute`` alone loads
no compute backend.

>>> import proofcompute
>>> proofcompute.Sampling(temperature=0.0).top_k
0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proofcompute.version import __version__ as __version__

if TYPE_CHECKING:
    from proofcompute.arithmetic.devices import kernels_for, warm_up
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.arithmetic.sampling import Sampling
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.engine import Engine, Session
    from proofcompute.errors import (
        BusyError,
        Cell,
        ChallengeLimitError,
        DeviceError,
        DeviceMemoryError,
        EmptyRowError,
        EnvelopeError,
        EvidenceError,
        ExecutionError,
        FormatError,
        InputError,
        LimitError,
        MismatchError,
        NonFiniteError,
        ProofcomputeError,
        ServiceError,
        StoppedError,
        StorageError,
        UnsupportedError,
        VerificationError,
    )
    from proofcompute.functions import proved
    from proofcompute.importers import import_checkpoint, packaged_smollm2
    from proofcompute.jobs import ProductKey, job, matmul, verify_product, verify_rows
    from proofcompute.models.builder import ProgramBuilder
    from proofcompute.models.card import ModelCard
    from proofcompute.models.file import ModelFile
    from proofcompute.models.model import Model
    from proofcompute.models.vocabulary import Vocabulary
    from proofcompute.modules import attach, openings, wrap
    from proofcompute.program.program import Program
    from proofcompute.protocol.answer import AnswerText
    from proofcompute.protocol.bundle import Bundle, open_bundle
    from proofcompute.protocol.cells import all_cells, count_cells, draw_cells, public_challenge
    from proofcompute.protocol.claim import Claim
    from proofcompute.protocol.messages import (
        Challenge,
        Evidence,
        Generation,
        Outcome,
        Pipeline,
        Receipt,
        Request,
        Terms,
    )
    from proofcompute.protocol.promises import check_terms, require_within
    from proofcompute.protocol.requests import array_request
    from proofcompute.protocol.samples import Sample
    from proofcompute.prover import RunDirectory, StoredTrace
    from proofcompute.prover.admission import RunnerLimits, RunnerLoad
    from proofcompute.prover.node import Answer, Node
    from proofcompute.prover.opener import Opener
    from proofcompute.prover.reporting import RunnerEvents, RunnerState
    from proofcompute.prover.runner import Runner
    from proofcompute.prover.stages import StageNode
    from proofcompute.prover.ticket import Ticket
    from proofcompute.tokens import (
        Message,
        Prompter,
        Tokenizer,
        chat_request,
        check_text,
        text_request,
    )
    from proofcompute.verifier import (
        Key,
        Verified,
        check_card,
        check_receipt,
        keygen,
        verify_public,
        write_key,
    )
    from proofcompute.verifier.auditor import Auditor
    from proofcompute.verifier.evidence import make_evidence
    from proofcompute.verifier.findings import EvidenceVerdict, Finding
    from proofcompute.verifier.judging import verify_evidence
    from proofcompute.verifier.policy import AuditPolicy
    from proofcompute.verifier.replay import replay, replay_stages
    from proofcompute.verifier.stages import check_handed, check_stages
    from proofcompute.verifier.verify import verify


_HOME = {
    "arithmetic.devices": (
        "kernels_for",
        "warm_up",
    ),
    "arithmetic.kernels": ("Kernels",),
    "arithmetic.sampling": ("Sampling",),
    "commitments.signing": ("NodeIdentity",),
    "engine": (
        "Engine",
        "Session",
    ),
    "errors": (
        "BusyError",
        "Cell",
        "ChallengeLimitError",
        "DeviceError",
        "DeviceMemoryError",
        "EmptyRowError",
        "EnvelopeError",
        "EvidenceError",
        "ExecutionError",
        "FormatError",
        "InputError",
        "LimitError",
        "MismatchError",
        "NonFiniteError",
        "ProofcomputeError",
        "ServiceError",
        "StoppedError",
        "StorageError",
        "UnsupportedError",
        "VerificationError",
    ),
    "functions": ("proved",),
    "importers": (
        "import_checkpoint",
        "packaged_smollm2",
    ),
    "jobs": (
        "ProductKey",
        "job",
        "matmul",
        "verify_product",
        "verify_rows",
    ),
    "models.builder": ("ProgramBuilder",),
    "models.card": ("ModelCard",),
    "models.file": ("ModelFile",),
    "models.model": ("Model",),
    "models.vocabulary": ("Vocabulary",),
    "modules": (
        "attach",
        "openings",
        "wrap",
    ),
    "program.program": ("Program",),
    "protocol.answer": ("AnswerText",),
    "protocol.bundle": (
        "Bundle",
        "open_bundle",
    ),
    "protocol.cells": (
        "all_cells",
        "count_cells",
        "draw_cells",
        "public_challenge",
    ),
    "protocol.claim": ("Claim",),
    "protocol.messages": (
        "Challenge",
        "Evidence",
        "Generation",
        "Outcome",
        "Pipeline",
        "Receipt",
        "Request",
        "Terms",
    ),
    "protocol.promises": (
        "check_terms",
        "require_within",
    ),
    "protocol.requests": ("array_request",),
    "protocol.samples": ("Sample",),
    "prover": (
        "RunDirectory",
        "StoredTrace",
    ),
    "prover.admission": (
        "RunnerLimits",
        "RunnerLoad",
    ),
    "prover.node": (
        "Answer",
        "Node",
    ),
    "prover.opener": ("Opener",),
    "prover.reporting": (
        "RunnerEvents",
        "RunnerState",
    ),
    "prover.runner": ("Runner",),
    "prover.stages": ("StageNode",),
    "prover.ticket": ("Ticket",),
    "tokens": (
        "Message",
        "Prompter",
        "Tokenizer",
        "chat_request",
        "check_text",
        "text_request",
    ),
    "verifier": (
        "Key",
        "Verified",
        "check_card",
        "check_receipt",
        "keygen",
        "verify_public",
        "write_key",
    ),
    "verifier.auditor": ("Auditor",),
    "verifier.evidence": ("make_evidence",),
    "verifier.findings": (
        "EvidenceVerdict",
        "Finding",
    ),
    "verifier.judging": ("verify_evidence",),
    "verifier.policy": ("AuditPolicy",),
    "verifier.replay": (
        "replay",
        "replay_stages",
    ),
    "verifier.stages": (
        "check_handed",
        "check_stages",
    ),
    "verifier.verify": ("verify",),
}
"""Public names by the module that defines them; the imports above tell type checkers the same."""

_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Answer",
    "AnswerText",
    "AuditPolicy",
    "Auditor",
    "Bundle",
    "BusyError",
    "Cell",
    "Challenge",
    "ChallengeLimitError",
    "Claim",
    "DeviceError",
    "DeviceMemoryError",
    "EmptyRowError",
    "Engine",
    "EnvelopeError",
    "Evidence",
    "EvidenceError",
    "EvidenceVerdict",
    "ExecutionError",
    "Finding",
    "FormatError",
    "Generation",
    "InputError",
    "Kernels",
    "Key",
    "LimitError",
    "Message",
    "MismatchError",
    "Model",
    "ModelCard",
    "ModelFile",
    "Node",
    "NodeIdentity",
    "NonFiniteError",
    "Opener",
    "Outcome",
    "Pipeline",
    "ProductKey",
    "Program",
    "ProgramBuilder",
    "Prompter",
    "ProofcomputeError",
    "Receipt",
    "Request",
    "RunDirectory",
    "Runner",
    "RunnerEvents",
    "RunnerLimits",
    "RunnerLoad",
    "RunnerState",
    "Sample",
    "Sampling",
    "ServiceError",
    "Session",
    "StageNode",
    "StoppedError",
    "StorageError",
    "StoredTrace",
    "Terms",
    "Ticket",
    "Tokenizer",
    "UnsupportedError",
    "VerificationError",
    "Verified",
    "Vocabulary",
    "all_cells",
    "array_request",
    "attach",
    "chat_request",
    "check_card",
    "check_handed",
    "check_receipt",
    "check_stages",
    "check_terms",
    "check_text",
    "count_cells",
    "draw_cells",
    "import_checkpoint",
    "job",
    "kernels_for",
    "keygen",
    "make_evidence",
    "matmul",
    "open_bundle",
    "openings",
    "packaged_smollm2",
    "proved",
    "public_challenge",
    "replay",
    "replay_stages",
    "require_within",
    "text_request",
    "verify",
    "verify_evidence",
    "verify_product",
    "verify_public",
    "verify_rows",
    "warm_up",
    "wrap",
    "write_key",
]


def __getattr__(name: str) -> Any:
    """Load a public name on its first use (PEP 562). Raises AttributeError for any other name."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all public names."""
    return sorted({*globals(), *__all__})
