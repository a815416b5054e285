"""A fleet as processes that can be killed: nodes, a gateway, an auditor and their database."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import proofcompute as pc
from ledger.postgres import Server
from proofcompute.ledger import Ledger
from proofcompute.serving import server
from serving.killing import Place, family
from serving.running import SOON
from synthetic import NODE

NODES = {"north": NODE, "south": pc.NodeIdentity(bytes(range(2, 34)))}
GATEWAY, AUDITOR = (pc.NodeIdentity(bytes(range(n, n + 32))) for n in (5, 6))
LEASE = 3.0
"""Seconds after which the jobs of a gateway or an auditor that was killed are taken again."""
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """What a process used of processors so far, with the children that ended and those that did not."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        used = sum(processor_seconds(int(child)) for child in children)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # it has ended, and its parent's numbers have its own
    return used + sum(int(fields[at]) for at in (11, 12, 13, 14)) / _TICKS


class Part(Protocol):
    """What can be killed, and started again."""

    def start(self) -> float:
        """Start it, wait until it is ready, and return the seconds of processors that it took."""
        ...

    def kill(self, whom: str) -> None:
        """Kill it, and wait until nothing of it runs; ``whom`` is its ``leader`` or its whole ``group``."""
        ...


class Command:
    """A command of proofcompute that says in its first line that it is ready."""

    def __init__(self, place: Place, name: str, ready: str, words: Sequence[str]) -> None:
        self._place, self._words, self._ready = place, words, ready
        self._path = place.root / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        with self._path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proofcompute", *self._words],
                cwd=self._place.root / "work",
                env=self._place.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert re.match(self._ready, line), line + self.said()
        return processor_seconds(self._process.pid)

    def kill(self, whom: str) -> None:
        process = self._process
        if process is None:
            return
        assert process.poll() is None, f"it ended by itself: {self.said()}"
        (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGKILL)
        process.wait(SOON)
        end = time.monotonic() + SOON
        while left := family(process.pid):
            assert time.monotonic() < end, f"these outlive it: {left}"
            time.sleep(0.005)
        assert process.stdout is not None
        process.stdout.close()
        self._process = None

    def stop(self) -> int:
        """End it in order, and return its status."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SOON)
        self._process = None
        return process.returncode

    def said(self) -> str:
        return self._path.read_text("utf-8", "replace")


class Base:
    """The database. Its processes hold no locks of others: it is killed whole."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def start(self) -> float:
        self._server.start()
        return processor_seconds(self._server.pid)

    def kill(self, whom: str) -> None:
        self._server.kill()


class Fleet:
    """The processes, and how to reach them."""

    def __init__(self, place: Place, database: Server) -> None:
        self.place, self.where = place, database.new_schema()
        Ledger.make(self.where).close()
        ports = {name: server.check_address("127.0.0.1", 0) for name in (*NODES, "gateway")}
        self.urls = {name: f"http://127.0.0.1:{port}/v1" for name, port in ports.items()}
        self._write()
        options = ["--nodes", "nodes.json", "--models", "models.json", "--ledger", self.where]
        options += ["--device", "numpy"]
        self.parts: dict[str, Part] = {"database": Base(database)}
        for name in NODES:
            words = ["serve", "model", "--name", "tiny=model", "--identity", name, "--device", "numpy"]
            words += ["--rate", "50", "--port", str(ports[name])]
            self.parts[name] = Command(place, name, "serving at ", words)
        words = ["gateway", *options, "--identity", "gateway", "--state", "../state"]
        words += ["--port", str(ports["gateway"]), "--lease", str(LEASE)]
        self.parts["gateway"] = Command(place, "gateway", "gateway at ", words)
        words = ["auditor", *options, "--identity", "auditor", "--replay", "--every", "2"]
        words += ["--max-tokens", "4", "--lease", str(LEASE)]
        self.parts["auditor"] = Command(place, "auditor", "auditor ", words)

    def _write(self) -> None:
        work = self.place.root / "work"
        for name, identity in {**NODES, "gateway": GATEWAY, "auditor": AUDITOR}.items():
            identity.save(work / name)
        nodes = [
            {"name": name, "url": self.urls[name], "key": identity.public.hex(), "models": ["tiny"]}
            for name, identity in NODES.items()
        ]
        (work / "nodes.json").write_text(json.dumps({"version": 1, "nodes": nodes}))
        model = pc.Model.load(work / "model")
        (work / "card").write_bytes(model.card.encode())
        audit = {"by": "opening", "share": 0.7, "cells": 4}
        pc.write_key(model, pc.kernels_for("numpy"), work / "key")
        entry = {"name": "tiny", "card": "card", "key": "key", "weights": "model", "audit": audit}
        (work / "models.json").write_text(json.dumps({"version": 1, "models": [entry]}))

    def command(self, name: str) -> Command:
        found = self.parts[name]
        assert isinstance(found, Command)
        return found

    @property
    def commands(self) -> list[str]:
        return [name for name, part in self.parts.items() if isinstance(part, Command)]


@contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Start all; kill what is left of them when the block ends."""
    with ExitStack() as stack:
        made = Fleet(Place(folder), stack.enter_context(Server()))
        for name in made.commands:
            part = made.command(name)
            stack.callback(part.kill, "group")
            part.start()
        yield made
