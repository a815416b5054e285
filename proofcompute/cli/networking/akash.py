"""The commands ``network akash ...``: evidence for auditors of Akash, and deployments of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from proofcompute.cli.bundles import EvidenceFile
from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import Card, Key, Model, judge, work_of, write
from proofcompute.cli.options import Device, Force, Json, Out
from proofcompute.encoding.files import read_limited
from proofcompute.errors import InputError
from proofcompute.limits import MIB

__all__ = ["group"]

group = typer.Typer(
    help="Write evidence for auditors of Akash, and descriptions of deployments.", rich_markup_mode=None
)

DocumentFile = Annotated[
    Path, typer.Argument(metavar="DOCUMENT", help="The auditor's evidence on Akash.", show_default=False)
]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="The evidence of the attestation.")
]
Schema = Annotated[
    Path | None, typer.Option("--schema", metavar="FILE", help="Akash's own schema, in another version.")
]


def _schema(path: Path | None) -> Mapping[str, Any] | None:
    """Return a schema from a file in JSON or YAML."""
    from proofcompute.networks.structured import read_yaml

    return None if path is None else read_yaml(read_limited(path, MIB, "schema"), MIB)


def _document(path: Path) -> bytes:
    from proofcompute.networks.akash.evidence import MAX_DOCUMENT

    return read_limited(path, MAX_DOCUMENT, "document")


@group.command("evidence")
def evidence(
    document: DocumentFile,
    bundle: EvidenceFile,
    output: Out,
    baseline: Baseline = None,
    schema: Schema = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Add to an auditor's evidence what a bundle says: whether a node of the provider computed rightly.

    DOCUMENT is what Akash's auditor-cli wrote (evidence.draft.json). The checks resource_delivery_verified
    and, with --baseline, sustained_baseline_checked are set; all other facts stay as they are.
    """
    from proofcompute.networks.akash.evidence import attest
    from proofcompute.networks.akash.schema import EVIDENCE

    check_output(output, force=force)
    before = None if baseline is None else _document(baseline)
    made = attest(_document(document), work_of(bundle), before, _schema(schema) or EVIDENCE)
    write(Output(json), output, made)


@group.command("verify")
def verify(
    document: DocumentFile,
    bundle: EvidenceFile,
    baseline: Baseline = None,
    schema: Schema = None,
    key: Key = None,
    model: Model = None,
    card: Card = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Check that an auditor's evidence says what a bundle says; then judge the bundle.

    Exit status 1: it does not, or what the bundle says is not so; 3: open.
    """
    from proofcompute.networks.akash.evidence import check
    from proofcompute.networks.akash.schema import EVIDENCE

    work = work_of(bundle)
    before = None if baseline is None else _document(baseline)
    check(_document(document), work, before, _schema(schema) or EVIDENCE)
    fields = {"outcome": work.outcome.kind, "node": work.node.hex(), "auditor": work.auditor.hex()}
    judge(Output(json), bundle, key, model, card, device, fields)


@group.command("sdl")
def sdl(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="The image, with tag or digest.", show_default=False)
    ],
    output: Out,
    gpu: Annotated[str | None, typer.Option(metavar="MODEL", help="Model of the GPU, such as h100.")] = None,
    gpus: Annotated[int, typer.Option(help="GPUs of a node.")] = 1,
    gpu_memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Such as 80Gi.")] = None,
    gpu_interface: Annotated[str | None, typer.Option(metavar="KIND", help="sxm or pcie.")] = None,
    cpu: Annotated[float, typer.Option(help="Cores.")] = 8,
    memory: Annotated[str, typer.Option(metavar="SIZE")] = "32Gi",
    storage: Annotated[str, typer.Option(metavar="SIZE", help="Of the container.")] = "20Gi",
    state: Annotated[
        str, typer.Option(metavar="SIZE", help="Of the volume at /state, which stays.")
    ] = "50Gi",
    signed_by: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="An auditor who signed the provider's attributes. Repeatable."),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What the provider must have. Repeatable."),
    ] = None,
    min_tier: Annotated[
        int | None, typer.Option(help="Least tier of attestation (1 to 4); not in every version of SDL.")
    ] = None,
    auditor: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="An auditor who attested the tier. Repeatable."),
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word for the image's program. Repeatable."),
    ] = None,
    price: Annotated[str, typer.Option(metavar="AMOUNT", help="The most that is bid for a block.")] = "10000",
    denom: Annotated[str, typer.Option(help="Unit of the price.")] = "uact",
    count: Annotated[int, typer.Option(help="Nodes.")] = 1,
    schema: Schema = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Describe the deployment of a node: image, processors, volume, price, and who must have signed.

    Nothing secret belongs into a description: the chain and the provider see it.
    """
    from proofcompute.networks.akash.sdl import Deployment, Gpu, Tier, describe

    check_output(output, force=force)
    if gpu is None and (gpu_memory, gpu_interface) != (None, None):
        raise InputError("say which --gpu has this memory or interface")
    if min_tier is None and auditor:
        raise InputError("--auditor is about --min-tier; for signed attributes it is --signed-by")
    pairs = [each.partition("=") for each in attribute or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise InputError("an attribute is NAME=VALUE")
    usual = Deployment(image=image)
    wanted = Deployment(
        image=image,
        arguments=usual.arguments if argument is None else tuple(argument),
        cpu=cpu,
        memory=memory,
        storage=storage,
        state=state,
        gpu=None if gpu is None else Gpu(gpu, gpus, gpu_memory, gpu_interface),
        signed_by=tuple(signed_by or ()),
        attributes={name: value for name, _, value in pairs},
        tier=None if min_tier is None else Tier(min_tier, tuple(auditor or ())),
        amount=price,
        denom=denom,
        count=count,
    )
    write(Output(json), output, describe(wanted, _schema(schema)))


@group.command("check-sdl")
def check_sdl(
    file: Annotated[Path, typer.Argument(metavar="SDL", help="A description.", show_default=False)],
    schema: Schema = None,
    json: Json = False,
) -> None:
    """Check a description, of whoever wrote it: whether its names stand for something.

    Exit status 1: it could not be deployed.
    """
    from proofcompute.networks.akash.sdl import check
    from proofcompute.networks.structured import MAX_TEXT

    check(read_limited(file, MAX_TEXT, "description"), _schema(schema))
    out = Output(json)
    out.say(f"{file}: its references hold" + ("" if schema is None else ", and it fits the schema"))
    out.result({"file": str(file), "schema": schema is not None})
