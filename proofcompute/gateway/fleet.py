"""Hold the nodes of a federation: how each fared so far, and which of them is asked next.

Of the nodes that serve a model and are neither quarantined nor at rest, one is drawn with a weight

    w = t^4 / (s (1 + p / m) (1 + l))

with t the mean of its trust (:mod:`proofcompute.gateway.trust`), s the running mean of the seconds to its
first text, p its price and m the mean price of these nodes, and l the answers that it works on for this
gateway. The others follow in the order of further draws; they are asked if it fails. A node that nobody has
asked has the median of the others' seconds. Drawing gives every node some answers, so that a new one can earn
trust.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import httpx2

from proofcompute.client.libraries import no_cookies
from proofcompute.client.pins import Pins
from proofcompute.client.transport import ProofTransport
from proofcompute.errors import InputError
from proofcompute.gateway.connections import Connections
from proofcompute.gateway.federation import NodeEntry
from proofcompute.gateway.settings import Patience
from proofcompute.gateway.trust import Trust
from proofcompute.protocol.messages import Terms

__all__ = ["Fleet", "Member"]

_RANDOM: Final = random.SystemRandom()
_NEW: Final = 0.5
"""Seconds to the first text of a node, where no node was asked yet."""
_MEAN: Final = 0.2
"""Weight of the newest measurement in a running mean."""
_ROWS: Final = 1000
"""Rows whose opening the required terms are about."""


class Member:
    """One node of a federation. The event loop's thread changes it, others read it."""

    def __init__(self, entry: NodeEntry, pins: Pins, patience: Patience, inner: Any = None) -> None:
        self.entry, self._patience = entry, patience
        self.transport = ProofTransport(
            entry.url,
            pins,
            inner=inner or Connections(entry.most),
            node=entry.public,
            retention=entry.terms.retention,
            keep=1,
        )
        headers = {"accept-encoding": "identity", "content-type": "application/json"}
        if (key := entry.api_key()) is not None:
            headers["authorization"] = f"Bearer {key}"
        self.headers = headers
        # who asks limits how long it reads: a timer of the connection would be set anew for each text
        timeout = httpx2.Timeout(connect=patience.connect, read=None, write=patience.idle, pool=1.0)
        self.client = httpx2.AsyncClient(
            transport=self.transport,
            headers=headers,
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            cookies=no_cookies(),
        )
        self.proofs: frozenset[bytes] = frozenset()
        """Public ids of the codes by which its answers are audited, so that its terms must promise proofs."""
        self.trust = Trust()
        self.seconds: float | None = None
        """Running mean of the seconds to its first text."""
        self.live = 0
        """Answers that it works on."""
        self.answers = 0
        """Answers whose receipts held."""
        self.failures = 0
        """Failures in a row."""
        self.until = 0.0
        """When it is asked again, by the monotonic clock."""
        self.why = ""
        """What it failed by last."""
        self.behind: Callable[[], bool] = lambda: False
        """Whether too many of its answers wait for their audits."""
        self.quarantined = ""
        """Why it is not asked any more; empty if it is."""
        self.evidence = ""
        """Name of the evidence against it."""

    @property
    def name(self) -> str:
        """Its name in the federation."""
        return self.entry.name

    @property
    def state(self) -> str:
        """``quarantined``, ``resting`` or ``asked``."""
        if self.quarantined:
            return "quarantined"
        return "resting" if self.until > time.monotonic() else "asked"

    def open(self) -> bool:
        """Whether it may be asked now."""
        return self.state == "asked" and self.live < self.entry.most and not self.behind()

    def succeeded(self, seconds: float, rows: int, terms: bytes | None) -> None:
        """Note an answer whose receipts held, and the terms that they name."""
        self.failures, self.why = 0, ""
        self.answers += 1
        self.seconds = seconds if self.seconds is None else (1 - _MEAN) * self.seconds + _MEAN * seconds
        if (lacking := self.lacking(terms)) is not None:
            self.rest(lacking, self._patience.longest_rest)

    def lacking(self, terms: bytes | None) -> str | None:
        """Return what its terms do not promise; None if they promise what is required."""
        required = self.entry.terms
        if terms is None:
            return "it states no terms" if required.retention or self.proofs else None
        found = Terms.decode(terms)
        if (seconds := found.deadline(_ROWS, math.inf)) > required.seconds:
            return f"its terms allow {seconds:.0f} s for an opening of {_ROWS} rows"
        if self.proofs - set(found.proofs):
            return "its terms do not promise the public proofs by which its answers are audited"
        return None

    def failed(self, why: str, seconds: float | None = None) -> None:
        """Note that it failed or refused: it rests, longer after each failure in a row."""
        self.failures += 1
        longest = self._patience.longest_rest
        doubled = self._patience.rest * 2 ** min(self.failures - 1, 16)
        self.rest(why, min(doubled if seconds is None else seconds, longest))

    def rest(self, why: str, seconds: float) -> None:
        """Let it rest for some seconds."""
        self.why, self.until = why, time.monotonic() + seconds

    def describe(self) -> dict[str, Any]:
        """Return what is shown of it."""
        return {
            "name": self.name,
            "key": self.entry.key,
            "models": list(self.entry.models),
            "state": self.state,
            "why": self.quarantined or self.why or None,
            "evidence": self.evidence or None,
            "price": self.entry.price,
            "seconds": self.seconds,
            "live": self.live,
            "answers": self.answers,
            **self.trust.describe(),
        }


class Fleet:
    """All nodes."""

    def __init__(self, members: Iterable[Member], draw: Callable[[], float] = _RANDOM.random) -> None:
        self.members = {m.name: m for m in members}
        self._draw = draw

    def of_key(self, key: bytes) -> Member | None:
        """Return the node with a public key."""
        return next((m for m in self.members.values() if m.entry.public == key), None)

    def member(self, name: str) -> Member:
        """Return a node by its name. Raises InputError if there is none."""
        if (found := self.members.get(name)) is None:
            raise InputError(f"there is no node {name[:80]!r}")
        return found

    def order(self, model: str) -> list[Member]:
        """Return the nodes that may be asked for a model now, in the order in which to ask them."""
        able = [m for m in self.members.values() if model in m.entry.models and m.open()]
        weights = self.weights(able)
        # draws without replacement: the largest u^(1/w) first (Efraimidis and Spirakis, 2006)
        keyed = [(math.log(1 - self._draw()) / w, at) for at, w in enumerate(weights)]
        return [able[at] for _, at in sorted(keyed, reverse=True)]

    def weights(self, members: Sequence[Member]) -> list[float]:
        """Return the weight of each of these nodes."""
        known = [m.seconds for m in members if m.seconds is not None]
        usual = statistics.median(known) if known else _NEW
        mean = statistics.fmean(m.entry.price for m in members) if members else 0.0
        found = []
        for m in members:
            seconds = max(1e-3, usual if m.seconds is None else m.seconds)
            price = m.entry.price / mean if mean else 0.0
            found.append(m.trust.mean**4 / (seconds * (1 + price) * (1 + m.live)))
        return found

    async def close(self) -> None:
        """Close all connections."""
        for member in self.members.values():
            await member.client.aclose()
