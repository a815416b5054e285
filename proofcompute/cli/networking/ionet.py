"""The commands ``network ionet ...``: deployments of nodes on io.net, and their list for a gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output
from proofcompute.cli.networking.common import write
from proofcompute.cli.options import Force, Json, Out
from proofcompute.errors import InputError

__all__ = ["group"]

group = typer.Typer(
    help="Describe nodes on io.net, and list them for a gateway. io.net has no part in this.",
    rich_markup_mode=None,
)


@group.command("deployment")
def deployment(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="The image, with tag or digest.", show_default=False)
    ],
    output: Out,
    gpu: Annotated[
        str, typer.Option(metavar="NAME[:COUNT]", help="Hardware, such as H100:8.", show_default=False)
    ],
    hours: Annotated[int, typer.Option(help="For how long it is paid.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the deployment is called.")] = "proofcompute-node",
    replicas: Annotated[int, typer.Option(help="Nodes.")] = 1,
    argument: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="A word for the image's program. Repeatable."),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A variable, nothing secret. Repeatable.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A variable of the environment of who deploys. Repeatable."),
    ] = None,
    location: Annotated[str | None, typer.Option(help="Where.")] = None,
    node_pool: Annotated[str | None, typer.Option(help="A private pool instead.")] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Describe nodes in containers, for the command iocloud deploy -f of io.net's SDK."""
    from proofcompute.networks.ionet.deployment import Deployment, describe

    check_output(output, force=force)
    hardware, colon, count = gpu.partition(":")
    if colon and not count.isdecimal():
        raise InputError(f"a GPU is written NAME or NAME:COUNT, not {gpu!r}")
    pairs = [each.partition("=") for each in env or ()]
    if not all(label and equals for label, equals, _ in pairs):
        raise InputError("a variable is NAME=VALUE")
    wanted = Deployment(
        name=name,
        image=image,
        hardware=hardware,
        gpus=int(count) if colon else None,
        hours=hours,
        replicas=replicas,
        arguments=tuple(argument or ()),
        environment={label: value for label, _, value in pairs},
        secrets=tuple(secret or ()),
        location=location,
        node_pool=node_pool,
    )
    write(Output(json), output, describe(wanted))


@group.command("nodes")
def nodes(
    node: Annotated[
        list[str],
        typer.Argument(metavar="URL=PUBKEY...", help="Deployed nodes.", show_default=False),
    ],
    output: Out,
    model: Annotated[str, typer.Option(metavar="NAME", help="What they serve.", show_default=False)],
    price: Annotated[float, typer.Option(min=0, help="Of a million tokens.")] = 0,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Variable with the key that is shown to them.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """List deployed nodes for gateway --nodes, each with the key that has to sign its answers."""
    from proofcompute.networks.ionet.deployment import gateway_nodes

    check_output(output, force=force)
    found = [(url, key) for url, _, key in (each.rpartition("=") for each in node)]
    write(Output(json), output, gateway_nodes(found, model, price, api_key_env))
