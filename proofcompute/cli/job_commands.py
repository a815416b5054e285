"""The commands ``job ...``: products of two matrices in .npy files, between a node and a client."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli import job_public_commands
from proofcompute.cli.console import Output, size
from proofcompute.cli.files import check_output, read_terms
from proofcompute.cli.job_files import (
    array,
    held_in,
    identity_in,
    own_terms,
    product_challenge_in,
    product_receipt_in,
    product_request_in,
)
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Json, Out, hex_bytes
from proofcompute.encoding.files import require_plain
from proofcompute.errors import InputError

__all__ = ["group"]

group = typer.Typer(
    help="Multiply matrices in .npy files for others, and check what others multiplied.",
    rich_markup_mode=None,
)

ROWS = 32
"""Rows that are drawn unless told otherwise."""

A = Annotated[Path, typer.Argument(metavar="A", help="Left factor, .npy.", show_default=False)]
B = Annotated[Path, typer.Argument(metavar="B", help="Right factor, .npy.", show_default=False)]
C = Annotated[Path, typer.Argument(metavar="C", help="The product that you received, .npy.")]
KeyOrB = Annotated[
    Path,
    typer.Argument(metavar="KEY", help="Your key for the right factor, or its .npy.", show_default=False),
]
RequestFile = Annotated[
    Path, typer.Argument(metavar="REQUEST", help="The client's request.", show_default=False)
]
ReceiptFile = Annotated[
    Path, typer.Argument(metavar="RECEIPT", help="The node's receipt.", show_default=False)
]
ChallengeFile = Annotated[
    Path, typer.Argument(metavar="CHALLENGE", help="The challenge.", show_default=False)
]
Identity = Annotated[Path, typer.Option(help="The node's key pair.", show_default=False)]
Node = Annotated[
    str | None,
    typer.Option("--node", metavar="PUBKEY", help="Public key (hex) of the node."),
]
TermsFile = Annotated[Path | None, typer.Option("--terms", metavar="TERMS", help="The node's signed terms.")]
Retention = Annotated[
    int | None, typer.Option(min=0, metavar="SECONDS", help="For how long challenges are answered.")
]
Roundings = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Floats: the most roundings of a product in its sum."),
]


def public_key(text: str | None) -> bytes | None:
    return None if text is None else hex_bytes(text, "the node's public key")


@group.command("keygen")
def keygen(
    b: B,
    output: Out,
    left: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Element type of left factors; that of B unless given.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option(metavar="K", help="Secret columns; each adds 31 or 61 bits of soundness.")
    ] = None,
    suite: Annotated[str, typer.Option(help="Hash suite: sha256, keccak256 or blake3.")] = "sha256",
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a key that checks products of integers with B. The file is secret: nodes must never see it."""
    from proofcompute.freivalds.soundness import shown
    from proofcompute.jobs import ProductKey

    check_output(output, force=force, plain=True)
    key = ProductKey(array(b), left=left, columns=columns, suite=suite, device=device)
    key.save(output)
    out, nbytes, bits = Output(json), output.stat().st_size, key.soundness_bits
    out.say(f"{output}: {size(nbytes)}, soundness {shown(bits)}. Keep it secret.")
    out.result({"key": str(output), "columns": key.columns, "soundness_bits": bits, "bytes": nbytes})


@group.command("request")
def request(
    a: A,
    held: KeyOrB,
    output: Out,
    node: Node = None,
    suite: Annotated[
        str | None, typer.Option(help="Hash suite: sha256 (default) or that of the key, keccak256, blake3.")
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a request for the product of A with B, with your key for B or B itself."""
    from proofcompute.encoding.files import write_atomic
    from proofcompute.jobs import ProductKey, product_request

    check_output(output, force=force)
    right, left, addressed = held_in(held, device), array(a), public_key(node) or b""
    if isinstance(right, ProductKey):
        if suite not in (None, right.suite):
            raise InputError(f"the key names B in {right.suite}; make another key for {suite}")
        made = right.request(left, node=addressed)
    else:
        made = product_request(left, right, node=addressed, suite=suite or "sha256", device=device)
    write_atomic(output, made.encode())
    out, (dtype, n, m) = Output(json), made.shape
    out.say(f"{output}: {dtype} {[*made.stacks.lead, n // made.stacks.members, m]}")
    fields = {"request": str(output), "digest": made.digest.hex(), "dtype": dtype, "rows": n, "width": m}
    out.result(fields)


@group.command("prove")
def prove(
    request: RequestFile,
    a: A,
    b: B,
    output: Out,
    identity: Identity,
    receipt: Annotated[Path, typer.Option(metavar="FILE", help="Receipt to write, for the client.")],
    result: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Product to write, .npy, for the client.")
    ] = None,
    product: Annotated[
        Path | None,
        typer.Option(metavar="C", help="The product, .npy, if it was computed elsewhere. It is checked."),
    ] = None,
    refer: Annotated[
        bool, typer.Option("--refer", help="Let the proof name the .npy files instead of holding a copy.")
    ] = False,
    terms: TermsFile = None,
    retention: Retention = None,
    roundings: Roundings = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Multiply, or take a product; commit to it, sign, and write the proof from which rows are opened.

    Exit status 2: also if the product that was given is none; nothing is signed then.
    """
    import numpy as np

    from proofcompute.encoding.files import write_atomic, writing
    from proofcompute.jobs import prove_product

    if (result is None) == (product is None):
        raise InputError("give --result for a product that is computed here, or --product for a given one")
    files = (output, receipt, *([result] if result is not None else []))
    if len({file.absolute() for file in files}) < len(files):
        raise InputError("proof, receipt and product are different files; give each a name of its own")
    for file in files:
        check_output(file, force=force, plain=file == output)
    start, out, asked = time.perf_counter(), Output(json), product_request_in(request)
    proof = prove_product(
        asked,
        array(a),
        array(b),
        identity_in(identity),
        c=None if product is None else array(product),
        roundings=roundings,
        retention=retention,
        terms=None if terms is None else own_terms(terms),
        device=device,
    )
    if result is not None:
        from proofcompute.arithmetic.devices import kernels_for

        with writing(result) as stream:
            np.lib.format.write_array(stream, kernels_for(device).host(proof.c), allow_pickle=False)
    proof.save(output, a=a if refer else None, c=(product or result) if refer else None)
    write_atomic(receipt, proof.receipt.encode())  # last, because from now on the node owes openings
    seconds, nbytes = time.perf_counter() - start, output.stat().st_size
    named = proof.receipt.c
    out.say(
        f"{output}: {size(nbytes)}, for {named.rows} rows of {named.width} {named.dtype}, {seconds:.1f} s"
    )
    fields = {"proof": str(output), "receipt": str(receipt), "node": proof.receipt.node.hex()}
    out.result({**fields, "rows": named.rows, "bytes": nbytes, "seconds": seconds})


@group.command("challenge")
def challenge(
    request: RequestFile,
    receipt: ReceiptFile,
    c: C,
    output: Out,
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Rows to draw.")] = ROWS,
    each: Annotated[bool, typer.Option("--each", help="Draw so many of each product of a stack.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Ask for every row.")] = False,
    node: Node = None,
    terms: TermsFile = None,
    retention: Retention = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Check a receipt and that it is for the product you received, and draw rows that the node must open.

    Exit status 1: the receipt is rejected.
    """
    from proofcompute.encoding.files import write_atomic
    from proofcompute.jobs import check_product_receipt
    from proofcompute.protocol.promises import check_terms

    check_output(output, force=force)
    asked, signer = product_request_in(request), public_key(node)
    claim = check_product_receipt(
        asked,
        product_receipt_in(receipt, asked),
        array(c),
        node=signer,
        terms=None if terms is None else check_terms(read_terms(terms), signer),
        retention=retention or 0,
        device=device,
    )
    made = claim.all_rows() if all_ else claim.draw(rows, each=each)
    write_atomic(output, made.encode())
    out, total = Output(json), claim.receipt.c.rows
    out.say(f"{output}: {made.rows} of {total} rows, to be opened by node {claim.receipt.node.hex()}")
    fields: dict[str, object] = {"challenge": str(output), "rows": made.rows, "total_rows": total}
    out.result({**fields, "node": claim.receipt.node.hex(), "receipt_digest": claim.receipt.digest.hex()})


@group.command("open")
def open_(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="The stored proof.", show_default=False)],
    challenge: ChallengeFile,
    output: Out,
    identity: Identity,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Open the rows that a challenge asks for, from a stored proof."""
    from proofcompute.encoding.files import writing
    from proofcompute.jobs import ProductProof

    check_output(output, force=force)
    asked = product_challenge_in(challenge)
    expect(proof, "product proof")
    kept = ProductProof.load(proof, identity_in(identity), device=device)
    with writing(output) as stream:
        kept.open_rows(asked, stream)
    out, nbytes = Output(json), output.stat().st_size
    out.say(f"{output}: {asked.rows} rows, {size(nbytes)}")
    out.result({"opening": str(output), "rows": asked.rows, "bytes": nbytes})


@group.command("verify")
def verify(
    held: KeyOrB,
    request: RequestFile,
    receipt: ReceiptFile,
    challenge: ChallengeFile,
    opening: Annotated[
        Path, typer.Argument(metavar="OPENING", help="The node's opening.", show_default=False)
    ],
    c: Annotated[
        Path | None, typer.Argument(metavar="C", help="The product that you received, .npy.")
    ] = None,
    not_received: Annotated[
        bool,
        typer.Option(
            "--not-received", help="You never had C: check what the node committed to, not what it sent."
        ),
    ] = False,
    node: Node = None,
    columns: Annotated[
        int | None, typer.Option(metavar="K", help="Random columns, if B is given instead of a key.")
    ] = None,
    roundings: Roundings = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check opened rows of a product with your key for B, or with B.

    Exit status 0: they hold; 1: rejected; 2: your own files cannot be used or do not fit together.
    """
    from proofcompute.freivalds.soundness import shown
    from proofcompute.jobs import NOT_RECEIVED, verify_rows

    if (c is None) != not_received:
        raise InputError("give the product that you received, or say --not-received")
    start, out, asked = time.perf_counter(), Output(json), product_request_in(request)
    require_plain(opening, "opening")
    data, cells, used = (
        product_receipt_in(receipt, asked),
        product_challenge_in(challenge),
        held_in(held, device),
    )
    received = NOT_RECEIVED if c is None else array(c)
    try:
        with opening.open("rb") as stream:
            found = verify_rows(
                used,
                asked,
                data,
                cells,
                stream,
                c=received,
                node=public_key(node),
                columns=columns,
                roundings=roundings,
                device=device,
            )
    except OSError as e:
        raise InputError(f"cannot read {opening}: {e.strerror or e}") from e
    seconds = time.perf_counter() - start
    out.say("verified: every row asked for was checked and holds")
    facts: dict[str, object] = {
        "rows": f"{found.rows} of {found.total}{' (all)' if found.complete else ''}",
        "one wrong row": f"found with probability {found.rows / found.total:.4g}",
        "soundness": f"{shown(found.soundness_bits)} for each checked row",
        "product": "the one that you received"
        if found.received
        else "the one committed to; you received none",
    }
    smallest = None if found.bound is None else found.bound.smallest
    if smallest is not None:
        facts["error caught"] = f"more than {smallest:.3g} in an element"
    out.facts({**facts, "opening": f"checked in {seconds:.2f} s"})
    fields: dict[str, object] = {"verified": True, "rows": found.rows, "total_rows": found.total}
    fields |= {"complete": found.complete, "received": found.received, "arithmetic": found.arithmetic}
    fields |= {"columns": found.columns, "soundness_bits": found.soundness_bits, "error_caught": smallest}
    out.result({**fields, "seconds": seconds})


group.command("publish")(job_public_commands.publish)
group.command("prove-public")(job_public_commands.prove)
group.command("verify-public")(job_public_commands.verify)
