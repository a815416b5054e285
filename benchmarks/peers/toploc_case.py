"""Measures TOPLOC (package toploc): a statistical fingerprint of 32 hidden states of the demo's width.

Its wheel is bound to one release of torch; against another, build it from source:
`pip install --no-build-isolation --no-binary toploc toploc`, with torch, setuptools and ninja installed.

Its verifier recomputes the hidden states: it needs the weights and a prefill of all tokens, on hardware like
the prover's. That forward pass is measured as our engine's prefill of as many tokens, and the same prefill is
then committed to, opened and verified with our key, in turn with TOPLOC in every round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.engine import Session
from proofcompute.importers import import_checkpoint, packaged_smollm2
from proofcompute.protocol.cells import count_cells, draw_cells
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

TOKENS, TOP, CELLS, ROUNDS = 32, 128, 8, 15


def run(_name: str) -> list[dict[str, Any]]:
    """Fingerprint 32 tokens and check that; commit to the same tokens, and audit some cells and all."""
    import torch
    from toploc import build_proofs_bytes, verify_proofs_bytes

    kernels = kernels_for("auto")
    subject = Subject(import_checkpoint(packaged_smollm2(), kernels, "w8a16"), kernels)
    width = subject.model.program.weight["embedding"].width
    torch.manual_seed(0)
    states = [torch.randn(TOKENS, width).to(torch.bfloat16)]
    options = {"decode_batching_size": TOKENS, "topk": TOP, "skip_prefill": False}

    def build() -> Any:
        return build_proofs_bytes(states, **options)

    proofs = build()
    request = token_request(subject.model, TOKENS, 1)
    finished = subject.finish(request)
    chosen = draw_cells(finished.claim, CELLS, bytes(32))
    some, every = subject.open(finished, chosen), subject.open(finished)
    sessions: list[Session] = []
    actions: dict[str, Callable[[], object]] = {
        "build": build,
        "verify": lambda: verify_proofs_bytes(states, proofs, **options),
        "run": lambda: sessions.append(subject.execute(request)),
        "keep": lambda: subject.keep(sessions.pop()),
        "open some": lambda: subject.open(finished, chosen),
        "verify some": subject.verifier(finished, some),
        "open every": lambda: subject.open(finished),
        "verify every": subject.verifier(finished, every),
    }
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            times[name].append(time.perf_counter() - start)
    times = {name: found[1:] for name, found in times.items()}  # the first round warms up
    took = {name: median(found) for name, found in times.items()}
    audits = [
        {
            "system": "ours",
            "what": f"{what} of {count_cells(finished.claim)} cells",
            "build_seconds": took["keep"],
            "open_seconds": took[f"open {which}"],
            "verify_seconds": took[f"verify {which}"],
            "forward_pass_seconds": 0.0,
            "proof_bytes": len(finished.data) + len(audit.opening),
        }
        for which, what, audit in (("some", str(CELLS), some), ("every", "all", every))
    ]
    fingerprint = {
        "system": "toploc",
        "what": f"top {TOP} of width {width}",
        "build_seconds": took["build"],
        "open_seconds": 0.0,
        "verify_seconds": took["verify"],
        "forward_pass_seconds": took["run"],
        "proof_bytes": sum(map(len, proofs)),
        "rounds": times,
    }
    return [fingerprint, *audits]
