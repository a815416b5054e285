"""The command ``auditor``: audits of a fleet, beside other auditors."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output, complain
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Json, PolicyFile, Runs, kernels, what_is_checked
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.auditing import Committee, Desk, FleetModel, FleetNode
    from proofcompute.auditing.metrics import AuditorMetrics
    from proofcompute.ledger import AuditVerdict, Job, Ledger

__all__ = ["auditor"]

_CELLS, _PATIENCE, _HOUR = 16, 600.0, 3600.0
FAILED, UNFINISHED = 1, 4
"""Exit statuses: this run found something against a node; the budget ended before the work did."""


def auditor(
    ledger: Annotated[
        str,
        typer.Option(
            metavar="LEDGER", help="An SQLite file, or the URL of a PostgreSQL database.", show_default=False
        ),
    ],
    nodes: Annotated[
        Path, typer.Option(metavar="FILE", help="The nodes (YAML or JSON).", show_default=False)
    ],
    models: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The models, with keys or weights.", show_default=False),
    ],
    identity: Annotated[
        Path, typer.Option(metavar="FILE", help="Your key pair, which signs verdicts.", show_default=False)
    ],
    name: Annotated[
        str | None, typer.Option(help="A name for this auditor.", show_default="its process and machine")
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.1, help="Mean seconds between two jobs of a node and a model.")
    ] = _HOUR,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Canaries of one job.")] = 1,
    cells: Annotated[
        int | None, typer.Option(min=1, help="Cells of each answer to check.", show_default=str(_CELLS))
    ] = None,
    runs: Runs = None,
    all_cells: Annotated[bool, typer.Option("--all", help="Check all cells of each answer.")] = False,
    policy: PolicyFile = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Compute answers again instead of challenging (weights).")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Check cells by public proofs, with the models' public keys.")
    ] = False,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AMOUNT",
            help="The most that this run may cost, as for audit: 20000tokens, 10min, 500MiB. Repeatable.",
        ),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens that a canary asks for.")] = None,
    patience: Annotated[
        float, typer.Option(min=0.001, help="Most seconds to wait for an answer or an opening.")
    ] = _PATIENCE,
    lease: Annotated[
        float, typer.Option(min=1, help="Seconds after which others take the job of an auditor that died.")
    ] = 120.0,
    committee: Annotated[
        Path | None, typer.Option(metavar="POLICY", help="The quorum's policy: sign verdicts together.")
    ] = None,
    secret: Annotated[
        Path | None, typer.Option(metavar="SECRET", help="Your key for verdicts of the quorum.")
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when no job is due, and schedule none.")
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Give numbers for Prometheus here.", show_default="no numbers"),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Where to listen for Prometheus.")] = "127.0.0.1",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Audit the nodes of a fleet with canaries, and answers that gateways kept, sharing jobs with others.

    Every node gets a canary for each of its models in each slot of --every seconds, from whichever auditor
    takes the job. Verdicts, and evidence against nodes, go to the ledger. With --committee, evidence is
    decided again by every member, and the ledger has the quorum's verdict when enough have signed.

    Interrupt it once and it ends after the job at hand. Exit status 0: it was stopped, or no job was left;
    1: the same, and this run found something against a node; 2: your files or the ledger cannot be used; 4:
    the budget ended.
    """
    if replay and public:
        raise InputError("give one of --replay and --public: answers are audited in one way")
    if (committee is None) != (secret is None):
        raise InputError("give --committee and --secret together")
    checked = what_is_checked(policy, runs, cells, _CELLS, every=all_cells)
    expect(identity, "identity")
    from proofcompute.auditing import Desk, Plan, Worker
    from proofcompute.client.budget import Budget
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.ledger import Ledger

    plan = Plan(
        every=every,
        count=count,
        cells=checked,
        replay=replay,
        max_tokens=max_tokens,
        budget=Budget.of(budget or ()),
    )
    mine = NodeIdentity.load(identity)
    fleet, known = _fleet(nodes), _models(models, replay=replay, public=public)
    quorum = None if committee is None or secret is None else _committee(committee, secret)
    backend = kernels(device)
    metrics = None if metrics_port is None else _metrics()
    out = Output(json)
    against: list[AuditVerdict] = []

    with Ledger(ledger) as opened:

        def failed(verdict: AuditVerdict, evidence: bytes) -> None:
            against.append(verdict)
            out.say(f"{verdict.node.hex()}: {verdict.outcome}")
            if quorum is not None and evidence:
                _call(opened, quorum, verdict, evidence, known)

        def told(job: Job, result: Mapping[str, Any]) -> None:
            states = result.get("states")
            what = states if isinstance(states, dict) else result
            out.say(f"{job.name}: {', '.join(f'{k} {v}' for k, v in what.items())}")

        worker = Worker(
            opened,
            {node.key: node for node in fleet},
            {model.name: model for model in known},
            mine,
            plan,
            device=backend,
            patience=patience,
            failed=failed,
        )
        desk = Desk(
            opened,
            fleet,
            known,
            worker,
            plan,
            owner=name or f"{os.getpid()} {mine.public.hex()[:16]}",
            kernels=backend,
            committee=quorum,
            told=told,
            events=metrics,
            lease=lease,
        )
        out.say(f"auditor {mine.public.hex()} at {opened.name}")
        with ExitStack() as stack:
            if metrics is not None and metrics_port is not None:
                metrics.watch(desk, opened)
                from proofcompute.auditing.metrics import serving_metrics

                stack.enter_context(serving_metrics(metrics, metrics_host, metrics_port))
            stack.enter_context(_stopping(desk))
            spent = desk.run(until_idle=until_idle)
    if spent.stopped:
        complain(spent.stopped)
    status = UNFINISHED if spent.stopped else FAILED if against else 0
    out.facts({"jobs": spent.jobs, **spent.states, "tokens": f"{spent.tokens} at most"})
    out.result(
        {
            "auditor": mine.public.hex(),
            "jobs": spent.jobs,
            "states": dict(spent.states),
            "tokens": spent.tokens,
            "bytes": spent.nbytes,
            "stopped": spent.stopped or None,
            "against": [v.node.hex() for v in against],
        }
    )
    raise typer.Exit(status)


def _metrics() -> AuditorMetrics:
    from proofcompute.auditing.metrics import AuditorMetrics  # takes the extra serve

    return AuditorMetrics()


@contextmanager
def _stopping(desk: Desk) -> Iterator[None]:
    """Let signals end the run after the job at hand; the second one ends the process."""
    before: dict[int, Any] = {}

    def stop(number: int, _: object) -> None:
        desk.stop()
        signal.signal(number, before[number])

    try:
        for caught in (signal.SIGINT, signal.SIGTERM):
            before[caught] = signal.signal(caught, stop)
    except ValueError:  # handlers belong to the main thread
        before.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _call(
    ledger: Ledger, quorum: Committee, verdict: AuditVerdict, evidence: bytes, models: list[FleetModel]
) -> None:
    model = next(m.name for m in models if m.card.model_id == verdict.model_id)
    quorum.call(ledger, verdict.receipt_digest, evidence, model)


def _fleet(path: Path) -> list[FleetNode]:
    from proofcompute.auditing import FleetNode
    from proofcompute.gateway.federation import read_nodes

    return [
        FleetNode(node.name, node.url, node.public, node.models, node.api_key())
        for node in read_nodes(path).nodes
    ]


def _models(path: Path, *, replay: bool, public: bool) -> list[FleetModel]:
    """Return the models that can be audited. Raises InputError if there is none."""
    from proofcompute.auditing import FleetModel
    from proofcompute.cli.verifying import held_public
    from proofcompute.gateway.federation import read_models
    from proofcompute.models.model import Model
    from proofcompute.verifier import Key

    found = []
    for entry in read_models(path).models:
        if public:
            if entry.public is not None:
                found.append(FleetModel(entry.name, held_public(Path(entry.public))))
        elif entry.key is not None and not replay:
            found.append(FleetModel(entry.name, Key.load(Path(entry.key))))
        elif entry.weights is not None:
            found.append(FleetModel(entry.name, Model.load(Path(entry.weights))))
    if not found:
        what = "weights" if replay else "public keys" if public else "keys or weights"
        raise InputError(f"{path} names no {what}: an auditor needs them to check answers")
    return found


def _committee(policy: Path, secret: Path) -> Committee:
    from proofcompute.auditing import Committee
    from proofcompute.bls.signatures import VerdictKey
    from proofcompute.verdicts import QuorumPolicy

    expect(secret, "verdict key")
    return Committee(QuorumPolicy.load(policy), VerdictKey.load(secret))
