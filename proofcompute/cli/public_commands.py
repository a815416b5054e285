"""Commands of public proofs without weights: ``publish``, ``prove``, ``verify-proof``."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output, complain, rejection, size
from proofcompute.cli.files import check_output, load_model, read_request
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Grinding, Json, Out, command_line, hex_bytes, kernels
from proofcompute.cli.progress import progress
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.freivalds.soundness import GRINDING_BITS

if TYPE_CHECKING:
    from proofcompute.protocol.messages import Request
    from proofcompute.public.publishing import Published
    from proofcompute.verifier import Verified

__all__ = ["prove", "publish", "verify_proof"]

PublicFile = Annotated[
    Path, typer.Argument(metavar="PUBLIC", help="Public key of the model.", show_default=False)
]


def publish(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write the public key to.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="PUBLIC", help="Check this public key, which somebody else made, instead."),
    ] = None,
    leaves: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --check: compute N positions again, and not all."),
    ] = None,
    rho: Annotated[
        int, typer.Option(min=1, max=8, help="Rate: code words agree in at most 2^-RHO of their positions.")
    ] = 4,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Publish a model: code its weights, so that anybody can check proofs without them.

    Writes the public key, which holds no weights, to OUTPUT, and the digests that a prover needs to
    OUTPUT.codes. If interrupted, it goes on from OUTPUT.codes next time. Proofs are as good as the public id:
    who trusts it trusts that its publisher coded these weights, or checks it with --check.
    """
    out, start = Output(json), time.perf_counter()
    if (output is None) == (check is None) or (leaves is not None and check is None):
        raise InputError("give either -o or --check, and --leaves only with --check")
    expect(model, "model")
    from proofcompute.models.file import ModelFile
    from proofcompute.public import publishing

    file = ModelFile.open(model)
    work = sum(s.rows * s.row_bytes for s in file.card.program.weights)
    if check is not None:
        expect(check, "public key")
        _check(out, file, check, leaves, device, start)
        return
    assert output is not None  # noqa: S101
    check_output(output, force=force, plain=True)
    try:
        with progress("publish", work) as advance:
            made = publishing.write_published(file, kernels(device), output, rho=rho, progress=advance)
    except KeyboardInterrupt:
        out.say(f"interrupted; to continue: {command_line(context, model)}")
        raise
    _say_published(out, output, made, time.perf_counter() - start)


def _say_published(out: Output, path: Path, made: Published, seconds: float) -> None:
    from proofcompute.public.store import codes_path

    nbytes, digests = path.stat().st_size, codes_path(path).stat().st_size
    out.say(f"{path}: {size(nbytes)}, and {size(digests)} of digests for provers, {seconds:.1f} s")
    out.say(f"public id {made.key.public_id.hex()}")
    out.result(
        {
            "public_key": str(path),
            "public_id": made.key.public_id.hex(),
            "model_id": made.key.card.model_id.hex(),
            "rho": made.key.rho,
            "bytes": nbytes,
            "digest_bytes": digests,
            "seconds": seconds,
        }
    )


def _check(out: Output, file: Any, path: Path, leaves: int | None, device: str, start: float) -> None:
    """Check a public key that somebody else made; a mismatch is its publisher's fault."""
    from proofcompute.public import publishing
    from proofcompute.public.key import PublicKey

    key, backend = PublicKey.load(path), kernels(device)
    work = sum(s.rows * s.row_bytes for s in file.card.program.weights)
    if key.card.model_id != file.card.model_id:
        raise MismatchError(f"{path} is of another model, {key.card.model_id.hex()}")
    try:
        if leaves is None:
            with progress("check", work) as advance:
                again = publishing.publish(file, backend, rho=key.rho, progress=advance)
            if again.key.public_id != key.public_id:
                raise MismatchError(
                    f"the weights have public id {again.key.public_id.hex()}, and not that of {path}"
                )
        else:
            publishing.check_leaves(publishing.load_published(path, backend), file, backend, leaves)
    except MismatchError as e:
        complain(f"REJECTED: {e}")
        out.result({"verified": False, "reason": str(e), "public_id": key.public_id.hex()})
        raise typer.Exit(1) from e
    what = "all positions" if leaves is None else f"{leaves} random positions of each code"
    out.say(f"{path} holds the codes of these weights: {what} were computed again")
    out.say(f"public id {key.public_id.hex()}")
    seconds = time.perf_counter() - start
    out.result({"verified": True, "public_id": key.public_id.hex(), "leaves": leaves, "seconds": seconds})


def prove(
    public: PublicFile,
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Directories of runs.", show_default=False)
    ],
    output: Out,
    cells: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Open N cells of each run, drawn by hashing its receipt; else all."
        ),
    ] = None,
    security: Annotated[
        float, typer.Option(min=81, max=186, help="Bits of one attempt; 80 are lost to hash queries.")
    ] = 181.0,
    model: Annotated[Path | None, typer.Option(help="Model file, if it has moved since the run.")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The node's key pair, if it has moved since the run.")
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Prove runs to everybody: one file that verify-proof checks with the public key, without weights.

    With --cells a prover can try receipts until the drawn cells suit it; verify-proof says at what work.
    """
    check_output(output, force=force)
    expect(public, "public key")
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.encoding.files import writing
    from proofcompute.protocol.claim import Claim
    from proofcompute.prover import RunDirectory
    from proofcompute.prover.node import Node
    from proofcompute.public.holder import positions_for
    from proofcompute.public.proof import ALL
    from proofcompute.public.proving import Answered, coded_challenge
    from proofcompute.public.proving import prove as made
    from proofcompute.public.publishing import load_published

    out, start, backend = Output(json), time.perf_counter(), kernels(device)
    directories = [RunDirectory(run) for run in runs]
    for run, directory in zip(runs, directories, strict=True):
        if not run.is_dir():
            raise InputError(f"{run} is not the directory of a run")
        directory.receipt()  # raises if the run is not finished, before the model is read
    published = load_published(public, backend)
    loaded = load_model(directories[0].model_path() if model is None else model)
    count, total = cells or ALL, 0
    with ExitStack() as stack:
        answered = []
        for directory in directories:
            signer = directory.identity() if identity is None else NodeIdentity.load(identity)
            node = Node(loaded, signer, device=backend)
            request = directory.request()
            if directory.has_trace:
                trace, receipt = directory.stored(loaded, node.kernels)
                node.remember(receipt, trace)
            else:
                receipt = directory.receipt()
                trace = node.trace(request, receipt)
            asked = coded_challenge(Claim(receipt, trace.statement), count)
            rows = sum(c.b - c.a for c in asked.cells)
            opening = stack.enter_context(tempfile.TemporaryFile(dir=output.resolve().parent))
            with progress("open", rows) as advance:
                node.open(request, receipt.encode(), asked, opening, progress=advance)
            answered.append(Answered(request, receipt.encode(), opening, count))
            total += rows
        positions = positions_for(published.key.layout, security)
        with progress("prove", total) as advance, writing(output) as stream:
            made(published, loaded, answered, stream, positions=positions, kernels=backend, progress=advance)
    nbytes, seconds = output.stat().st_size, time.perf_counter() - start
    out.say(f"{output}: {len(runs)} runs, {total} cells, {size(nbytes)}, {seconds:.1f} s")
    out.result({"proof": str(output), "runs": len(runs), "cells": total, "bytes": nbytes, "seconds": seconds})


def verify_proof(
    public: PublicFile,
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="Output of prove.", show_default=False)],
    request: Annotated[
        list[Path],
        typer.Option(
            "--request", metavar="REQUEST", help="A request to check; others are skipped.", show_default=False
        ),
    ],
    public_id: Annotated[
        str | None, typer.Option("--id", metavar="HEX", help="The public id that you trust.")
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="HEX", help="Public key of the node that must have signed.")
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Accept a proof of N drawn cells of each run; else all."),
    ] = None,
    security: Annotated[
        float, typer.Option(min=81, max=186, help="Least bits of one attempt; 80 are lost to hash queries.")
    ] = 181.0,
    grinding: Grinding = GRINDING_BITS,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check a public proof with the model's public key: no weights, no secret, and no node are needed.

    Exit status 0: it holds; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    out, start = Output(json), time.perf_counter()
    expect(public, "public key")
    expect(proof, "public proof")
    from proofcompute.public.key import PublicKey
    from proofcompute.public.proof import ALL
    from proofcompute.public.proving import verify_proof as verified

    key = PublicKey.load(public)
    if public_id is not None and hex_bytes(public_id, "the public id") != key.public_id:
        raise MismatchError(f"{public} has public id {key.public_id.hex()}, which is not the one you trust")
    requests = [read_request(path) for path in request]
    signer = None if node is None else hex_bytes(node, "the node's public key")
    try:
        with proof.open("rb") as stream, progress("verify") as advance:
            found = verified(
                key,
                requests,
                stream,
                kernels=kernels(device),
                node=signer,
                cells=cells or ALL,
                security=security,
                progress=advance,
            )
    except VerificationError as e:
        complain(f"REJECTED: {e}")
        out.result({**rejection(e), "public_id": key.public_id.hex()})
        raise typer.Exit(1) from e
    _accept(out, key.public_id, requests, found, grinding, time.perf_counter() - start)


def _accept(
    out: Output,
    public_id: bytes,
    requests: list[Request],
    found: tuple[Verified, ...],
    grinding: float,
    seconds: float,
) -> None:
    from proofcompute.cli.verdicts import grinding_facts, grinding_fields
    from proofcompute.freivalds.soundness import shown

    out.say("verified: every cell that the proof has to open was checked and holds")
    said = []
    for asked, one in zip(requests, found, strict=True):
        facts: dict[str, object] = {
            "cells": f"{one.cells} of {one.total}{' (all)' if one.complete else ''}",
            "soundness": f"{shown(one.soundness_bits)} for all checked cells together",
        }
        facts |= grinding_facts(one, grinding)
        out.facts({**facts, "node": one.node.hex(), "opening": size(one.bytes_opened)})
        said.append(
            {
                "request": asked.digest.hex(),
                "cells": one.cells,
                "total_cells": one.total,
                "complete": one.complete,
                "stop_reason": one.stop_reason,
                "node": one.node.hex(),
                "soundness_bits": one.soundness_bits,
                **grinding_fields(one, grinding),
                "bytes_opened": one.bytes_opened,
            }
        )
    out.say(f"public id {public_id.hex()}, {seconds:.2f} s")
    out.result({"verified": True, "public_id": public_id.hex(), "requests": said, "seconds": seconds})
