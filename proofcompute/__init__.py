"""Check on a CPU that an untrusted node's neural-network inference is exactly what the model gives.

Everything public is re-exported here by name and loaded when it is first used: ``import proofcompute`` alone
loads no compute backend.

>>> import proofcompute
>>> proofcompute.Sampling(temperature=0.0).top_k
0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proofcompute.version import __version__ as __version__

if TYPE_CHECKING:
    from proofcompute.auditor import Auditor
    from proofcompute.card import ModelCard
    from proofcompute.devices import kernels_for, warm_up
    from proofcompute.errors import (
        Cell,
        DeviceError,
        EmptyRowError,
        ExecutionError,
        FormatError,
        InputError,
        LimitError,
        MismatchError,
        NonFiniteError,
        ProofcomputeError,
        StorageError,
        UnsupportedError,
        VerificationError,
    )
    from proofcompute.generation import AnswerText, Engine, Session
    from proofcompute.importers import import_gguf, packaged_smollm2
    from proofcompute.kernels import Kernels, Sampling
    from proofcompute.messages import (
        Challenge,
        Claim,
        Generation,
        Receipt,
        Request,
        Terms,
        all_cells,
        check_terms,
        count_cells,
        draw_cells,
        public_challenge,
        require_within,
    )
    from proofcompute.model import Model
    from proofcompute.modelfile import ModelFile
    from proofcompute.node import Answer, Node
    from proofcompute.program import Program
    from proofcompute.prover import RunDirectory, StoredTrace
    from proofcompute.signing import NodeIdentity
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
        replay,
        verify_public,
        write_key,
    )
    from proofcompute.verifier.verify import verify
    from proofcompute.vocabulary import Vocabulary
    from proofcompute.workloads import ProductKey, ProgramBuilder, matmul, verify_product, verify_rows


_HOME = {
    "auditor": ("Auditor",),
    "card": ("ModelCard",),
    "devices": ("kernels_for", "warm_up"),
    "errors": (
        "Cell",
        "DeviceError",
        "EmptyRowError",
        "ExecutionError",
        "FormatError",
        "InputError",
        "LimitError",
        "MismatchError",
        "NonFiniteError",
        "ProofcomputeError",
        "StorageError",
        "UnsupportedError",
        "VerificationError",
    ),
    "generation": ("AnswerText", "Engine", "Session"),
    "importers": ("import_gguf", "packaged_smollm2"),
    "kernels": ("Kernels", "Sampling"),
    "messages": (
        "Challenge",
        "Claim",
        "Generation",
        "Receipt",
        "Request",
        "Terms",
        "all_cells",
        "check_terms",
        "count_cells",
        "draw_cells",
        "public_challenge",
        "require_within",
    ),
    "model": ("Model",),
    "modelfile": ("ModelFile",),
    "program": ("Program",),
    "node": ("Answer", "Node"),
    "prover": ("RunDirectory", "StoredTrace"),
    "signing": ("NodeIdentity",),
    "tokens": ("Message", "Prompter", "Tokenizer", "chat_request", "check_text", "text_request"),
    "verifier": (
        "Key",
        "Verified",
        "check_card",
        "check_receipt",
        "keygen",
        "replay",
        "verify_public",
        "write_key",
    ),
    "verifier.verify": ("verify",),
    "vocabulary": ("Vocabulary",),
    "workloads": ("ProductKey", "ProgramBuilder", "matmul", "verify_product", "verify_rows"),
}
"""Public names by the module that has them; the imports above say the same to type checkers."""

_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Answer",
    "AnswerText",
    "Auditor",
    "Cell",
    "Challenge",
    "Claim",
    "DeviceError",
    "EmptyRowError",
    "Engine",
    "ExecutionError",
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
    "ProductKey",
    "Program",
    "ProgramBuilder",
    "Prompter",
    "ProofcomputeError",
    "Receipt",
    "Request",
    "RunDirectory",
    "Sampling",
    "Session",
    "StorageError",
    "StoredTrace",
    "Terms",
    "Tokenizer",
    "UnsupportedError",
    "VerificationError",
    "Verified",
    "Vocabulary",
    "all_cells",
    "chat_request",
    "check_card",
    "check_receipt",
    "check_terms",
    "check_text",
    "count_cells",
    "draw_cells",
    "import_gguf",
    "kernels_for",
    "keygen",
    "matmul",
    "packaged_smollm2",
    "public_challenge",
    "replay",
    "require_within",
    "text_request",
    "verify",
    "verify_product",
    "verify_public",
    "verify_rows",
    "warm_up",
    "write_key",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded on first use (PEP 562)."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names."""
    return sorted({*globals(), *__all__})
