"""Keep the terms that a node has published, by their digest."""

from __future__ import annotations

from threading import Lock

from proofcompute.errors import InputError, VerificationError
from proofcompute.protocol.messages import Terms
from proofcompute.protocol.promises import check_terms

__all__ = ["TermsBook"]

_MOST = 64
"""Terms of one node that are kept. A node has new ones when its speed or its software changes."""


class TermsBook:
    """The terms of one node. Threads may share it.

    Args:
        node: public key of the node, or None for any.
        terms: True: receipts must name terms that the node publishes; bytes: they must name these; False:
            terms are not looked at.

    Raises VerificationError if given terms fail steps 1 to 3.
    """

    def __init__(self, node: bytes | None, terms: bool | bytes) -> None:
        self._node, self._lock = node, Lock()
        self._known: dict[bytes, Terms] = {}
        self._follow, self._fixed = terms is True, isinstance(terms, bytes)
        self._fetched = False
        if isinstance(terms, bytes):
            self._take(terms)
        elif not isinstance(terms, bool):
            raise InputError("terms are True, False, or the bytes that a node signed")

    @property
    def wanted(self) -> bool:
        """Whether the node's terms have to be fetched before the first question."""
        return self._follow and not self._fetched

    @property
    def latest(self) -> Terms | None:
        """The terms that came last; None if the node states none."""
        with self._lock:
            return next(reversed(self._known.values()), None)

    def learn(self, data: bytes | None) -> None:
        """Take what the node publishes; None if it publishes no terms.

        Raises VerificationError if it does not decode (step 1), is not signed by the node (2), or names
        another arithmetic (3).
        """
        if data is not None:
            self._take(data)
        self._fetched = True

    def _take(self, data: bytes) -> None:
        found = check_terms(data, self._node)
        with self._lock:
            self._known.pop(found.digest, None)
            self._known[found.digest] = found
            if len(self._known) > _MOST:
                self._known.pop(next(iter(self._known)))

    def lacks(self, digest: bytes) -> bool:
        """Return whether a receipt with this digest of terms needs the node's terms to be fetched again."""
        with self._lock:
            return self._follow and digest != b"" and digest not in self._known

    def named(self, digest: bytes) -> bytes | None:
        """Return the terms with this digest, encoded, if they are known."""
        with self._lock:
            found = self._known.get(digest)
        return None if found is None else found.encode()

    def required(self, digest: bytes) -> Terms | None:
        """Return the terms under which a receipt with this digest of terms must be signed.

        None means that any will do. Raises VerificationError (step 5) if the receipt names terms that the
        node does not publish.
        """
        with self._lock:
            if not self._known or (not self._follow and not self._fixed):
                if self._follow and digest:
                    raise VerificationError(5, "the receipt names terms that the node does not publish")
                return None
            # a receipt that names none, or unknown ones, fails the comparison with the newest
            return self._known.get(digest, next(reversed(self._known.values())))
