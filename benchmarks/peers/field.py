"""Compares figures that others published with ours, for the tables that our demo model and shapes fit.

Published figures are constants, each found in a copy of its source on :data:`CHECKED`. Ours are measured by
the case that belongs to a table; the sentences about where we lose follow from both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from proofcompute.bench.tables import size, time

__all__ = ["CHECKED", "FIELD", "VERIFIERS", "FieldTable", "Figures", "field_losses"]

CHECKED: Final = "2026-11-29"
"""The day on which the figures were found in their sources."""


@dataclass(frozen=True)
class Figures:
    """One published row."""

    system: str
    machine: str
    figures: tuple[str, ...]
    """Figures in the order of the table's head, with a dash for each missing one."""
    source: str


@dataclass(frozen=True)
class FieldTable:
    """One table of the field."""

    title: str
    text: str
    system: str
    """The system whose case measures ours: what `--only` takes."""
    head: tuple[str, ...]
    published: tuple[Figures, ...]
    columns: tuple[tuple[str, Callable[[Any], str]], ...]
    """Names of our figures, and how they are written."""


_OBELYZK = (
    "README of github.com/Bitsage-Network/obelyzk.rs, Performance: times with roots of the weights kept on "
    "disk (commit 0f2e78d)"
)
_COMMITLLM = "paper/benchmarks/verifier_bench.txt of github.com/lambdaclass/CommitLLM (commit 96d2ed7)"
_JOLT = "README of github.com/ICME-Lab/jolt-atlas, Benchmarks"
_EZKL = "EZKL's blog, Honey I SNARKED the GPT (2023), as quoted in Jolt Atlas' README, Benchmarks"
_DEEPPROVE = "README of github.com/Lagrange-Labs/deep-prove, Benchmark Highlights (commit 2bbc4d9, 2025)"
_M3 = "Apple M3, 16 GB"

FIELD: Final[dict[str, FieldTable]] = {
    "obelyzk": FieldTable(
        "Beside proofs of SmolLM2-135M",
        "obelyzk.rs proves this model's inference for a chain's test net: the proof convinces anybody, in "
        "one transaction. Its README does not say what a token's context is; its own audit "
        "(engine/docs/SOUNDNESS_GATES_AUDIT.md) names checks that are off by default, as those of the "
        "upper bits of activations and of a batch's tokens. Ours starts from a prompt of one token and "
        "generates so many at w8a16; proving is running, committing and opening every cell, and verifying "
        "checks every cell under a secret key of two columns.",
        "obelyzk",
        ("tokens", "prove", "of it, running", "a token", "verify", "bytes"),
        (
            Figures("obelyzk.rs", "A10G", ("1", "4.3 s", "-", "4.3 s", "one transaction", "-"), _OBELYZK),
            Figures("obelyzk.rs", "H100", ("1", "3.8 s", "-", "3.8 s", "one transaction", "-"), _OBELYZK),
            Figures("obelyzk.rs", "H100", ("8", "17.1 s", "-", "2.1 s", "one transaction", "-"), _OBELYZK),
            Figures("obelyzk.rs", "H100", ("16", "32.3 s", "-", "2.0 s", "one transaction", "-"), _OBELYZK),
        ),
        (
            ("tokens", str),
            ("prove_seconds", time),
            ("native_seconds", time),
            ("token_seconds", time),
            ("verify_seconds", time),
            ("proof_bytes", size),
        ),
    ),
    "commitllm": FieldTable(
        "Beside CommitLLM's verifier",
        "Product checks of one token, in turn through layers that have keys of their own, on random data "
        "of the models' shapes, as theirs, and then the gate (SiLU times up) recomputed. Theirs takes "
        "seven dot products a layer with rows and as many with outputs, in a field of 2^32 - 5; ours takes "
        "k of each in a field of 2^31 - 1, queries, keys and values together and gate with up, unpacks the "
        "hint, checks its bound and scales it. Hashing, attention and norms are in neither; audits of "
        "whole cells are on [the page of large models](scale.md).",
        "commitllm",
        ("model", "false product passes", "10 layers", "all layers", "10 layers, and gate", "all, and gate"),
        (
            Figures(
                "CommitLLM",
                "Apple M4",
                ("8B, 32 layers", "2^-32", "619 us", "1.89 ms", "656 us", "1.98 ms"),
                _COMMITLLM,
            ),
            Figures(
                "CommitLLM",
                "Apple M4",
                ("70B, 80 layers", "2^-32", "1.07 ms", "8.71 ms", "1.27 ms", "10.09 ms"),
                _COMMITLLM,
            ),
            Figures(
                "CommitLLM",
                "Apple M4",
                ("405B, 126 layers", "2^-32", "2.10 ms", "26.56 ms", "2.33 ms", "29.76 ms"),
                _COMMITLLM,
            ),
        ),
        (
            ("model", str),
            ("passes", str),
            ("ten_seconds", time),
            ("all_seconds", time),
            ("ten_gate_seconds", time),
            ("all_gate_seconds", time),
        ),
    ),
    "nanogpt": FieldTable(
        "Beside proofs of nanoGPT",
        "EZKL and Jolt Atlas prove one pass of a GPT of 4 layers, width 64, 4 heads and 65 tokens over 64 "
        "tokens (a quarter of a million weights) in zero knowledge. Ours is a decoder of the Llama kind of "
        "the same depth, width, heads, vocabulary and number of weights, with random weights at w8a16: 64 "
        "tokens in, one out, every cell opened and checked under a secret key of two columns.",
        "nanogpt",
        ("set-up", "prove", "of it, running", "verify", "bytes"),
        (
            Figures("EZKL", "not said", ("404 s", "237 s", "-", "0.34 s", "-"), _EZKL),
            Figures("Jolt Atlas", _M3, ("0.263 s", "2.288 s", "-", "0.127 s", "-"), _JOLT),
        ),
        (
            ("setup_seconds", time),
            ("prove_seconds", time),
            ("native_seconds", time),
            ("verify_seconds", time),
            ("proof_bytes", size),
        ),
    ),
    "deepprove": FieldTable(
        "Beside proofs of dense layers",
        "DeepProve's Dense 4M: dense layers with ReLU, 4 million weights together, in zero knowledge; its "
        "authors measured EZKL as well. They do not publish the layers; their generator makes 4 inputs, "
        "layers of one width and 3 outputs, and ours has five of width 1,000. One sample, w8a16, every "
        "cell opened and checked under a secret key of two columns; a rerun is the network in float32 "
        "NumPy, in turn with ours.",
        "deepprove",
        ("set-up", "prove", "verify", "bytes", "a rerun"),
        (
            Figures("DeepProve", "not said", ("-", "2.335 s", "520 ms", "-", "-"), _DEEPPROVE),
            Figures("EZKL", "not said", ("-", "126.8 s", "1.112 s", "-", "-"), _DEEPPROVE),
        ),
        (
            ("setup_seconds", time),
            ("prove_seconds", time),
            ("verify_seconds", time),
            ("proof_bytes", size),
            ("native_seconds", time),
        ),
    ),
}
"""Tables by the names that cases give them."""

VERIFIERS = {"8B": (0.619e-3, 1.89e-3), "70B": (1.07e-3, 8.71e-3), "405B": (2.10e-3, 26.56e-3)}
"""CommitLLM's seconds for the product checks of 10 layers and of all."""


def field_losses(peers: dict[str, Any]) -> Iterator[str]:
    """Yield sentences about what others do better by their own figures, or do and we do not."""
    rows = {kind: _measured(peers, kind) for kind in FIELD}
    slower = [
        f"{x['model'].split(',')[0]}, k = {x['columns']}: {1e3 * x['all_seconds']:.1f} ms against "
        f"{1e3 * VERIFIERS[x['model'].split(',')[0]][1]:.1f} ms"
        for x in rows["commitllm"]
        if x["all_seconds"] > VERIFIERS[x["model"].split(",")[0]][1]
    ]
    if slower:
        yield (
            "CommitLLM publishes lower times for the product checks of one token through all layers, on "
            f"another machine: {'; '.join(slower)}."
        )
    for kind, what, beside in (
        ("obelyzk", "obelyzk.rs", "running alone"),
        ("nanogpt", "EZKL and Jolt Atlas", "running alone"),
        ("deepprove", "DeepProve", "a rerun in float32 NumPy"),
    ):
        for x in rows[kind][-1:]:
            ratio = x["prove_seconds"] / x["native_seconds"]
            dearer = f"; making them takes {ratio:.1f} times as long as {beside}" if ratio > 1 else ""
            yield (
                f"The proofs of {what} convince anybody without a secret. Our receipt and opening beside "
                f"them, {size(x['proof_bytes'])}, convince the holder of a key{dearer}."
            )


def _measured(peers: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [
        x for c in peers["cases"] if c.get("table") == kind for x in c["rows"] if x["status"] == "measured"
    ]
