"""Bound what each client may send that computes nothing, so that refusing it stays cheap.

A request costs its body, what it is sent, and a fixed number of bytes more, for its headers and for whoever
looks at it. It costs nothing in the end if it is answered or opened, since such work has limits of its own. A
challenge that is opened once more is free as well, for whose connection broke; after that it costs what is
sent.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, final

from proofcompute.limits import KIB, MIB
from proofcompute.serving.refusals import Refusal

__all__ = ["REQUEST", "WRONG_KEY", "Opened", "Waste"]

REQUEST: Final = 64 * KIB
"""Bytes that a request counts besides its body."""
WRONG_KEY: Final = MIB
"""Bytes that a wrong API key counts, for the address that showed it."""
_CLIENTS: Final = 1 << 16
"""Clients that are remembered; who sent nothing for longest is forgotten, and has all it may again."""


_CHALLENGES: Final = 1 << 16
"""Challenges that are remembered; those are forgotten that were opened longest ago."""
_FREE: Final = 2
"""How often a challenge is opened for nothing."""


@final
class Opened:
    """The challenges that were opened last. For one thread, that of the event loop."""

    def __init__(self, most: int = _CHALLENGES) -> None:
        self._most = most
        self._times: OrderedDict[bytes, int] = OrderedDict()

    def free(self, digest: bytes) -> bool:
        """Note that a challenge is opened, and return whether that is free."""
        self._times[digest] = self._times.get(digest, 0) + 1
        self._times.move_to_end(digest)
        if len(self._times) > self._most:
            self._times.popitem(last=False)
        return self._times[digest] <= _FREE


@final
class Waste:
    """The allowances of all clients. For one thread, that of the event loop."""

    def __init__(self, most: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow each client ``most`` bytes at once, and ``rate`` bytes a second."""
        self._most, self._rate, self._clock = most, rate, clock
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        """What a client had left, and when."""

    def __len__(self) -> int:
        """Return the number of clients that are remembered."""
        return len(self._left)

    def left(self, scope: bytes) -> float:
        """Return the bytes that a client may send now; less than none if it was sent more than that."""
        now = self._clock()
        had, at = self._left.get(scope, (self._most, now))
        return min(self._most, had + (now - at) * self._rate)

    def require(self, scope: bytes, nbytes: int) -> None:
        """Raise Refusal (429) if a client has less left than this."""
        if (lacking := nbytes - self.left(scope)) > 0:
            text = "you have sent too much that could not be answered"
            wait = max(1.0, lacking / self._rate)
            raise Refusal.of(429, text, "too_many_requests", kind="rate_limit_error", wait=math.ceil(wait))

    def take(self, scope: bytes, nbytes: int) -> None:
        """Take bytes from what a client has left. Raises Refusal (429) if it lacks them, and takes none."""
        self.require(scope, nbytes)
        self.spend(scope, nbytes)

    def spend(self, scope: bytes, nbytes: int) -> None:
        """Take bytes that were sent already, even if fewer are left; a debt is at most the allowance."""
        self._left[scope] = max(self.left(scope) - nbytes, -self._most), self._clock()
        self._left.move_to_end(scope)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)

    def give_back(self, scope: bytes, nbytes: int) -> None:
        """Give back what was taken for a request that is computed."""
        self._left[scope] = min(self.left(scope) + nbytes, self._most), self._clock()
        self._left.move_to_end(scope)
