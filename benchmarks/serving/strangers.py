"""Floods a node with hostile traffic, in a process of its own, until its standard input ends.

`python -m benchmarks.serving.strangers PORT CALLS` runs it; CALLS is a file with calls for openings, each as
a frame. In the end it writes as JSON how often which status came back, and the CPU seconds that it took.

Each stranger has an address of its own, so that the node can tell it from honest clients, and several
connections at a time, each of which does the same over and over as fast as the node lets it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from proofcompute.encoding.frames import read_frame
from proofcompute.openai import MAX_OPEN_CALL

__all__ = ["STRANGERS", "deeds", "main"]

STRANGERS: Final = 4
"""Strangers, each with an address of this machine and a connection for each deed."""
_WAIT: Final = 60.0
"""Seconds for which a stranger waits for an answer."""
_SLOW: Final = 0.2
"""Seconds between the bytes that a slow one sends, or the pieces that it reads."""
_CHAT: Final = "/v1/chat/completions"
_OPEN: Final = "/v1/proofs/open"

Deed = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _asked(path: str, body: bytes = b"", method: str = "POST", length: int | None = None) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def _sends(*requests: bytes) -> Deed:
    """Send one of some requests after the other, each on a connection of its own."""
    turn = itertools.cycle(requests)

    async def deed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(turn))
        await writer.drain()

    return deed


def _drips(request: bytes) -> Deed:
    """Send a request byte by byte."""

    async def deed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in request:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(_SLOW)

    return deed


def _reads_slowly(*requests: bytes) -> Deed:
    """Send a request, and read a little of the answer at a time."""
    turn = itertools.cycle(requests)

    async def deed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(turn))
        await writer.drain()
        for _ in range(int(_WAIT / _SLOW)):
            await asyncio.sleep(_SLOW)
            if not await reader.read(1):
                return

    return deed


def deeds(calls: Sequence[bytes]) -> dict[str, Deed]:
    """Return what each stranger does, by name; ``calls`` are calls for openings of answers that it got."""
    deep, wide = b'{"a":' * 100_000, b"[" + b'"",' * 500_000 + b'""]'
    keys = b"{" + b",".join(b'"%d":0' % i for i in range(100_000)) + b"}"
    bad = [
        b"",
        b"{",
        b'{"model": "\\ud800"}',
        b'{"a": NaN}',
        b'{"a": 1, "a": 1}',
        b'{"model": "none"}',
        b"\xff" * 99,
    ]
    paths = [
        "/",
        "//v1/models",
        "/v1/../metrics",
        "/v1/models/%00",
        "/v1/proofs/" + "0" * 64,
        "/" + "a" * 9000,
    ]
    frames = [b"\x5b" + b"\xff" * 8, b"\x40" * 3, b"\x58\x01a" * 3, b"\x81" * 100_000]
    frames += [call[: len(call) // 2] for call in calls]
    return {
        "malformed JSON": _sends(*(_asked(_CHAT, body) for body in bad)),
        "deep and wide JSON": _sends(*(_asked(_CHAT, body) for body in (deep, wide, keys))),
        "paths and methods": _sends(*(_asked(p, b"", m) for p in paths for m in ("GET", "POST", "PUT"))),
        "bodies too long": _sends(_asked(_CHAT, length=1 << 40), _asked("/v1/models", b"x" * 1000, "GET")),
        "malformed frames": _sends(*(_asked(_OPEN, body) for body in frames)),
        "challenges": _sends(*(_asked(_OPEN, call) for call in calls)),
        "openings read slowly": _reads_slowly(*(_asked(_OPEN, call) for call in calls)),
        "headers half sent": _drips(_asked(_CHAT, b"{}")),
        "bodies half sent": _sends(_asked(_CHAT, b" " * 100_000, length=4 << 20)),
    }


async def _again(port: int, address: str, name: str, deed: Deed, seen: Counter[str]) -> None:
    """Do something over and over, and count what comes back."""
    while True:
        status = "none"
        try:
            async with asyncio.timeout(_WAIT):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                try:
                    with suppress(ConnectionError):
                        await deed(reader, writer)
                    if line := await reader.readline():
                        status = line.split(b" ")[1].decode("ascii", "replace")
                    while await reader.read(1 << 16):
                        pass
                finally:
                    writer.close()
        except (OSError, TimeoutError, IndexError):
            pass
        seen[f"{name}: {status}"] += 1


async def _flood(port: int, calls: Sequence[bytes]) -> Counter[str]:
    seen: Counter[str] = Counter()
    tasks = [
        asyncio.create_task(_again(port, f"127.0.0.{number + 2}", name, deed, seen))
        for number in range(STRANGERS)
        for name, deed in deeds(calls[number::STRANGERS] or calls).items()
    ]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return seen


def main(argv: Sequence[str]) -> int:
    with Path(argv[1]).open("rb") as file:
        calls = list(iter(lambda: read_frame(file, limit=MAX_OPEN_CALL, what="a call"), None))
    seen = asyncio.run(_flood(int(argv[0]), calls))
    print(json.dumps({"seen": dict(sorted(seen.items())), "cpu_seconds": time.process_time()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
