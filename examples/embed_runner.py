"""A node in a daemon of your own, without HTTP: `python examples/embed_runner.py`.

It shows what a network's own node program does with `proofcompute.Runner`: jobs come in, tokens go out while
they are computed, the receipt comes last, cells are opened on request, a job ends when its peer leaves, and
SIGTERM lets running jobs finish. Peers speak lines of JSON over a Unix socket; the numbers of jobs are the
peer's own, and bytes are in base64:

    {"op": "hello"}                            {"card": ..., "node": ...}
    {"op": "load"}                             {"live": 1, "queued": 0, "answered": 7, "cancelled": 2}
    {"op": "run", "id": 1, "request": ...}     {"id": 1, "tokens": [5, 9]}, any number of times, then
                                               {"id": 1, "done": true, "request": ..., "receipt": ...}
    {"op": "cancel", "id": 1}                  nothing; job 1 ends with the receipt of what was computed
    {"op": "open", "id": 2, "request": ...,    {"id": 2, "part": ...}, any number of times, then
     "receipt": ..., "challenge": ...}         {"id": 2, "done": true}

A job that fails ends with {"id": 1, "error": ..., "message": ..., "retry_after": seconds or null}. A peer
that closes its side has left: its jobs are cancelled. Text is left to the peer: what a node calls the text of
its tokens would be one more thing to check.

Without arguments the script starts such a daemon around a small model, asks it, and checks what it says; with
`serve MODEL IDENTITY SOCKET` it is the daemon.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, cast

import proofcompute as pc
from proofcompute.testing import TINY, random_chat_model

LINE = 4 << 20
"""Most bytes of a line: it holds a whole request, or a part of an opening."""
PART = 64 << 10
"""Bytes of an opening in one line."""
JOBS = 8
"""Most jobs of one peer at a time."""
OPENINGS = 2
"""Most openings at a time, of all peers."""
UNREAD = 60.0
"""Seconds for which a peer may leave a line unread."""
DRAIN = 60.0
"""Seconds that running jobs have after SIGTERM."""


# -- the daemon ----------------------------------------------------------------------------------------------
class Outcomes:
    """Counts how requests ended. A runner calls it from its threads, so it does nothing that takes time."""

    def __init__(self) -> None:
        self.ended_as: Counter[str] = Counter()
        self.lock = Lock()

    def stepped(self, rows: int, tokens: int, seconds: float) -> None:
        """A node would feed its numbers for monitoring here."""

    def first_token(self, seconds: float) -> None:
        """A node would measure the time to the first token here."""

    def ended(self, outcome: str) -> None:
        with self.lock:
            self.ended_as[outcome] += 1


class Daemon:
    """One runner for all peers. The event loop moves lines and computes nothing."""

    def __init__(self, runner: pc.Runner, outcomes: Outcomes) -> None:
        self.runner = runner
        self.outcomes = outcomes
        self.opening = asyncio.Semaphore(OPENINGS)
        self.peers: dict[Peer, asyncio.Task[None]] = {}

    async def serve(self, path: Path) -> int:
        """Serve until SIGTERM, or until the runner fails, and return the exit status."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        os.umask(0o077)  # whoever may use the socket may make this machine compute
        server = await asyncio.start_unix_server(self.meet, path, limit=LINE)
        print(f"listening at {path}, node {self.runner.public.hex()}", flush=True)
        while not stop.is_set() and self.runner.is_alive():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
        server.close()
        path.unlink(missing_ok=True)
        if not self.runner.is_alive():  # its device failed: who operates the node must look at it
            return 2
        self.runner.refuse()  # new jobs get BusyError from here on
        if jobs := [job for peer in self.peers for job in peer.jobs.values()]:
            await asyncio.wait(jobs, timeout=DRAIN)
        for peer in self.peers:
            peer.writer.close()  # after what is still to be sent
        if self.peers:
            await asyncio.wait(self.peers.values(), timeout=UNREAD)
        return 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self, reader, writer)
        self.peers[peer] = asyncio.ensure_future(peer.listen())
        try:
            await self.peers[peer]
        finally:
            del self.peers[peer]


class Peer:
    """One connection and its jobs."""

    def __init__(self, daemon: Daemon, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.daemon, self.runner = daemon, daemon.runner
        self.reader, self.writer = reader, writer
        self.jobs: dict[int, asyncio.Task[None]] = {}
        self.tickets: dict[int, pc.Ticket] = {}
        self.turn = asyncio.Lock()

    async def listen(self) -> None:
        """Take lines until the peer leaves or sends something else; then end its jobs."""
        try:
            while line := await self.reader.readline():
                await self.take(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # it left, or its line was too long, no JSON or no operation: it is cut off
        finally:
            for job in self.jobs.values():
                job.cancel()
            self.writer.close()

    async def take(self, line: Mapping[str, Any]) -> None:
        match line["op"]:
            case "hello":
                await self.send(card=encoded(self.runner.model.card.encode()), node=self.runner.public.hex())
            case "load":
                load, ended = self.runner.load, self.daemon.outcomes.ended_as
                await self.send(
                    live=load.live,
                    queued=load.queued,
                    answered=ended["answered"],
                    cancelled=ended["cancelled"],
                )
            case "run":
                self.begin(line, self.run)
            case "open":
                self.begin(line, self.open)
            case "cancel":
                if (ticket := self.tickets.get(int(line["id"]))) is not None:
                    ticket.cancel()
            case _:
                raise ValueError("no such operation")

    def begin(
        self, line: Mapping[str, Any], work: Callable[[int, Mapping[str, Any]], Awaitable[None]]
    ) -> None:
        number = int(line["id"])
        if number in self.jobs or len(self.jobs) >= JOBS:
            raise ValueError("this number is in use, or there are too many jobs")
        job = self.jobs[number] = asyncio.ensure_future(self.reported(number, line, work))
        job.add_done_callback(lambda _: self.jobs.pop(number))

    async def reported(
        self, number: int, line: Mapping[str, Any], work: Callable[[int, Mapping[str, Any]], Awaitable[None]]
    ) -> None:
        """Do a job, and say why it failed. The peer learns the kind of an error of this node, and no more."""
        with suppress(OSError):  # nobody listens any more
            try:
                await work(number, line)
            except pc.ProofcomputeError as error:
                said = (
                    str(error) if isinstance(error, pc.InputError | pc.BusyError) else "the node is at fault"
                )
                wait = error.retry_after if isinstance(error, pc.BusyError) else None
                await self.send(id=number, error=type(error).__name__, message=said, retry_after=wait)
            except (ValueError, KeyError, TypeError):  # a line without its fields, or with bad base64
                await self.send(id=number, error="ValueError", message="not a job", retry_after=None)

    async def run(self, number: int, line: Mapping[str, Any]) -> None:
        """Compute a request. If this is cancelled, because the peer left, the ticket is cancelled as well."""
        request = pc.Request.decode(decoded(line["request"]))
        async with self.runner.submit(request) as ticket:
            self.tickets[number] = ticket
            try:
                async for tokens in ticket:
                    await self.send(id=number, tokens=tokens)
                answer = await ticket.answer()
            finally:
                del self.tickets[number]
        # a cancelled job's receipt is for a shorter request than the one that was sent
        asked, receipt = encoded(answer.request.encode()), encoded(answer.receipt)
        await self.send(id=number, done=True, request=asked, receipt=receipt)

    async def open(self, number: int, line: Mapping[str, Any]) -> None:
        """Open cells: from a trace that is still there, or by computing the answer again."""
        request = pc.Request.decode(decoded(line["request"]))
        receipt = pc.Receipt.decode(decoded(line["receipt"]))
        challenge = pc.Challenge.decode(decoded(line["challenge"]))
        parts = Parts(self, number, asyncio.get_running_loop())
        async with self.daemon.opening:
            try:  # the opener checks that this node signed the receipt before it computes anything
                await asyncio.to_thread(
                    self.runner.opener.open, request, receipt, challenge, cast(BinaryIO, parts)
                )
            finally:
                parts.left = True
        await self.send(id=number, done=True)

    async def send(self, **fields: object) -> None:
        """Send a line, and wait until the peer has read enough. A peer that reads nothing is cut off."""
        async with self.turn:
            self.writer.write(json.dumps(fields).encode() + b"\n")
            try:
                async with asyncio.timeout(UNREAD):
                    await self.writer.drain()
            except TimeoutError:
                self.writer.transport.abort()
                raise ConnectionResetError("the peer does not read") from None


class Parts(io.RawIOBase):
    """The stream that an opening is written to, in a thread, which waits for the peer to read."""

    def __init__(self, peer: Peer, number: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.peer, self.number, self.loop = peer, number, loop
        self.left = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PART):
            if self.left:
                raise BrokenPipeError("the peer left")
            sending = self.peer.send(id=self.number, part=encoded(view[at : at + PART]))
            asyncio.run_coroutine_threadsafe(sending, self.loop).result()
        return len(view)


def encoded(data: bytes | memoryview) -> str:
    return b64encode(data).decode()


def decoded(text: str) -> bytes:
    return b64decode(text, validate=True)


async def serve(model: Path, identity: Path, path: Path) -> int:
    outcomes = Outcomes()
    limits = pc.RunnerLimits(live=16, queued=32)
    signer = pc.NodeIdentity.load(identity)
    async with pc.Runner(
        pc.Model.load(model), signer, device="cpu", limits=limits, events=outcomes
    ) as runner:
        return await Daemon(runner, outcomes).serve(path)


# -- a peer that asks and checks -----------------------------------------------------------------------------
LONG = 6_000
"""Tokens of an answer that is not waited for."""


class Asker:
    """The other side of the protocol; whoever pays for answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @staticmethod
    async def connect(path: Path) -> Asker:
        return Asker(*await asyncio.open_unix_connection(path, limit=LINE))

    async def send(self, **fields: object) -> None:
        self.writer.write(json.dumps(fields).encode() + b"\n")
        await self.writer.drain()

    async def next(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(await self.reader.readline())
        return line

    async def whole(self, number: int) -> tuple[dict[str, Any], list[int], bytes]:
        """Return the last line of a job, its tokens and its parts."""
        tokens, parts = list[int](), b""
        while True:
            line = await self.next()
            if line.get("id") != number:
                continue
            if "error" in line or "done" in line:
                return line, tokens, parts
            tokens, parts = tokens + line.get("tokens", []), parts + decoded(line.get("part", ""))


def answered(claim: pc.Claim) -> list[int]:
    """Return the tokens that a receipt names as its answer."""
    (tokens,) = claim.statement.outputs.values()
    return [int(t) for t in tokens]


async def ask_and_check(path: Path, key: pc.Key, stop: Callable[[], None]) -> None:
    asker = await Asker.connect(path)
    await asker.send(op="hello")
    hello = await asker.next()
    # the card comes from the node, but it must be that of the model that the key was made for
    card, node = pc.check_card(decoded(hello["card"]), key.model_id), bytes.fromhex(hello["node"])
    auditor = pc.Auditor(key, device="cpu", node=node)

    request = pc.text_request(card, "Once upon a time", max_tokens=32, node=node)
    await asker.send(op="run", id=1, request=encoded(request.encode()))
    last, tokens, _ = await asker.whole(1)
    receipt = decoded(last["receipt"])
    claim = auditor.claim(request, receipt)  # steps 1 to 5: this node signed this answer to this request
    assert answered(claim) == tokens, "the node sent other tokens than those that it signed"
    assert card.vocabulary is not None
    text = pc.AnswerText(card.vocabulary)
    shown = text.push(*tokens) + text.finish(claim.receipt.stop_reason)
    print(
        f"answered: {len(tokens)} tokens, {len(shown)} characters; the receipt of {len(receipt)} bytes holds"
    )

    challenge = auditor.challenge(request, receipt, cells=8)
    sent = encoded(request.encode()), last["receipt"], encoded(challenge.encode())
    await asker.send(op="open", id=2, request=sent[0], receipt=sent[1], challenge=sent[2])
    _, _, opening = await asker.whole(2)
    found = auditor.check(request, receipt, challenge, opening)
    print(f"opened: {found.cells} of {found.total} cells hold, {len(opening)} bytes")

    long = pc.text_request(card, "A long story", max_tokens=LONG, ignore_end=True, node=node)
    await asker.send(op="run", id=3, request=encoded(long.encode()))
    await asker.next()
    await asker.send(op="cancel", id=3)
    last, _, _ = await asker.whole(3)
    shorter = pc.Request.decode(decoded(last["request"]))
    given = answered(auditor.claim(shorter, decoded(last["receipt"])))
    assert shorter.generation is not None
    assert len(given) == shorter.generation.max_tokens < LONG
    print("cancelled: the receipt is for the tokens that were computed, and holds")

    leaving = await Asker.connect(path)
    other = pc.text_request(card, "Nobody waits", max_tokens=LONG, ignore_end=True, node=node)
    await leaving.send(op="run", id=1, request=encoded(other.encode()))
    await leaving.next()
    leaving.writer.close()
    load: dict[str, Any] = {"answered": 1, "cancelled": 1}
    while (load["answered"], load["cancelled"]) == (1, 1):
        await asker.send(op="load")
        load = await asker.next()
        await asyncio.sleep(0.01)
    assert load["cancelled"] == 2, load
    print("left: the job of a peer that went away was cancelled")

    more = pc.text_request(card, "A short story", max_tokens=500, ignore_end=True, node=node)
    await asker.send(op="run", id=4, request=encoded(more.encode()))
    await asker.next()
    stop()  # SIGTERM
    last, _, _ = await asker.whole(4)
    assert len(answered(auditor.claim(more, decoded(last["receipt"])))) == 500
    print("stopped: the running job was finished first")


def check() -> None:
    kernels = pc.kernels_for("cpu")
    model = random_chat_model(kernels, of=replace(TINY, context=8192))
    key = pc.keygen(model, kernels)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "model")
        pc.NodeIdentity.new().save(folder / "identity")
        command = [
            sys.executable,
            __file__,
            "serve",
            *(str(folder / n) for n in ("model", "identity", "socket")),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
            try:
                assert daemon.stdout is not None
                assert daemon.stdout.readline().startswith("listening")
                asyncio.run(ask_and_check(folder / "socket", key, daemon.terminate))
                assert daemon.wait(DRAIN) == 0
            finally:
                daemon.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        sys.exit(asyncio.run(serve(*map(Path, sys.argv[2:5]))))
    check()
