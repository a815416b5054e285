"""The command ``bench``: measures what proving and verifying cost on this machine."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output, complain
from proofcompute.cli.options import Device, Json, kernels
from proofcompute.cli.progress import progress
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.bench import Own, Record, Results, Settings

__all__ = ["bench"]

_MAX_PROMPT = 1 << 20


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: under 20 s once compiled.")] = False,
    sizes: Annotated[str, typer.Option(help="Models: tiny, small, medium, large, demo.")] = "",
    model: Annotated[
        Path | None, typer.Option(help="A model file or checkpoint (GGUF) of your own, instead of --sizes.")
    ] = None,
    precisions: Annotated[str, typer.Option(help="Precisions: w8a8, w8a16, w16a16.")] = "",
    prompt: Annotated[
        str | None, typer.Option(help="A prompt of your own, instead of random tokens.")
    ] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="A file with the prompt.")] = None,
    lengths: Annotated[
        str,
        typer.Option(help="Prompt tokens + generated tokens, for instance 64+448; several may be given."),
    ] = "",
    suites: Annotated[str, typer.Option(help="Hash suites: sha256, keccak256, blake3.")] = "",
    columns: Annotated[str, typer.Option(help="Numbers of Freivalds columns.")] = "",
    budgets: Annotated[str, typer.Option(help="Numbers of cells of sampled audits.")] = "",
    sections: Annotated[str, typer.Option(help="Sections: sizes, suites, columns, budgets, scaling.")] = "",
    rounds: Annotated[int, typer.Option(help="Measurements per median; 0 keeps the default.")] = 0,
    note: Annotated[str, typer.Option(help="A remark about the machine, kept in the results.")] = "",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Directory for results.json and plots; created if absent."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace results that the directory already holds.")
    ] = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure committing, opening and verifying against running, on random models or your own.

    Sections: sizes (models and precisions), suites (hash suites), columns (Freivalds columns k), budgets
    (audits of a few cells up to all), scaling (how verification grows with rows, width, context, layers and
    cells; not with --model). Lists are separated by commas. -o writes results.json, which holds every round,
    after each measurement, so the same command continues after an interruption. With the extra bench it also
    writes plots: overhead against size, verifying against running, opening bytes against cells, detection
    against cost, and growth. If other processes use the machine, the output and the results say so.
    """
    out = Output(json)
    from proofcompute.bench import Record

    record = None if output is None else Record(output)
    changes: dict[str, Any] = {
        "sizes": _words(sizes),
        "precisions": _words(precisions),
        "lengths": _lengths(lengths),
        "suites": _words(suites),
        "columns": _numbers(columns, "--columns"),
        "budgets": _numbers(budgets, "--budgets"),
        "sections": _words(sections),
        "rounds": rounds,
    }
    changes = {k: v for k, v in changes.items() if v}
    own = _own(model, prompt, prompt_file)
    settings = _settings(quick, changes, own)
    backend = kernels(device)
    command = _command(quick, device, changes, own)
    with nullcontext() if record is None else record.alone():
        kept = None if record is None or force else record.kept(settings, backend)
        if kept is not None and kept.complete and not kept.left_out:
            out.say("everything has been measured already; --force measures it again")
            results = kept
        else:
            results = _measure(settings, backend, command, note, own, kept, record, out)
        _finish(results, record, out)


def _measure(
    settings: Settings,
    backend: Kernels,
    command: str,
    note: str,
    own: Own,
    kept: Results | None,
    record: Record | None,
    out: Output,
) -> Results:
    """Measure what ``kept`` does not hold yet, step by step."""
    from proofcompute.bench import measure, planned

    total, done = planned(settings, backend), 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        out.say(f"{done}/{total} {name}")
        advance(1 if done > 1 else 0)  # a step begins when the one before has ended

    try:
        # people read the lines above; with --json, which prints none, there is a bar
        with progress("bench", total) if out.as_json else nullcontext(_no_bar) as advance:
            return measure(
                settings,
                backend,
                command,
                note,
                own=own,
                kept=kept,
                progress=step,
                save=None if record is None else record.write,
                warn=complain,
            )
    except KeyboardInterrupt:
        if record is not None and record.path.exists():
            complain(f"{record.path} keeps what was measured; the same command continues from there")
        raise


def _no_bar(steps: int, total: int | None = None) -> None:
    """Do nothing: there is no bar."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(",") if w.strip())


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(w) for w in _words(text))
    except ValueError:
        raise InputError(f"{option} takes whole numbers separated by commas, not {text!r}") from None


def _lengths(text: str) -> tuple[Any, ...]:
    from proofcompute.bench import Lengths

    return tuple(Lengths.parse(word) for word in _words(text))


def _own(model: Path | None, prompt: str | None, prompt_file: Path | None) -> Own:
    from proofcompute.bench import Own
    from proofcompute.encoding.files import read_limited

    if prompt is not None and prompt_file is not None:
        raise InputError("give --prompt or --prompt-file, not both")
    if model is not None and (kind := kind_of(model)) not in ("gguf", "model"):
        found = f"of kind {kind}" if kind else "of no known kind"
        raise InputError(f"{model} is {found}; --model takes a model file or a checkpoint (GGUF)")
    if prompt_file is not None:
        try:
            prompt = read_limited(prompt_file, _MAX_PROMPT, "prompt").decode("utf-8")
        except UnicodeDecodeError as e:
            raise InputError(f"{prompt_file} is not UTF-8 at byte {e.start}") from e
    return Own(model, prompt)


def _settings(quick: bool, changes: dict[str, Any], own: Own) -> Settings:
    from proofcompute.bench import Settings
    from proofcompute.bench.settings import OWN, SHAPES

    usual = Settings.fast() if quick else Settings()
    named = dict(changes)
    if own.file is not None:
        if "sizes" in changes:
            raise InputError("--model replaces --sizes; give only one of them")
        if own.fixed_precision:
            if changes.get("precisions", (own.fixed_precision,)) != (own.fixed_precision,):
                raise InputError(
                    f"{own.file} is compiled at {own.fixed_precision}; --precisions needs a checkpoint"
                )
            named["precisions"] = (own.fixed_precision,)
        named |= {"sizes": (OWN,), "model": own.model_digest}
        if "sections" not in changes:
            named["sections"] = tuple(s for s in usual.sections if s != "scaling")
    elif own.prompt is not None and "sizes" not in changes:
        named["sizes"] = tuple(s for s in (*usual.sizes, "demo") if s not in SHAPES)[:1]
    return replace(usual, **named, prompt=own.prompt_digest)


def _command(quick: bool, device: str, changes: dict[str, Any], own: Own) -> str:
    """Return the command that measures this again, without prompts and names of files, which are private."""
    words = ["proofcompute bench", *(["--quick"] if quick else [])]
    words += ["--model FILE"] * (own.file is not None) + ["--prompt TEXT"] * (own.prompt is not None)
    for name, value in changes.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words.append(f"--{name} {text}")
    if device != "auto":
        words.append(f"--device {device}")
    return " ".join([*words, "-o DIR"])


def _finish(results: Results, record: Record | None, out: Output) -> None:
    """Draw plots beside the results, and print tables or JSON."""
    if record is not None:
        from proofcompute.bench import plots

        out.say(f"wrote {record.path}")
        if plots.drawable():
            for path in plots.draw(results, record.directory):
                out.say(f"wrote {path}")
        else:
            complain("no plots: matplotlib is not installed (pip install 'proofcompute[bench]'); JSON only")
    _show(results, out)
    out.result(results.to_json())


def _show(results: Results, out: Output) -> None:
    from proofcompute.bench.busy import Busy
    from proofcompute.bench.tables import tables

    load = results.load
    out.say(
        f"\n{results.machine.cpu}, {results.machine.cores} cores; other processes used {load.around} of them "
        f"before or after, and up to {load.during} during a step"
    )
    if complaint := Busy(max(load.around, load.during), load.stolen).complaint(
        "before, after or during a step"
    ):
        out.say(complaint)
    for table in tables(results.to_json()):
        for line in table.plain():
            out.say(line)
    for text in results.left_out:
        out.say(f"left out: {text}")
    rounds = results.settings["rounds"]
    out.say(f"\n{rounds} rounds; {results.seconds:.0f} s; to repeat: {results.command}")
