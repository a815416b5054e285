"""The commands ``prove`` and ``verify-proof``: public proofs of runs, checked without weights."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain, rejection, size
from proofcompute.cli.files import check_output, load_model, read_request
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import (
    PROOF_BITS,
    Attestors,
    Device,
    Force,
    Grinding,
    Json,
    LeastBits,
    Out,
    ProofBits,
    PublicId,
    SignedBy,
    attestors_in,
    beacons_in,
    kernels,
    require_trusted,
    sampled,
    signer_in,
)
from proofcompute.cli.progress import progress
from proofcompute.cli.proof_workers import RayAddress, WorkerPlaces, proof_work, proved_by_workers
from proofcompute.errors import InputError, VerificationError
from proofcompute.freivalds.soundness import GRINDING_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proofcompute.beacons import Beacon
    from proofcompute.models.model import Model
    from proofcompute.protocol.messages import Request
    from proofcompute.protocol.samples import Sample
    from proofcompute.prover import RunDirectory
    from proofcompute.prover.node import Node
    from proofcompute.verifier import Verified

__all__ = ["prove", "verify_proof"]

PublicFile = Annotated[
    Path, typer.Argument(metavar="PUBLIC", help="Public key of the model.", show_default=False)
]
DrawnRuns = Annotated[
    str | None,
    typer.Option(
        "--runs",
        metavar="GxR",
        help="Of G layers (segments) one run each of at most R rows, such as 3x256; beside --cells.",
    ),
]


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
    drawn_runs: DrawnRuns = None,
    all_: Annotated[bool, typer.Option("--all", help="Open all cells, which is the default.")] = False,
    beacon: Annotated[
        list[Path] | None,
        typer.Option(
            "--beacon", metavar="FILE", help="Draw cells from this beacon; one for each run, in any order."
        ),
    ] = None,
    worker: WorkerPlaces = None,
    ray: RayAddress = None,
    security: ProofBits = PROOF_BITS,
    model: Annotated[Path | None, typer.Option(help="Model file, if it has moved since the run.")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The node's key pair, if it has moved since the run.")
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Prove runs to everybody: one file that verify-proof checks with the public key, without weights.

    With --worker, each run gets a file of its own, the same as without workers, in a folder; what the folder
    has already is not made again.

    With --cells or --runs a prover can try receipts until the drawn cells suit it; verify-proof says at what
    work. With --beacon it cannot, as far as those are believed who say that the receipt was there before.
    """
    if worker:
        if force or device != "auto":
            raise InputError(
                "--worker names devices, and replaces no file: give it without --device, --force"
            )
    elif ray is not None:
        raise InputError("--ray says where workers are: give --worker with it")
    else:
        check_output(output, force=force)
    expect(public, "public key")
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.encoding.files import writing
    from proofcompute.prover import RunDirectory
    from proofcompute.prover.node import Node
    from proofcompute.prover.own_run import OwnRun
    from proofcompute.public.holder import positions_for
    from proofcompute.public.proof import ALL
    from proofcompute.public.proving import OwnAnswer
    from proofcompute.public.proving import prove as made
    from proofcompute.public.publishing import load_published

    out, start = Output(json), time.perf_counter()
    directories = [RunDirectory(run) for run in runs]
    for run, directory in zip(runs, directories, strict=True):
        if not run.is_dir():
            raise InputError(f"{run} is not the directory of a run")
        directory.receipt()  # raises if the run is not finished, before the model is read
    count = _drawn(drawn_runs, cells, every=all_)
    beacons = beacons_in(beacon)
    if beacons and count == ALL:
        raise InputError("a beacon draws cells: give --cells or --runs with it")
    model_path = directories[0].model_path() if model is None else model
    loaded = load_model(model_path)
    drawn = [_from(directory, beacons, wanted=bool(beacon)) for directory in directories]
    total = sum(map(partial(_count, loaded, count), directories, drawn))
    if worker:
        from proofcompute.scaling import Proving

        work = {run: proof_work(run, count, one, security) for run, one in zip(runs, drawn, strict=True)}
        proving = Proving(
            str(model_path.absolute()),
            "" if identity is None else str(identity.absolute()),
            str(public.absolute()),
        )
        with progress("prove", len(runs)) as advance:
            files = proved_by_workers(worker, ray, proving, work, output, advance)
        _say_each(out, files, total, time.perf_counter() - start)
        return
    backend = kernels(device)
    published = load_published(public, backend)

    def node_of(directory: RunDirectory) -> Node:
        signer = directory.identity() if identity is None else NodeIdentity.load(identity)
        return Node(loaded, signer, device=backend)

    answered = [
        OwnAnswer(
            directory.request(),
            directory.receipt().encode(),
            OwnRun(partial(node_of, directory), directory),
            count,
            one,
        )
        for directory, one in zip(directories, drawn, strict=True)
    ]
    positions = positions_for(published.key.layout, security)
    with progress("prove", total) as advance, writing(output) as stream:
        made(published, loaded, answered, stream, positions=positions, kernels=backend, progress=advance)
    nbytes, seconds = output.stat().st_size, time.perf_counter() - start
    out.say(f"{output}: {len(runs)} runs, {total} cells, {size(nbytes)}, {seconds:.1f} s")
    out.result({"proof": str(output), "runs": len(runs), "cells": total, "bytes": nbytes, "seconds": seconds})


def _from(directory: RunDirectory, beacons: dict[bytes, Beacon], *, wanted: bool) -> Beacon | None:
    """Take the beacon about a run's receipt. Raises InputError if one is wanted, and none is about it."""
    found = beacons.pop(directory.receipt().digest, None)
    if wanted and found is None:
        raise InputError(f"none of the beacons is about the receipt of {directory.path}")
    return found


def _count(model: Model, count: int | Sample, directory: RunDirectory, beacon: Beacon | None) -> int:
    """Return how many cells a proof opens of a run."""
    from proofcompute.protocol.claim import Claim
    from proofcompute.prover.answering import claimed
    from proofcompute.public.proving import coded_challenge

    receipt = directory.receipt()
    claim = Claim(receipt, claimed(model, directory.request(), receipt))
    return sum(c.b - c.a for c in coded_challenge(claim, count, beacon).cells)


def _say_each(out: Output, files: Mapping[Path, tuple[Path, bool]], cells: int, seconds: float) -> None:
    proofs = []
    for run, (file, new) in files.items():
        nbytes = file.stat().st_size
        out.say(f"{run}: {file}, {size(nbytes)}{'' if new else ', which was there already'}")
        proofs.append({"run": str(run), "proof": str(file), "bytes": nbytes, "new": new})
    out.say(f"{len(files)} runs, {cells} cells, {seconds:.1f} s")
    out.result({"proofs": proofs, "runs": len(files), "cells": cells, "seconds": seconds})


def _drawn(runs: str | None, cells: int | None, *, every: bool) -> int | Sample:
    """Return what is opened of each run by the options --runs, --cells and --all."""
    from proofcompute.public.proof import ALL

    if every and (runs is not None or cells is not None):
        raise InputError("--all opens every cell; give it without --cells and --runs")
    return sampled(runs, cells, ALL)


def verify_proof(
    public: PublicFile,
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="Output of prove.", show_default=False)],
    request: Annotated[
        list[Path],
        typer.Option(
            "--request", metavar="REQUEST", help="A request to check; others are skipped.", show_default=False
        ),
    ],
    public_id: PublicId = None,
    node: SignedBy = None,
    cells: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Accept a proof of N drawn cells of each run; else all."),
    ] = None,
    drawn_runs: DrawnRuns = None,
    attestor: Attestors = None,
    security: LeastBits = PROOF_BITS,
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
    from proofcompute.public.proving import verify_proof as verified

    key = PublicKey.load(public)
    require_trusted(public_id, key.public_id, public)
    requests = [read_request(path) for path in request]
    signer, believed = signer_in(node), attestors_in(attestor)
    try:
        with proof.open("rb") as stream, progress("verify") as advance:
            found = verified(
                key,
                requests,
                stream,
                kernels=kernels(device),
                node=signer,
                cells=_drawn(drawn_runs, cells, every=False),
                attestors=believed,
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
        limited = one.attempts is not None
        budget = grinding if one.attempts is None else math.log2(one.attempts)
        facts |= grinding_facts(one, budget, beacon=limited)
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
                **grinding_fields(one, budget, beacon=limited),
                "bytes_opened": one.bytes_opened,
            }
        )
    out.say(f"public id {public_id.hex()}, {seconds:.2f} s")
    out.result({"verified": True, "public_id": public_id.hex(), "requests": said, "seconds": seconds})
