"""Options that several commands have, and the conversion of what was typed."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.errors import InputError, MismatchError

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.beacons import Beacon
    from proofcompute.protocol.samples import Sample
    from proofcompute.verifier.auditor import Cells
    from proofcompute.verifier.policy import AuditPolicy

__all__ = [
    "PROOF_BITS",
    "Attestors",
    "Device",
    "Force",
    "Grinding",
    "Json",
    "LeastBits",
    "Out",
    "PolicyFile",
    "ProofBits",
    "PublicId",
    "Runs",
    "SignedBy",
    "attestors_in",
    "beacons_in",
    "command_line",
    "hex_bytes",
    "kernels",
    "require_trusted",
    "sampled",
    "signer_in",
    "typed",
    "what_is_checked",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="File to write.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or numpy (slow).")]

Grinding = Annotated[
    float,
    typer.Option(
        min=0,
        max=80,
        metavar="BITS",
        help="Say what is found after a prover tried 2^BITS receipts; 2^50 is about a day of a GPU.",
    ),
]


Runs = Annotated[
    str | None,
    typer.Option(
        metavar="GxR",
        help="Runs to draw: of G layers (segments) one run each of at most R rows, such as 3x256.",
    ),
]


PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy", metavar="POLICY", help="Draw what is checked by this policy (made by policy or plan)."
    ),
]


PublicId = Annotated[str | None, typer.Option("--id", metavar="HEX", help="The public id that you trust.")]
SignedBy = Annotated[
    str | None, typer.Option("--node", metavar="HEX", help="Public key of the node that must have signed.")
]
ProofBits = Annotated[
    float,
    typer.Option("--security", min=81, max=186, help="Bits of one attempt; 80 are lost to hash queries."),
]
LeastBits = Annotated[
    float,
    typer.Option(
        "--security", min=81, max=186, help="Least bits of one attempt; 80 are lost to hash queries."
    ),
]
PROOF_BITS = 181.0
"""The bits of a public proof unless others are asked for."""
Attestors = Annotated[
    list[str] | None,
    typer.Option(
        "--attestor",
        metavar="HEX",
        help="Key of somebody whom you believe about beacons; what is drawn then needs one.",
    ),
]


def require_trusted(public_id: str | None, found: bytes, path: Path) -> None:
    """Raise MismatchError unless what a file publishes has the public id that the user trusts, if any."""
    if public_id is not None and hex_bytes(public_id, "the public id") != found:
        raise MismatchError(f"{path} has public id {found.hex()}, which is not the one you trust")


def signer_in(node: str | None) -> bytes | None:
    """Return the public key of the node that must have signed, or None for any."""
    return None if node is None else hex_bytes(node, "the node's public key")


def attestors_in(attestors: list[str] | None) -> list[bytes]:
    """Return the public keys of those who are believed about beacons."""
    return [hex_bytes(one, "the attestor's public key") for one in attestors or []]


def beacons_in(paths: list[Path] | None) -> dict[bytes, Beacon]:
    """Read beacons, by the digests of the receipts that they are about."""
    from proofcompute.beacons import Beacon
    from proofcompute.cli.kinds import expect

    given = paths or []
    for path in given:
        expect(path, "beacon")
    found = {beacon.receipt_digest: beacon for beacon in map(Beacon.load, given)}
    if len(found) < len(given):
        raise InputError("two beacons are about one receipt")
    return found


def sampled(runs: str | None, cells: int | None, usual: int) -> int | Sample:
    """Return what is drawn: runs with scattered cells beside them if given, else cells alone."""
    if runs is None:
        return usual if cells is None else cells
    from proofcompute.protocol.samples import Sample

    return Sample.parse(runs, cells or 0)


def what_is_checked(
    policy: Path | None, runs: str | None, cells: int | None, usual: int, *, every: bool
) -> Cells | AuditPolicy:
    """Return what a command checks of an answer by its options --policy, --runs, --cells and --all."""
    if every and (runs is not None or cells is not None):
        raise InputError("--all checks every cell; give it without --cells and --runs")
    if policy is None:
        return "all" if every else sampled(runs, cells, usual)
    if every or runs is not None or cells is not None:
        raise InputError("--policy says what is checked; give it without --all, --cells and --runs")
    from proofcompute.verifier.policy import AuditPolicy

    return AuditPolicy.load(policy)


def command_line(context: typer.Context, *words: object, leave_out: Container[str] = ()) -> str:
    """Return the shell command that runs the command again: ``words``, then the options that were typed.

    ``leave_out`` names the parameters whose options only apply to the first run.
    """
    line = [*context.command_path.split(), *map(str, words)]
    for option in context.command.params:
        name, value = str(option.name), context.params.get(str(option.name))
        source = context.get_parameter_source(name)
        if option.param_type_name != "option" or name in leave_out or source is None:
            continue
        if source.name != "COMMANDLINE":
            continue
        if isinstance(value, bool):
            line.append(option.opts[-1])
        else:
            for each in value if isinstance(value, tuple | list) else (value,):
                line += [option.opts[0], str(each)]
    return shlex.join(line)


def typed(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Return the options that were typed among parameters of these names, as they are spelled."""
    options = {str(option.name): option.opts[-1] for option in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in names if name in options}
    return [options[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"]


def hex_bytes(text: str, what: str, length: int = 32) -> bytes:
    """Return the bytes that hexadecimal digits stand for; InputError unless they are ``length`` bytes."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise InputError(f"{what} is not hexadecimal") from None
    if len(data) != length:
        raise InputError(f"{what} has {len(data)} bytes where {length} are needed ({2 * length} digits)")
    return data


def kernels(device: str) -> Kernels:
    """Return the backend of a device; InputError or DeviceError if there is none."""
    from proofcompute.arithmetic.devices import kernels_for

    return kernels_for(device)
