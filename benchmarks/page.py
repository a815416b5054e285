"""Write docs/benchmarks.md from the JSON of `proofcompute bench` and `python -m benchmarks.peers`.

Run: `python -m benchmarks.page`. The page holds nothing that is not in the two files, but words.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.losses import losses

__all__ = ["DATA", "PAGE", "page"]

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "docs" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
QUIET = 0.5
"""Cores kept busy by other processes up to which the machine counts as quiet."""


def page(results: dict[str, Any], peers: dict[str, Any]) -> str:
    """The page as Markdown."""
    return (
        "\n".join([*_head(results, peers), *_sweeps(results), *_peers(peers), *_tail(results, peers)]) + "\n"
    )


def _head(results: dict[str, Any], peers: dict[str, Any]) -> Iterator[str]:
    m = results["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in m["versions"].items())
    cpu = f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}"
    threads = f"{m['backend']} backend, {m['threads']} threads ({m['threading_layer']})"
    yield from (
        "# Benchmarks",
        "",
        "`python -m benchmarks.page` made this page from [results.json](benchmarks/results.json) and",
        "[peers.json](benchmarks/peers.json); do not edit it. Larger models have [a page](scale.md).",
        "",
        f"Machine: {cpu}; {threads}; BLAS {m['blas']}; {versions}.",
        "",
    )
    for what, data in (("the sweeps", results), ("the comparison with other systems", peers)):
        load = data["machine"]["load"]
        quiet = "quiet then" if load <= QUIET else "**not quiet: other processes took part of the cores**"
        note = f" ({data['note']})" if data["note"] else ""
        yield f"- Cores kept busy by others just before or after {what}: {load}, {quiet}{note}."
    yield from (
        "",
        f"Figures of the sweeps are medians of {results['rounds']} rounds. Both sides of a ratio ran in turn",
        "in one process, or are phases of one and the same run; compilation is excluded. Times on a shared",
        "machine move by a factor of two, so read ratios. No figure for a GPU is given.",
        "",
    )


def _sweeps(r: dict[str, Any]) -> Iterator[str]:
    yield from _section(
        "Models and precisions",
        f"A request of {r['prompt']} random tokens, {r['tokens']} more generated, on a decoder with random "
        "int8 weights (and on the demo model), with a key of two columns. Committing: hashing the trace and "
        "signing, over running the same request. Verifying: all cells, over running.",
        "sizes",
        (
            "model",
            "weights",
            "prefill/s",
            "decode/s",
            "commit",
            "commit, prefill",
            "verify all",
            "opening of all",
            "key",
        ),
        [
            (
                f"{x['model']} {x['precision']}",
                f"{x['weights'] / 1e6:,.1f} M",
                f"{x['prefill_tokens_per_second']:,.0f}",
                f"{x['decode_tokens_per_second']:,.0f}",
                _percent(x["commit_overhead"]),
                _percent(x["commit_overhead_prefill"]),
                _percent(x["verify_over_execute"]),
                _bytes(x["opening_bytes"]),
                _bytes(x["key_bytes"]),
            )
            for x in r["sizes"]
        ],
    )
    yield from _section(
        "Hash suites",
        _on(r["suites"]),
        "suites",
        ("suite", "commit", "commit, prefill", "verify all"),
        [
            (
                x["suite"],
                _percent(x["commit_overhead"]),
                _percent(x["commit_overhead_prefill"]),
                _percent(x["verify_over_execute"]),
            )
            for x in r["suites"]
        ],
    )
    yield from _section(
        "Freivalds columns",
        _on(r["columns"]) + " Soundness of the first verification; the hashes set a limit of 128 bits.",
        "columns",
        ("k", "soundness", "key", "key made in", "verify all"),
        [
            (
                x["columns"],
                f"{x['soundness_bits']:.1f} bits",
                _bytes(x["key_bytes"]),
                _time(x["keygen_seconds"]),
                _percent(x["verify_over_execute"]),
            )
            for x in r["columns"]
        ],
    )
    yield from _section(
        "Audit budgets: detection against cost",
        _on(r["budgets"])
        + " Uniform cells of one row: a draw of few may hold cells that are far smaller than the "
        "mean. The last line asks for every cell, in ranges.",
        "budgets",
        (
            "cells",
            "of",
            "opening",
            "a cell",
            "cost / running",
            "finds one",
            "1 % altered",
            "10 % altered",
            "50 % altered",
        ),
        [
            (
                x["cells"],
                x["total"],
                _bytes(x["opening_bytes"]),
                _bytes(x["opening_bytes"] / x["cells"]),
                _percent(x["verify_over_execute"]),
                *(
                    f"{x[k]:.3f}"
                    for k in ("detects_one", "detects_1_percent", "detects_10_percent", "detects_50_percent")
                ),
            )
            for x in r["budgets"]
        ],
    )
    yield from _section(
        "How verification grows",
        "Slopes of log time over log size (least squares); beside each the slope of the multiplications that "
        "the design's formula counts at the same sizes. The formula leaves out hashing, decoding and the "
        "fixed cost of a call, so small sizes pull the measured slope down; *at the end* is the slope "
        "between the two largest sizes.",
        "scaling",
        ("size", "from .. to", "verify", "formula", "at the end", "formula", "running", "formula"),
        [
            (
                x["name"],
                f"{x['sizes'][0]:,} .. {x['sizes'][-1]:,} ({len(x['sizes'])})",
                _slope(x["verify_exponent"]),
                _slope(x["formula_exponent"]),
                _slope(x["tail_exponent"]),
                _slope(x["formula_tail_exponent"]),
                _slope(x["execute_exponent"]),
                _slope(x["execute_formula_exponent"]),
            )
            for x in r["scaling"]
        ],
    )
    yield from (f"- {x['name']}: {x['formula']}." for x in r["scaling"])
    yield from ("", *(f"Left out: {text}." for text in r["left_out"]), *([""] if r["left_out"] else []))


def _peers(p: dict[str, Any]) -> Iterator[str]:
    rows = p["rows"]
    proofs = [x for x in rows if x["system"] in ("ours", "ezkl")]
    yield from _section(
        "Beside a zero-knowledge prover",
        "The same weights, as a hand-built program for us and as an ONNX file for EZKL. The guarantees "
        "differ: EZKL's proof convinces anybody, is zero-knowledge and needs no secret; ours convinces the "
        "holder of a secret key, hides nothing, and its size grows with the work. Set-up of EZKL leaves out "
        "its universal parameters.",
        "",
        ("network", "system", "set-up", "prove", "verify", "proof", "prover's key", "peak memory"),
        [
            (x["case"], _system(x), *_proof(x))
            if x["status"] == "measured"
            else (x["case"], _system(x), *_not(x, 6))
            for x in proofs
        ],
        command="python -m benchmarks.peers -o DIR --only ours --only ezkl",
    )
    yield from _section(
        "Beside an inference engine",
        "llama.cpp proves nothing; the comparison is of speed, committing included on our side.",
        "",
        ("engine", "prefill/s", "decode/s", "prefill / llama.cpp", "decode / llama.cpp"),
        [
            row
            for x in rows
            if x["system"] == "llama.cpp"
            for row in (_engines(x) if x["status"] == "measured" else [("llama.cpp", *_not(x, 4))])
        ],
        command="python -m benchmarks.peers -o DIR --only llama.cpp",
    )
    yield from _section(
        "Beside a statistical fingerprint",
        "TOPLOC's verifier recomputes the hidden states first: it needs the weights and a forward pass, "
        "given here as our engine's prefill of as many tokens.",
        "",
        ("system", "build", "verify", "and a forward pass", "proof", "note"),
        [
            (
                _system(x),
                _time(x["prove_seconds"]),
                _time(x["verify_seconds"]),
                _time(x["forward_pass_seconds"]),
                _bytes(x["proof_bytes"]),
                x["note"],
            )
            if x["status"] == "measured"
            else (_system(x), *_not(x, 5))
            for x in rows
            if x["system"] == "toploc"
        ],
        command="python -m benchmarks.peers -o DIR --only toploc",
    )
    yield from _section(
        "What others publish",
        "Constants, taken over from their authors, on their hardware and models; not measured here.",
        "",
        ("system", "guarantee", "prover's overhead", "verifier", "size", "source"),
        [
            (x["system"], x["guarantee"], x["prover"], x["verifier"], x["size"], x["source"])
            for x in p["published"]
        ],
    )


def _tail(results: dict[str, Any], peers: dict[str, Any]) -> Iterator[str]:
    yield from ("## Where we lose", "")
    yield from (f"- {text}" for text in losses(results, peers))
    yield from (
        "",
        "## Make this page again",
        "",
        "```console",
        "$ pip install 'proofcompute[bench,peers]'",
        f"$ {results['command'].replace('DIR', 'docs/benchmarks')}",
        f"$ {peers['command'].replace('DIR', 'docs/benchmarks')}",
        "$ python -m benchmarks.page",
        "```",
        "",
        f"The sweeps took {results['seconds']:.0f} s. `proofcompute bench --quick` takes under 20 s once the",
        "kernels are compiled.",
    )


def _section(
    title: str,
    text: str,
    section: str,
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    command: str = "",
) -> Iterator[str]:
    """A heading, a text, a table, and the command that measures it."""
    if not rows:
        return
    yield from (f"## {title}", "", text, "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|")
    yield from ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    run = f"proofcompute bench --sections {section} -o DIR" if section else command
    yield from ("", *([f"`{run}`", ""] if run else []))


def _on(rows: Sequence[dict[str, Any]]) -> str:
    return f"Model: {rows[0]['model']}." if rows else ""


def _system(x: dict[str, Any]) -> str:
    return f"{x['system']} {x.get('version', '')}".strip()


def _proof(x: dict[str, Any]) -> tuple[str, ...]:
    return (
        _time(x["setup_seconds"]),
        _time(x["prove_seconds"]),
        _time(x["verify_seconds"]),
        _bytes(x["proof_bytes"]),
        _bytes(x["prover_key_bytes"]) if x["prover_key_bytes"] else "-",
        _bytes(x["peak_memory_bytes"]),
    )


def _engines(x: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            e["engine"],
            f"{e['prefill_tokens_per_second']:,.0f}",
            f"{e['decode_tokens_per_second']:,.0f}",
            f"{e['prefill_over_llama']:.2f}",
            f"{e['decode_over_llama']:.2f}",
        )
        for e in x["rows"]
    ]


def _not(x: dict[str, Any], cells: int) -> tuple[str, ...]:
    reason = str(x["reason"]).replace("|", "\\|")
    return (f"{x['status']}: {reason}", *("" for _ in range(cells - 1)))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 1 else f"{100 * share:.0f} %"


def _slope(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bytes(n: float) -> str:
    for unit in ("B", "KB", "MB"):
        if n < 1_000:
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1_000
    return f"{n:.1f} GB"


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def main() -> int:
    results, peers = (json.loads((DATA / name).read_text("utf-8")) for name in ("results.json", "peers.json"))
    PAGE.write_text(page(results, peers), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
