"""The commands ``network render ...``: nodes as jobs of Dispersed, and headers of requests to it."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import write
from proofcompute.cli.options import Force, Json, Out
from proofcompute.encoding.files import read_limited
from proofcompute.encoding.strict_json import read_json
from proofcompute.errors import FormatError, InputError, LimitError

__all__ = ["group"]

group = typer.Typer(help="Run nodes as jobs of Render's compute API.", rich_markup_mode=None)


@group.command("job")
def job(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="NAME or NAME:TAG.", show_default=False)],
    output: Out,
    title: Annotated[str, typer.Option("--title", help="The job's title.")] = "proofcompute",
    cpus: Annotated[int, typer.Option("--cpus", help="Cores.")] = 4,
    gpus: Annotated[int, typer.Option("--gpus", help="GPUs.")] = 1,
    ram: Annotated[int, typer.Option("--ram", metavar="GB", help="Memory.")] = 16,
    vram: Annotated[int, typer.Option("--vram", metavar="GB", help="Memory of a GPU.")] = 8,
    storage: Annotated[int, typer.Option("--storage", metavar="GB", help="Disk.")] = 32,
    run_ms: Annotated[
        int | None, typer.Option("--run-ms", metavar="MS", help="End after this time; else it stays.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the body of POST /v1/jobs for a node in a container."""
    from proofcompute.networks.render import Job

    check_output(output, force=force)
    name, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        name, tag = image, "latest"
    made = Job(
        title=title,
        image=name,
        tag=tag,
        run_ms=run_ms,
        cpus=cpus,
        gpus=gpus,
        ram_gb=ram,
        storage_gb=storage,
        vram_gb=vram,
    )
    write(Output(json), output, made.document())


@group.command("sign")
def sign(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...", show_default=False)],
    path: Annotated[str, typer.Argument(metavar="PATH", help="With the query.", show_default=False)],
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="Your API key, two lines.", show_default=False)
    ],
    body: Annotated[Path | None, typer.Option("--body", metavar="FILE", help="The body.")] = None,
    json: Json = False,
) -> None:
    """Print the headers that sign a request; they hold for five minutes, and once.

    The body has to be in the form that is signed, as `network render job` writes it.
    """
    from proofcompute.networks.render import MAX_BODY, ApiKey, canonical_json, canonical_query, signature

    known, data = ApiKey.load(key), b"" if body is None else read_limited(body, MAX_BODY, "body")
    try:
        if data and canonical_json(read_json(data, MAX_BODY)) != data:
            raise InputError("the body is not in the form that is signed: compact, keys sorted, ASCII")
    except (FormatError, LimitError) as e:
        raise InputError(f"the body is no JSON as it is read here: {e}") from e
    target, _, query = path.partition("?")
    canonical = canonical_query(query)
    if canonical != query:
        raise InputError(f"the query is not in the form that is signed: {canonical}")
    stamp, nonce = int(time.time() * 1000), secrets.token_hex(16)
    signed = signature(known, stamp=stamp, nonce=nonce, method=method, path=target, query=query, body=data)
    headers = {
        "X-API-Key": known.public,
        "X-Time": str(stamp),
        "X-Nonce": nonce,
        "X-Signature": signed,
    }
    out = Output(json)
    for name, value in headers.items():
        out.say(f"{name}: {value}")
    out.result({"headers": headers, "interface": "theirs"})
