"""Commands about this machine: ``devices``, ``warm-up``, ``cubins``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from proofcompute.cli.console import Output, size
from proofcompute.cli.options import Json
from proofcompute.cli.progress import progress
from proofcompute.errors import InputError

__all__ = ["cubins", "devices", "warm_up"]

MOST_PROCESSES = 4
"""Processes that compile at once: more would mostly wait for the largest kernels."""


def devices(json: Json = False) -> None:
    """List the devices that can compute here, and what a device lacks that cannot."""
    from proofcompute.arithmetic.devices import kernels_for, survey

    out, found = Output(json), survey()
    width = max(len(report.description) for report in found)
    for report in found:
        state = f"cannot be used: {report.problem}" if report.problem else "ready"
        out.say(f"{report.device:<6}  {report.description:<{width}}  {state}")
        if products := report.fields.get("products"):
            out.say(f"        products of many rows: {products}")
    chosen = {"cuda": "cuda", "numpy": "numpy"}.get(kernels_for("auto").name, "cpu")
    out.say(f"auto    is {chosen}")
    out.result(
        {
            "auto": chosen,
            "devices": [
                {
                    "device": report.device,
                    "description": report.description,
                    "usable": not report.problem,
                    "problem": report.problem or None,
                    **report.fields,
                }
                for report in found
            ],
        }
    )


def warm_up(json: Json = False) -> None:
    """Compile the kernels for the CPU that this install lacks now, so that no other command has to."""
    from proofcompute.arithmetic.devices import warm_up as compile_all

    out, before = Output(json), 0
    with progress("warm-up") as advance:

        def done(now: int, total: int) -> None:
            nonlocal before
            advance(now - before, total)
            before = now

        count = compile_all(done, processes=min(os.cpu_count() or 1, MOST_PROCESSES))
    out.say(f"{count} kernels compiled; all are ready")
    out.result({"compiled": count})


def cubins(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Directory to write to.", show_default=False)
    ],
    arch: Annotated[
        list[str] | None,
        typer.Option(help="Architecture, such as sm_90; may be repeated. Default: all common ones."),
    ] = None,
    json: Json = False,
) -> None:
    """Compile the CUDA kernels ahead of time; this needs NVRTC, but no GPU.

    Set PROOFCOMPUTE_CUBINS to the directory where the node runs, and it compiles nothing.
    """
    from proofcompute.arithmetic.devices import build_cubins

    architectures = [_architecture(text) for text in arch or ()]
    with progress("cubins") as advance:
        paths = build_cubins(output, architectures, lambda steps, total: advance(steps, total))
    out, nbytes = Output(json), sum(path.stat().st_size for path in paths)
    out.say(f"{output}: {len(paths)} cubins, {size(nbytes)}; use them with PROOFCOMPUTE_CUBINS={output}")
    out.result({"directory": str(output), "cubins": [path.name for path in paths], "bytes": nbytes})


def _architecture(text: str) -> int:
    if not re.fullmatch(r"sm_[0-9]{2,3}", text):
        raise InputError(f"{text!r} is not an architecture; an example of one is sm_90")
    return int(text.removeprefix("sm_"))
