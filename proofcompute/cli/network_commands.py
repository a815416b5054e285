"""The commands ``network ...``: one group for each network's adapter."""

from __future__ import annotations

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.networking import (
    aci,
    aethir,
    akash,
    arweave,
    bittensor,
    clouds,
    cluster,
    evm,
    filecoin,
    helium,
    in_toto,
    ionet,
    model_signing,
    render,
    solana,
)
from proofcompute.cli.networking.economics import economics
from proofcompute.cli.options import Json

__all__ = ["group"]

group = typer.Typer(
    help="Carry verified work to the networks where it is sold, in forms that they know.",
    rich_markup_mode=None,
)
group.add_typer(aci.group, name="aci")
group.add_typer(aethir.group, name="aethir")
group.add_typer(akash.group, name="akash")
group.add_typer(arweave.group, name="arweave")
group.add_typer(bittensor.group, name="bittensor")
group.add_typer(clouds.group, name="clouds")
group.add_typer(evm.group, name="evm")
group.add_typer(filecoin.group, name="filecoin")
group.add_typer(helium.group, name="helium")
group.add_typer(in_toto.group, name="in-toto")
group.add_typer(ionet.group, name="ionet")
group.add_typer(model_signing.group, name="model-signing")
group.add_typer(render.group, name="render")
group.add_typer(solana.group, name="solana")
group.add_typer(cluster.group, name="verified-cluster")
group.command("economics")(economics)


@group.command("list")
def list_(json: Json = False) -> None:
    """List the networks, what is made for each, and whose form it is."""
    from proofcompute.networks.adapter import ADAPTERS, adapter

    out, found = Output(json), [adapter(name).describe() for name in ADAPTERS]
    for each in found:
        whose = "its own forms" if each.interface == "theirs" else "our own forms, since it publishes none"
        out.say(f"{each.name}: {each.title}; {whose}")
        out.say(f"  for {each.adopter}")
        for what in each.offers:
            out.say(f"  - {what}")
    out.result({"networks": [vars(each) for each in found]})
