"""The command ``publish``, which codes a model for public proofs without weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output, complain, size
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Json, command_line, kernels
from proofcompute.cli.progress import progress
from proofcompute.errors import InputError, MismatchError

if TYPE_CHECKING:
    from proofcompute.public.publishing import Published

__all__ = ["publish"]


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
