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
    """Measure committing, opening and verifying against running, on random models.

    Sections: sizes (models and precisions), suites (hash suites), columns (Freivalds columns k), budgets
    (audits of few cells to all), scaling (how verification grows with rows, width, context, layers and
    cells). Lists take commas. -o writes results.json and, with the extra bench, plots: overhead against size,
    verifying against running, opening bytes against cells, detection against cost, and growth.
    """
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
    from proofcompute.bench.tables import tables

    out.say(
        f"\n{results.machine.cpu}, {results.machine.cores} cores, of which others used {results.machine.load}"
    )
    for table in tables(results.to_json()):
        for line in table.plain():
            out.say(line)
    for text in results.left_out:
        out.say(f"left out: {text}")
    out.say(f"\n{results.rounds} rounds; {results.seconds:.0f} s; again: {results.command}")
