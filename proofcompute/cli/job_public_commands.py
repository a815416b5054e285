"""The commands ``job publish``, ``job prove-public`` and ``job verify-public``: products without B."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, complain, rejection, size
from proofcompute.cli.files import check_output
from proofcompute.cli.job_files import array, identity_in, product_request_in
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import (
    PROOF_BITS,
    Attestors,
    Device,
    Force,
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
    signer_in,
)
from proofcompute.errors import InputError, MismatchError, VerificationError

if TYPE_CHECKING:
    from proofcompute.jobs import ProductVerified

__all__ = ["prove", "publish", "verify"]

B = Annotated[Path, typer.Argument(metavar="B", help="Right factor, .npy, int8.", show_default=False)]
Public = Annotated[Path, typer.Argument(metavar="PUBLIC", help="Public factor of B.", show_default=False)]


def publish(
    b: B,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write the public factor to.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="PUBLIC", help="Check this public factor, which somebody else made, instead."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Hash suite of requests: sha256 (default), keccak256 or blake3.")
    ] = None,
    rho: Annotated[
        int | None,
        typer.Option(min=1, max=8, help="Rate: code words agree in at most 2^-RHO positions; 4 by default."),
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Publish B: code it, so that anybody can check products with B without B.

    Exit status 1: with --check, the public factor is not that of B.
    """
    from proofcompute.public.factor import PublicFactor, publish_factor
    from proofcompute.public.publishing import RHO

    out, start = Output(json), time.perf_counter()
    if (output is None) == (check is None) or (check is not None and (suite or rho)):
        raise InputError("give either -o or --check; suite and rate are those of the public factor to check")
    right = array(b)
    if check is not None:
        expect(check, "public factor")
        wanted = PublicFactor.load(check)
        made = publish_factor(right, kernels(device), suite=wanted.suite, rho=wanted.rho).key
        if made.public_id != wanted.public_id:
            complain(f"REJECTED: B has public id {made.public_id.hex()}, and not that of {check}")
            out.result({"verified": False, "public_id": wanted.public_id.hex()})
            raise typer.Exit(1)
        out.say(f"{check} is of this B")
        out.result({"verified": True, "public_id": wanted.public_id.hex()})
        return
    assert output is not None  # noqa: S101
    check_output(output, force=force)
    made = publish_factor(right, kernels(device), suite=suite or "sha256", rho=rho or RHO).key
    made.save(output)
    seconds = time.perf_counter() - start
    out.say(f"{output}: {size(output.stat().st_size)}, {seconds:.1f} s")
    out.say(f"public id {made.public_id.hex()}")
    out.result({"public_factor": str(output), "public_id": made.public_id.hex(), "seconds": seconds})


def prove(
    public: Public,
    b: B,
    proofs: Annotated[
        list[Path], typer.Argument(metavar="PROOF...", help="Stored proofs of job prove.", show_default=False)
    ],
    output: Out,
    identity: Annotated[Path, typer.Option(help="The node's key pair.", show_default=False)],
    rows: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Open N rows of each product, drawn by its receipt's hash; else all."
        ),
    ] = None,
    beacon: Annotated[
        list[Path] | None,
        typer.Option(
            "--beacon", metavar="FILE", help="Draw rows from this beacon; one for each product, in any order."
        ),
    ] = None,
    security: ProofBits = PROOF_BITS,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Prove products with B to everybody: one file that job verify-public checks without B.

    With --rows a prover can try receipts until the drawn rows suit it; with --beacon it cannot, as far as
    those are believed who say that the receipt was there before.
    """
    from proofcompute.encoding.files import writing
    from proofcompute.jobs import NOT_RECEIVED, ProductProof, check_product_receipt
    from proofcompute.public.factor import PublicFactor, publish_factor
    from proofcompute.public.holder import positions_for
    from proofcompute.public.products import ProductAnswered, product_rows, prove_products
    from proofcompute.public.proof import ALL

    check_output(output, force=force)
    expect(public, "public factor")
    out, start, backend = Output(json), time.perf_counter(), kernels(device)
    key, signer, count, total = PublicFactor.load(public), identity_in(identity), rows or ALL, 0
    beacons = beacons_in(beacon)
    if beacons and count == ALL:
        raise InputError("a beacon draws rows: give --rows with it")
    published = publish_factor(array(b), backend, suite=key.suite, rho=key.rho)
    if published.key.public_id != key.public_id:
        raise MismatchError(f"{public} is of another B than {b}")
    with ExitStack() as stack:
        answered = []
        for path in proofs:
            expect(path, "product proof")
            kept = ProductProof.load(path, signer, device=device)
            receipt = kept.receipt.encode()
            claim = check_product_receipt(kept.request, receipt, NOT_RECEIVED, device=device)
            drawn_from = beacons.pop(claim.receipt.digest, None)
            if beacon and drawn_from is None:
                raise InputError(f"none of the beacons is about the receipt of {path}")
            asked = product_rows(claim, count, drawn_from)
            opening = stack.enter_context(tempfile.TemporaryFile(dir=output.resolve().parent))
            kept.open_rows(asked, opening)
            answered.append(ProductAnswered(kept.request, receipt, opening, count, drawn_from))
            total += asked.rows
        positions = positions_for(key.layout, security)
        with writing(output) as stream:
            prove_products(published, answered, stream, positions=positions, kernels=backend, device=device)
    nbytes, seconds = output.stat().st_size, time.perf_counter() - start
    out.say(f"{output}: {len(proofs)} products, {total} rows, {size(nbytes)}, {seconds:.1f} s")
    fields = {"proof": str(output), "products": len(proofs), "rows": total, "bytes": nbytes}
    out.result({**fields, "seconds": seconds})


def verify(
    public: Public,
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="Output of job prove-public.")],
    request: Annotated[
        list[Path],
        typer.Option("--request", metavar="REQUEST", help="A request to check; others are skipped."),
    ],
    product: Annotated[
        list[Path] | None,
        typer.Option("--product", metavar="C", help="For each request, the product that you received, .npy."),
    ] = None,
    not_received: Annotated[
        bool,
        typer.Option(
            "--not-received", help="You never had C: check what the node committed to, not what it sent."
        ),
    ] = False,
    public_id: PublicId = None,
    node: SignedBy = None,
    rows: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Accept a proof of N drawn rows of each product; else all."),
    ] = None,
    attestor: Attestors = None,
    security: LeastBits = PROOF_BITS,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check a public proof of products with the public factor: neither B, nor a secret, nor a node is needed.

    Exit status 0: it holds; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.jobs import NOT_RECEIVED
    from proofcompute.public.factor import PublicFactor
    from proofcompute.public.products import verify_products
    from proofcompute.public.proof import ALL

    if (not product) != not_received or (product and len(product) != len(request)):
        raise InputError("give for each request the product that you received, or say --not-received")
    out, start = Output(json), time.perf_counter()
    expect(public, "public factor")
    expect(proof, "public proof")
    key = PublicFactor.load(public)
    require_trusted(public_id, key.public_id, public)
    signer, believed = signer_in(node), attestors_in(attestor)
    asked = [product_request_in(path) for path in request]
    received = [array(path) for path in product] if product else [NOT_RECEIVED for _ in request]
    try:
        with proof.open("rb") as stream:
            found = verify_products(
                key,
                asked,
                stream,
                received=received,
                kernels=kernels(device),
                node=signer,
                rows=rows or ALL,
                attestors=believed,
                security=security,
                device=device,
            )
    except VerificationError as e:
        complain(f"REJECTED: {e}")
        out.result({**rejection(e), "public_id": key.public_id.hex()})
        raise typer.Exit(1) from e
    _accept(out, key.public_id, found, time.perf_counter() - start)


def _accept(out: Output, public_id: bytes, found: tuple[ProductVerified, ...], seconds: float) -> None:
    from proofcompute.freivalds.soundness import shown

    out.say("verified: every row that the proof has to open was checked and holds")
    said: list[dict[str, object]] = []
    for one in found:
        out.facts(
            {
                "rows": f"{one.rows} of {one.total}{' (all)' if one.complete else ''}",
                "soundness": f"{shown(one.soundness_bits)} for all checked rows together",
                "product": "the one that you received"
                if one.received
                else "the one committed to; you received none",
                **({} if one.attempts is None else {"receipts that a node could try": one.attempts}),
            }
        )
        fields: dict[str, object] = {"rows": one.rows, "total_rows": one.total, "complete": one.complete}
        fields |= {"received": one.received, "soundness_bits": one.soundness_bits, "attempts": one.attempts}
        said.append(fields)
    out.say(f"public id {public_id.hex()}, {seconds:.2f} s")
    out.result({"verified": True, "public_id": public_id.hex(), "products": said, "seconds": seconds})
