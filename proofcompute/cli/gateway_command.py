"""The command ``gateway``: OpenAI's interface in front of nodes that nobody trusts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, hex_bytes
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.gateway import Gateway, Place

__all__ = ["gateway"]


def gateway(
    nodes: Annotated[
        Path, typer.Option(metavar="FILE", help="The nodes (YAML or JSON).", show_default=False)
    ],
    models: Annotated[
        Path, typer.Option(metavar="FILE", help="The models (YAML or JSON).", show_default=False)
    ],
    identity: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your key pair, which signs evidence; a new one unless given."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where evidence and quarantine are kept.")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Ledger of receipts and verdicts: an SQLite file or a URL."),
    ] = None,
    lease: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds after which others make the audits of a gateway that died (ledger)."
        ),
    ] = 120.0,
    disclose: Annotated[
        bool,
        typer.Option(
            "--disclose", help="Let evidence hold the question, so that others can decide by it alone."
        ),
    ] = False,
    clusters: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Signed verdicts about clusters, and their evidence, to show."),
    ] = None,
    cluster_signer: Annotated[
        str | None, typer.Option(metavar="PUBKEY", help="Public key (hex) of who signed them.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free one.")] = 8080,
    device: Device = "cpu",
    api_keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keys to ask for: NAME and SHA-256 of a key in each line."),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A proxy whose X-Forwarded-For names the client."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key (PKCS #8, PEM).")] = None,
    attempts: Annotated[int, typer.Option(min=1, help="Nodes asked for one answer, at most.")] = 3,
    first_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the first text of a stream.")
    ] = 30.0,
    idle_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds for each further text.")] = 60.0,
    answer_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds for a whole answer.")] = 600.0,
    drain: Annotated[float, typer.Option(min=0.1, help="Seconds for running requests after SIGTERM.")] = 60.0,
    closing_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds for running audits and the database after that.")
    ] = 10.0,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Answer OpenAI requests with the answers of nodes, each of which is checked.

    The receipt of every answer is checked before its end is passed on. A share of the answers is audited in
    the background, and a node that is contradicted is asked no more. The address itself shows a page about
    the nodes.
    """
    if (tls_cert is None) != (tls_key is None):
        raise InputError("TLS takes both --tls-cert and --tls-key")
    if (clusters is None) != (cluster_signer is None):
        raise InputError("verdicts about clusters take both --clusters and --cluster-signer")
    if log_level not in ("debug", "info", "warning", "error") or log_format not in ("text", "json"):
        raise InputError("--log-level is debug, info, warning or error, and --log-format text or json")
    if identity is not None:
        expect(identity, "identity")
    from proofcompute.arithmetic.devices import kernels_for
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.gateway import (
        Books,
        Gateway,
        Journal,
        Patience,
        Place,
        Shown,
        application,
        read_models,
        read_nodes,
    )
    from proofcompute.serving import ApiKeys, ServiceLimits, logs, server

    shown = Shown()
    if clusters is not None and cluster_signer is not None:
        shown = Shown.of(clusters, hex_bytes(cluster_signer, "the key of who signed the clusters' verdicts"))
    fleet = read_nodes(nodes)
    signing = NodeIdentity.new() if identity is None else NodeIdentity.load(identity)
    books: Books = Journal(state)
    if ledger is not None:
        if identity is None:
            raise InputError("a ledger takes --identity: verdicts of one auditor have one key")
        from proofcompute.gateway.shared import LedgerBooks

        books = LedgerBooks(ledger, signing, fleet.nodes, state=state, lease=lease)
    made = Gateway(
        fleet,
        read_models(models),
        identity=signing,
        books=books,
        kernels=kernels_for(device),
        apart=device,
        patience=Patience(
            first=first_seconds,
            idle=idle_seconds,
            whole=answer_seconds,
            attempts=attempts,
            closing=closing_seconds,
        ),
        limits=ServiceLimits(drain_seconds=drain),
        keys=None if api_keys is None else ApiKeys.load(api_keys),
        proxies=frozenset(proxy or ()),
        disclose=disclose,
    )
    place = Place(host=host, port=server.check_address(host, port), tls_cert=tls_cert, tls_key=tls_key)
    logs.set_up(log_format, log_level)
    status = server.serve(made, place, application(made, shown), lambda: _say(made, place))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # as `serve` does


def _say(made: Gateway, place: Place) -> None:
    host = f"[{place.host}]" if ":" in place.host else place.host
    scheme = "http" if place.tls_cert is None else "https"
    out = Output(as_json=False)
    out.say(f"gateway at {scheme}://{host}:{place.port}/v1, evidence signed by {made.identity.public.hex()}")
    for name in made.models:
        nodes = [m.name for m in made.fleet.members.values() if name in m.entry.models]
        out.say(f"model {name}, model id {made.model_id(name).hex()}, nodes {', '.join(nodes) or 'none'}")
