"""What the command ``audit`` prints of its verdicts, and the evidence that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proofcompute.cli.console import Output, complain
from proofcompute.client.challenger import Audited
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.entries import FAILED, STATES, Verdict
from proofcompute.client.tally import CONFIDENCE, EXTENTS, SHARES, Cheat, Tally
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import ProofcomputeError
from proofcompute.models.card import ModelCard
from proofcompute.protocol.bundle import Bundle

__all__ = ["Told", "closing", "fields"]


class Told:
    """Tells of each verdict, and writes evidence of what counts against the node.

    Args:
        out: where verdicts are printed.
        card: the card of the audited model.
        directory: where bundles go; None: none are made.
        identity: the auditor's key pair.
    """

    def __init__(
        self, out: Output, card: ModelCard, directory: Path | None, identity: NodeIdentity | None
    ) -> None:
        self._out, self._card, self._directory, self._identity = out, card, directory, identity

    def verdict(self, verdict: Verdict, about: Audited | Contradiction | None) -> Mapping[str, Any]:
        """Print a verdict, and return what the record says of it besides."""
        choice = f", choice {verdict.choice}" if verdict.choice else ""
        why = f": {verdict.error}" if verdict.error else ""
        self._out.say(f"{verdict.id + 1}{choice}: {verdict.state}, {verdict.cells} cells{why}")
        if verdict.state not in FAILED or self._directory is None or self._identity is None:
            return {}
        try:
            bundle, why = self._bundle(about, self._identity)
        except ProofcomputeError as e:
            bundle, why = None, str(e)
        if bundle is None:
            complain(f"no evidence was written: {why}")
            return {"no_evidence": why}
        path = self._directory / f"{bundle.evidence.request_digest.hex()[:16]}.evidence"
        try:
            bundle.save(path)
        except ProofcomputeError as e:
            complain(f"no evidence was written: {e}")
            return {"no_evidence": str(e)}
        self._out.say(f"   {path}: evidence, signed by {self._identity.public.hex()}")
        return {"evidence": str(path)}

    def _bundle(
        self, about: Audited | Contradiction | None, identity: NodeIdentity
    ) -> tuple[Bundle | None, str]:
        """Return evidence that others do not take for a false accusation, or why there is none."""
        from proofcompute.client.contradictions import evidence_of

        if about is None:
            return None, "nothing that the node signed is contradicted"
        if isinstance(about, Contradiction):
            bundle = about.evidence(identity)
            return bundle, "the node signs receipts and openings, and not what contradicts this response"
        return evidence_of(about, self._card, identity)


def closing(tally: Tally, minimum: int, *, cells: bool, written: bool) -> dict[str, object]:
    """Return what is said at the end, by name.

    Args:
        tally: the counts.
        minimum: canaries that had to be checked.
        cells: whether the audit checks cells, and not receipts alone.
        written: whether canaries were written and not recorded.
    """
    checked, states = tally.checked(cells=cells), tally.states
    what = "the whole of what was asked for" if cells else "receipts only"
    facts: dict[str, object] = {
        "checked": f"{checked} of {len(tally.sent)} canaries ({what}); the audit takes {minimum}"
    }
    facts |= {state: states[state] for state in STATES if states[state]}
    if tally.open:
        facts["not audited yet"] = tally.open
    facts |= {"cells checked": tally.cells, "tokens": f"{tally.tokens} at most"}
    if tally.warned:
        facts["sent after a challenge"] = f"{tally.warned}: the node may have known who asks"
    if tally.unpublished:
        facts["under unpublished terms"] = f"{tally.unpublished}: your own patience was their deadline"
    nodes = tally.nodes()
    if len(nodes) > 1:
        facts["signed by"] = "\n".join(f"{node}: {n}" for node, n in nodes.items())
    if states["verified"] and not tally.failed:
        facts["would have found"] = "\n".join(_detection(tally))
        if written:
            facts["but"] = (
                "these canaries were written by this program, and a node that has it can recognise them: "
                "--requests sends real ones"
            )
    return facts


def _detection(tally: Tally) -> list[str]:
    """Return what the audit would have found, in lines."""
    lines = ["a node that cannot tell canaries from other requests, and alters in"]
    for share in SHARES:
        of = "every answer" if share == 1 else f"{share:.0%} of its answers"
        found = (
            f"one cell {_probability(tally.detects(Cheat(share, 'one')))}",
            *(
                f"{extent:.0%} of the cells {_probability(tally.detects(Cheat(share, extent)))}"
                for extent in EXTENTS
            ),
            f"all cells {_probability(tally.detects(Cheat(share, 'all')))}",
        )
        lines.append(f"{of}: {', '.join(found)}")
    by = tally.by_nonce()
    lines += [
        f"more than {tally.ruled_out:.1%} of its answers, all cells: {CONFIDENCE} or more",
        f"answers to clients that send a nonce: {by['client']}, to others: {by['node']}",
    ]
    return lines


def _probability(value: float) -> str:
    """Return a probability, rounded down, so that it never says more than is so."""
    return f"{int(value * 10_000) / 10_000:.4g}"


def fields(tally: Tally, minimum: int, stopped: str, *, cells: bool) -> dict[str, object]:
    """Return the same for programs."""
    return {
        "sent": len(tally.sent),
        "checked": tally.checked(cells=cells),
        "min_checked": minimum,
        "states": {state: tally.states[state] for state in STATES},
        "open": tally.open,
        "stopped": stopped or None,
        "cells": tally.cells,
        "tokens": tally.tokens,
        "warned": tally.warned,
        "unpublished": tally.unpublished,
        "nonces": tally.by_nonce(),
        "nodes": tally.nodes(),
        "detects": [
            {"share": share, "extent": extent, "probability": tally.detects(Cheat(share, extent))}
            for share in SHARES
            for extent in ("one", *EXTENTS, "all")
        ],
        "ruled_out": {"confidence": CONFIDENCE, "share": tally.ruled_out},
    }
