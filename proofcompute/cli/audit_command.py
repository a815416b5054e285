"""The command ``audit``: canaries to a node, whose answers are checked and kept on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.asking import ApiKeyFile, Name, NodeKey, Pin, Service, Url, pinned_model, service
from proofcompute.cli.console import Output, complain
from proofcompute.cli.options import Device, Json, PolicyFile, Runs, hex_bytes, what_is_checked
from proofcompute.errors import InputError
from proofcompute.limits import MIB

if TYPE_CHECKING:
    from proofcompute.client.challenger import Challenger

__all__ = ["audit"]

_COUNT, _CELLS, _PATIENCE = 8, 16, 600.0
_MOST_REQUESTS = 64 * MIB
FAILED, UNCHECKED, UNFINISHED = 1, 3, 4
"""Exit statuses: something counts against the node; too few canaries were checked; the budget ended first."""


def audit(
    url: Url,
    card: Annotated[Path | None, typer.Option(help="Card of the model: receipts are checked alone.")] = None,
    key: Annotated[Path | None, typer.Option(help="Your key for the model, to check cells.")] = None,
    model: Annotated[Path | None, typer.Option(help="The model file, to check cells or replay.")] = None,
    public: Annotated[
        Path | None, typer.Option(help="Public key of the model, to check cells by public proofs.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Canaries to send, those on record included.")] = _COUNT,
    min_checked: Annotated[
        int | None,
        typer.Option(min=1, help="Canaries that must have been checked for the node to pass [default: all]."),
    ] = None,
    cells: Annotated[
        int | None, typer.Option(min=1, help="Cells of each answer to check.", show_default=str(_CELLS))
    ] = None,
    runs: Runs = None,
    all_cells: Annotated[bool, typer.Option("--all", help="Check all cells of each answer.")] = False,
    policy: PolicyFile = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Compute answers again instead of challenging (--model).")
    ] = False,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AMOUNT",
            help="The most to spend, with its unit: 20000tokens (prompts and answers, those on record "
            "included), 10min (s, h; after it nothing is begun), 500MiB (answers and openings). Repeatable.",
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0.001, help="Most seconds to wait for an answer or an opening.")
    ] = _PATIENCE,
    requests: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Bodies of real requests to send, JSON Lines.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens that a canary asks for.")] = None,
    interval: Annotated[float, typer.Option(min=0, help="Mean seconds between two canaries.")] = 0.0,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where everything is kept; the same file continues an audit."),
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

    Each answer's receipt is checked. When all canaries are answered, the node must open cells of each answer
    within the deadline of its signed terms, or the answers are computed again (--replay). No opening by the
    deadline is a failure, as a false one is. A node passes only if every canary was checked, or as many as
    --min-checked says: answers that do not come are no failure, and no success either.

    Exit status 0: enough canaries were checked, and nothing failed; 1: an answer was contradicted or not
    opened; 2: your own files or credentials cannot be used, or the node could not be reached before anything
    was sent; 3: undecided, since too few canaries could be checked; 4: unfinished, since the budget ended
    before enough were.
    """
    out = Output(json)
    from proofcompute.models.card import ModelCard

    checked = what_is_checked(policy, runs, cells, _CELLS, every=all_cells)
    pin = pinned_model(card, key, model, None, public)
    if not isinstance(pin.models, ModelCard):
        raise InputError(
            "give --card, --key, --model or --public: an audit needs to know which model must answer"
        )
    if replay and model is None:
        raise InputError("only who holds the model can compute answers again: give --model")
    if (evidence is None) != (identity is None):
        raise InputError("evidence is signed: give --evidence and --identity together")
    if min_checked is not None and min_checked > count:
        raise InputError(f"--min-checked {min_checked} is more than the {count} canaries of --count")
    from proofcompute.cli.audit_report import Told, closing, fields
    from proofcompute.client.asking import Asker
    from proofcompute.client.budget import Budget, Meter
    from proofcompute.client.campaign import Campaign, Plan
    from proofcompute.client.canaries import Traffic
    from proofcompute.client.entries import Begun
    from proofcompute.client.line import Line
    from proofcompute.client.pins import Pins, Served
    from proofcompute.client.record import Record
    from proofcompute.client.tally import Tally
    from proofcompute.commitments.signing import NodeIdentity

    meter = Meter(Budget.of(budget or ()))
    signer = None if node is None else hex_bytes(node, "the node's public key")
    bodies = None if requests is None else _bodies(requests)
    mine = None if identity is None else NodeIdentity.load(identity)
    if evidence is not None:
        if evidence.exists() and not evidence.is_dir():
            raise InputError(f"--evidence takes a directory for bundles, and {evidence} is a file")
        evidence.mkdir(parents=True, exist_ok=True)
    tally, checks = Tally(), pin.holds is not None
    plan = Plan(count, checked if checks else None, replay)
    with ExitStack() as stack:
        at = service(url, name, api_key_file)
        begun = Begun(at.url, pin.models.model_id.hex())
        if record is not None:
            write = stack.enter_context(Record(record, begun, tally)).write
        else:
            write = tally.take
            write(begun)
        pins = Pins(pin.models)
        served = pins.served(pin.models.model_id) or Served(pin.models)
        asker = Asker(
            at.url,
            pins,
            library=at.library,
            line=Line(at.library, meter, patience=patience, fresh=True),
            meter=meter,
            node=signer,
            key=at.key,
        )
        stack.callback(asker.close)
        challenger = _challenger(at, pin, Line(at.library, meter), signer, device, patience)
        if challenger is not None:
            stack.callback(challenger.close)
        campaign = Campaign(
            asker,
            Traffic(
                at.name,
                chat=bool(pin.models.template),
                bodies=bodies,
                sent={sent.asked.name for sent in tally.sent.values()},
                key=at.key,
                interval=interval,
                max_tokens=max_tokens,
            ),
            plan,
            served=served,
            tally=tally,
            meter=meter,
            write=write,
            tell=Told(out, pin.models, evidence, mine).verdict,
            challenger=challenger,
        )
        campaign.run()
    minimum = max(count, len(tally.sent)) if min_checked is None else min_checked
    out.facts(closing(tally, minimum, cells=checks, written=bodies is None))
    status = 0
    if tally.failed:
        status = FAILED
    elif tally.checked(cells=checks) < minimum:
        status = UNFINISHED if campaign.stopped else UNCHECKED
        why = campaign.stopped or "the others were not answered or not opened"
        complain(f"{tally.checked(cells=checks)} of the {minimum} canaries that it takes were checked: {why}")
    elif campaign.stopped:
        out.say(campaign.stopped)
    verdict = {0: True, FAILED: False}.get(status)
    out.result(
        {
            "verified": verdict,
            **fields(tally, minimum, campaign.stopped, cells=checks),
            "written": bodies is None,
        }
    )
    raise typer.Exit(status)


def _challenger(
    at: Service, pin: Pin, line: object, signer: bytes | None, device: str, patience: float
) -> Challenger | None:
    """Return what audits answers, or None if only receipts can be checked."""
    if pin.holds is None:
        return None
    from proofcompute.client.challenger import Challenger

    return Challenger(
        at.url,
        pin.holds,
        device=device,
        node=signer,
        patience=patience,
        inner=line,
        library=at.library,
        headers=at.headers,
    )


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
