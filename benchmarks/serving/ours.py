"""Says how our own server is started: as its users start it, or in a process that watches its event loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.serving.peers import OURS
from benchmarks.serving.receipts import Receipts
from benchmarks.serving.servers import Kind

__all__ = ["PREFIXES", "RECOMPUTING", "SOAKED", "node", "watched"]

PREFIXES: Final = ("--prefix-memory", "256")
"""Options that let a node keep the beginnings of prompts."""
RECOMPUTING: Final = ("--trace-memory", "0")
"""Options by which a node keeps no trace, so that it computes each again."""
SOAKED: Final = ("--trace-memory", "128", "--prefix-memory", "64")
"""Options by which the caches of a node are full soon, and all of them are used."""
_FIELDS: Final = {"ignore_eos": True, "stream_options": {"include_usage": True}}


def node(model: Path, identity: Path, receipts: Receipts, options: Sequence[str] = ()) -> Kind:
    """Return `proofcompute serve` with some options."""

    def command(port: int) -> list[str]:
        serve = [sys.executable, "-m", "proofcompute", "serve", "--name", f"demo={model}", str(model)]
        return [*serve, "--identity", str(identity), "--device", "cpu", "--port", str(port), *options]

    return Kind(OURS, command, _FIELDS, check=receipts, sign=True)


def watched(model: Path, identity: Path, receipts: Receipts) -> Kind:
    """Return the same service, with a task in its event loop that notes how late it wakes."""
    program = [sys.executable, "-m", "benchmarks.serving.watched", str(model), str(identity)]
    return Kind(OURS, lambda port: [*program, str(port)], _FIELDS, check=receipts, sign=True)
