"""What the commands of several networks have in common: bundles of evidence, and documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, size
from proofcompute.encoding.files import write_atomic

if TYPE_CHECKING:
    from proofcompute.networks.adapter import Document
    from proofcompute.networks.work import Work

__all__ = [
    "AuditorKey",
    "Card",
    "Chain",
    "Contract",
    "Envelope",
    "Key",
    "Model",
    "judge",
    "work_of",
    "write",
]

Envelope = Annotated[
    Path, typer.Argument(metavar="ENVELOPE", help="What others give for a verdict.", show_default=False)
]
Key = Annotated[Path | None, typer.Option("--key", metavar="KEY", help="Judge cells with a key of yours.")]
Model = Annotated[
    Path | None, typer.Option("--model", metavar="MODEL", help="Judge cells, and the answer by replay.")
]
Card = Annotated[
    Path | None, typer.Option("--card", metavar="CARD", help="Judge receipt and signatures only.")
]
Chain = Annotated[int, typer.Option("--chain", metavar="NUMBER", help="The chain.", show_default=False)]
Contract = Annotated[
    str,
    typer.Option("--contract", metavar="ADDRESS", help="The contract that checks it.", show_default=False),
]
AuditorKey = Annotated[
    str | None, typer.Option("--auditor", metavar="PUBKEY", help="Public key (hex) of the auditor.")
]


def work_of(evidence: Path) -> Work:
    """Read a bundle of evidence. Raises as :meth:`.work.Work.of`, and InputError for another kind of file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.networks.work import Work

    expect(evidence, "evidence")
    return Work.of(evidence)


def write(out: Output, path: Path, made: Document, fields: Mapping[str, object] | None = None) -> None:
    """Write a document whole, and say whose form it has, and what else there is to say."""
    write_atomic(path, made.data)
    whose = "" if made.interface == "theirs" else "; its form is our own"
    out.say(f"{path}: {made.media_type}, {size(len(made.data))}{whose}")
    out.result(
        {
            "file": str(path),
            "media_type": made.media_type,
            "bytes": len(made.data),
            "interface": made.interface,
            **(fields or {}),
        }
    )


def judge(
    out: Output,
    evidence: Path,
    key: Path | None,
    model: Path | None,
    card: Path | None,
    device: str,
    fields: Mapping[str, object],
) -> None:
    """Say that an envelope holds; decide again what it says, if something to decide with is given."""
    from proofcompute.cli.evidence_command import verify_evidence

    if key is model is card is None:
        out.say("The envelope holds. Whether what it says is right takes --key, --model or --card.")
        out.result({**fields, "holds": True, "judged": False})
        return
    out.say("The envelope holds. Its evidence:")
    verify_evidence(evidence, key=key, model=model, card=card, device=device, json=out.as_json)
