"""Look like a client that many use: openai's Python client, alone or under LangChain.

What a node sees of it are the headers and their order, the order of fields in a body, and when a question is
asked again. tests/client/test_lookalike.py compares each with the client itself.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from random import Random
from typing import Final

__all__ = ["ATTEMPTS", "TIMES", "Client", "encoded", "retried", "wait_before"]

ATTEMPTS: Final = 3
"""How often the client asks one question at most."""
TIMES: Final = {"connect": 5.0, "read": 600.0, "write": 600.0, "pool": 600.0}
"""Its time-outs in seconds."""
_FIRST_PAUSE, _MOST_PAUSE, _LONGEST_ASKED = 0.5, 8.0, 120.0
_FIRST: Final = ("model", "stream", "messages", "prompt")
"""The fields that it writes first; the others follow in alphabetical order."""
_OPENAI: Final = "3.57.0"
_PLATFORMS: Final = (("Linux", "x64"), ("Linux", "arm64"), ("MacOS", "arm64"), ("Windows", "x64"))
_PYTHONS: Final = ("3.10.16", "3.11.9", "3.11.11", "3.12.3", "3.12.8", "3.13.1")
_RETRIES: Final = "x-stainless-retry-count"


@dataclass(frozen=True)
class Client:
    """The client that an audit looks like: a version of openai's Python client on some platform."""

    version: str
    platform: tuple[str, str]
    python: str

    @staticmethod
    def drawn(draw: Random) -> Client:
        """Draw a client. The version is the installed one, if there is one."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("openai")
        except PackageNotFoundError:
            found = _OPENAI
        return Client(found, draw.choice(_PLATFORMS), draw.choice(_PYTHONS))

    def headers(
        self, key: str | None, *, langchain: bool, stream: bool, asynchronous: bool
    ) -> tuple[tuple[str, str], ...]:
        """Return the headers as openai's client sends them, alone or under LangChain."""
        system, processor = self.platform
        found = [
            ("Accept-Encoding", "gzip, deflate"),
            ("Connection", "keep-alive"),
            ("authorization", f"Bearer {key or 'EMPTY'}"),
            ("accept", "application/json"),
            ("content-type", "application/json"),
            ("user-agent", f"{'Async' if asynchronous else ''}OpenAI/Python {self.version}"),
            ("x-stainless-lang", "python"),
            ("x-stainless-package-version", self.version),
            ("x-stainless-os", system),
            ("x-stainless-arch", processor),
            ("x-stainless-runtime", "CPython"),
            ("x-stainless-runtime-version", self.python),
            ("x-stainless-async", "async:asyncio" if asynchronous else "false"),
        ]
        if langchain and not stream:
            found.append(("x-stainless-raw-response", "true"))
        found.append((_RETRIES, "0"))
        if not langchain:
            found.append(("x-stainless-read-timeout", "600"))
        return tuple(found)


def encoded(body: Mapping[str, object]) -> bytes:
    """Return a body as openai's client writes it: its order of fields, no spaces, letters as UTF-8."""
    ordered = {name: body[name] for name in _FIRST if name in body}
    ordered |= {name: body[name] for name in sorted(body) if name not in ordered}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def retried(headers: tuple[tuple[str, str], ...], attempt: int) -> tuple[tuple[str, str], ...]:
    """Return the headers of a question that is asked again for the ``attempt``-th time."""
    return tuple((name, str(attempt) if name == _RETRIES else value) for name, value in headers)


def wait_before(attempt: int, status: int, headers: Mapping[str, str], draw: Random) -> float | None:
    """Return the seconds before a question is asked again for the ``attempt``-th time; None: it is not.

    Args:
        attempt: 1 for the first repetition.
        status: status of the response; 0 if none came.
        headers: its headers, by lower-case names.
        draw: randomness.
    """
    asked = _asked(headers)
    if attempt >= ATTEMPTS or (asked is not None and asked > _LONGEST_ASKED):
        return None
    wish = headers.get("x-should-retry")
    if wish == "false" or (wish != "true" and 0 < status < 500 and status not in (408, 409, 429)):
        return None
    if asked is not None and asked > 0:
        return asked
    pause: float = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _MOST_PAUSE)
    return pause * (1 - 0.25 * draw.random())


def _asked(headers: Mapping[str, str]) -> float | None:
    """Return the seconds for which a node asks its client to wait; None if it states none."""
    for name, parts in (("retry-after-ms", 1000), ("retry-after", 1)):
        value = headers.get(name, "")
        try:
            found = float(value)
        except ValueError:
            continue
        if math.isinf(found) and "inf" not in value.lower():
            return _LONGEST_ASKED + 1  # a number that is too large, and not the word
        return found / parts if math.isfinite(found) else None
    date = parsedate_tz(headers.get("retry-after"))
    return None if date is None else mktime_tz(date) - time.time()
