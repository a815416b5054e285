"""TOPLOC (package toploc): a statistical fingerprint of the hidden states of 32 tokens, at the demo's width.

Its wheel is bound to one release of torch; against another, build it from source:
`pip install --no-build-isolation --no-binary toploc toploc`, with torch, setuptools and ninja installed.

Its verifier recomputes the hidden states: it needs the weights and a prefill of all tokens, on hardware like
the prover's. The forward pass is reported beside it as our engine's prefill of the same number of tokens.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from proofcompute.bench.subject import Subject, token_request
from proofcompute.devices import kernels_for
from proofcompute.importers import import_gguf, packaged_smollm2

TOKENS, TOP, ROUNDS = 32, 128, 15


def run(name: str) -> dict[str, Any]:
    """Build and verify one proof of 32 tokens."""
    import torch
    from toploc import build_proofs_bytes, verify_proofs_bytes

    kernels = kernels_for("auto")
    subject = Subject(import_gguf(packaged_smollm2(), kernels), kernels)
    width = subject.model.program.weight["embedding"].width
    torch.manual_seed(0)
    states = [torch.randn(TOKENS, width).to(torch.bfloat16)]
    options = {"decode_batching_size": TOKENS, "topk": TOP, "skip_prefill": False}

    def build() -> Any:
        return build_proofs_bytes(states, **options)

    proofs = build()
    request = token_request(subject.model, TOKENS, 1)
    subject.execute(request)
    times: list[tuple[float, float, float]] = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        build()
        built = time.perf_counter()
        verify_proofs_bytes(states, proofs, **options)
        verified = time.perf_counter()
        subject.execute(request)
        times.append((built - start, verified - built, time.perf_counter() - verified))
    build_s, verify_s, forward = (median(c) for c in zip(*times, strict=True))
    return {
        "prove_seconds": build_s,
        "verify_seconds": verify_s,
        "forward_pass_seconds": forward,
        "proof_bytes": sum(map(len, proofs)),
        "note": f"{name}: {TOKENS} tokens of width {width}, top {TOP}; without the verifier's forward pass",
    }
