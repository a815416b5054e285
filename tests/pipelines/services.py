"""Stages of the synthetic model as processes that can be killed and started again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import synthetic
from proofcompute.client.stages import HttpStage
from proofcompute.serving import server

TESTS = Path(__file__).parents[1]
SOON = 120


def environment() -> dict[str, str]:
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class Service:
    """A stage's process; ``folder`` has the files ``model`` and ``pipeline``."""

    def __init__(self, folder: Path, stage: int, *lies: str) -> None:
        self.port = server.check_address("127.0.0.1", 0)
        self._command = [sys.executable, "-m", "pipelines.process", str(folder / "model")]
        self._command += [str(folder / "pipeline"), str(stage), str(self.port), *(lies or ("honest",))]
        self.start()

    def start(self) -> None:
        self._running = subprocess.Popen(
            self._command, cwd=TESTS, stdout=subprocess.PIPE, text=True, env=environment()
        )
        self._ready = False

    def wait(self) -> None:
        """Wait until it listens."""
        if not self._ready:
            assert self._running.stdout is not None
            assert self._running.stdout.readline() == "ready\n"
            self._ready = True

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self._running.kill()
        self._running.communicate(timeout=SOON)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def link(self) -> HttpStage:
        return HttpStage(self.url, synthetic.model().program, token="secret", seconds=SOON)

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
