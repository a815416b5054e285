"""Finds the servers that ours is measured beside, and says of each missing one why.

A program is looked for on PATH, unless an option names it; llama-cpp-python in the interpreter that runs
this, unless an option names another.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.servers import Kind
from proofcompute.arithmetic.devices import cpu_threads
from proofcompute.errors import ExecutionError

__all__ = ["LLAMA_BENCH", "LLAMA_PYTHON", "LLAMA_SERVER", "OURS", "Peers", "Wanted", "batched_bench", "find"]

OURS: Final = "proofcompute"
LLAMA_SERVER: Final = "llama-server"
LLAMA_PYTHON: Final = "llama-cpp-python's server"
LLAMA_BENCH: Final = "llama-batched-bench"

_CONTEXT: Final = 1_024
"""Tokens of context for each request."""
_BATCH: Final = 512
"""Rows in one step."""


@dataclass(frozen=True)
class Wanted:
    """Where the caller says that other systems are; None: where they are looked for."""

    server: str | None = None
    """The program llama-server."""
    bench: str | None = None
    """The program llama-batched-bench."""
    python: str | None = None
    """An interpreter that has llama-cpp-python with its server."""


@dataclass(frozen=True)
class Peers:
    """Where the other systems are, and the settings that they share."""

    model: Path
    """The demo model in Q8_0."""
    threads: int
    slots: int
    """Requests at once."""
    ends: Sequence[int]
    """Tokens that end an answer, which must not be drawn."""
    server: str | None
    """The program llama-server."""
    bench: str | None
    """The program llama-batched-bench."""
    python: str | None
    """An interpreter that has llama-cpp-python with its server."""
    missing: dict[str, str]
    """Why a system is not there, by its name."""

    def kinds(self) -> list[Kind]:
        """Return the servers that are there."""
        found = []
        if self.server is not None:
            found.append(self._llama_server(self.server))
        if self.python is not None:
            found.append(self._llama_python(self.python))
        return found

    def _llama_server(self, program: str) -> Kind:
        return Kind(
            LLAMA_SERVER,
            lambda port: [
                *(program, "--model", str(self.model), "--host", "127.0.0.1", "--port", str(port)),
                *("--threads", str(self.threads), "--threads-batch", str(self.threads)),
                *("--parallel", str(self.slots), "--ctx-size", str(self.slots * _CONTEXT)),
                *("--batch-size", str(_BATCH), "--ubatch-size", str(_BATCH), "--flash-attn", "on"),
            ],
            {"ignore_eos": True, "stream_options": {"include_usage": True}},
            ready="/health",
        )

    def _llama_python(self, program: str) -> Kind:
        return Kind(
            LLAMA_PYTHON,
            lambda port: [
                *(program, "-m", "llama_cpp.server", "--model", str(self.model)),
                *("--host", "127.0.0.1", "--port", str(port), "--n_ctx", str(_CONTEXT)),
                *("--n_threads", str(self.threads), "--n_threads_batch", str(self.threads)),
                *("--n_batch", str(_BATCH), "--flash_attn", "true"),
                # by default a new request ends the one that runs
                *("--interrupt_requests", "false"),
            ],
            {"logit_bias": {str(token): -100.0 for token in self.ends}},
            note="it answers one request at a time",
            serial=True,
        )


def batched_bench(peers: Peers, prompt: int, tokens: int, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Run llama.cpp's own benchmark of batches once, and return its line for each number of sequences.

    Raises ExecutionError if it fails.
    """
    command = [
        *(str(peers.bench), "--model", str(peers.model), "-npp", str(prompt), "-ntg", str(tokens)),
        *("-npl", ",".join(map(str, counts)), "--ctx-size", str(max(counts) * (prompt + tokens))),
        *("--threads", str(peers.threads), "--threads-batch", str(peers.threads)),
        *("--batch-size", str(_BATCH), "--ubatch-size", str(_BATCH), "--flash-attn", "on"),
        *("--output-format", "jsonl"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = {line["pl"]: line for line in lines}
    if done.returncode or sorted(found) != sorted(counts):
        raise ExecutionError(f"{LLAMA_BENCH} ended with {done.returncode}: {done.stderr[-300:]}")
    return [found[count] for count in counts]


def find(source: Path, folder: Path, wanted: Wanted, *, slots: int, ends: Sequence[int]) -> Peers:
    """Return the systems that are there; ``source`` is written to ``folder`` in Q8_0 for them."""
    missing = {}
    target = folder / "q8_0.gguf"
    server, bench = wanted.server or shutil.which(LLAMA_SERVER), wanted.bench or shutil.which(LLAMA_BENCH)
    python = wanted.python or sys.executable
    for name, program in ((LLAMA_SERVER, server), (LLAMA_BENCH, bench)):
        if program is None:
            missing[name] = f"no program {name} on PATH (see github.com/ggml-org/llama.cpp)"
    if not _runs([python, "-c", "import llama_cpp.server.app"]):
        missing[LLAMA_PYTHON] = "not installed (pip install 'llama-cpp-python[server]')"
    quantised = _runs([python, str(Path(__file__).with_name("requantised.py")), str(source), str(target)])
    if not quantised:
        reason = "the model in Q8_0 cannot be made without llama-cpp-python"
        missing |= {name: reason for name in (LLAMA_SERVER, LLAMA_BENCH) if name not in missing}
        missing.setdefault(LLAMA_PYTHON, reason)
    return Peers(
        target,
        cpu_threads(),
        slots,
        ends,
        None if LLAMA_SERVER in missing else server,
        None if LLAMA_BENCH in missing else bench,
        None if LLAMA_PYTHON in missing else python,
        missing,
    )


def _runs(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
