"""The guide says how many changed documents judges and adapters refuse; at least so many are tried."""

from __future__ import annotations

from collections.abc import Sized

from cuda_rig import ROOT
from networks import (
    test_aci,
    test_aethir,
    test_akash,
    test_arweave,
    test_bittensor,
    test_clouds,
    test_cluster,
    test_evm,
    test_filecoin,
    test_helium,
    test_in_toto,
    test_ionet,
    test_made_by_others,
    test_model_signing,
    test_render,
    test_solana,
)
from proofcompute.networks.adapter import ADAPTERS

HEAD = "| network | who judges |"
CAR = test_filecoin.mutations(test_filecoin.packed(b"x" * 100)[1])
TRIED: dict[str, tuple[Sized, Sized]] = {
    "ACI": ((), test_aci.BAD),
    "Aethir": (test_aethir.CHANGED, test_made_by_others.REPORTS),
    "Akash, deployments": (test_akash.BROKEN, test_made_by_others.SDL),
    "Akash, evidence": ((), test_akash.MALFORMED),
    "Arweave, a gateway": (test_arweave.SWAPPED, test_arweave.SWAPPED),
    "Arweave, items and bundles": (test_arweave.SPOILED, test_made_by_others.BUNDLES),
    "Bittensor": (test_bittensor.CHANGED, test_made_by_others.SIGNED),
    "clouds, Nitro and tokens": ((), test_clouds.BAD),
    "clouds, quotes": (test_clouds.PLACES, test_clouds.PLACES),
    "EVM, responses of validators": (test_evm.MALFORMED, test_made_by_others.CALLS),
    "EVM, verdicts": (test_evm.CHANGED, test_made_by_others.TYPED),
    "Filecoin": (CAR, CAR),
    "Helium": (test_helium.TORN, test_helium.CHANGES),
    "in-toto": (test_in_toto.UNSIGNED, test_made_by_others.ENVELOPES),
    "io.net": (test_ionet.CHANGES, ()),
    "model-signing": (test_model_signing.REJECTED, test_model_signing.REJECTED),
    "Render": (test_render.CHANGED, ()),
    "Solana": ((*test_solana.PLACES, *test_solana.RECEIPTS), test_made_by_others.MEMOS),
    "verified clusters": (test_in_toto.UNSIGNED, test_cluster.FORGED),
}
"""What the judge refuses of ours, and what is refused here of what others make."""


def rows() -> list[list[str]]:
    lines = (ROOT / "docs/guides/networks.md").read_text("utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(HEAD)) + 2
    found: list[list[str]] = []
    for line in lines[first:]:
        if not line.startswith("|"):
            return found
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    raise AssertionError("the table does not end")


def test_as_many_changes_are_tried_as_the_guide_says() -> None:
    said = {name: (int(ours), int(theirs)) for name, _, ours, _, theirs in rows()}
    assert set(said) == set(TRIED)
    for name, (ours, theirs) in TRIED.items():
        assert said[name][0] <= len(ours), name
        assert said[name][1] <= len(theirs), name


def test_at_least_five_changes_are_refused_wherever_somebody_judges_or_something_is_read() -> None:
    for name, judge, ours, read, theirs in rows():
        assert (int(ours) >= 5) != judge.startswith("nobody: "), name
        assert (int(theirs) >= 5) != read.startswith("nothing: "), name


def test_every_adapter_is_in_the_table() -> None:
    names = {row[0].split(",")[0].lower().replace(".", "") for row in rows()}
    assert names == {name.replace("verified-cluster", "verified clusters") for name in ADAPTERS}
