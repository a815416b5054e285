"""The commands ``network model-signing ...``: sign published files, and check who signed them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import write
from proofcompute.cli.options import Force, Json, Out
from proofcompute.cli.progress import progress
from proofcompute.encoding.files import write_atomic

__all__ = ["group"]

group = typer.Typer(
    help="Sign public keys and models as OpenSSF's model signing does, and check who signed them.",
    rich_markup_mode=None,
)

Target = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A file, or a folder with all its files.", show_default=False),
]
Unsigned = Annotated[
    list[str] | None,
    typer.Option("--unsigned", metavar="NAME", help="A file or folder in PATH that need not be signed."),
]


@group.command("key")
def key(output: Out, force: Force = False, json: Json = False) -> None:
    """Make a signing key on the curve P-256, and write its public half to OUTPUT.pub."""
    from proofcompute.networks.model_signing.keys import SigningKey

    public = output.with_name(output.name + ".pub")
    check_output(output, force=force, plain=True)
    check_output(public, force=force, plain=True)
    made = SigningKey.new()
    write_atomic(output, made.pem, 0o600)
    write_atomic(public, made.public.pem)
    out = Output(json)
    out.say(f"{output}: secret; {public}: for whoever is to check what it signs\nkey {made.public.hint}")
    out.result({"key": str(output), "public_key": str(public), "hint": made.public.hint})


@group.command("sign")
def sign(
    path: Target,
    output: Out,
    signing_key: Annotated[
        Path,
        typer.Option("--signing-key", metavar="FILE", help="Your private key, in PEM.", show_default=False),
    ],
    unsigned: Unsigned = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign a file, such as a public key, or all files of a folder.

    The key is on P-256, P-384 or P-521, of `network model-signing key` or another tool, unencrypted.
    """
    from proofcompute.networks.model_signing.files import sign as made
    from proofcompute.networks.model_signing.keys import SigningKey

    check_output(output, force=force)
    loaded = SigningKey.load(signing_key)
    with progress("hashing") as bar:
        document = made(path, loaded, output, unsigned=unsigned or (), advance=bar)
    write(Output(json), output, document, {"hint": loaded.public.hint})


@group.command("verify")
def verify(
    path: Target,
    signature: Annotated[
        Path, typer.Argument(metavar="SIGNATURE", help="The signature of PATH.", show_default=False)
    ],
    public_key: Annotated[
        Path,
        typer.Option(
            "--public-key", metavar="FILE", help="The key that you trust, in PEM.", show_default=False
        ),
    ],
    unsigned: Unsigned = None,
    json: Json = False,
) -> None:
    """Check that a file, or every file of a folder, is as a key signed it, whatever tool was used.

    Exit status 1: the signature does not hold, a file was changed, added or removed, or there are links.
    """
    from proofcompute.networks.model_signing.files import verify as checked
    from proofcompute.networks.model_signing.keys import VerifyingKey

    key = VerifyingKey.load(public_key)
    with progress("hashing") as bar:
        found = checked(path, signature, key, unsigned=unsigned or (), advance=bar)
    out = Output(json)
    out.say(f"{path}: as it was signed under the name {found.name[:80]!r}; files: {len(found.files)}")
    if found.unsigned:
        out.say(f"not signed: {', '.join(found.unsigned)}")
    out.result(
        {
            "holds": True,
            "name": found.name,
            "files": {name: digest.hex() for name, digest in found.files.items()},
            "unsigned": list(found.unsigned),
            "hint": key.hint,
        }
    )
