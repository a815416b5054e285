"""Starts servers as processes of their own, and says which of them are installed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Any, Final

from benchmarks.serving.load import Ask
from benchmarks.serving.streams import Answer
from proofcompute.errors import ExecutionError
from proofcompute.openai import NONCE_HEADER

__all__ = ["Kind", "Server", "completion", "running"]

_START: Final = 180.0
"""Seconds in which a server must be ready."""
_STOP: Final = 20.0
"""Seconds in which a server must end when told to."""
_LOCAL: Final = "127.0.0.1"


@dataclass(frozen=True)
class Kind:
    """How a server is started and asked."""

    name: str
    command: Callable[[int], Sequence[str]]
    """The command line, by the port."""
    fields: Mapping[str, Any]
    """Fields of a request's body that fix the length of the answer."""
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/v1/models"
    """The path that answers 200 when the model is loaded."""
    note: str = ""
    """What a reader must know about it."""
    serial: bool = False
    """Whether it answers one request at a time, so that more requests show nothing more."""
    check: Callable[[Answer], None] | None = None
    """Verifies the receipt of an answer; None for a server that signs none."""
    sign: bool = False
    """Whether a request carries a nonce of the client, which the receipt then covers."""


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    kind: Kind
    port: int
    pid: int

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://{_LOCAL}:{self.port}"

    def memory(self) -> int:
        """Return the resident bytes of the process and of those that it started."""
        return sum(map(_resident, _family(self.pid)))

    def get(self, path: str) -> bytes:
        """Return the body at a path; ExecutionError unless the status is 200."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:  # noqa: S310 - our own address
                return bytes(answer.read())
        except (OSError, urllib.error.URLError) as e:
            raise ExecutionError(f"{self.kind.name}: GET {path}: {e}") from e


def completion(kind: Kind, prompt: str, tokens: int) -> Ask:
    """Return a request for exactly so many tokens after a prompt, greedily, streamed."""
    body = {
        "model": "demo",
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        **kind.fields,
    }
    nonce = token_bytes(32) if kind.sign else b""
    headers = {NONCE_HEADER: nonce.hex()} if kind.sign else {}
    return Ask("/v1/completions", json.dumps(body).encode(), nonce, headers)


@contextmanager
def running(kind: Kind) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end it afterwards.

    Raises ExecutionError with its last words if it ends before it is ready, or takes too long.
    """
    port = _free_port()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            kind.command(port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **kind.env},
        )
        server = Server(kind, port, process.pid)
        try:
            _wait(server, process, lambda: _last_words(output))
            yield server
        finally:
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ExecutionError(f"{server.kind.name} ended with {process.returncode}: {said()}")
        try:
            server.get(server.kind.ready)
        except ExecutionError:
            time.sleep(0.1)
        else:
            return
    raise ExecutionError(f"{server.kind.name} was not ready after {_START:.0f} s: {said()}")


def _last_words(output: Any) -> str:
    output.seek(0)
    lines = [line.strip() for line in output.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:500] or "it said nothing"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind((_LOCAL, 0))
        return int(s.getsockname()[1])


def _family(root: int) -> list[int]:
    """Return a process and all its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # the name, in parentheses, may hold anything; the parent is the second field after it
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
    family = [root]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
