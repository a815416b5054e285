"""Runs, proves and verifies one whole request, to compare with a proof of it."""

from __future__ import annotations

from statistics import median
from typing import Any

from proofcompute.bench.timing import in_turn, repeated
from proofcompute.protocol.messages import Request
from proofcompute.testing.subject import Subject
from proofcompute.verifier import keygen

__all__ = ["whole"]


def whole(subject: Subject, request: Request, rounds: int) -> dict[str, Any]:
    """Time running, proving (running, committing, opening every cell) and verifying, in turn.

    Everything runs once before a clock starts; ``rounds`` keeps every round.
    """

    def prove() -> None:
        subject.open(subject.finish(request))

    done = subject.finish(request)
    audit = subject.open(done)
    check = subject.verifier(done, audit)
    verified = check()
    if not verified.complete:
        raise RuntimeError("an audit of every cell is not complete")
    running, proving, verifying = in_turn([lambda: subject.execute(request), prove, check], rounds)
    setup = repeated(lambda: keygen(subject.model, subject.kernels), min(3, rounds))
    return {
        "system": "ours",
        "setup_seconds": median(setup),
        "native_seconds": median(running),
        "prove_seconds": median(proving),
        "verify_seconds": median(verifying),
        "proof_bytes": len(done.data) + len(audit.opening),
        "verifier_key_bytes": len(subject.key().body()),
        "rounds": {"run": running, "prove": proving, "verify": verifying, "keygen": setup},
        "note": f"secret key of two columns, all {verified.total} cells, {verified.soundness_bits:.1f} bits",
    }
