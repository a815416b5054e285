"""The commands ``network clouds ...``: receipts in attestations of clouds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Json, hex_bytes
from proofcompute.encoding.files import read_limited
from proofcompute.errors import EnvelopeError, InputError
from proofcompute.limits import MAX_RECEIPT

if TYPE_CHECKING:
    from proofcompute.networks.clouds.binding import Attested

__all__ = ["group"]

group = typer.Typer(help="Check that receipts are bound into attestations of clouds.", rich_markup_mode=None)

ReceiptFile = Annotated[Path, typer.Argument(metavar="RECEIPT", help="The receipt.", show_default=False)]
Keys = Annotated[
    Path,
    typer.Option("--keys", metavar="JWKS", help="The keys that the cloud publishes.", show_default=False),
]
At = Annotated[
    int | None, typer.Option("--at", metavar="TIME", help="Seconds since 1970; now, unless you say it.")
]


def _receipt(path: Path) -> bytes:
    expect(path, "receipt")
    return read_limited(path, MAX_RECEIPT, "receipt")


def _now(at: int | None) -> int:
    return int(time.time()) if at is None else at


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("ascii").strip()
    except UnicodeDecodeError:
        raise EnvelopeError(f"the {what} is no text") from None


def _show(json: bool, found: Attested) -> None:
    out = Output(json)
    out.say(f"the receipt is bound into it: {found.kind}{f', {found.status}' if found.status else ''}")
    out.facts({**found.measurements, **dict.fromkeys(found.advisories, "advisory")})
    out.say("It says what ran where, and not that the answer is right: audit for that.")
    out.result({**vars(found), "bound": True, "interface": "theirs"})


@group.command("bind")
def bind(receipt: ReceiptFile, json: Json = False) -> None:
    """Print what is put into an attestation, and where, to bind a receipt."""
    from proofcompute.networks.clouds.binding import forms

    found, out = forms(_receipt(receipt)), Output(json)
    for where, value in found.items():
        out.say(f"{where}\n  {value}")
    out.result({"forms": found, "interface": "theirs"})


@group.command("nitro")
def nitro(
    document: Annotated[
        Path, typer.Argument(metavar="DOCUMENT", help="The attestation document.", show_default=False)
    ],
    receipt: ReceiptFile,
    root: Annotated[
        Path, typer.Option("--root", metavar="PEM", help="AWS's root certificate.", show_default=False)
    ],
    pcr: Annotated[
        list[str],
        typer.Option("--pcr", metavar="N=HEX", help="A register that is expected.", show_default=False),
    ],
    at: At = None,
    json: Json = False,
) -> None:
    """Check a receipt in a document of AWS Nitro Enclaves. Exit status 1: it is not bound there."""
    from proofcompute.networks.clouds.nitro import MAX_DOCUMENT, MAX_ROOT, check_nitro

    expected = {}
    for each in pcr:
        number, equals, value = each.partition("=")
        if not equals or not number.isascii() or not number.isdigit() or int(number[:4]) in expected:
            raise InputError(f"{each!r} is no register: give N=HEX, each once")
        expected[int(number[:4])] = hex_bytes(value, "a register", 48)
    data = read_limited(document, MAX_DOCUMENT, "document")
    trusted = read_limited(root, MAX_ROOT, "root")
    _show(json, check_nitro(data, _receipt(receipt), trusted, pcrs=expected, now=_now(at)))


@group.command("google")
def google(
    token: Annotated[Path, typer.Argument(metavar="TOKEN", help="The token.", show_default=False)],
    receipt: ReceiptFile,
    keys: Keys,
    audience: Annotated[str, typer.Option("--audience", help="For whom it must be.", show_default=False)],
    image: Annotated[
        str,
        typer.Option("--image", metavar="sha256:HEX", help="What must have run.", show_default=False),
    ],
    at: At = None,
    json: Json = False,
) -> None:
    """Check a receipt in a token of Google's Confidential Space. Exit status 1: it is not bound there."""
    from proofcompute.networks.clouds.tokens import MAX_KEYS, MAX_TOKEN, check_google

    text = _text(read_limited(token, MAX_TOKEN, "token"), "token")
    known = read_limited(keys, MAX_KEYS, "keys")
    _show(
        json,
        check_google(text, _receipt(receipt), known, audience=audience, image=image, now=_now(at)),
    )


@group.command("azure")
def azure(
    token: Annotated[Path, typer.Argument(metavar="TOKEN", help="The token.", show_default=False)],
    receipt: ReceiptFile,
    keys: Keys,
    issuer: Annotated[
        str, typer.Option("--issuer", metavar="URL", help="The instance that signed.", show_default=False)
    ],
    measurement: Annotated[
        str, typer.Option("--measurement", metavar="HEX", help="What must have run.", show_default=False)
    ],
    at: At = None,
    json: Json = False,
) -> None:
    """Check a receipt in a token of Microsoft Azure Attestation. Exit status 1: it is not bound there."""
    from proofcompute.networks.clouds.tokens import MAX_KEYS, MAX_TOKEN, check_azure

    text = _text(read_limited(token, MAX_TOKEN, "token"), "token")
    known = read_limited(keys, MAX_KEYS, "keys")
    _show(
        json,
        check_azure(text, _receipt(receipt), known, issuer=issuer, measurement=measurement, now=_now(at)),
    )


@group.command("quote")
def quote(
    file: Annotated[Path, typer.Argument(metavar="QUOTE", help="The quote.", show_default=False)],
    receipt: ReceiptFile,
    collateral: Annotated[
        Path,
        typer.Option("--collateral", metavar="JSON", help="What Intel says of it.", show_default=False),
    ],
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="STATUS", help="A state of the machine besides UpToDate."),
    ] = None,
    at: At = None,
    json: Json = False,
) -> None:
    """Check a receipt in a quote of SGX or TDX. Exit status 1: it is not bound there."""
    from proofcompute.networks.clouds.quotes import MAX_COLLATERAL, MAX_QUOTE, check_quote

    data = read_limited(file, MAX_QUOTE, "quote")
    known = _text(read_limited(collateral, MAX_COLLATERAL, "collateral"), "collateral")
    _show(json, check_quote(data, _receipt(receipt), known, _now(at), allow or ()))
