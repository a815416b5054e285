"""The commands ``network filecoin ...``: address, pack, check and unpack files for IPFS and Filecoin."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from proofcompute.cli.console import Output, size
from proofcompute.cli.files import check_output
from proofcompute.cli.options import Device, Force, Json, Out, kernels
from proofcompute.cli.progress import progress
from proofcompute.encoding.files import require_plain, writing
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.networks.filecoin.car import Packed

__all__ = ["group"]

_LARGE: Final = 128 << 20
"""Bytes of a file about which lines say how far its reading is, where there is no terminal."""

group = typer.Typer(
    help="Address and pack files for IPFS and Filecoin: CID, CAR and piece commitment.", rich_markup_mode=None
)

Car = Annotated[Path, typer.Argument(metavar="CAR", help="A CAR file.", show_default=False)]
Named = Annotated[str | None, typer.Option("--cid", metavar="CID", help="The CID that it must be of.")]


@group.command("pack")
def pack(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Any file: evidence, receipt, key or model.", show_default=False),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CAR to write; without it, addresses only.")
    ] = None,
    force: Force = False,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Read a file once; print its CID and piece commitments, and write its CAR.

    The CID is that of the UnixFS profile unixfs-v1-2025: leaves of 1 MiB, raw, under nodes of 1,024 links.
    """
    from proofcompute.networks.filecoin.car import pack as pack_file

    require_plain(file, "file")
    if output is not None:
        check_output(output, force=force, plain=True)
    start, rows = time.perf_counter(), kernels(device).hash_rows
    try:
        source = file.open("rb")
    except OSError as e:
        raise InputError(f"cannot read {file}: {e.strerror or e}") from e
    nbytes = os.fstat(source.fileno()).st_size
    with source, progress("reading", nbytes, lines=nbytes >= _LARGE) as bar:
        if output is None:
            found = pack_file(source, None, hash_rows=rows, progress=bar)
        else:
            with writing(output) as stream:
                found = pack_file(source, stream, hash_rows=rows, progress=bar)
    _show(Output(json), found, output, time.perf_counter() - start)


def _show(out: Output, found: Packed, car: Path | None, seconds: float) -> None:
    fields: dict[str, object] = {
        "cid": str(found.cid),
        "bytes": found.size,
        "piece_cid": str(found.piece.cid),
        "piece_cid_v1": str(found.piece.legacy_cid),
        "commp": found.piece.root.hex(),
        "padded_bytes": found.piece.padded_size,
        "car_bytes": found.car_size,
        "car_piece_cid": str(found.car_piece.cid),
        "car_piece_cid_v1": str(found.car_piece.legacy_cid),
        "car_padded_bytes": found.car_piece.padded_size,
    }
    out.facts(
        {
            "CID": found.cid,
            "piece": f"{found.piece.cid} ({size(found.piece.padded_size)} in a sector)",
            "piece, CID v1": found.piece.legacy_cid,
            "CAR": f"{size(found.car_size)}, {found.blocks} blocks",
            "piece of the CAR": f"{found.car_piece.cid} ({size(found.car_piece.padded_size)} in a sector)",
            "piece of the CAR, CID v1": found.car_piece.legacy_cid,
        }
    )
    if car is not None:
        out.say(f"{car}: {size(found.car_size)}, {seconds:.1f} s")
    out.result({**fields, "car": None if car is None else str(car), "interface": "theirs"})


@group.command("check")
def check(car: Car, cid: Named = None, json: Json = False) -> None:
    """Check every block of a CAR, of whoever made it, against its CID. Exit status 1: it is damaged."""
    from proofcompute.networks.filecoin.car import check_car
    from proofcompute.networks.filecoin.cids import Cid

    require_plain(car, "CAR")
    expected = None if cid is None else Cid.parse(cid)
    with car.open("rb") as stream:
        root = check_car(stream, expected)
    out = Output(json)
    out.say(f"{car}: every block fits, and the root is {root}")
    out.result({"car": str(car), "cid": str(root)})


@group.command("unpack")
def unpack(
    car: Car,
    output: Out,
    cid: Named = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the file that a CAR holds, after its blocks were checked. Exit status 1: the CAR is damaged."""
    from proofcompute.networks.filecoin.car import unpack as unpack_file
    from proofcompute.networks.filecoin.cids import Cid

    require_plain(car, "CAR")
    check_output(output, force=force)
    expected = None if cid is None else Cid.parse(cid)
    with car.open("rb") as source, writing(output) as stream:
        nbytes = unpack_file(source, stream, expected)
    out = Output(json)
    out.say(f"{output}: {size(nbytes)}")
    out.result({"file": str(output), "bytes": nbytes})
