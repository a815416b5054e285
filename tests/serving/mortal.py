"""Runs a command of `proofcompute` that somebody kills at a chosen moment of its work.

``python -m serving.mortal STATE serve ...`` is ``proofcompute serve ...`` with two additions. It notes which
phases of its work are going on in the file STATE, which outlives it. And whoever writes a line "PHASE NTH
PART WHOM" to its standard input has it killed in the NTH such phase from then on: when the phase begins if
PART is 0, else after this part of the time that the phase took before. A process of its own kills, with
SIGKILL, so it makes no difference what the node does at that moment. WHOM is "group" for all processes of the
node, or "leader" for the first of them, as a system does that is out of memory.

Files that the command opens for writing, removes or renames are noted on standard error.
"""

from __future__ import annotations

import functools
import mmap
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHASES = ("start", "prepare", "prefill", "decode", "commit", "respond", "recompute", "open")
"""What a node does: start; read and render a body; compute a prompt; compute tokens; hash and sign; write a
response or a chunk; compute an answer again; write an opening."""
_SOON = 0.005
"""Seconds that a phase is expected to take the first time."""
_ORDER = struct.Struct("<dB")


class Phases:
    """Notes phases, and has this process killed in one of them."""

    def __init__(self, state: Path, killer: int) -> None:
        with state.open("r+b") as stream:
            self._state = mmap.mmap(stream.fileno(), len(PHASES))
        self._killer = killer
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._armed: tuple[str, int, float, bytes] | None = None

    def arm(self, line: str) -> None:
        phase, nth, part, whom = line.split()
        with self._lock:
            self._armed = phase, int(nth), float(part), whom.encode()

    def enter(self, phase: str) -> float:
        with self._lock:
            self._state[PHASES.index(phase)] += 1
            due = None
            if self._armed is not None and self._armed[0] == phase:
                _, nth, part, whom = self._armed
                self._armed = None if nth <= 1 else (phase, nth - 1, part, whom)
                due = (part, whom) if nth <= 1 else None
        if due is not None:
            part, whom = due
            os.write(self._killer, _ORDER.pack(part * self._seconds.get(phase, _SOON), whom == b"group"))
            if part == 0:
                time.sleep(3600)
        return time.perf_counter()

    def leave(self, phase: str, since: float) -> None:
        with self._lock:
            self._seconds[phase] = time.perf_counter() - since
            self._state[PHASES.index(phase)] -= 1

    @contextmanager
    def going_on(self, phase: str) -> Iterator[None]:
        since = self.enter(phase)
        try:
            yield
        finally:
            self.leave(phase, since)

    def during(self, owner: Any, name: str, phase: str | Callable[..., str]) -> None:
        """Let calls of a function or method be a phase."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def outer(*args: Any, **named: Any) -> Any:
            with self.going_on(phase if isinstance(phase, str) else phase(*args)):
                return inner(*args, **named)

        setattr(owner, name, outer)

    def awaiting(self, owner: Any, name: str, phase: str) -> None:
        """Let calls of a coroutine method be a phase."""
        inner = getattr(owner, name)

        @functools.wraps(inner)
        async def outer(*args: Any, **named: Any) -> Any:
            with self.going_on(phase):
                return await inner(*args, **named)

        setattr(owner, name, outer)


def killer() -> int:
    """Start the process that kills this one, and return where it gets its order."""
    here, there = os.pipe()
    victim = os.getpid()
    if os.fork():
        os.close(here)
        return there
    os.setsid()
    os.dup2(here, 0)
    os.closerange(1, 256)
    order = os.read(0, _ORDER.size)
    if order:  # else the victim has ended
        seconds, group = _ORDER.unpack(order)
        time.sleep(seconds)
        (os.killpg if group else os.kill)(victim, signal.SIGKILL)
    os._exit(0)


def _writes(event: str, args: tuple[Any, ...]) -> None:
    """Note what is done to files (an audit hook of the interpreter)."""
    if event == "open" and isinstance(args[0], str | bytes):
        if not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or "__pycache__" in os.fsdecode(args[0]):
            return
    elif event not in ("os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.truncate"):
        return
    if "__pycache__" not in str(args[0]) and args[0] != os.devnull:
        os.write(2, f"WRITES {event} {args[0]!r}\n".encode())


def _computing(loop: Any, *_: Any) -> str:
    """Name the phase of a step: that of a prompt if any row of one is computed."""
    return "prefill" if any(j.session and not j.session.emitted for j in loop.live) else "decode"


def main(state: Path, argv: list[str]) -> int:
    phases = Phases(state, killer())
    since = phases.enter("start")
    sys.addaudithook(_writes)
    from proofcompute import cli
    from proofcompute.prover.finishing import Committer
    from proofcompute.prover.loop import Loop
    from proofcompute.prover.opener import Opener
    from proofcompute.prover.opening import Openings
    from proofcompute.serving import completions, gate, service

    phases.during(completions, "_begin", "prepare")
    phases.during(Loop, "_step", _computing)
    phases.during(Committer, "answer", "commit")
    phases.awaiting(gate.Exchange, "_write", "respond")
    phases.during(Opener, "_again", "recompute")
    phases.during(Openings, "write", "open")
    started = service.Service.start

    async def start(self: Any) -> None:
        await started(self)
        phases.leave("start", since)

    service.Service.start = start  # type: ignore[method-assign]

    def listen() -> None:
        for line in sys.stdin:
            phases.arm(line)

    threading.Thread(target=listen, daemon=True).start()
    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
