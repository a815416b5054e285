"""What planning takes from the command line: options, and what they are made into."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.files import load_card, load_model
from proofcompute.cli.options import kernels
from proofcompute.cli.progress import progress
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.planning import Alteration, Figures, Goal, Trace
    from proofcompute.verifier.policy import AuditPolicy

__all__ = [
    "CpuHour",
    "Elsewhere",
    "FiguresFile",
    "Forgetful",
    "Gigabyte",
    "LengthsText",
    "ModelFile",
    "NodeHour",
    "PolicyOut",
    "Speed",
    "cheat_of",
    "figures_of",
    "goal_of",
    "measured",
    "policy_of",
    "trace_of",
]

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model, key or card.", show_default=False)]
LengthsText = Annotated[
    str | None,
    typer.Option(
        "--lengths",
        metavar="P+G",
        help="Prompt + generated tokens of an answer; rows of a request, of other models.",
        show_default="64+448; 64",
    ),
]
FiguresFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Figures that plan --measure wrote; else documented ones.")
]
PolicyOut = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="POLICY", help="Write the policy to this file.")
]
Elsewhere = Annotated[
    float, typer.Option(min=0, help="Dollars of an hour of the machine elsewhere, without verification.")
]
NodeHour = Annotated[float, typer.Option(min=0, help="Dollars of an hour of the node.")]
CpuHour = Annotated[float, typer.Option(min=0, help="Dollars of an hour of the verifier's CPU; assumed.")]
Gigabyte = Annotated[float, typer.Option(min=0, help="Dollars of 10^9 bytes of traffic; assumed.")]
Speed = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Rows (tokens) that the node computes in a second, prompts included.",
        show_default="that of the figures",
    ),
]
Forgetful = Annotated[
    bool, typer.Option("--recompute", help="The node keeps no traces: it computes them again to open.")
]


def trace_of(path: Path, lengths: str | None) -> Trace:
    """Return the answer that is planned for. Raises InputError for lengths that the model does not take."""
    from proofcompute.planning import Lengths, Trace

    program = load_card(path).program
    text = lengths or ("64+448" if program.feedback else "64")
    made = Lengths.parse(text, program)
    if made.rows > program.context:
        raise InputError(f"{text} takes {made.rows} rows, and the context holds {program.context}: --lengths")
    return Trace(program, made)


def figures_of(path: Path | None) -> Figures:
    """Return figures from a file, or the documented ones."""
    from proofcompute.planning import DOCUMENTED, Figures

    return DOCUMENTED if path is None else Figures.load(path)


def measured(path: Path, trace: Trace, into: Path, rounds: int, device: str) -> Figures:
    """Measure this machine, and keep the figures in a file."""
    if kind_of(path) != "model":
        raise InputError("measuring runs the model: give the model file, not its card or a key")
    from proofcompute.bench.machine import machine
    from proofcompute.planning import measure

    backend = kernels(device)
    with progress("measure", rounds + 1) as advance:
        found = measure(
            load_model(path),
            trace.lengths,
            backend,
            rounds=rounds,
            machine=vars(machine(backend)),
            progress=advance,
        )
    found.save(into)
    return found


def policy_of(
    whole: float | None, sampled: float | None, runs: str | None, cells: int | None, given: Path | None
) -> AuditPolicy | None:
    """Return the policy that the options name, or None if they name none."""
    from proofcompute.protocol.samples import Sample
    from proofcompute.verifier.policy import AuditPolicy

    if given is not None:
        if any(option is not None for option in (whole, sampled, runs, cells)):
            raise InputError("give --policy without --whole, --sampled, --runs and --cells")
        return AuditPolicy.load(given)
    sample = None
    if runs is not None:
        sample = Sample.parse(runs, cells or 0)
    elif cells is not None:
        sample = Sample(cells=cells)
    if sample is None:
        if sampled is not None:
            raise InputError("--sampled is the probability of --runs and --cells")
        return None if whole is None else AuditPolicy(whole)
    p = whole or 0.0
    return AuditPolicy(p, 1 - p if sampled is None else sampled, sample)


def cheat_of(text: str) -> tuple[Alteration, float, bool]:
    """Return an alteration, what it gains, and whether that is a share of the pay."""
    from proofcompute.planning import Alteration

    kind, equals, gain = text.rpartition("=")
    try:
        value = float(gain.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not equals or not 0 <= value < math.inf:
        raise InputError(f"a cheat is written KIND=GAIN, such as cell=0.01 or copy=50%, not {text[:40]!r}")
    relative = gain.endswith("%")
    return Alteration.parse(kind), value / 100 if relative else value, relative


def goal_of(altered: Alteration, needed: float) -> Goal:
    """Return how often an alteration has to be found."""
    from proofcompute.planning import Goal

    return Goal(altered, needed)
