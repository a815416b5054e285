"""Strangers at the door of a service: raw bytes on a socket, and whether the service is as it was before."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

import proofcompute as pc
from proofcompute.openai import ProofField, call_of, read_json
from proofcompute.serving import sockets
from serving.running import SOON, Running, chat_model
from synthetic import NODE

CHAT = b"/v1/chat/completions"
OPEN = b"/v1/proofs/open"
HELLO: Any = [{"role": "user", "content": "hello"}]
END = b"\r\n\r\n"


def count(node: Running, name: str, **labels: str) -> float:
    """Return a counter of the service."""
    return node.service.metrics.registry.get_sample_value(f"proofcompute_{name}_total", labels) or 0.0


class Said(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The code of an error, or its type if it has none; None if the body is no error in OpenAI's form."""
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return None
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
        return str(error["code"] or error["type"])


def wait_for(found: Callable[[], object]) -> None:
    end = time.monotonic() + SOON
    while not found():
        assert time.monotonic() < end
        time.sleep(0.005)


def connect(node: Running, source: str = "127.0.0.1", room: int | None = None) -> socket.socket:
    """Connect from an address of this machine, with a receive buffer of ``room`` bytes."""
    made = socket.socket()
    if room is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    made.settimeout(SOON)
    made.bind((source, 0))
    made.connect(("127.0.0.1", node.port))
    return made


def narrow(node: Running) -> None:
    """Let the system hold few bytes that are sent and not read, on connections from now on."""
    for one in sockets._sockets():
        if sockets._port(one) == node.port:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def exchange(node: Running, data: bytes, source: str = "127.0.0.1") -> Said:
    """Send bytes on a connection and read until it is closed."""
    with connect(node, source) as made:
        try:
            made.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all was sent
        return said(made)


def said(made: socket.socket) -> Said:
    """Read a response until the server closes the connection."""
    parts: list[bytes] = []
    try:
        while part := made.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:  # what follows a refusal of a body that was not read
        pass
    head, _, body = b"".join(parts).partition(END)
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(END)
    lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
    return Said(int(lines[0].split(" ")[1]) if head else 0, headers, body)


def asked(
    path: bytes,
    body: bytes | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
    method: bytes | None = None,
) -> bytes:
    """Return a request that asks to close the connection; a body has its length unless headers say more."""
    lines = [(method or (b"GET" if body is None else b"POST")) + b" " + path + b" HTTP/1.1", b"Host: node"]
    lines += [name + b": " + value for name, value in headers]
    framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
    if body is not None and not framed:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"Connection: close"]) + END + (body or b"")


def body(tokens: int = 4, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": HELLO, "max_tokens": tokens, "ignore_eos": True, **more}


def chat(**more: Any) -> bytes:
    return json.dumps(body(**more)).encode()


class Asked(NamedTuple):
    """A request of an honest client, and what the node signed for it."""

    request: pc.Request
    receipt: bytes


def honest(node: Running, tokens: int = 4, **more: Any) -> Asked:
    """Ask as an honest client does, and check the receipt."""
    sent = chat(tokens=tokens, **more)
    answer = httpx.post(node.url + CHAT.decode(), content=sent, timeout=SOON)
    assert answer.status_code == 200, answer.text
    proof = ProofField.decode(answer.json()["proofcompute"])
    call = call_of(read_json(sent, 1 << 20), endpoint="chat")
    with pc.Prompter(chat_model()) as prompter:
        (request,) = call.requests(prompter, nonce=proof.nonce, date=proof.date, node=proof.node)
    pc.check_receipt(chat_model(), request, proof.receipt, node=NODE.public, terms=node.service.terms)
    assert base64.b64decode(answer.headers["Proofcompute-Receipt"]) == proof.receipt
    return Asked(request, proof.receipt)


class State(NamedTuple):
    """What grows in a service while it works, and must be gone afterwards."""

    active: int
    bodies: int
    clients: int
    challengers: int
    places: int
    waiting: int
    live: int
    queued: int
    reserved: int
    threads_wait: int
    sockets: int
    """TCP sockets of this process, those of the test included."""

    @staticmethod
    def of(node: Running) -> State:
        service = node.service
        loads = [served.runner.load for served in service.models.values()]
        pools = (service._preparing, service._reading, service._opening)
        return State(
            active=service.active,
            bodies=service.body_bytes,
            clients=len(service.clients),
            challengers=len(service.challengers),
            places=service.turns.taken,
            waiting=service.turns.waiting,
            live=sum(load.live for load in loads),
            queued=sum(load.queued for load in loads),
            reserved=sum(load.trace_bytes for load in loads),
            threads_wait=sum(pool._work_queue.qsize() for pool in pools),
            sockets=sum(1 for _ in sockets._sockets()),
        )


@contextmanager
def nothing_grows(node: Running) -> Iterator[None]:
    """Let strangers do their worst; afterwards all is as before, and an honest client is served."""
    before = State.of(node)
    yield
    came_back(node, before)
    honest(node)
    came_back(node, before)


def came_back(node: Running, before: State) -> None:
    """Wait until nothing is more than it was before."""
    end = time.monotonic() + SOON
    while True:
        found = State.of(node)
        if all(a <= b for a, b in zip(found, before, strict=True)):
            return
        assert time.monotonic() < end, f"{found} after {before}"
        time.sleep(0.005)
