"""Challenge checked answers: ask the node to open cells of them, within the deadline of its terms, and check.

Only an error of the transport is tried again, as long as the deadline allows. What a node answers is taken as
its answer: an opening is checked, a refusal is a refusal, and silence past the deadline is a failure on
record (step 10).
"""

from __future__ import annotations

import io
import math
import random
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from types import ModuleType
from typing import Any, BinaryIO, Final, cast

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.client import libraries
from proofcompute.client.checked import Checked
from proofcompute.client.limits import MAX_ERROR, REFUSAL_SECONDS
from proofcompute.errors import MismatchError, VerificationError
from proofcompute.limits import MAX_EVIDENCE_OPENING, MIB
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.openai import OPEN_PATH, OpenCall
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge
from proofcompute.protocol.openable import require_openable
from proofcompute.verifier import Key, Verified
from proofcompute.verifier.auditor import CELLS, PATIENCE, Auditor, Cells
from proofcompute.verifier.claim import naming

__all__ = ["Audited", "Challenger", "retry_after"]

_SPOOLED: Final = 64 * MIB
"""Bytes of an opening that are held in memory; more go to a temporary file."""
_FRAME: Final = MIB
"""Bytes of an opening besides those of its cells."""
_FIRST_PAUSE: Final = 0.25
"""Seconds before the first repetition; the pause doubles each time."""
_STEP: Final = 30.0
"""Seconds within which a connection must bring a byte; the deadline of the whole opening stands beside it."""


@dataclass(frozen=True, eq=False)
class Audited:
    """What one audit of one answer came to, and what was sent and received."""

    checked: Checked
    found: Verified | VerificationError
    """The evidence that everything asked for was checked and holds, or what contradicts it."""
    challenge: Challenge | None = None
    """The challenge that was sent; None if the answer was computed again instead."""
    opening: BinaryIO = field(default_factory=io.BytesIO)
    """What came in answer, a stream that can be read again; empty if nothing came.

    It is closed when this object is no longer used.
    """
    sent: float = 0.0
    """When the challenge was sent, in seconds since 1970."""
    waited: float | None = None
    """Seconds until the whole opening had come, or until the challenger gave up."""
    refusal: str | None = None
    """The node's own words, if it answered to the challenge that it does not open."""


class Challenger:
    """Audits answers of one node. Threads may share it; each audit then runs in its own thread.

    Args:
        base_url: address of the node's interface, such as ``http://host:8000/v1``.
        holds: a key or the model; with a card no cell can be checked.
        device: name of a device, or a backend.
        node: public key that must have signed; None: any.
        patience: the most seconds to wait for an opening, whatever the terms allow.
        inner: a synchronous transport of httpx or httpx2; None: the library's own.
        library: the module httpx or httpx2, of which ``inner`` is; None: whichever is installed.
        headers: headers of every challenge, such as credentials.

    Raises InputError if ``holds`` is none of these.
    """

    def __init__(
        self,
        base_url: str,
        holds: Key | Model | ModelCard,
        *,
        device: str | Kernels = "cpu",
        node: bytes | None = None,
        patience: float = PATIENCE,
        inner: Any = None,
        library: ModuleType | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = base_url.rstrip("/") + OPEN_PATH
        self._holds, self._node, self._patience = holds, node, patience
        self._kernels = kernels_for(device) if isinstance(device, str) else device
        self._library = libraries.load() if library is None else library
        named = {"accept-encoding": "identity", "content-type": "application/cbor-seq", **(headers or {})}
        self._client = self._library.Client(
            transport=inner, headers=named, follow_redirects=False, trust_env=False
        )
        self._auditors: dict[bytes | None, Auditor] = {}
        self._lock = Lock()
        self.auditor(None)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def auditor(self, terms: bytes | None) -> Auditor:
        """Return the auditor for receipts under these terms."""
        with self._lock:
            found = self._auditors.get(terms)
            if found is None:
                found = self._auditors[terms] = Auditor(
                    self._holds, device=self._kernels, node=self._node, terms=terms, patience=self._patience
                )
            return found

    def replay(self, checked: Checked, progress: Callable[[int], None] | None = None) -> Audited:
        """Compute an answer again with the model; the node is asked nothing.

        Raises InputError if the model is not held.
        """
        auditor = self.auditor(checked.terms)
        try:
            self._claim(auditor, checked)
            return Audited(checked, auditor.replay(checked.request, checked.receipt, progress=progress))
        except VerificationError as e:
            return Audited(checked, e)

    def audit(
        self, checked: Checked, cells: Cells = CELLS, progress: Callable[[int], None] | None = None
    ) -> Audited:
        """Draw cells of an answer, have the node open them, and check the opening.

        Raises InputError if only a card is held, or a cell cannot be opened.
        """
        auditor = self.auditor(checked.terms)
        try:
            claim = self._claim(auditor, checked)
        except VerificationError as e:
            return Audited(checked, e)
        challenge = auditor.challenge(checked.request, checked.receipt, cells)
        most = self._most(claim, challenge)
        opening = cast(BinaryIO, tempfile.SpooledTemporaryFile(_SPOOLED))
        sent, start, deadline = time.time(), time.monotonic(), auditor.deadline(claim)
        body = OpenCall(checked.request, checked.receipt, challenge).encode()
        refusal: str | None = None
        found: Verified | VerificationError
        try:
            with naming(claim):
                refusal = self._receive(body, opening, most, start, deadline)
                waited = time.monotonic() - start
                if refusal is not None:
                    raise VerificationError(10, f"the node does not open: {refusal}")
            opening.seek(0)
            found = auditor.check(
                checked.request, checked.receipt, challenge, opening, waited=waited, progress=progress
            )
        except VerificationError as e:
            waited, found = time.monotonic() - start, e
        except BaseException:
            opening.close()
            raise
        opening.seek(0)
        audited = Audited(checked, found, challenge, opening, sent, waited, refusal)
        weakref.finalize(audited, opening.close)
        return audited

    def _claim(self, auditor: Auditor, checked: Checked) -> Claim:
        try:
            return auditor.claim(checked.request, checked.receipt)
        except MismatchError as e:
            if checked.nonce_by == "client":
                raise
            with naming(checked.claim):
                raise VerificationError(4, "the node chose a nonce that belongs to another question") from e

    def _most(self, claim: Claim, challenge: Challenge) -> int:
        program = self.auditor(None).card.program
        largest = require_openable(program, challenge.cells, tables=challenge.tables, hints=challenge.hints)
        return min(largest * len(challenge.cells) + _FRAME, MAX_EVIDENCE_OPENING)

    def _receive(
        self, body: bytes, opening: BinaryIO, most: int, start: float, deadline: float
    ) -> str | None:
        """Write the opening to ``opening``, or return why the node refuses.

        Raises VerificationError (step 10) if no opening came by the deadline, and (step 1) if it is larger
        than any valid one.
        """
        pause, refusal = _FIRST_PAUSE, None
        while True:
            left = deadline - (time.monotonic() - start)
            if left <= 0:
                if refusal is not None:
                    return refusal
                raise VerificationError(
                    10, "no opening by the deadline", expected=f"{deadline:.3f} s", found="silence"
                )
            opening.seek(0)
            opening.truncate()
            try:
                answered = self._try(body, opening, most, left)
            except self._library.TransportError:
                answered = _Wait(pause * (0.5 + random.random()), None)  # noqa: S311 - no secret depends on it
                pause *= 2
            if answered is None or isinstance(answered, str):
                return answered
            refusal = answered.refusal or refusal
            time.sleep(max(0.0, min(answered.seconds, deadline - (time.monotonic() - start))))

    def _try(self, body: bytes, opening: BinaryIO, most: int, left: float) -> str | _Wait | None:
        """Send the challenge once: None if the opening came, a refusal, or how long to wait."""
        until = time.monotonic() + left
        step = min(left, _STEP)
        timeout = self._library.Timeout(connect=step, read=left, write=step, pool=step)
        with self._client.stream("POST", self._url, content=body, timeout=timeout) as response:
            if response.status_code == 200:
                size = 0
                for piece in response.iter_raw():
                    size += len(piece)
                    if size > most:
                        raise VerificationError(1, f"an opening has more than {most} bytes")
                    opening.write(piece)
                    if time.monotonic() > until:
                        raise VerificationError(10, "no whole opening by the deadline")
                return None
            said = _said(response, until)
            after = retry_after(response.headers.get("retry-after"))
            if response.status_code >= 500 or (response.status_code == 429 and after is not None):
                return _Wait(max(_FIRST_PAUSE, after or 0.0), said)
            return said


@dataclass(frozen=True)
class _Wait:
    seconds: float
    refusal: str | None


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After``; None if it states none."""
    try:
        found = float(value or "")
    except ValueError:
        return None
    return min(max(found, 0.0), REFUSAL_SECONDS) if math.isfinite(found) else None


def _said(response: Any, until: float) -> str:
    """Return the status of an error and the beginning of its body, which is the node's own text."""
    text = b""
    for piece in response.iter_raw():
        text += piece
        if len(text) > MAX_ERROR or time.monotonic() > until:
            break
    return f"status {response.status_code}: {text[:300].decode('utf-8', 'replace')}"
