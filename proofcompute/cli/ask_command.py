"""The command ``ask``: a question to a node, whose answer is checked while it is shown."""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.asking import ApiKeyFile, Name, NodeKey, Service, Url, pinned_model, service
from proofcompute.cli.console import Output, complain, printable, rejection
from proofcompute.cli.options import Device, Json, PolicyFile, Runs, hex_bytes, what_is_checked
from proofcompute.errors import InputError, ServiceError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proofcompute.client import Checked, ProofTransport
    from proofcompute.verifier import Verified

__all__ = ["ask"]

_CELLS = 16
_SECONDS = 600.0


def ask(
    url: Url,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question.", show_default=False)],
    card: Annotated[Path | None, typer.Option(help="Card of the model that must answer.")] = None,
    key: Annotated[Path | None, typer.Option(help="Your key for it, with which cells are checked.")] = None,
    model: Annotated[Path | None, typer.Option(help="The model file, with which cells are checked.")] = None,
    model_id: Annotated[
        str | None, typer.Option(metavar="HEX", help="Id of the model that must answer.")
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(min=0, help="Cells to check, with --key or --model; 0: none.", show_default=str(_CELLS)),
    ] = None,
    runs: Runs = None,
    all_cells: Annotated[bool, typer.Option("--all", help="Check all cells.")] = False,
    policy: PolicyFile = None,
    system: Annotated[str | None, typer.Option(help="The system's message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of the answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Temperature; 1 if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampler.")] = None,
    name: Name = None,
    node: NodeKey = None,
    api_key_file: ApiKeyFile = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Ask a node, show the answer as it comes, check its receipt, and audit some of its cells.

    The last lines say how far the answer was checked: advertised (nobody but the node says which model it
    is), receipted (the node signed that the pinned model gives this answer to this question), sampled (so
    many cells of the computation were checked), fully audited, or contradicted.

    Exit status 0: what was checked holds; 1: contradicted; 2: the node gave no answer, or your own files
    cannot be used; 3: undecided, since the node's terms allow more time for an opening than the command
    waits: the receipt holds, and no cell was checked.
    """
    start, out = time.perf_counter(), Output(json)
    checks = what_is_checked(policy, runs, cells, _CELLS, every=all_cells)
    pin = pinned_model(card, key, model, model_id)
    signer = None if node is None else hex_bytes(node, "the node's public key")
    at = service(url, name, api_key_file)
    models = pin.models if pin.models is not None else at.published_card()
    body: dict[str, Any] = {"model": at.name, "messages": _messages(system, question), "stream": True}
    options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    body |= {option: value for option, value in options.items() if value is not None}
    answer = ""
    try:
        from proofcompute.client import ProofTransport
        from proofcompute.verifier.policy import AuditPolicy

        with ProofTransport(at.url, models, node=signer, inner=at.wire) as transport:
            for text in _deltas(at, transport, body):
                out.say(text, end="")
                answer += text
            out.say()
            checked = transport.checked[-1]
        found, unopened = None, False
        chosen = checks.choose() if isinstance(checks, AuditPolicy) else checks  # the receipt is here by now
        if pin.holds is not None and chosen:
            found = _audited(at, pin.holds, checked, chosen, signer, device)
            unopened = found is None
    except VerificationError as e:
        out.say()
        complain(f"REJECTED: {e}")
        out.facts({"assurance": "contradicted", "not checked": "everything above this line"})
        out.result({"assurance": "contradicted", "answer": printable(answer), **rejection(e)})
        raise typer.Exit(1) from e
    _report(
        out,
        answer,
        checked,
        found,
        pinned=pin.models is not None,
        unopened=unopened,
        spared=chosen is None,
        seconds=time.perf_counter() - start,
    )
    if unopened:
        raise typer.Exit(3)


def _messages(system: str | None, question: str) -> list[dict[str, str]]:
    if not question.strip():
        raise InputError("the question is empty")
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": question}]


def _deltas(at: Service, transport: ProofTransport, body: dict[str, Any]) -> Iterator[str]:
    """Yield the pieces of the answer's text. Raises ServiceError if the node gives no answer."""
    library = at.library
    client = library.Client(transport=transport, timeout=_SECONDS, follow_redirects=False)
    ended = False
    try:
        with client.stream("POST", f"{at.url}/chat/completions", json=body, headers=at.headers) as response:
            if response.status_code != 200:
                said = b"".join(response.iter_bytes())[:500].decode("utf-8", "replace")
                raise ServiceError(f"the node answers with status {response.status_code}: {said}")
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if data == "[DONE]":
                    ended = True
                elif data:
                    event = json_module.loads(data)
                    if "error" in event:
                        said = json_module.dumps(event["error"])[:500]
                        raise ServiceError(f"the node ends its answer with an error: {said}")
                    for choice in event.get("choices", ()):
                        yield (choice.get("delta") or {}).get("content") or ""
    except library.TransportError as e:
        raise ServiceError(f"the connection to {at.url} failed: {type(e).__name__}: {e}") from e
    if not ended or not transport.checked:
        raise ServiceError("the answer broke off before its receipt came")


def _audited(
    at: Service, holds: Any, checked: Checked, cells: Any, signer: bytes | None, device: str
) -> Verified | None:
    """Challenge an answer. None: the node did not open, but its terms allow it more time than was waited."""
    from proofcompute.client import Challenger
    from proofcompute.client.verdicts import gave_up

    challenger = Challenger(at.url, holds, device=device, node=signer, library=at.library, headers=at.headers)
    try:
        audited = challenger.audit(checked, cells)
        if gave_up(audited, challenger):
            return None
    finally:
        challenger.close()
    if isinstance(audited.found, VerificationError):
        raise audited.found
    return audited.found


def _report(
    out: Output,
    answer: str,
    checked: Checked,
    found: Verified | None,
    *,
    pinned: bool,
    unopened: bool,
    spared: bool,
    seconds: float,
) -> None:
    """Say how far the answer was checked, and how far it was not."""
    receipt, level = checked.claim.receipt, "advertised"
    did = "the receipt, against the card that the node itself publishes"
    left = "which model this is: pin one with --card, --key, --model or --model-id"
    if found is not None:
        level = "fully audited" if found.complete else "sampled"
        did = f"the receipt, and {found.cells} of {found.total} cells of the computation"
        left = "nothing" if found.complete else "the other cells: a change of one of them may stay unseen"
    elif pinned:
        level = f"receipted (nonce by {checked.nonce_by})"
        did = "the receipt: the node signed that the pinned model gives this answer to this question"
        left = "the computation: give --key or --model to check cells"
        if spared:
            left = "the computation: the policy drew nothing of this answer"
        if unopened:
            left = "the computation: the node opened nothing yet, and its terms allow it more time"
    facts: dict[str, object] = {"assurance": level, "checked": did, "not checked": left}
    if found is not None and not found.complete:
        facts["one altered cell"] = f"found with probability {found.detects_one:.4g}"
        facts["10% altered"] = f"found with probability {found.detects_share(0.1):.4g}"
    facts |= {"node": receipt.node.hex(), "model id": receipt.model_id.hex()}
    facts["request"] = receipt.request_digest.hex()
    out.facts(facts)
    out.result(
        {
            "assurance": level,
            "answer": printable(answer),
            "checked": did,
            "not_checked": left,
            "cells": 0 if found is None else found.cells,
            "total_cells": checked.claim.statement.cells,
            "detects_one": None if found is None else found.detects_one,
            "node": receipt.node.hex(),
            "model_id": receipt.model_id.hex(),
            "request_digest": receipt.request_digest.hex(),
            "receipt_digest": receipt.digest.hex(),
            "nonce_by": checked.nonce_by,
            "seconds": seconds,
        }
    )
