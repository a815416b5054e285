"""Manages the rendering process: starts it when needed, and ends it when it takes too long."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final, NamedTuple

from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.limits import GIB

__all__ = ["Rendered", "Renderer", "TemplateFaultError", "TemplateLimitError", "TemplateRefusalError"]

CPU_SECONDS: Final = 5
"""Processor time that one rendering may take; the usual templates take a thousandth of a second."""
MEMORY: Final = GIB
"""Bytes of address space that the rendering process may have."""
_WALL_SECONDS: Final = 60
_PASSED: Final = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""Environment variables that the process gets: enough to start, and no secrets."""
_FIXED: Final = {"TZ": "UTC", "PYTHONHASHSEED": "0"}
"""Environment variables that are the same on every machine, so that one conversation gives one prompt."""
_WORKER: Final = Path(__file__).with_name("worker.py")
_REPLY_BYTES: Final = 12
"""The most bytes of JSON per character; authors and lengths take less than 8 MiB more."""


class TemplateFaultError(FormatError):
    """The template cannot be applied to the conversation."""


class TemplateRefusalError(TemplateFaultError):
    """The template itself refuses the conversation."""


class TemplateLimitError(FormatError):
    """The template takes too much time or memory, or its output is too long."""


_KINDS: Final[Mapping[str, type[FormatError]]] = {
    "refused": TemplateRefusalError,
    "fault": TemplateFaultError,
    "limit": TemplateLimitError,
}
_NONSENSE: Final = "chat template: the rendering process gave an invalid answer"


class Rendered(NamedTuple):
    """The output of a template."""

    text: str
    """The prompt."""
    authors: tuple[tuple[str, int], ...]
    """Author and number of characters of each run of ``text``; see :mod:`.authors`."""


class Renderer:
    """One template in a process of its own, which renders any number of conversations, one at a time.

    The first conversation starts the process, as does the next one after it ended. Use this in a ``with``
    statement or call :meth:`close`; threads may share it.
    """

    def __init__(self, template: str) -> None:
        self._template = template
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._end: Any = None

    def render(
        self,
        messages: Sequence[tuple[str, str]],
        variables: Mapping[str, object],
        *,
        date: datetime,
        max_output: int,
        parts: bool = False,
    ) -> Rendered:
        """Return the prompt for ``messages`` (role, content), with its authors.

        ``variables`` are the template's variables besides messages, tools and documents; with ``parts``, each
        content is a list of one text part. Raises TemplateRefusalError if the template refuses, and
        FormatError if it is wrong, gives more than ``max_output`` characters, or takes too much time or
        memory.
        """
        job = {
            "messages": messages,
            "parts": parts,
            "variables": variables,
            "date": date.isoformat(),
            "max_output": max_output,
            "cpu_seconds": CPU_SECONDS,
        }
        with self._lock:
            answer = self._ask(json.dumps(job).encode(), _REPLY_BYTES * max_output + (1 << 23))
        match answer:
            case {"error": str(text), "kind": str(kind)}:
                raise _KINDS.get(kind, FormatError)(f"chat template: {text}")
            case {"text": str(text), "authors": str(authors), "lengths": list(lengths)}:
                # a template that broke out of the sandbox could answer anything
                if len(authors) == len(lengths) and all(type(n) is int and n > 0 for n in lengths):
                    if sum(lengths) == len(text) <= max_output:
                        return Rendered(text, tuple(zip(authors, lengths, strict=True)))
        raise FormatError(_NONSENSE)

    def start(self) -> None:
        """Start the process, so that the first conversation need not wait for it.

        Raises FormatError if it cannot be started, and UnsupportedError where it could not be limited.
        """
        with self._lock:
            try:
                self._started(time.monotonic() + _WALL_SECONDS)
            except OSError:
                self._stop()
                raise FormatError(f"chat template: {self._death()}") from None

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, job: bytes, limit: int) -> object:
        """Send one job and return the answer; any error ends the process."""
        until = time.monotonic() + _WALL_SECONDS
        done = False
        try:
            line = self._started(until)
            _send(line, job, until)
            size = int.from_bytes(_receive(line, 4, until), "little")
            if size > limit:
                raise FormatError(_NONSENSE)
            answer: object = json.loads(_receive(line, size, until))
            done = isinstance(answer, dict) and answer.get("kind") != "limit"
        except TimeoutError:
            raise FormatError(f"chat template: not done after {_WALL_SECONDS} seconds") from None
        except (OSError, EOFError):
            raise FormatError(f"chat template: {self._death()}") from None
        except (ValueError, RecursionError):
            raise FormatError(_NONSENSE) from None
        finally:
            if not done:
                self._stop()
        return answer

    def _started(self, until: float) -> socket.socket:
        if self._socket is not None:
            return self._socket
        if importlib.util.find_spec("resource") is None:
            raise UnsupportedError(
                "a chat template needs a system that limits what a process may take, which Windows does not; "
                "make the request elsewhere, or without the template (--raw)"
            )
        ours, theirs = socket.socketpair()
        self._socket = ours
        # the interpreter and the script are trusted; untrusted data goes through the socket
        command = [sys.executable, "-P", str(_WORKER)]
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ} | _FIXED
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                command,
                env=environment,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
            )
        self._end = weakref.finalize(self, _end, self._process, ours)
        _send(ours, json.dumps({"template": self._template, "memory": MEMORY}).encode(), until)
        return ours

    def _death(self) -> str:
        """Return why the process has ended."""
        process = self._process
        if process is None:
            return "the rendering process cannot be started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        if process.returncode is not None and process.returncode < 0:
            return f"takes more than {CPU_SECONDS} seconds or too much memory"
        return f"rendering failed with status {process.returncode}"

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._socket = self._end = None


def _end(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    process.kill()
    process.wait()


def _send(line: socket.socket, data: bytes, until: float) -> None:
    line.settimeout(max(0.001, until - time.monotonic()))
    line.sendall(len(data).to_bytes(4, "little") + data)


def _receive(line: socket.socket, n: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < n:
        line.settimeout(max(0.001, until - time.monotonic()))
        chunk = line.recv(min(n - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)
