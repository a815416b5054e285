"""Count the different challenges of receipts."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, final

from proofcompute.errors import ChallengeLimitError

__all__ = ["ChallengeCount"]

_COUNTED: Final = 1 << 16
"""Receipts whose challenges are counted; those that were challenged longest ago are forgotten."""


@final
class ChallengeCount:
    """The challenges of each of the 65,536 receipts that were challenged last. Any thread may use it.

    Args:
        most: different challenges of one receipt that are let through.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = Lock()
        self._asked: OrderedDict[bytes, set[bytes]] = OrderedDict()

    def __len__(self) -> int:
        """Return of how many receipts challenges are counted."""
        return len(self._asked)

    def take(self, receipt: bytes, challenge: bytes) -> bool:
        """Count a challenge, given by its digest like the receipt; whether it was not counted before.

        Raises ChallengeLimitError if so many others of the receipt were.
        """
        with self._lock:
            asked = self._asked.setdefault(receipt, set())
            self._asked.move_to_end(receipt)
            while len(self._asked) > _COUNTED:
                self._asked.popitem(last=False)
            if challenge in asked:
                return False
            if len(asked) >= self.most:
                raise ChallengeLimitError(
                    f"this receipt was challenged {len(asked)} times; only those are answered again"
                )
            asked.add(challenge)
            return True

    def give_back(self, receipt: bytes, challenge: bytes) -> None:
        """Count a challenge no longer, if it is counted: it was not answered."""
        with self._lock:
            self._asked.get(receipt, set()).discard(challenge)
