"""The command ``verify-evidence``, for whoever is shown a bundle of evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.bundles import EvidenceFile, moment, verdict_fields
from proofcompute.cli.console import Output, complain
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Json, hex_bytes, kernels
from proofcompute.cli.progress import Advance, progress
from proofcompute.cli.quorums import ShownQuorum, shown_quorum
from proofcompute.errors import (
    EvidenceError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from proofcompute.models.card import ModelCard
    from proofcompute.models.model import Model
    from proofcompute.public.openings import ByPublicProof
    from proofcompute.verifier import Key
    from proofcompute.verifier.findings import EvidenceVerdict
    from proofcompute.verifier.judging import JudgeProgress

__all__ = ["CardFile", "KeyFile", "ModelFile", "PublicFile", "bars", "held_by", "verify_evidence"]

KeyFile = Annotated[
    Path | None, typer.Option("--key", metavar="KEY", help="Check opened cells with a key of yours.")
]
ModelFile = Annotated[
    Path | None, typer.Option("--model", metavar="MODEL", help="Check cells, and the answer by replay.")
]
CardFile = Annotated[
    Path | None, typer.Option("--card", metavar="CARD", help="Check receipt and signatures only; no cell.")
]
PublicFile = Annotated[
    Path | None,
    typer.Option("--public", metavar="PUBLIC", help="Check cells that were opened with a public proof."),
]

OPEN = 3
"""Exit status if the evidence proves neither that the auditor is right nor that it is wrong."""


def verify_evidence(
    evidence: EvidenceFile,
    key: KeyFile = None,
    model: ModelFile = None,
    card: CardFile = None,
    public: PublicFile = None,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="PUBKEY", help="Public key (hex) of the node."),
    ] = None,
    auditor: Annotated[
        str | None,
        typer.Option("--auditor", metavar="PUBKEY", help="Public key (hex) of the auditor."),
    ] = None,
    request: Annotated[
        Path | None, typer.Option("--request", help="The request, if the evidence does not disclose it.")
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", metavar="POLICY", help="Check the quorum's verdict in it under this policy."
        ),
    ] = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Decide again what a bundle of evidence says about a node, believing nothing of it.

    Give one of --key, --model, --public and --card. Exit status 0: what the auditor says is proven; 1: it is
    not so, or cannot be laid at the node's door, or the bundle is invalid; 2: your own files cannot be used;
    3: open, since what you hold does not suffice, or silence is only the auditor's word. With --policy, the
    verdict of a quorum in the bundle has to hold, and what you find must not be against it; else it is 1.
    """
    from proofcompute.cli.files import read_request
    from proofcompute.protocol.bundle import open_bundle
    from proofcompute.verdicts.policy import QuorumPolicy
    from proofcompute.verifier.judging import verify_evidence as judge

    out, start = Output(json), time.perf_counter()
    expect(evidence, "evidence")
    holds = held_by(key, model, card, public)
    rules = None if policy is None else QuorumPolicy.load(policy)
    asked = None if request is None else read_request(request)
    named = {
        "node": None if node is None else hex_bytes(node, "the node's public key"),
        "auditor": None if auditor is None else hex_bytes(auditor, "the auditor's public key"),
    }
    with ExitStack() as stack:
        try:
            bundle = stack.enter_context(open_bundle(evidence))
        except (FormatError, LimitError, UnsupportedError) as e:
            raise _invalid(out, EvidenceError(str(e))) from e
        try:
            with bars() as shown:
                verdict = judge(
                    bundle, holds, kernels=kernels(device), request=asked, progress=shown, **named
                )
        except EvidenceError as e:
            raise _invalid(out, e) from e
        quorum = shown_quorum(bundle, verdict, rules)
    _show(out, verdict, quorum, moment(bundle.evidence.made), time.perf_counter() - start)
    if quorum.against:
        raise typer.Exit(1)
    if verdict.stands is not True:
        raise typer.Exit(OPEN if verdict.stands is None else 1)


def held_by(
    key: Path | None, model: Path | None, card: Path | None, public: Path | None = None
) -> Key | Model | ModelCard | ByPublicProof:
    """Load what a judge checks evidence with. Raises InputError unless it is exactly one of these."""
    if sum(path is not None for path in (key, model, card, public)) != 1:
        raise InputError(
            "give one of --key, --model, --public and --card, which says what you check the evidence with"
        )
    from proofcompute.cli.files import load_card, load_model
    from proofcompute.cli.verifying import held_public
    from proofcompute.verifier import Key

    if public is not None:
        return held_public(public)

    if key is not None:
        expect(key, "key")
        return Key.load(key)
    if model is not None:
        expect(model, "model")
        return load_model(model)
    if card is None:
        raise MismatchError("nothing to check the evidence with")
    return load_card(card)


@contextmanager
def bars() -> Iterator[JudgeProgress]:
    """Show a progress bar for each stage once it begins."""
    with ExitStack() as stack:
        shown: dict[str, Advance] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in shown:
                shown[stage] = stack.enter_context(progress(stage, total))
            shown[stage](done)

        yield advance


def _invalid(out: Output, error: EvidenceError) -> typer.Exit:
    complain(f"INVALID: {error}; this evidence says nothing about anybody")
    out.result({"finding": "invalid", "stands": False, "error": str(error)})
    return typer.Exit(1)


_WORDS = {
    "contradicted": "PROVEN: the node signed something false",
    "confirmed": "confirmed: what the auditor accepted holds",
    "refuted": "REFUTED: the auditor accuses the node of something that is not so",
    "unattributable": "NOT ATTRIBUTABLE: the node did not sign what is shown; anybody could have made it",
    "asserted": "open: there is only the auditor's word",
    "undecided": "open: what you hold does not suffice to decide",
}


def _show(out: Output, verdict: EvidenceVerdict, quorum: ShownQuorum, made: str, seconds: float) -> None:
    out.say(_WORDS[verdict.finding.value])
    facts: dict[str, object] = {"because": verdict.reason, "the auditor says": verdict.claimed}
    if verdict.contradiction is not None and not verdict.as_claimed:
        facts["found instead"] = verdict.contradiction
    if verdict.node is not None:
        facts["node"] = verdict.node.hex()
    if quorum.text:
        facts["quorum"] = quorum.text
    facts |= {
        "auditor": verdict.auditor.hex(),
        "signed, by its clock": made,
        "checked": "\n".join(verdict.checked),
        "NOT checked": "\n".join((*verdict.unchecked, "times, which are the auditor's word")),
    }
    out.facts(facts)
    out.result({**verdict_fields(verdict), "quorum": quorum.fields, "seconds": seconds})
