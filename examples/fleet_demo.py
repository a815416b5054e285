"""A gateway before four nodes, three of which cheat: what `make fleet-demo` runs.

It makes a small model with random weights and starts four nodes in processes of their own (honest; weights of
four bits; a layer left out; a token of each answer replaced), a ledger, and `proofcompute gateway` with its
page. Then it asks the gateway until the three cheats are quarantined, fetches the evidence, and lets
`proofcompute verify-evidence` decide it again. Beside the number of audits until each cheat was caught stands
the number that the formula expects: an audit of c of N cells finds m altered ones with probability d = 1 -
C(N - m, c) / C(N, c), so the first that finds one is the 1 / d-th on average.

Exit status 0: the cheats and nobody else were quarantined, and the evidence holds; 1: something came out
otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, cast

import httpx2
import numpy as np

import proofcompute as pc
from proofcompute.cli import main as proofcompute
from proofcompute.importers.compiling import compile_decoder
from proofcompute.openai import Json, call_of
from proofcompute.protocol.answer import answer_text
from proofcompute.serving import Service, application, server
from proofcompute.testing import CHEATS, TINY, bad_cells, detects, random_checkpoint

KINDS = {
    "honest": "",
    "four-bits": "other weights",
    "no-layer": "skipped layer",
    "token": "edited answer",
}
"""The nodes, and the cheat of each."""
CELLS, SHARE = 24, 0.5
"""Cells that an audit opens, and the share of the answers that are audited."""
NAME = "small"
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]"
QUESTION: dict[str, Json] = {
    "messages": [{"role": "user", "content": "Who are you?"}],
    "temperature": 0,
    "max_tokens": 12,
}
SECONDS = 150
DEVICE = "numpy"
"""What computes: the model is so small that compiling kernels would take longer."""


# -- a node ------------------------------------------------------------------------------------------------
class Made:
    """What stands for a ticket: the answer of a cheat, computed in a thread."""

    def __init__(self, request: pc.Request, work: Any) -> None:
        self.request, self.stop_reason, self.error = request, None, None
        self.tokens: list[int] = []
        self._work = work

    @property
    def done(self) -> bool:
        return bool(self._work.done())

    def cancel(self) -> None:
        self._work.cancel()

    async def answer(self) -> pc.Answer:
        return cast(pc.Answer, await asyncio.wrap_future(self._work))

    async def __aiter__(self) -> AsyncIterator[list[int]]:
        found = await self.answer()
        self.tokens, self.stop_reason = list(found.tokens), cast(Any, found.stop_reason)
        yield self.tokens


class Cheating:
    """What stands for a runner: it computes as the cheat does, and opens what it committed to."""

    def __init__(self, true: pc.Runner, cheat: str, terms: pc.Terms) -> None:
        self._true = true
        self._node = pc.Node(true.model, true.identity, device=true.kernels, terms=terms)
        self._run = next(c.run for c in CHEATS if c.name == cheat)
        self._threads = ThreadPoolExecutor(1)
        self.opener = self._node.opener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._true, name)

    async def __aenter__(self) -> Cheating:
        self._true.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        await asyncio.to_thread(self._true.close)

    def submit(self, request: pc.Request, **_: Any) -> Made:
        return Made(request, self._threads.submit(self._answer, request))

    def _answer(self, request: pc.Request) -> pc.Answer:
        receipt = self._run(self._node, request)
        tokens = tuple(np.frombuffer(receipt.outputs[0][1], "<i4").tolist())
        vocabulary = self._node.card.vocabulary
        assert vocabulary is not None
        text = answer_text(vocabulary, request.generation, tokens, receipt.stop_reason)
        return pc.Answer(request, receipt.encode(), {}, tokens, text, receipt.stop_reason, receipt.rows)


async def serve(folder: Path, kind: str) -> None:
    """Serve as one kind of node until SIGTERM."""
    identity = pc.NodeIdentity.load(folder / f"{kind}.identity")
    terms = pc.Terms.of(identity, base=30, rate=50, retention=3600)
    service = Service({NAME: pc.Model.load(folder / "model")}, identity, pc.kernels_for(DEVICE), terms=terms)
    if KINDS[kind]:
        for served in service.models.values():
            served.runner = cast(pc.Runner, Cheating(served.runner, KINDS[kind], terms))
    port = server.check_address("127.0.0.1", 0)
    node = server.bare_server(application(service), "127.0.0.1", port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    serving = asyncio.ensure_future(node.serve())
    await server.listening("127.0.0.1", port)
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await stop.wait()
    node.stop()  # type: ignore[no-untyped-call]
    await serving


# -- the demonstration -------------------------------------------------------------------------------------
def files(folder: Path) -> None:
    """Make the model, a secret key for it, and everybody's identity."""
    kernels = pc.kernels_for(DEVICE)
    checkpoint = replace(random_checkpoint(0, replace(TINY, context=512)), chat_template=TEMPLATE)
    model = compile_decoder(checkpoint, kernels, "w8a16")
    model.save(folder / "model")
    (folder / "card").write_bytes(model.card.encode())
    pc.write_key(model, kernels, folder / "key")
    for name in (*KINDS, "gateway"):
        pc.NodeIdentity.new().save(folder / f"{name}.identity")


@contextmanager
def process(*command: str) -> Iterator[str]:
    """Run a command, and yield the first line that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as made:
        try:
            assert made.stdout is not None
            first = made.stdout.readline()
            if not first:
                sys.exit(f"{' '.join(command)} did not start")
            yield first
        finally:
            made.terminate()
            try:
                made.wait(20)
            except subprocess.TimeoutExpired:
                made.kill()


def federation(folder: Path, urls: dict[str, str]) -> None:
    nodes = [
        {
            "name": kind,
            "url": url,
            "key": pc.NodeIdentity.load(folder / f"{kind}.identity").public.hex(),
            "models": [NAME],
        }
        for kind, url in urls.items()
    ]
    audit = {"by": "opening", "share": SHARE, "cells": CELLS}
    model = {"name": NAME, "card": "card", "key": "key", "audit": audit}
    (folder / "nodes.json").write_text(json.dumps({"version": 1, "nodes": nodes}))
    (folder / "models.json").write_text(json.dumps({"version": 1, "models": [model]}))


def expected(folder: Path) -> dict[str, float]:
    """Return how many audits the formula expects until each cheat is caught."""
    kernels = pc.kernels_for(DEVICE)
    model = pc.Model.load(folder / "model")
    auditor = pc.Auditor(model, device=kernels)
    with pc.Prompter(model) as prompter:
        call = call_of({"model": NAME, **QUESTION}, endpoint="chat")
        request = call.requests(prompter, nonce=bytes(32), date=datetime.now(UTC).date())[0]
    found = {}
    for kind, name in KINDS.items():
        if name:
            node = pc.Node(model, device=kernels)
            receipt = next(c.run for c in CHEATS if c.name == name)(node, request).encode()
            total = auditor.claim(request, receipt).statement.cells
            chance = detects(total, len(bad_cells(node, auditor, request, receipt)), CELLS)
            found[kind] = 1 / chance
    return found


def ask(client: httpx2.Client, url: str, seed: int) -> None:
    body = {"model": NAME, **QUESTION, "seed": seed, "stream": seed % 2 == 0}
    found = client.post(f"{url}/v1/chat/completions", json=body)
    if found.status_code != 200:
        print(f"answer {seed}: {found.text[:1000]}", flush=True)


def watch(url: str) -> dict[str, dict[str, Any]]:
    """Ask until all cheats are quarantined, and return what the gateway then knows of the nodes."""
    cheats = {kind for kind, name in KINDS.items() if name}
    seen: set[str] = set()
    end, asked = time.monotonic() + SECONDS, 0
    with httpx2.Client(timeout=60) as client:
        while True:
            nodes = {n["name"]: n for n in client.get(f"{url}/v1/fleet").json()["nodes"]}
            caught = {n for n, node in nodes.items() if node["state"] == "quarantined"}
            for name in sorted(caught - seen):
                print(f"after {asked} answers, {name} is quarantined: {nodes[name]['why']}", flush=True)
            seen |= caught
            done = caught >= cheats and all(nodes[n]["evidence"] for n in cheats)
            if done or time.monotonic() > end:
                return nodes
            ask(client, url, asked)
            asked += 1


def holds(folder: Path, url: str, name: str) -> bool:
    """Fetch evidence, and let the command that anybody has decide it again."""
    path = folder / name
    path.write_bytes(httpx2.get(f"{url}/v1/evidence/{name}").content)
    said = StringIO()
    with redirect_stdout(said):
        status = proofcompute(["verify-evidence", str(path), "--model", str(folder / "model")])
    return status == 0


def demonstrate(folder: Path) -> int:
    start = time.monotonic()
    files(folder)
    formula = expected(folder)
    with ExitStack() as stack:
        urls = {}
        for kind in KINDS:
            command = (sys.executable, __file__, "node", str(folder), kind)
            urls[kind] = stack.enter_context(process(*command)).strip()
        federation(folder, urls)
        named = {"--nodes": "nodes.json", "--models": "models.json", "--identity": "gateway.identity"}
        words = [word for option, file in named.items() for word in (option, str(folder / file))]
        words += [
            "--state",
            str(folder / "state"),
            "--disclose",
            "--port",
            "0",
            "--device",
            DEVICE,
            "--log-level",
            "error",
        ]
        said = stack.enter_context(process(sys.executable, "-m", "proofcompute", "gateway", *words))
        url = said.split()[2].removesuffix(",").removesuffix("/v1")
        print(f"four nodes, and a gateway with its page at {url}/", flush=True)
        nodes = watch(url)
        right = True
        for kind in KINDS:
            node = nodes[kind]
            quarantined = node["state"] == "quarantined"
            right &= quarantined == bool(KINDS[kind])
            line = f"{kind:10} {node['state']:12} {node['audits']:3} audits"
            if KINDS[kind] and quarantined:
                verified = holds(folder, url, node["evidence"])
                right &= verified
                line += f" until it was caught, {formula[kind]:.1f} expected; evidence "
                line += "holds" if verified else "DOES NOT HOLD"
            print(line, flush=True)
    print(f"{'as it must be' if right else 'NOT as it must be'}, after {time.monotonic() - start:.0f} s")
    return 0 if right else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="A gateway before four nodes, three of which cheat.")
    commands = parser.add_subparsers(dest="command")
    node = commands.add_parser("node", help="be one of the nodes")
    node.add_argument("folder", type=Path)
    node.add_argument("kind", choices=KINDS)
    given = parser.parse_args()
    if given.command == "node":
        asyncio.run(serve(given.folder, given.kind))
        return 0
    with tempfile.TemporaryDirectory() as name:
        return demonstrate(Path(name))


if __name__ == "__main__":
    sys.exit(main())
