"""Nodes that are killed while clients ask them, and what those clients have to show for it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

import httpx

import proofcompute as pc
from proofcompute.openai import (
    NONCE_HEADER,
    OpenCall,
    call_of,
    check_completion,
    decode_proofs,
    read_json,
)
from proofcompute.openai.proof import ProofField
from proofcompute.protocol.messages import Receipt, Terms
from serving.mortal import PHASES
from serving.running import SOON, chat_model
from synthetic import KERNELS, NODE

TERMS = Terms.of(NODE, base=30, rate=50, retention=604_800)
TERMED = ("--rate", str(TERMS.rate))
"""The options of a node with these terms."""
BEGINNING = "You answer in the fewest words that say it. " * 2
"""With it many prompts begin; it is longer than a block of the cache of prefixes."""
KEYS = ("alice", "bob", "carol", "dave")


# -- the node ------------------------------------------------------------------------------------------------
class Place:
    """The directories that a node may write to, and what is in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("home", "tmp", "work"):
            (root / name).mkdir(parents=True)
        self.state = root / "state"
        chat_model().save(root / "work" / "model")
        NODE.save(root / "work" / "identity")
        keys = (f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in KEYS)
        (root / "work" / "keys").write_text("".join(keys))

    def found(self) -> dict[str, tuple[int, bytes]]:
        """Mode and digest of each file, by its path."""
        return {
            str(path.relative_to(self.root)): (
                path.stat().st_mode,
                hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"",
            )
            for name in ("home", "tmp", "work")
            for path in (self.root / name).rglob("*")
        }

    @property
    def environment(self) -> dict[str, str]:
        home, tests = str(self.root / "home"), str(Path(__file__).parents[1])
        paths = os.pathsep.join([tests, *(p for p in [os.environ.get("PYTHONPATH")] if p)])
        where = {"HOME": home, "XDG_CACHE_HOME": home, "TMPDIR": str(self.root / "tmp")}
        return {**os.environ, **where, "PYTHONPATH": paths}


class Life:
    """A node from its start until it is killed."""

    def __init__(self, place: Place, options: tuple[str, ...], mortal: bool) -> None:
        place.state.write_bytes(bytes(len(PHASES)))
        self._place = place
        self._log = (place.root / "log").open("wb")
        before = ["-m", "serving.mortal", str(place.state)] if mortal else ["-m", "proofcompute"]
        serve = ["serve", "model", "--name", "tiny=model", "--identity", "identity"]
        serve += ["--port", "0", "--device", "numpy", "--api-keys", "keys", "--max-openings", "4"]
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *before, *serve, *options],
            cwd=place.root / "work",
            env=place.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    def url(self) -> str:
        """Wait until the node listens, and return its address."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.match(r"serving at (http://127\.0\.0\.1:\d+)/v1", line)
        assert found is not None, self.said()
        return found[1]

    def arm(self, phase: str, nth: int, part: float, whom: str) -> None:
        """Have the node killed in a phase; see :mod:`serving.mortal`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{phase} {nth} {part} {whom}\n")
        self.process.stdin.flush()

    def begun(self) -> None:
        """Wait until the program runs."""
        end = time.monotonic() + SOON
        while not self._place.state.read_bytes()[0]:
            assert time.monotonic() < end
            time.sleep(0.002)

    def kill(self, whom: str) -> None:
        (os.killpg if whom == "group" else os.kill)(self.process.pid, signal.SIGKILL)

    def ended(self) -> list[str]:
        """Wait until nothing of the node runs any more, and return the phases in which it died."""
        assert self.process.wait(SOON) == -signal.SIGKILL, self.said()
        end = time.monotonic() + SOON
        while left := family(self.process.pid):
            assert time.monotonic() < end, f"these outlive the node: {left}"
            time.sleep(0.005)
        for stream in (self.process.stdin, self.process.stdout, self._log):
            assert stream is not None
            stream.close()
        return [name for name, count in zip(PHASES, self._place.state.read_bytes(), strict=True) if count]

    def said(self) -> str:
        return (self._place.root / "log").read_text("utf-8", "replace")


@contextmanager
def life(place: Place, *options: str, mortal: bool = True) -> Iterator[Life]:
    """Start a node, and kill it at the latest when the block ends."""
    made = Life(place, options, mortal)
    try:
        yield made
    finally:
        if made.process.returncode is None:
            made.kill("group")
            made.process.wait()


def family(group: int) -> list[str]:
    """The processes of a group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().rpartition(")")
        except OSError:
            continue  # it has ended meanwhile
        state, _, of = rest.split()[:3]
        if int(of) == group and state not in "ZX":
            found.append(name)
    return found


# -- what clients have ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Question:
    """What a client asked: it knows the request, because it drew the nonce."""

    client: str
    body: Mapping[str, Any]
    nonce: bytes
    request: pc.Request


@dataclass(frozen=True)
class Handed:
    """A receipt that a client was handed out."""

    question: Question
    request: pc.Request
    """The question's request, or that request shortened to what was computed when the client left."""
    receipt: bytes


@dataclass
class Purse:
    """All that clients were handed out."""

    auditor: pc.Auditor
    prompter: pc.Prompter
    unproven: list[Handed] = field(default_factory=list)
    """Receipts that were not opened since the node that gave them out was killed."""
    proven: list[Handed] = field(default_factory=list)
    broken: list[tuple[Question, str]] = field(default_factory=list)
    """Questions whose answers broke off, with what had arrived of the text."""
    receipts: dict[bytes, bytes] = field(default_factory=dict)
    """The one receipt for each request digest."""
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def take(self, question: Question, receipt: bytes, *, shortened: bool = False) -> None:
        """Check a receipt as its client does, and keep it."""
        request = question.request
        if shortened:
            tokens = len(Receipt.decode(receipt).outputs[0][1]) // 4
            assert request.generation is not None
            assert 0 < tokens <= request.generation.max_tokens
            request = replace(request, generation=replace(request.generation, max_tokens=tokens))
        pc.check_receipt(chat_model(), request, receipt, node=NODE.public, terms=TERMS)
        with self.lock:
            assert self.receipts.setdefault(request.digest, receipt) == receipt, (
                "two receipts for one request"
            )
            if all(h.receipt != receipt for h in (*self.unproven, *self.proven)):
                self.unproven.append(Handed(question, request, receipt))


class Client:
    """Asks one node in many ways until it is dead, and keeps what it is handed out."""

    def __init__(self, url: str, name: str, purse: Purse, draw: Random) -> None:
        self.name, self.purse, self.draw = name, purse, draw
        self.http = httpx.Client(
            base_url=url, timeout=SOON, headers={"Authorization": f"Bearer {name}"}, trust_env=False
        )

    def run(self, most: int) -> None:
        """Do ``most`` things, or fewer if the node dies. What is wrong is noted in the purse."""
        kinds = (self.whole, self.stream, self.leave, self.open)
        try:
            with self.http:
                for _ in range(most):
                    self.draw.choice(kinds)()
        except httpx.TransportError:
            self.purse.count("broken off")
        except Exception as e:
            self.purse.wrong.append(f"{self.name}: {type(e).__name__}: {e}")
            raise

    def ask(self, stream: bool, tokens: int) -> Question:
        words = f"{self.draw.getrandbits(32):08x}"
        prompt = BEGINNING * self.draw.randint(0, 1) + words
        said: dict[str, Any] = {"model": "tiny", "max_tokens": tokens, "ignore_eos": True, "stream": stream}
        if self.draw.random() < 0.5:
            said["messages"] = [{"role": "user", "content": prompt}]
        else:
            said["prompt"] = prompt
        nonce = self.draw.randbytes(32)
        (request,) = call_of(
            read_json(json.dumps(said).encode(), 1 << 20),
            endpoint="chat" if "messages" in said else "completions",
        ).requests(self.purse.prompter, nonce=nonce, date=datetime.now(UTC).date(), node=NODE.public)
        return Question(self.name, said, nonce, request)

    def _sent(self, question: Question) -> tuple[str, dict[str, Any]]:
        path = "/v1/chat/completions" if "messages" in question.body else "/v1/completions"
        return path, {"json": dict(question.body), "headers": {NONCE_HEADER: question.nonce.hex()}}

    def whole(self) -> None:
        self.asked_whole(self.ask(False, self.draw.randint(1, 16)))

    def asked_whole(self, question: Question) -> str:
        """Ask for a whole response, check all of it, and return the text."""
        path, sent = self._sent(question)
        try:
            response = self.http.post(path, **sent)
        except httpx.TransportError:
            self.purse.broken.append((question, ""))
            raise
        assert response.status_code == 200, response.text
        said = response.json()
        (proof,) = decode_proofs(said["proofcompute"], 1)
        self.purse.take(question, proof.receipt)
        claim = pc.check_receipt(chat_model(), question.request, proof.receipt, node=NODE.public)
        endpoint: Any = "chat" if "messages" in question.body else "completions"
        call = call_of(read_json(json.dumps(dict(question.body)).encode(), 1 << 20), endpoint=endpoint)
        check_completion(chat_model().card, call, [question.request], [claim], said)
        self.purse.count("whole")
        fetched = self.http.get(f"/v1/proofs/{question.request.digest.hex()}")
        assert fetched.content == proof.receipt
        choice = said["choices"][0]
        return str(choice["text"] if endpoint == "completions" else choice["message"]["content"])

    def asked_again(self, question: Question) -> str:
        """Ask once more, whole, what broke off, and return the text."""
        return self.asked_whole(replace(question, body={**question.body, "stream": False}))

    def stream(self) -> None:
        question = self.ask(True, self.draw.randint(1, 24))
        assert self._streamed(question, 1 << 30)
        self.purse.count("streamed")

    def _streamed(self, question: Question, chunks: int) -> bool:
        """Read at most so many chunks of a stream, and return whether it was whole."""
        path, sent = self._sent(question)
        text, lines, whole = "", 0, False
        try:
            with self.http.stream("POST", path, **sent) as found:
                assert found.status_code == 200, found.read()
                for line in found.iter_lines():
                    if not line:
                        continue
                    if line == "data: [DONE]":
                        whole = True
                        continue
                    event = json.loads(line.removeprefix("data: "))
                    choice = event["choices"][0]
                    text += choice["text"] if "text" in choice else choice["delta"].get("content", "")
                    if "proofcompute" in event:
                        self.purse.take(question, ProofField.decode(event["proofcompute"]).receipt)
                    lines += 1
                    if lines == chunks:
                        return False
        except httpx.TransportError:
            self.purse.broken.append((question, text))
            raise
        return whole

    def leave(self) -> None:
        """Hang up in the middle of a stream, and fetch the receipt of what was computed."""
        question = self.ask(True, 60)
        if self._streamed(question, self.draw.randint(1, 6)):
            return
        for _ in range(200):
            found = self.http.get(f"/v1/proofs/{question.request.digest.hex()}")
            if found.status_code == 200:
                self.purse.take(question, found.content, shortened=True)
                self.purse.count("left")
                return
            assert found.status_code == 404
            time.sleep(0.01)

    def open(self) -> None:
        """Challenge any receipt that was handed out, in this life of the node or before."""
        with self.purse.lock:
            kept = [*self.purse.proven[-20:], *self.purse.unproven]
        if kept:
            self.opened(self.draw.choice(kept))

    def opened(self, handed: Handed) -> bool:
        """Let the node open cells of an answer, check them, and return whether it did."""
        auditor = self.purse.auditor
        challenge = auditor.challenge(handed.request, handed.receipt, cells=3)
        body = OpenCall(handed.request, handed.receipt, challenge).encode()
        found = self.http.post("/v1/proofs/open", content=body)
        if found.status_code == 429 and found.json()["error"]["code"] == "challenge_limit":
            return False  # it was drawn thrice before
        assert found.status_code == 200, found.text
        assert auditor.check(handed.request, handed.receipt, challenge, found.content).cells == 3
        self.purse.count("opened")
        return True


def new_purse() -> Purse:
    key = pc.keygen(chat_model(), KERNELS, columns=2, seed=secrets.token_bytes(32))
    return Purse(pc.Auditor(key, device=KERNELS, node=NODE.public), pc.Prompter(chat_model()))
