"""``bench``: what proving and verifying cost on this machine, as figures, JSON and plots."""

from __future__ import annotations

import json as json_module
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.common import Device, Json, Output, complain, kernels, progress
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.bench import Results

__all__ = ["bench"]

RESULTS = "results.json"


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: under 20 s once compiled.")] = False,
    sizes: Annotated[str, typer.Option(help="Models: tiny, small, medium, large, demo.")] = "",
    precisions: Annotated[str, typer.Option(help="w8a8, w8a16, w16a16.")] = "",
    suites: Annotated[str, typer.Option(help="Hash suites: sha256, keccak256, blake3.")] = "",
    columns: Annotated[str, typer.Option(help="Numbers of Freivalds columns.")] = "",
    budgets: Annotated[str, typer.Option(help="Cells of sampled audits.")] = "",
    sections: Annotated[str, typer.Option(help="sizes, suites, columns, budgets, scaling.")] = "",
    rounds: Annotated[int, typer.Option(help="Measurements behind each median; 0: as usual.")] = 0,
    note: Annotated[str, typer.Option(help="A remark about the machine, kept in the results.")] = "",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Directory for results.json and plots; made if absent."),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure committing, opening and verifying against running, on random models. Lists take commas."""
    out = Output(json)
    if output is not None:
        _check_directory(output)
    from proofcompute.bench import Settings, measure, planned

    changes: dict[str, Any] = {
        "sizes": _words(sizes),
        "precisions": _words(precisions),
        "suites": _words(suites),
        "columns": _numbers(columns, "--columns"),
        "budgets": _numbers(budgets, "--budgets"),
        "sections": _words(sections),
        "rounds": rounds,
    }
    settings = replace(Settings.fast() if quick else Settings(), **{k: v for k, v in changes.items() if v})
    backend = kernels(device)
    command = _command(quick, device, {k: v for k, v in changes.items() if v})
    total, done = planned(settings, backend), 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        out.say(f"{done}/{total} {name}")
        advance(1 if done > 1 else 0)  # the step before is over

    # people read the lines above; a program's caller gets a bar
    with progress("bench", total) if json else nullcontext(_no_bar) as advance:
        results = measure(settings, backend, command, note, step)
    if output is not None:
        _write(results, output, out)
    _show(results, out)
    out.result(results.to_json())


def _no_bar(steps: int, total: int | None = None) -> None:
    """Nothing to move."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(",") if w.strip())


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(w) for w in _words(text))
    except ValueError:
        raise InputError(f"{option} takes whole numbers with commas between, not {text!r}") from None


def _command(quick: bool, device: str, changes: dict[str, Any]) -> str:
    words = ["proofcompute bench", *(["--quick"] if quick else [])]
    for name, value in changes.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words.append(f"--{name} {text}")
    if device != "auto":
        words.append(f"--device {device}")
    return " ".join([*words, "-o DIR"])


def _check_directory(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; -o names a directory")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a directory; make it first")


def _write(results: Results, directory: Path, out: Output) -> None:
    from proofcompute.bench import plots
    from proofcompute.files import write_atomic

    directory.mkdir(exist_ok=True)
    text = json_module.dumps(results.to_json(), indent=1)
    write_atomic(directory / RESULTS, f"{text}\n".encode())
    out.say(f"wrote {directory / RESULTS}")
    if plots.drawable():
        for path in plots.draw(results, directory):
            out.say(f"wrote {path}")
    else:
        complain("no plots: matplotlib is not installed (pip install 'proofcompute[bench]'); JSON only")


def _show(results: Results, out: Output) -> None:
    out.say(
        f"\n{results.machine.cpu}, {results.machine.cores} cores, of which others used {results.machine.load}"
    )
    if results.sizes:
        out.say("\nmodel, precision        weights  commit adds  (prefill)  verify all/run  opening KiB")
    for r in results.sizes:
        out.say(
            f"{r.model[:14] + ' ' + r.precision:<20} {r.weights:>10,} {r.commit_overhead:>12.1%} "
            f"{r.commit_overhead_prefill:>10.1%} {r.verify_over_execute:>15.3f} "
            f"{r.opening_bytes / 1024:>12,.0f}"
        )
    if results.suites:
        out.say("\nhash suite   commit adds  (prefill)  verify all/run")
    for h in results.suites:
        out.say(
            f"{h.suite:<12} {h.commit_overhead:>11.1%} {h.commit_overhead_prefill:>10.1%} "
            f"{h.verify_over_execute:>15.3f}"
        )
    if results.columns:
        out.say("\ncolumns  soundness bits   key KiB  keygen s  verify all/run")
    for c in results.columns:
        out.say(
            f"{c.columns:>7} {c.soundness_bits:>15.1f} {c.key_bytes / 1024:>9,.0f} "
            f"{c.keygen_seconds:>9.3f} {c.verify_over_execute:>15.3f}"
        )
    if results.budgets:
        out.say("\ncells of   total  opening KiB  verify/run  finds one  1 %    10 %   50 % altered")
    for b in results.budgets:
        out.say(
            f"{b.cells:>5} {b.total:>10} {b.opening_bytes / 1024:>12,.1f} {b.verify_over_execute:>11.4f} "
            f"{b.detects_one:>10.4f} {b.detects_1_percent:>6.3f} {b.detects_10_percent:>6.3f} "
            f"{b.detects_50_percent:>6.3f}"
        )
    if results.scaling:
        out.say("\nverify grows in   exponent  formula  at the end  formula   run: exponent  formula")
    for g in results.scaling:
        run = (
            ""
            if g.execute_exponent is None or g.execute_formula_exponent is None
            else f"{g.execute_exponent:>15.2f} {g.execute_formula_exponent:>8.2f}"
        )
        out.say(
            f"{g.name:<15} {g.verify_exponent:>10.2f} {g.formula_exponent:>8.2f} "
            f"{g.tail_exponent:>11.2f} {g.formula_tail_exponent:>8.2f} {run}"
        )
    for text in results.left_out:
        out.say(f"left out: {text}")
    out.say(f"\n{results.rounds} rounds; {results.seconds:.0f} s; again: {results.command}")
