"""The command ``serve``: a node with OpenAI's interface."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device
from proofcompute.errors import InputError
from proofcompute.limits import MIB

if TYPE_CHECKING:
    from proofcompute.serving import Service, Settings

__all__ = ["serve"]


def serve(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Model files.", show_default=False)
    ],
    identity: Annotated[Path, typer.Option(metavar="FILE", help="The node's key pair.", show_default=False)],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free one.")] = 8000,
    device: Device = "cpu",
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=MODEL", help="A name for a model file, instead of the file's own."),
    ] = None,
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
    base: Annotated[int, typer.Option(min=0, help="Terms: seconds for an opening besides its rows.")] = 30,
    rate: Annotated[
        int | None,
        typer.Option(min=1, help="Terms: rows recomputed per second; from a measurement unless given."),
    ] = None,
    retention: Annotated[
        int, typer.Option(min=0, help="Terms: seconds for which challenges are answered.")
    ] = (7 * 24 * 3600),
    published: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PUBLIC",
            help="Public key of a model, with its codes beside it: openings end with public proofs if asked.",
        ),
    ] = None,
    max_live: Annotated[int, typer.Option(min=1, help="Answers computed at a time, for each model.")] = 32,
    max_queue: Annotated[int, typer.Option(min=1, help="Answers that may wait, for each model.")] = 64,
    max_client: Annotated[int, typer.Option(min=1, help="Answers of one client at a time.")] = 32,
    max_body: Annotated[int, typer.Option(min=1, help="MiB of a body.")] = 8,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections at a time.")] = 512,
    max_openings: Annotated[int, typer.Option(min=1, help="Openings made at a time.")] = 2,
    header_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds for the headers of a request.")
    ] = 20.0,
    body_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds for the body of a request.")] = 30.0,
    write_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds for which a part of a response may stay unread.")
    ] = 60.0,
    rows: Annotated[int, typer.Option(min=1, help="Rows of all requests in a step, for each model.")] = 512,
    chunk: Annotated[int, typer.Option(min=1, help="Rows of one request in a step.")] = 256,
    memory: Annotated[int, typer.Option(min=1, help="MiB of traces being computed, for each model.")] = 4096,
    keep: Annotated[
        str,
        typer.Option(
            help="What stays of the rows: all; prefixes (what the cache of prefixes needs); or nothing."
            " Without all, the first opening of an answer computes it again."
        ),
    ] = "all",
    trace_memory: Annotated[
        int, typer.Option(min=0, help="MiB of traces kept for openings, for each model; 0: none.")
    ] = 1024,
    prefix_memory: Annotated[
        int, typer.Option(min=0, help="MiB of the cache of prefixes, for each model; 0: none.")
    ] = 0,
    share_prefixes: Annotated[
        bool,
        typer.Option(
            "--share-prefixes",
            help="Let clients share the cache of prefixes; by the time, they can then guess others' prompts.",
        ),
    ] = False,
    drain: Annotated[float, typer.Option(min=0.1, help="Seconds for running requests after SIGTERM.")] = 60.0,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve models with OpenAI's interface; every answer carries a signed receipt.

    SIGTERM or Ctrl-C finishes what runs and refuses the rest; a second one stops at once. Exit status 2: all
    devices have failed.
    """
    if (tls_cert is None) != (tls_key is None):
        raise InputError("TLS takes both --tls-cert and --tls-key")
    if log_level not in ("debug", "info", "warning", "error"):
        raise InputError(f"--log-level is debug, info, warning or error, not {log_level!r}")
    if keep not in ("all", "prefixes", "nothing"):
        raise InputError(f"--keep is all, prefixes or nothing, not {keep!r}")
    expect(identity, "identity")
    named = _named(models, name or ())
    for _, path in named:
        expect(path, "model")
        _check_text(path)
    for path in published or ():
        expect(path, "public key")
    if tls_cert is not None and tls_key is not None:
        _check_tls(tls_cert, tls_key)
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.engine import Keep
    from proofcompute.prover.admission import RunnerLimits
    from proofcompute.serving import ApiKeys, Service, ServiceLimits, Settings, application, logs, server

    NodeIdentity.load(identity)
    if api_keys is not None:
        ApiKeys.load(api_keys)
    settings = Settings(
        models=named,
        identity=identity,
        device=device,
        host=host,
        port=server.check_address(host, port),
        tls_cert=tls_cert,
        tls_key=tls_key,
        api_keys=api_keys,
        proxies=frozenset(proxy or ()),
        base=base,
        rate=rate,
        retention=retention,
        limits=ServiceLimits(
            body=max_body * MIB,
            connections=max_connections,
            client_requests=max_client,
            openings=max_openings,
            header_seconds=header_seconds,
            body_seconds=body_seconds,
            write_seconds=write_seconds,
            drain_seconds=drain,
        ),
        runner=RunnerLimits(live=max_live, queued=max_queue, trace_bytes=memory * MIB),
        rows=rows,
        chunk=chunk,
        keep=Keep[keep.upper()],
        trace_bytes=trace_memory * MIB,
        prefixes=prefix_memory * MIB,
        shared_prefixes=share_prefixes,
        published=tuple(published or ()),
        log_format=log_format,
        log_level=log_level,
    )
    logs.set_up(log_format, log_level)
    service = Service.load(settings)
    status = server.serve(service, settings, application(service), lambda: _say(service, settings))
    sys.stdout.flush()
    sys.stderr.flush()
    # Granian's threads may still hold a broken connection, and Python's own end would meet them half-way
    os._exit(status)


def _named(models: Sequence[Path], names: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Return name and file of each model; a file without a name of its own is called by its stem."""
    given: list[tuple[str, Path]] = []
    for text in names:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise InputError(f"--name is NAME=MODEL, not {text!r}")
        given.append((name, Path(file)))
    files = [path for _, path in given]
    return (*given, *((path.stem, path) for path in models if path not in files))


def _check_text(path: Path) -> None:
    """Raise InputError, before anything is loaded, for a model that takes no text: nobody could ask it."""
    from proofcompute.models.file import ModelFile

    if ModelFile.open(path).card.vocabulary is None:
        raise InputError(f"{path} takes arrays and no text; answer requests for it with proofcompute run")


def _check_tls(cert: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as e:  # SSLError too
        raise InputError(f"TLS cannot use {cert} with {key}: {e.strerror or e}") from e


def _say(service: Service, settings: Settings) -> None:
    """Say where the service listens, what it serves and who it is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "http" if settings.tls_cert is None else "https"
    out = Output(as_json=False)
    out.say(f"serving at {scheme}://{host}:{settings.port}/v1, node {service.public.hex()}")
    for served in service.models.values():
        out.say(f"model {served.name}, model id {served.model_id.hex()}")
    if service.terms is not None:
        terms = service.terms
        out.say(f"openings of n rows within {terms.base} s + n / {terms.rate}, for {terms.retention} s")
        for public_id in terms.proofs:
            out.say(f"public proofs by {public_id.hex()}")
