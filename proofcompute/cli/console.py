"""Output of the commands: text for people, JSON for programs, messages on standard error."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping

from proofcompute.errors import VerificationError

__all__ = ["Output", "complain", "printable", "rejection", "size"]

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return ``text`` with every character that could control a terminal replaced by U+FFFD.

    A model or a file must not be able to move the cursor or change colours (escapes and other control
    characters except tab and newline), reorder the text around its own (embeddings, overrides and isolates of
    direction), pass one line off as several (line and paragraph separators), or print half a character
    (surrogates). Everything else stays: scripts and emoji need their spaces, joiners and marks.
    """
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def complain(text: str) -> None:
    """Print one message on standard error."""
    print(f"proofcompute: {printable(text)}", file=sys.stderr, flush=True)


class Output:
    """Standard output of a command: text for people, or one JSON object for programs."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str = "", end: str = "\n") -> None:
        """Print a text, unless the output is JSON."""
        if not self.as_json:
            # a character that standard output cannot encode is replaced; it is no error
            coding = sys.stdout.encoding or "utf-8"
            print(printable(text).encode(coding, "replace").decode(coding), end=end, flush=True)

    def facts(self, facts: dict[str, object]) -> None:
        """Print names and values in two columns, unless the output is JSON."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            # a value of several lines must not look like several facts
            self.say(f"{name:<{width}}  " + str(value).replace("\n", "\n" + " " * (width + 2)))

    def result(self, fields: Mapping[str, object]) -> None:
        """Print the result as one JSON object, only if the output is JSON."""
        if self.as_json:
            print(json.dumps(dict(fields)), flush=True)


def rejection(error: VerificationError) -> dict[str, object]:
    """Return the JSON fields of a rejection; the error holds nothing secret, so they do not either."""
    named = {
        "node": error.node,
        "model_id": error.model_id,
        "request_digest": error.request_digest,
        "receipt_digest": error.receipt_digest,
    }
    return {
        "verified": False,
        "step": error.step,
        "error": str(error),
        "cell": None if error.cell is None else list(error.cell),
        "operation": error.operation,
        "attributable": error.attributable,
        **{name: None if data is None else data.hex() for name, data in named.items()},
    }


def size(nbytes: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"
