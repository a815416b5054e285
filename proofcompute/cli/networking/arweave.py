"""The commands ``network arweave ...``: files in signed data items, and bundles of them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.bundles import EvidenceFile
from proofcompute.cli.console import Output, size
from proofcompute.cli.files import check_output
from proofcompute.cli.kinds import expect
from proofcompute.cli.networking.common import Card, Key, Model, judge, work_of
from proofcompute.cli.options import Device, Force, Json, Out, hex_bytes
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import InputError

__all__ = ["group"]

group = typer.Typer(
    help="Sign files as data items for Arweave (ANS-104), bundle them, and check those of others.",
    rich_markup_mode=None,
)

SECRET = frozenset({"identity", "interrupted key", "key", "product key", "verdict key"})
"""Kinds of files that only their owner may read."""

ItemFile = Annotated[Path, typer.Argument(metavar="ITEM", help="A data item.", show_default=False)]
Owner = Annotated[
    str | None, typer.Option("--owner", metavar="PUBKEY", help="Public key (hex) whose it must be.")
]


def _name(ident: bytes) -> str:
    """Return an id as Arweave writes it: base64 for addresses, without padding."""
    return base64.urlsafe_b64encode(ident).decode().rstrip("=")


def _read(path: Path) -> bytes:
    from proofcompute.networks.arweave.items import MAX_BUNDLE

    return read_limited(path, MAX_BUNDLE, "file")


@group.command("item")
def item(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Evidence, receipt, key or any file.", show_default=False),
    ],
    output: Out,
    identity: Annotated[
        Path, typer.Option("--identity", metavar="FILE", help="Your key pair.", show_default=False)
    ],
    tag: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A further tag. Repeatable.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Sign a file as a data item, with tags that say what it is and, for evidence, what it says."""
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.networks.arweave.files import tags_of
    from proofcompute.networks.arweave.items import MAX_DATA, sign

    check_output(output, force=force)
    expect(identity, "identity")
    pairs = [each.partition("=") for each in tag or ()]
    if not all(name and value for name, _, value in pairs):
        raise InputError("a tag is NAME=VALUE")
    kind = kind_of(file) or "file"
    if kind in SECRET:
        raise InputError(f"{file} is secret: what is on Arweave, everybody reads for ever")
    data = read_limited(file, MAX_DATA, "file")
    own = tags_of(kind, work_of(file) if kind == "evidence" else None)
    made = sign(data, (*own, *((name, value) for name, _, value in pairs)), NodeIdentity.load(identity))
    write_atomic(output, made.encode())
    out = Output(json)
    out.say(f"{output}: data item {_name(made.id)}, {size(len(data))}, a {kind}")
    out.result({"file": str(output), "id": _name(made.id), "kind": kind, "interface": "theirs"})


@group.command("bundle")
def bundle(
    items: Annotated[list[Path], typer.Argument(metavar="ITEM...", help="Data items.", show_default=False)],
    output: Out,
    force: Force = False,
    json: Json = False,
) -> None:
    """Put data items, whose signatures are checked, into the body of a bundle."""
    from proofcompute.networks.arweave.items import Item
    from proofcompute.networks.arweave.items import bundle as made

    check_output(output, force=force)
    read = [Item.decode(_read(path)) for path in items]
    for each in read:
        each.check()
    body = made(read)
    write_atomic(output, body)
    out, tags = Output(json), {"Bundle-Format": "binary", "Bundle-Version": "2.0.0"}
    out.say(f"{output}: {len(read)} items, {size(len(body))}")
    out.say("the transaction that carries it has the tags Bundle-Format: binary and Bundle-Version: 2.0.0")
    out.result({"file": str(output), "items": len(read), "tags": tags, "interface": "theirs"})


@group.command("check")
def check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A data item, or a bundle.", show_default=False)
    ],
    bundled: Annotated[bool, typer.Option("--bundle", help="It is a bundle.")] = False,
    owner: Owner = None,
    json: Json = False,
) -> None:
    """Check signatures of a data item, or of all items of a bundle, of whoever made them.

    Exit status 1: something does not hold.
    """
    from proofcompute.networks.arweave.items import Item, unbundle

    data = _read(file)
    found = unbundle(data) if bundled else [Item.decode(data)]
    whose = None if owner is None else hex_bytes(owner, "the owner's public key")
    for each in found:
        each.check(whose)
    out = Output(json)
    for each in found:
        out.say(f"{_name(each.id)}: {size(len(each.data))}")
        for name, value in each.tags:
            out.say(f"  {name}: {value!r}")
    out.result(
        {
            "items": [
                {"id": _name(e.id), "owner": e.owner.hex(), "bytes": len(e.data), "tags": list(e.tags)}
                for e in found
            ]
        }
    )


@group.command("unpack")
def unpack(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A data item, or a bundle.", show_default=False)
    ],
    output: Out,
    bundled: Annotated[bool, typer.Option("--bundle", help="It is a bundle; write a folder.")] = False,
    owner: Owner = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the data of an item, or the items of a bundle by their ids, after signatures were checked."""
    from proofcompute.networks.arweave.items import Item, unbundle

    data = _read(file)
    whose = None if owner is None else hex_bytes(owner, "the owner's public key")
    found = unbundle(data) if bundled else [Item.decode(data)]
    for each in found:
        each.check(whose)
    places = (
        {output / _name(each.id): each.encode() for each in found} if bundled else {output: found[0].data}
    )
    if bundled:
        output.mkdir(parents=True, exist_ok=True)
    for place in places:
        check_output(place, force=force)
    for place, content in places.items():
        write_atomic(place, content)
    out = Output(json)
    out.say(f"{output}: {len(places)} {'items' if bundled else 'file'}")
    out.result({"files": [str(place) for place in places]})


@group.command("verify")
def verify(
    file: ItemFile,
    evidence: EvidenceFile,
    owner: Owner = None,
    key: Key = None,
    model: Model = None,
    card: Card = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check that a data item holds a bundle of evidence, and that its tags say so; then judge the bundle.

    Exit status 1: it does not, or what the bundle says is not so; 3: open.
    """
    from proofcompute.networks.arweave.files import check_evidence
    from proofcompute.networks.arweave.items import Item

    work = work_of(evidence)
    found = Item.decode(_read(file))
    check_evidence(found, work, None if owner is None else hex_bytes(owner, "the owner's public key"))
    fields = {"id": _name(found.id), "owner": found.owner.hex(), "outcome": work.outcome.kind}
    judge(Output(json), evidence, key, model, card, device, fields)
