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
from proofcompute.freivalds.soundness import GRINDING_BITS, shown
from proofcompute.verifier.result import Verified

__all__ = ["SHARES", "accept", "check_many", "grinding_facts", "grinding_fields", "reject"]

SHARES = (0.01, 0.1)
"""Shares of altered cells for which the probability of detection is stated."""


def accept(
    out: Output,
    checked: Checked,
    verifier: Verifier,
    seconds: float,
    *,
    public: bool = False,
    grinding: float = GRINDING_BITS,
) -> None:
    """Print what was checked, and with what soundness and probability of detection.

    ``grinding`` is log2 of the receipts that the prover of a public proof is granted to try.
    """
    found = checked.evidence
    beacon = found.attempts is not None
    budget = grinding if found.attempts is None else math.log2(found.attempts)
    out.say("verified: every cell asked for was checked and holds")
    facts: dict[str, object] = {
        "cells": f"{found.cells} of {found.total}{' (all)' if found.complete else ''}",
        "soundness": f"{shown(found.soundness_bits)} for each checked cell",
    }
    if public:
        facts |= grinding_facts(found, budget, beacon=beacon)
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
    fields = _accepted(checked, verifier, seconds)
    if public:  # no probability holds for cells that the prover could choose
        del fields["detects_one"], fields["detects_shares"]
        fields |= grinding_fields(found, budget, beacon=beacon)
    out.result(fields)


def grinding_facts(
    found: Verified, grinding: float = GRINDING_BITS, *, beacon: bool = False
) -> dict[str, object]:
    """Return what is shown of cells that follow from a receipt: the work of hiding, and what work leaves.

    ``grinding`` is log2 of the receipts that a prover is granted to try; with a ``beacon`` the number of
    attestors that are believed.
    """
    tries = f"{2**grinding:.0f} attested" if beacon else f"2^{grinding:g}"
    facts: dict[str, object] = {}
    for s in SHARES:
        bits = found.grinding_bits(s)
        after = found.detects_after(s, 2.0**grinding)
        left = f"found with probability {after:.4g} after {tries} tries"
        work = f"; hidden by trying 2^{bits:.1f} receipts" if not beacon else ""
        facts[f"{s:.0%} altered"] = left + work if math.isfinite(bits) else "found in any case"
    return facts


def grinding_fields(
    found: Verified, grinding: float = GRINDING_BITS, *, beacon: bool = False
) -> dict[str, object]:
    """Return the JSON fields of what :func:`grinding_facts` shows."""
    bits = {s: found.grinding_bits(s) for s in SHARES}
    return {
        "grinding_bits": {str(s): b if math.isfinite(b) else None for s, b in bits.items()},
        "grinding_budget_bits": grinding,
        "detects_after_grinding": {str(s): found.detects_after(s, 2.0**grinding) for s in SHARES},
        "beacon": beacon,
    }


def _accepted(checked: Checked, verifier: Verifier, seconds: float) -> dict[str, object]:
    found = checked.evidence
    return {
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
            fields = _accepted(checked, verifier, time.perf_counter() - start)
        count[state] += 1
        out.say(f"{directory}: {state.upper() if state == 'rejected' else state}: {text}")
        out.result({"directory": str(directory), "state": state, **fields})
    out.say(", ".join(f"{number} {state}" for state, number in count.items()))
    out.result(count)
    return count
