"""The command ``audit``: canaries to a node, whose answers are checked and kept on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.asking import ApiKeyFile, Name, NodeKey, Url, pinned_model, service
from proofcompute.cli.console import Output, complain
from proofcompute.cli.options import Device, Json, hex_bytes
from proofcompute.errors import InputError, ProofcomputeError, VerificationError
from proofcompute.limits import MIB

if TYPE_CHECKING:
    from proofcompute.client.challenger import Audited, Challenger
    from proofcompute.commitments.signing import NodeIdentity

__all__ = ["audit"]

_COUNT, _CELLS = 8, 16
_MOST_REQUESTS = 64 * MIB


def audit(
    url: Url,
    card: Annotated[Path | None, typer.Option(help="Card of the model: receipts are checked alone.")] = None,
    key: Annotated[Path | None, typer.Option(help="Your key for the model, to check cells.")] = None,
    model: Annotated[Path | None, typer.Option(help="The model file, to check cells or replay.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Canaries to send, those on record included.")] = _COUNT,
    cells: Annotated[int, typer.Option(min=1, help="Cells of each answer to check.")] = _CELLS,
    all_cells: Annotated[bool, typer.Option("--all", help="Check all cells of each answer.")] = False,
    replay: Annotated[
        bool, typer.Option("--replay", help="Compute answers again instead of challenging (--model).")
    ] = False,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Most tokens to pay for, prompts and answers together.")
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bodies of real requests, JSON Lines, to draw from.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens that a canary asks for.")] = None,
    interval: Annotated[float, typer.Option(min=0, help="Mean seconds between two canaries.")] = 0.0,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where verdicts are kept; the same file continues an audit."),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory for a bundle of each failure.")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your key pair, which signs evidence.")
    ] = None,
    name: Name = None,
    node: NodeKey = None,
    api_key_file: ApiKeyFile = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Audit a node with requests that look like real traffic, and challenge its answers.

    Each answer's receipt is checked; then the node must open cells of it within the deadline of its signed
    terms, or the answer is computed again (--replay). Only errors of the transport are tried again. No
    opening by the deadline is a failure, as a false one is.

    Exit status 0: nothing failed; 1: an answer was contradicted or not opened; 2: no answer could be
    checked, or your own files cannot be used.
    """
    out = Output(json)
    pin = pinned_model(card, key, model, None)
    if pin.models is None:
        raise InputError("give --card, --key or --model: an audit needs to know which model must answer")
    if replay and model is None:
        raise InputError("only who holds the model can compute answers again: give --model")
    if (evidence is None) != (identity is None):
        raise InputError("evidence is signed: give --evidence and --identity together")
    signer = None if node is None else hex_bytes(node, "the node's public key")
    from proofcompute.client.campaign import Campaign, Plan
    from proofcompute.client.canaries import Traffic
    from proofcompute.client.challenger import Challenger
    from proofcompute.client.record import Record
    from proofcompute.client.transport import ProofTransport
    from proofcompute.commitments.signing import NodeIdentity

    pinned: Any = pin.models
    bodies = [] if requests is None else _bodies(requests)
    mine = None if identity is None else NodeIdentity.load(identity)
    at = service(url, name, api_key_file)
    traffic = Traffic(
        at.name,
        chat=bool(pinned.template),
        bodies=bodies,
        key=at.key,
        interval=interval,
        max_tokens=max_tokens,
    )
    plan = Plan(count, None if pin.holds is None else "all" if all_cells else cells, replay, budget)

    def transport(nonce_by: Any) -> Any:
        return lambda hook: ProofTransport(
            at.url, pinned, node=signer, nonce_by=nonce_by, on_checked=hook, keep=1
        )

    with ExitStack() as stack:
        challenger: Challenger | None = None
        if pin.holds is not None:
            challenger = Challenger(
                at.url, pin.holds, device=device, node=signer, library=at.library, headers=at.headers
            )
            stack.callback(challenger.close)
        kept = None if record is None else stack.enter_context(Record(record))
        if evidence is not None:
            evidence.mkdir(parents=True, exist_ok=True)
        told = _Told(out, challenger, evidence, mine, 0 if kept is None else len(kept.verdicts))
        campaign = Campaign(
            {"client": transport("client"), "node": transport("node")},
            traffic,
            plan,
            challenger=challenger,
            record=kept,
            library=at.library,
            on_verdict=told.verdict,
        )
        summary = campaign.run()
    facts: dict[str, object] = {state: n for state, n in summary.states.items() if n}
    facts |= {"cells checked": summary.cells, "tokens": summary.tokens}
    if summary.states["verified"]:
        facts["one altered cell an answer"] = f"found with probability {summary.detects_one:.4g}"
        facts["10% of answers altered"] = f"found with probability {summary.detects_answers(0.1):.4g}"
    out.facts(facts)
    out.result(
        {
            "verified": not summary.failed,
            "states": summary.states,
            "cells": summary.cells,
            "tokens": summary.tokens,
            "detects_one": summary.detects_one,
            "detects_answers": {"0.1": summary.detects_answers(0.1)},
            "nonces": summary.nonces,
        }
    )
    if summary.failed:
        raise typer.Exit(1)
    if not summary.states["verified"] + summary.states["receipted"]:
        complain("no answer could be checked")
        raise typer.Exit(2)


class _Told:
    """Tells of each verdict, and writes evidence of failures."""

    def __init__(
        self,
        out: Output,
        challenger: Challenger | None,
        directory: Path | None,
        identity: NodeIdentity | None,
        number: int,
    ) -> None:
        self._out, self._challenger, self._directory = out, challenger, directory
        self._identity, self._number = identity, number

    def verdict(self, verdict: Mapping[str, Any], audited: Audited | None) -> Mapping[str, Any]:
        """Print a verdict, and return what the record says of it besides."""
        self._number += 1
        why = f": {verdict['error']}" if verdict["error"] else ""
        self._out.say(f"{self._number}: {verdict['state']}, {verdict['cells']} cells{why}")
        if audited is None:
            if verdict["state"] == "contradicted" and self._directory is not None:
                complain(
                    "no evidence was written: the response was contradicted, and bundles hold no responses"
                )
            return {}
        if not isinstance(audited.found, VerificationError):
            return {}
        if self._directory is None or self._identity is None or self._challenger is None:
            return {}
        path = self._directory / f"{audited.checked.claim.receipt.digest.hex()[:16]}.evidence"
        try:
            auditor = self._challenger.auditor(audited.checked.terms)
            auditor.evidence(
                self._identity,
                audited.checked.request,
                audited.checked.receipt,
                audited.found if audited.refusal is None else "refused",
                challenge=audited.challenge,
                opening=audited.opening,
                sent=audited.sent,
                waited=audited.waited,
            ).save(path)
        except ProofcomputeError as e:
            complain(f"no evidence was written: {e}")
            return {}
        self._out.say(f"   {path}: evidence, signed by {self._identity.public.hex()}")
        return {"evidence": str(path)}


def _bodies(path: Path) -> Sequence[Mapping[str, object]]:
    """Return recorded bodies. Raises InputError for a line that is none."""
    from proofcompute.encoding.files import read_limited
    from proofcompute.openai import read_json

    found: list[Mapping[str, object]] = []
    for number, line in enumerate(read_limited(path, _MOST_REQUESTS, "requests").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(read_json(line, len(line)))
        except InputError as e:
            raise InputError(f"{path}: line {number} is no body of a request: {e}") from e
    if not found:
        raise InputError(f"{path} holds no request; it is one JSON object a line")
    return found
