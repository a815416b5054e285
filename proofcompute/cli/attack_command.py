"""The command ``attack``: every attack of the registry on a model of one's own."""

from __future__ import annotations

import json as encoding
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output, complain, size
from proofcompute.cli.files import check_output, load_model
from proofcompute.cli.options import Force, Json, kernels
from proofcompute.cli.progress import progress
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.attacks.attack import Mode
    from proofcompute.attacks.registry import Attack
    from proofcompute.attacks.report import Report
    from proofcompute.attacks.trials import Ground, Outcome

__all__ = ["attack"]

MODES = ("private", "public", "replay", "evidence")
WIDTH = 66
"""Characters of an attack's name in the table."""


def attack(
    model: Annotated[
        Path | None, typer.Argument(help="Model file of a language model.", show_default=False)
    ] = None,
    builtin: Annotated[
        bool, typer.Option("--builtin", help="Attack small models with random weights, all mechanisms in.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Only attacks with this in their name or kind; may be repeated."),
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option(metavar="MODE", help="private, public, replay, evidence or all; may be repeated."),
    ] = None,
    cells: Annotated[int, typer.Option(min=1, help="Cells of a sampled audit.")] = 8,
    draws: Annotated[int, typer.Option(min=1, help="Challenges drawn to measure a rate.")] = 1000,
    audits: Annotated[
        int, typer.Option(min=0, help="Challenges of each cheat that are opened and checked.")
    ] = 4,
    seed: Annotated[int, typer.Option(help="Chooses the prompt and the challenges.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the attacks, and make none.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write the report to this file, as JSON.")
    ] = None,
    force: Force = False,
    device: Annotated[str, typer.Option("--device", help="Where to compute: cpu or numpy (slow).")] = "cpu",
    json: Json = False,
) -> None:
    """Attack a model of your own in every mode of trust, and check what stops each attack.

    Nodes that compute or answer something else and commit to it, forged receipts, challenges, openings,
    proofs and evidence: each must be stopped, at the step that must stop it. Of nodes that alter cells, the
    rate at which sampled audits find them is measured too. What a model has no mechanism for is not
    applicable, and counted apart.

    Exit status 0: all were stopped where they must be; 1: one was not; 2: there is nothing to attack.
    """
    out = Output(json)
    from proofcompute.attacks.attack import Mode
    from proofcompute.attacks.registry import chosen

    modes = frozenset(map(Mode, _modes(mode)))
    attacks = chosen(tuple(only or ()), modes)
    if not attacks:
        raise InputError("no attack has such a name in these modes; --list shows all")
    if listed:
        _list(out, attacks)
        return
    if (model is None) != builtin:
        raise InputError("give a model file, or --builtin")
    if device not in ("cpu", "numpy"):
        raise InputError(f"attacks are made on cpu or numpy, and not on {device}")
    if output is not None:
        check_output(output, force=force)
    start, backend = time.perf_counter(), kernels(device)
    options = {"cells": cells, "draws": draws, "audits": audits, "seed": seed}
    grounds = _grounds(model, backend, options)
    report = _report(model, grounds, options, modes)
    _header(out, report)
    try:
        with progress("attacks", sum(len(modes & set(a.expected)) for a in attacks)) as advance:
            for name, outcome in _attempts(grounds, attacks, modes):
                report.add(name, outcome)
                _row(out, report, outcome)
                advance(1)
        report.complete = True
    finally:
        _end(out, report, output, time.perf_counter() - start)
    if not any(outcome.applies for _, outcome in report.outcomes):
        raise InputError("none of these attacks applies to the model")
    if report.failed:
        raise typer.Exit(1)


def _modes(given: list[str] | None) -> tuple[str, ...]:
    wanted = given or ["all"]
    unknown = [name for name in wanted if name not in (*MODES, "all")]
    if unknown:
        raise InputError(f"no mode {unknown[0]!r}; modes are {', '.join(MODES)} and all")
    return MODES if "all" in wanted else tuple(name for name in MODES if name in wanted)


def _list(out: Output, attacks: list[Attack]) -> None:
    for one in attacks:
        modes = ", ".join(f"{mode.value} {' or '.join(steps)}" for mode, steps in one.expected.items())
        out.say(f"{one.label}\n    {one.does}\n    {one.kind} ({one.source}); {modes}")
    out.result(
        {
            "attacks": [
                {
                    "attack": one.label,
                    "does": one.does,
                    "kind": one.kind,
                    "source": one.source,
                    "expected": {mode.value: steps for mode, steps in one.expected.items()},
                }
                for one in attacks
            ]
        }
    )


def _grounds(path: Path | None, backend: Kernels, options: dict[str, Any]) -> dict[str, Ground]:
    from proofcompute.attacks.report import family
    from proofcompute.attacks.target import suitable
    from proofcompute.attacks.trials import Ground

    if path is None:
        return family(backend, **options)
    loaded = load_model(path)
    loaded.require_roots(backend.hash_rows)
    target = suitable(loaded, backend, options["seed"])
    return {str(path): Ground(target, **options)}


def _report(
    path: Path | None, grounds: dict[str, Ground], options: dict[str, Any], modes: frozenset[Mode]
) -> Report:
    from proofcompute.attacks.report import Report
    from proofcompute.version import __version__

    return Report(
        {
            "version": __version__,
            "builtin": path is None,
            "models": {name: ground.target.model.model_id.hex() for name, ground in grounds.items()},
            "modes": [name for name in MODES if any(mode.value == name for mode in modes)],
            **options,
        }
    )


def _attempts(
    grounds: dict[str, Ground], attacks: list[Attack], modes: frozenset[Mode]
) -> Iterator[tuple[str, Outcome]]:
    from proofcompute.attacks.report import attempts

    return attempts(grounds, attacks, modes)


# -- what is said ------------------------------------------------------------------------------------------
def _header(out: Output, report: Report) -> None:
    for name, model_id in report.settings["models"].items():
        out.say(f"{name}: model id {model_id}")
    cells = f"found by {report.settings['cells']} cells"
    out.say(f"\n{'attack':<{WIDTH}}  {'mode':<8}  {'outcome':<14}  {'stopped by':<22}  {cells} (formula)")


def _row(out: Output, report: Report, outcome: Outcome) -> None:
    from proofcompute.attacks.report import word

    found = "; ".join(dict.fromkeys(trial.found for trial in outcome.trials))
    rate = outcome.rate
    shown = "" if rate is None else f"{rate.measured:.1%} ({rate.formula:.1%})"
    verdict = word(outcome)
    name, mode = outcome.attack.label, outcome.mode.value
    text = f"{name:<{WIDTH}}  {mode:<8}  {verdict:<14}  {found or outcome.reason:<22}  {shown}"
    out.say(text.rstrip().replace("failed  ", "FAILED  "))


def _end(out: Output, report: Report, output: Path | None, seconds: float) -> None:
    from proofcompute.attacks.attack import Mode
    from proofcompute.encoding.files import write_atomic

    out.say()
    for mode in Mode:
        counts = report.counts(mode)
        if counts:
            said = f"{counts['stopped']} stopped, {counts['failed']} failed"
            out.say(f"{mode.value:<8}  {said}, {counts['not applicable']} not applicable")
    for outcome in report.failed:
        _complain(outcome)
    if not report.complete:
        complain("not all attacks were made; those that were are above")
    out.say(f"{seconds:.1f} s")
    fields = {**report.fields(), "seconds": round(seconds, 3)}
    if output is not None:
        data = (encoding.dumps(fields, indent=1) + "\n").encode()
        write_atomic(output, data)
        out.say(f"{output}: {size(len(data))}")
    out.result(fields)


def _complain(outcome: Outcome) -> None:
    """Say why an attack was not stopped where it must be."""
    label = f"{outcome.attack.label} ({outcome.mode.value})"
    for trial in outcome.trials:
        if not trial.holds:
            wanted = " or ".join(trial.expected)
            variant = f" with {trial.variant}" if trial.variant else ""
            complain(f"{label}{variant}: {wanted} must stop it; found: {trial.found} {trial.why}")
    rate = outcome.rate
    if rate is not None and not rate.holds:
        complain(
            f"{label}: {rate.measured:.4f} of the draws found it, and the formula gives {rate.formula:.4f}; "
            f"{rate.agreeing} of {rate.audits} audits agree"
        )
