"""What the commands that verify print: verdicts, for people and as JSON."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from proofcompute.cli.console import Output, complain, rejection, size
from proofcompute.cli.outputs import values_of
from proofcompute.cli.verifying import Checked, Verifier
from proofcompute.errors import ProofcomputeError, VerificationError
from proofcompute.freivalds.soundness import shown

__all__ = ["accept", "check_many", "reject"]

SHARES = (0.01, 0.1)
"""Shares of altered cells for which the probability of detection is stated."""


def accept(
    out: Output, checked: Checked, verifier: Verifier, seconds: float, *, public: bool = False
) -> None:
    """Print what was checked, and with what soundness and probability of detection."""
    found = checked.evidence
    work = {s: found.grinding_bits(s) for s in SHARES} if public else {}
    out.say("verified: every cell asked for was checked and holds")
    facts: dict[str, object] = {
        "cells": f"{found.cells} of {found.total}{' (all)' if found.complete else ''}",
        "soundness": f"{shown(found.soundness_bits)} for each checked cell",
    }
    if public:
        for s, bits in work.items():
            facts[f"{s:.0%} altered"] = (
                f"hidden by trying 2^{bits:.1f} receipts" if math.isfinite(bits) else "found in any case"
            )
    else:
        facts["one altered cell"] = f"found with probability {found.detects_one:.4g}"
        for s in SHARES:
            facts[f"{s:.0%} altered"] = f"found with probability {found.detects_share(s):.4g}"
    facts["node"] = found.node.hex()
    if found.bytes_opened:
        facts["opening"] = f"{size(found.bytes_opened)}, checked in {seconds:.2f} s"
    else:
        facts["rows"] = f"{found.rows}, computed again in {seconds:.2f} s"
    if checked.answer is not None:
        facts["answer"] = checked.answer
    if checked.request.generation is None:
        facts |= values_of(checked.outputs)
    out.facts(facts)
    out.result(_accepted(checked, verifier, seconds, public=public))


def _accepted(checked: Checked, verifier: Verifier, seconds: float, *, public: bool) -> dict[str, object]:
    found = checked.evidence
    fields: dict[str, object] = {
        "verified": True,
        "cells": found.cells,
        "total_cells": found.total,
        "complete": found.complete,
        "rows": found.rows,
        "outputs": found.outputs,
        "stop_reason": found.stop_reason,
        "node": found.node.hex(),
        "model_id": verifier.holds.card.model_id.hex(),
        "soundness_bits": found.soundness_bits,
        "attempts": verifier.attempts,
        "detects_one": found.detects_one,
        "detects_shares": {str(s): found.detects_share(s) for s in SHARES},
        "bytes_opened": found.bytes_opened,
        "text": None if verifier.tokens_only else checked.request.text,
        "answer": checked.answer,
        "seconds": seconds,
    }
    if public:  # no probability holds for cells that the prover could choose
        del fields["detects_one"], fields["detects_shares"]
        bits = {s: found.grinding_bits(s) for s in SHARES}
        fields["grinding_bits"] = {str(s): b if math.isfinite(b) else None for s, b in bits.items()}
    return fields


def reject(out: Output, error: VerificationError, verifier: Verifier, seconds: float) -> None:
    """Print a rejection."""
    complain(f"REJECTED: {error}")
    out.result(_rejected(error, verifier, seconds))


def _rejected(error: VerificationError, verifier: Verifier, seconds: float) -> dict[str, object]:
    """Return the JSON fields of a rejection; nothing in them depends on the secret columns."""
    return {
        **rejection(error),
        "cells": 0,
        "soundness_bits": 0.0,
        "attempts": verifier.attempts,
        "seconds": seconds,
    }


def check_many(out: Output, verifier: Verifier, directories: Sequence[Path]) -> dict[str, int]:
    """Check the files of each directory; an error in one does not keep the others from being checked.

    Returns the numbers of directories that are "verified", "rejected" and "unusable".
    """
    count = {"verified": 0, "rejected": 0, "unusable": 0}
    for directory in directories:
        start = time.perf_counter()
        request, receipt, challenge, opening = (
            directory / name for name in ("request", "receipt", "challenge", "opening")
        )
        try:
            checked = verifier.check(request, receipt, challenge, opening)
        except VerificationError as e:
            state, text = "rejected", str(e)
            fields = _rejected(e, verifier, time.perf_counter() - start)
        except ProofcomputeError as e:
            state, text = "unusable", str(e)
            fields = {"verified": False, "error": text}
        else:
            found = checked.evidence
            state, text = "verified", f"{found.cells} of {found.total} cells"
            fields = _accepted(checked, verifier, time.perf_counter() - start, public=False)
        count[state] += 1
        out.say(f"{directory}: {state.upper() if state == 'rejected' else state}: {text}")
        out.result({"directory": str(directory), "state": state, **fields})
    out.say(", ".join(f"{number} {state}" for state, number in count.items()))
    out.result(count)
    return count
