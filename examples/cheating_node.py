"""A node that cheats, to try an audit on: `python examples/cheating_node.py`.

It serves one model several times, each time with another way to cheat, under the name of that way:

    precision   computes with weights of four bits instead of eight, to save memory
    layer       lets a block in the middle of the network add nothing, to save its work
    product     has other weights in one product, and uses them for every third answer only
    text        adds an advertisement to the text; the receipt is true
    truncated   computes half of the tokens that were asked for, and signs that this was the whole answer
    stale       gives everybody the first answer that it made, with its receipt

Whoever alters the computation commits to what it did: trees, trace root and signature fit the altered run,
and cells are opened with true products of the altered rows. What is left is what no cheater can avoid.

Without arguments the script makes a small model, serves it like this, lets `proofcompute ask` and
`proofcompute audit` check each kind, and fails unless all of them are caught. `serve MODEL IDENTITY` serves a
model of yours; see `serve --help`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

import proofcompute as pc
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.cli import main as proofcompute
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.model import Model
from proofcompute.serving import Service, application, server
from proofcompute.testing import TINY, four_bits, random_checkpoint, reweighted, without_block

KINDS = ("precision", "layer", "product", "text", "truncated", "stale")
EVERY = 3
"""Of how many answers one is computed with the altered product."""
ADVERTISEMENT = " (Ask me for the best prices!)"


# -- models that compute something else ----------------------------------------------------------------------
def altered(model: Model, kind: str) -> Model:
    """Return a model with the id of the true one that computes something else, or the true one."""
    match kind:
        case "precision":
            return four_bits(model)
        case "layer":
            return without_block(model)
        case "product":
            return other_product(model)
    return model


def other_product(model: Model) -> Model:
    """Return the model with the rows of one weight matrix shifted: the last one that is no table."""
    tables = {weight for plan in model.program.plans for weight, _ in plan.tables}
    name = [n for n, w in model.weights.items() if isinstance(w, Matrix) and n not in tables][-1]
    return reweighted(model, lambda n, w: replace(w, q=np.roll(w.q, 1, axis=1)) if n == name else w)


# -- what stands where the service expects its runner --------------------------------------------------------
class Openers:
    """Opens the answers of all kinds: their receipts name one model id, which has one opener."""

    def __init__(self) -> None:
        self.of: dict[bytes, pc.Opener] = {}
        """The opener of each request, by its digest."""

    def open(
        self, request: pc.Request, receipt: pc.Receipt, challenge: pc.Challenge, stream: BinaryIO, **of: Any
    ) -> None:
        if (opener := self.of.get(request.digest)) is None:
            raise pc.MismatchError("the request was not answered here")
        opener.open(request, receipt, challenge, stream, **of)


class Cheater:
    """A runner of the true model, beside one of an altered model that computes every so many answers."""

    def __init__(self, kind: str, true: pc.Runner, other: pc.Runner, every: int, opener: Openers) -> None:
        self.kind, self.true, self.other, self.every, self.opener = kind, true, other, every, opener
        self.asked = 0
        self.first: pc.Ticket | None = None
        # The true model makes the products of openings, so they are right for the rows that were committed;
        # the altered runner computes its answers again, so the trace root is the same.
        self.hiding = pc.Opener(true.model, true.kernels, true.identity, compute=other.compute)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.true, name)

    async def __aenter__(self) -> Cheater:
        self.true.start()
        self.other.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in (self.true, self.other):
            await asyncio.to_thread(runner.close)

    def submit(self, request: pc.Request, **options: Any) -> pc.Ticket:
        self.asked += 1
        cheats = self.asked % self.every == 0
        self.opener.of[request.digest] = self.hiding if cheats else self.true.opener
        if self.kind == "truncated":
            return shortened(self.true, request, options)
        if self.kind == "stale":
            if self.first is None or self.first.error is not None:
                self.first = self.true.submit(request, **options)
            return self.first
        return (self.other if cheats else self.true).submit(request, **options)


def shortened(runner: pc.Runner, request: pc.Request, options: dict[str, Any]) -> pc.Ticket:
    """Compute half of an answer, and sign it as if it were the whole one."""
    rule = request.generation
    assert rule is not None
    half = replace(request, generation=replace(rule, max_tokens=-(-rule.max_tokens // 2)))

    def signed(answer: pc.Answer) -> pc.Answer:
        receipt = replace(pc.Receipt.decode(answer.receipt), request_digest=request.digest, signature=b"")
        signature = runner.identity.sign(receipt.signed_digest)
        return replace(answer, request=request, receipt=receipt.signed(signature).encode())

    return cast(pc.Ticket, Doctored(runner.submit(half, **options), signed))


class Doctored:
    """A ticket whose answer is changed at its end."""

    def __init__(self, ticket: pc.Ticket, change: Callable[[pc.Answer], pc.Answer]) -> None:
        self.ticket, self.change = ticket, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ticket, name)

    def __aiter__(self) -> AsyncIterator[list[int]]:
        return aiter(self.ticket)

    async def answer(self) -> pc.Answer:
        return self.change(await self.ticket.answer())


# -- text that is not that of the tokens ---------------------------------------------------------------------
Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Callable[[Message], Awaitable[None]]], Awaitable[None]]


def advertising(app: App, name: str) -> App:
    """Wrap an application: the text of answers of one model gets an advertisement, streamed or not."""

    async def wrapped(scope: Any, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        begun: list[Message] = []
        told: set[str] = set()

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)  # until it is known how long the body is
                return
            if message.get("body"):
                message = {**message, "body": advertise(message["body"], name, told)}
            for start in begun:
                length = str(len(message["body"])).encode()
                pairs = [(k, length if k == b"content-length" else v) for k, v in start["headers"]]
                await send({**start, "headers": pairs})
            begun.clear()
            await send(message)

        await app(scope, receive, changed if scope["type"] == "http" else send)

    return wrapped


def advertise(body: bytes, name: str, told: set[str]) -> bytes:
    """Add the advertisement to an answer, or to the first piece of a stream that has text."""
    event = body.startswith(b"data: ")
    try:
        found = json.loads(body.removeprefix(b"data: "))
    except ValueError:
        return body
    if not isinstance(found, dict) or found.get("model") != name or found.get("id") in told:
        return body
    for choice in found.get("choices", ()):
        part = choice.get("delta") or choice.get("message") or choice
        field = "text" if "text" in part else "content"
        if part.get(field):
            part[field] += ADVERTISEMENT
            told.add(found["id"])
    new = json.dumps(found).encode()
    return b"data: " + new + b"\n\n" if event else new


# -- the node ------------------------------------------------------------------------------------------------
def cheating(
    model: Model, identity: pc.NodeIdentity, kernels: pc.Kernels, kinds: Sequence[str], every: int
) -> App:
    """Return the application of a service that cheats in each of these ways, under the name of the way."""
    terms = pc.Terms.of(identity, base=30, rate=20, retention=3600)
    service = Service(dict.fromkeys(kinds, model), identity, kernels, terms=terms)
    openers = Openers()
    for kind, served in service.models.items():
        other = pc.Runner(altered(model, kind), identity, device=kernels, terms=terms)
        often = every if kind == "product" else 1
        served.runner = cast(pc.Runner, Cheater(kind, served.runner, other, often, openers))
    return advertising(cast(App, application(service)), "text")


async def serve(app: App, port: int, say: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    node = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.error,
    )
    serving = asyncio.ensure_future(node.serve())
    await server.listening("127.0.0.1", port)
    say()
    await stop.wait()
    node.stop()  # type: ignore[no-untyped-call]
    await serving


def serve_kinds(options: argparse.Namespace) -> None:
    identity = pc.NodeIdentity.load(options.identity)
    model = Model.load(options.model)
    kinds = options.kind or KINDS
    app = cheating(model, identity, pc.kernels_for(options.device), kinds, options.every)
    port = server.check_address("127.0.0.1", options.port)

    def say() -> None:
        print(f"cheating at http://127.0.0.1:{port}/v1, node {identity.public.hex()}")
        print(f"models {', '.join(kinds)}, model id {model.model_id.hex()}", flush=True)

    asyncio.run(serve(app, port, say))


# -- the check -----------------------------------------------------------------------------------------------
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[assistant]"

GREEDY = "--max-tokens 8 --temperature 0"  # A sampled answer may be empty, and then nothing can be altered.

COMMANDS = {
    "precision": ("audit URL --name precision --key KEY --count 2 --max-tokens 8", "step 9"),
    "layer": ("audit URL --name layer --key KEY --count 2 --max-tokens 8", "step 9"),
    "product": ("audit URL --name product --key KEY --count 6 --max-tokens 8 --all", "step 9"),
    "text": (f"ask URL Hello --name text --card CARD {GREEDY}", "step 5: response: the text"),
    "truncated": (f"ask URL Hello --name truncated --card CARD {GREEDY}", "step 5: the answer ends"),
    "stale": ("audit URL --name stale --card CARD --count 2 --max-tokens 8", "step 4: another request"),
}
"""The command that finds each kind, and what it says."""


def check() -> None:
    kernels = pc.kernels_for("cpu")
    checkpoint = replace(random_checkpoint(0, replace(TINY, context=512)), chat_template=TEMPLATE)
    model = compile_decoder(checkpoint, kernels, "w8a16")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model")
        (folder / "CARD").write_bytes(model.card.encode())
        pc.write_key(model, kernels, folder / "KEY")
        pc.NodeIdentity.new().save(folder / "identity")
        command = [sys.executable, __file__, "serve", str(folder / "model"), str(folder / "identity")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
            try:
                assert node.stdout is not None
                url = node.stdout.readline().split()[2].removesuffix(",")
                missed = [kind for kind in KINDS if not caught(kind, url, folder)]
                node.terminate()
                assert node.wait(60) == 0
            finally:
                node.kill()
    if missed:
        sys.exit(f"not caught: {', '.join(missed)}")
    print(f"all {len(KINDS)} kinds of cheating were caught")


def caught(kind: str, url: str, folder: Path) -> bool:
    """Run the command that finds a kind of cheating, show what it says, and return whether it found it."""
    command, finding = COMMANDS[kind]
    print(f"$ proofcompute {command}")
    files = {"URL": url, "KEY": str(folder / "KEY"), "CARD": str(folder / "CARD")}
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = proofcompute([files.get(word, word) for word in command.split()])
    print(f"{said.getvalue()}(exit status {status})\n", flush=True)
    return status == 1 and finding in said.getvalue()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A node that cheats, to try an audit on.")
    commands = parser.add_subparsers(dest="command")
    node = commands.add_parser("serve", help="serve a model of yours, and cheat")
    node.add_argument("model", type=Path)
    node.add_argument("identity", type=Path, help="the node's key pair, from proofcompute identity")
    node.add_argument("--kind", action="append", choices=KINDS, help="default: all, each as a model")
    node.add_argument(
        "--every", type=int, default=EVERY, help="kind product: of how many answers one is wrong"
    )
    node.add_argument("--port", type=int, default=0, help="default: any free one")
    node.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    if given.command == "serve":
        serve_kinds(given)
    else:
        check()
