"""Records a step's findings as lines of JSON, which are appended at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

__all__ = ["Findings"]


class Findings:
    """Findings of one step."""

    def __init__(self, path: Path, step: str) -> None:
        self._path = path
        self._step = step
        self._start = time.monotonic()
        self.bad = 0
        """The number of findings that show a fault."""

    def say(self, what: str, *, bad: bool = False, **fields: Any) -> None:
        """Record a finding; ``bad`` if it shows a fault."""
        self.bad += bad
        row = {
            "step": self._step,
            "seconds": round(time.monotonic() - self._start, 2),
            "what": what,
            "bad": bad,
            **fields,
        }
        text = " ".join(f"{name}={value}" for name, value in fields.items())
        print(f"{'BAD' if bad else '   '} {what} {text}", flush=True)
        with self._path.open("a") as file:
            file.write(json.dumps(row, default=str) + "\n")
