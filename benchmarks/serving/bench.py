"""Holds what all parts of the measurement share: the model's files, prompts, servers and lengths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import ours
from benchmarks.serving.engine import Engines
from benchmarks.serving.load import Ask
from benchmarks.serving.peers import Peers
from benchmarks.serving.prompts import Prompts
from benchmarks.serving.receipts import Receipts
from benchmarks.serving.servers import Kind, Server, completion
from benchmarks.serving.streams import Answer, Raw, read
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.engine import Engine
from proofcompute.models.model import Model

__all__ = ["Bench", "Plan"]

_REST: Final = 0.3
"""Seconds after which the threads of the server measured before poll for work no more."""


@dataclass(frozen=True)
class Plan:
    """Lengths and counts of the measurement."""

    prompt: int = 64
    tokens: int = 128
    counts: tuple[int, ...] = (1, 4, 8, 16)
    """Clients at once; the first is one."""
    rounds: int = 3
    each: int = 2
    """Requests of each client, one after the other."""
    alone: int = 4
    """Requests of a client that is alone."""
    bursts: int = 5
    burst: int = 8
    """Requests that arrive at once."""
    prefix: int = 448
    """Tokens of a prefix that prompts share."""
    soak: int = 600
    """Seconds of the soak."""

    def settings(self, part: str) -> dict[str, Any]:
        """Return what the figures of a part depend on, as plain data."""
        found = json.loads(json.dumps(asdict(self)))
        if part != "soak":
            del found["soak"]
        return dict(found)


@dataclass
class Bench:
    """What the parts of the measurement share."""

    plan: Plan
    model: Path
    """The demo model as a model file."""
    identity: Path
    """The file of our node's key pair."""
    prompts: Prompts
    receipts: Receipts
    peers: Peers

    @property
    def ours(self) -> Kind:
        """Our server."""
        return self.node()

    def node(self, *options: str) -> Kind:
        """Return our server with some options."""
        return ours.node(self.model, self.identity, self.receipts, options)

    def watched(self) -> Kind:
        """Return our server in a process that watches its event loop."""
        return ours.watched(self.model, self.identity, self.receipts)

    def ask(self, kind: Kind, tokens: int | None = None, *, prefix: str = "", own: int | None = None) -> Ask:
        """Return a request with a new prompt: ``prefix`` and ``own`` words more."""
        prompt = self.prompts(self.plan.prompt if own is None else own, prefix)
        return completion(kind, prompt, self.plan.tokens if tokens is None else tokens)

    def read(self, server: Server, raws: Sequence[Raw], tokens: int | None = None) -> list[Answer]:
        """Return whole answers, after verifying the receipt of each if the server signs them."""
        answers = [read(raw, self.plan.tokens if tokens is None else tokens) for raw in raws]
        if server.kind.check is not None:
            for answer in answers:
                server.kind.check(answer)
        return answers

    def load(self) -> Model:
        """Return the demo model, weights included."""
        return Model.load(self.model)

    def engines(self) -> Engines:
        """Return a new engine of the demo model, in this process."""
        model = self.load()
        engine = Engine(model, kernels_for("cpu"))
        return Engines(model, engine, self.plan.prompt, self.plan.tokens)

    async def rest(self) -> None:
        """Wait until nothing runs any more."""
        await asyncio.sleep(_REST)
