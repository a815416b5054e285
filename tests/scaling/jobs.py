"""Work for workers: pieces that succeed, that fail, and whose workers die."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from proofcompute.errors import InputError, VerificationError
from proofcompute.prover.node import Node


class Piece(NamedTuple):
    """A number to square, and a folder in which each attempt leaves a file."""

    number: int
    folder: str
    dies: int = 0
    """How many of its first attempts kill their worker."""


def square(piece: Piece) -> int:
    """The square, unless the number is negative."""
    attempts = Path(piece.folder) / str(piece.number)
    attempts.mkdir(exist_ok=True)
    before = len(list(attempts.iterdir()))
    (attempts / f"{before}-{os.getpid()}").touch()
    if before < piece.dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if piece.number < 0:
        raise ValueError("negative")
    return piece.number**2


class Placed:
    """An actor that says on which device it is, and how often it was used."""

    def __init__(self, device: str) -> None:
        self.device, self.used = device, 0

    def __call__(self, item: int) -> tuple[str, int, int]:
        self.used += 1
        return self.device, self.used, os.getpid()


@dataclass(frozen=True)
class Slow:
    """Makes actors that leave a file when they begin an item, and then wait, so that they can be killed."""

    make: Callable[[str], Callable[[Any], Any]]
    folder: str
    seconds: float = 0.0
    held: str = ""
    """A file for which they wait until it is gone."""

    def __call__(self, device: str) -> Callable[[Any], Any]:
        actor = self.make(device)

        def work(item: Any) -> Any:
            (Path(self.folder) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
            time.sleep(self.seconds)
            while self.held and Path(self.held).exists():
                time.sleep(0.05)
            return actor(item)

        return work


def counting(place: str) -> Callable[[str], tuple[int, int, int]]:
    """An actor that counts its items, and does what they say."""
    if place == "nowhere":
        raise InputError("no such place")
    count = 0

    def work(item: str) -> tuple[int, int, int]:
        nonlocal count
        count += 1
        if item == "die":
            os._exit(1)
        if item == "reject":
            raise VerificationError(9, "another output", expected="a", found="b")
        return count, os.getpid(), os.nice(0)

    return work


class Cores:
    """An actor that says on which device and cores it is."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, item: int) -> tuple[str, list[int]]:
        return self.device, sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Dying:
    """Makes actors of which the first that writes a proof's opening is killed in the middle of it."""

    make: Callable[[str], Callable[[Any], Any]]
    folder: str

    def __call__(self, device: str) -> Callable[[Any], Any]:
        actor = self.make(device)
        opens = Node.open

        def dies(node: Node, *args: Any, **options: Any) -> bytes:
            made = opens(node, *args, **options)
            if options.get("hearer") is not None:
                try:
                    (Path(self.folder) / "once").touch(exist_ok=False)
                except FileExistsError:
                    return made
                os.kill(os.getpid(), signal.SIGKILL)
            return made

        vars(actor)["_node"].__class__ = type("Dies", (Node,), {"open": dies})
        return actor
