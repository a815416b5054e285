"""The commands ``pipeline`` and ``stage``: several nodes that serve one model in a row."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Json, Out, hex_bytes
from proofcompute.cli.options import kernels as kernels_of
from proofcompute.errors import InputError

__all__ = ["pipeline", "stage"]


def pipeline(
    stages: Annotated[
        list[str],
        typer.Argument(
            metavar="END=NODE...",
            help="For each stage the segment after its last one, and its node's public key (hex).",
            show_default=False,
        ),
    ],
    output: Out,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a pipeline: which node runs which segments of a model. Requests address it by its digest."""
    from proofcompute.encoding.files import write_atomic
    from proofcompute.protocol.messages import Pipeline

    check_output(output, force=force)
    ends, nodes = list[int](), list[bytes]()
    for text in stages:
        end, equals, node = text.partition("=")
        if not (equals and end.isascii() and end.isdigit() and len(end) < 6):
            raise InputError(f"a stage is END=NODE, not {text[:80]!r}")
        ends.append(int(end))
        nodes.append(hex_bytes(node, "a node's public key"))
    made = Pipeline.of(ends, nodes)
    write_atomic(output, made.encode())
    out = Output(json)
    out.say(f"{output}: {len(ends)} stages of {made.end} segments, digest {made.digest.hex()}")
    out.result({"pipeline": str(output), "digest": made.digest.hex(), "segments": made.end})


def stage(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)],
    identity: Annotated[Path, typer.Option(metavar="FILE", help="The node's key pair.", show_default=False)],
    pipeline: Annotated[Path, typer.Option(metavar="FILE", help="The pipeline.", show_default=False)],
    number: Annotated[
        int, typer.Option("--stage", min=0, help="The node's stage, from 0.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any free one.")] = 8001,
    device: Device = "cpu",
    token: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="A bearer token to ask for.")
    ] = None,
    retention: Annotated[int, typer.Option(min=0, help="Seconds for which challenges are answered.")] = (
        7 * 24 * 3600
    ),
    trace_memory: Annotated[
        int, typer.Option(min=1, help="MiB of traces kept; those dropped are computed again when asked for.")
    ] = 1024,
    run_memory: Annotated[
        int,
        typer.Option(min=1, help="MiB for rows of requests that run, and as many for traces computed again."),
    ] = 1024,
) -> None:
    """Serve one stage of a pipeline: only the weights of its segments are loaded.

    SIGTERM or Ctrl-C ends it.
    """
    expect(identity, "identity")
    expect(model, "model")
    expect(pipeline, "pipeline")
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.encoding.files import read_limited, read_private
    from proofcompute.limits import MAX_PIPELINE, MIB
    from proofcompute.models.model import Model
    from proofcompute.protocol.messages import Pipeline
    from proofcompute.prover.stages import StageNode
    from proofcompute.serving import server
    from proofcompute.serving.stages import serve_stage

    made = Pipeline.decode(read_limited(pipeline, MAX_PIPELINE, "pipeline"))
    if number >= len(made.stages):
        raise InputError(f"stage {number} of a pipeline of {len(made.stages)}")
    secret = None if token is None else read_private(token, 1024, "token").decode("ascii", "replace").strip()
    node = StageNode(
        Model.load(model, made.segments(number)),
        NodeIdentity.load(identity),
        made,
        number,
        device=kernels_of(device),
        retention=retention,
        trace_bytes=trace_memory * MIB,
        run_bytes=run_memory * MIB,
    )
    at = server.check_address(host, port)
    out = Output(as_json=False)

    def started() -> None:
        span = made.segments(number)
        out.say(f"serving stage {number}, segments {span.start}..{span.stop}, at http://{host}:{at}")
        sys.stdout.flush()

    serve_stage(node, host, at, started, token=secret)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # Granian's threads may still hold a broken connection
