"""Challenge checked answers: ask the node to open cells of them, within the deadline of its terms, and check.

What may pass is tried again as long as the deadline allows: an error of the transport, of the server, and a
node that is busy. An opening is checked, and silence past the deadline is a failure on record (step 10). A
refusal is one only in the form in which nodes refuse: a front server answers with statuses too, and those
accuse no node.
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
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.client import libraries
from proofcompute.client.checked import Checked
from proofcompute.client.limits import MAX_ERROR, REFUSAL_SECONDS
from proofcompute.errors import InputError, MismatchError, VerificationError
from proofcompute.limits import MAX_EVIDENCE_OPENING, MIB
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.openai import OPEN_PATH, OpenCall, read_json
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Terms
from proofcompute.protocol.openable import require_openable
from proofcompute.verifier import Key, Verified
from proofcompute.verifier.auditor import CELLS, PATIENCE, Auditor, Cells
from proofcompute.verifier.claim import check_challenge, naming
from proofcompute.verifier.proven import ProofHolds
from proofcompute.verifier.verify import require_kind

if TYPE_CHECKING:
    from proofcompute.scaling import AuditWork

__all__ = ["Audited", "Challenger", "retry_after"]

_SPOOLED: Final = 64 * MIB
"""Bytes of an opening that are held in memory; more go to a temporary file."""
_FRAME: Final = MIB
"""Bytes of an opening besides those of its cells."""
_FIRST_PAUSE: Final = 0.25
"""Seconds before the first repetition; the pause doubles each time, up to the longest."""
_LONGEST_PAUSE: Final = 30.0
_NOT_ADMITTED: Final = (401, 403)
"""Statuses that are about the auditor's own key."""
_REFUSING: Final = (400, 429)
"""Statuses with which a node refuses to open."""
_PASSING: Final = (408, 425)
"""Statuses besides those of a server's error that tell a client to try again."""
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
    elsewhere: bool = False
    """Whether something came that is neither an opening nor a refusal, such as a redirect: it proves nothing
    against the node."""


class Challenger:
    """Audits answers of one node. Threads may share it; each audit then runs in its own thread.

    Args:
        base_url: address of the node's interface, such as ``http://host:8000/v1``.
        holds: a key, the model, or what checks public proofs; with a card no cell can be checked.
        device: name of a device, or a backend.
        node: public key that must have signed; None: any.
        patience: the most seconds to wait for an opening, whatever the terms allow.
        inner: a synchronous transport of httpx or httpx2; None: the library's own.
        library: the module httpx or httpx2, of which ``inner`` is; None: whichever is installed.
        headers: headers of every challenge, such as credentials.
        elsewhere: checks openings and computes answers again in place of the calling thread, such as in a
            process of its own (:class:`proofcompute.scaling.Standing`); what it holds is of the same model. A
            card is enough for ``holds`` then, if answers are only computed again. ``progress`` is not told.

    Raises InputError if ``holds`` is none of these.
    """

    def __init__(
        self,
        base_url: str,
        holds: Key | Model | ModelCard | ProofHolds,
        *,
        device: str | Kernels = "cpu",
        node: bytes | None = None,
        patience: float = PATIENCE,
        inner: Any = None,
        library: ModuleType | None = None,
        headers: Mapping[str, str] | None = None,
        elsewhere: Callable[[AuditWork], Verified | VerificationError] | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._url = base_url.rstrip("/") + OPEN_PATH
        self._holds, self._node, self._patience = holds, node, patience
        self._kernels = kernels_for(device) if isinstance(device, str) else device
        self._library = libraries.load() if library is None else library
        named = {"accept-encoding": "identity", "content-type": "application/cbor-seq", **(headers or {})}
        self._client = self._library.Client(
            transport=inner,
            headers=named,
            follow_redirects=False,
            trust_env=False,
            cookies=libraries.no_cookies(),
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
            if self._elsewhere is None:
                found = auditor.replay(checked.request, checked.receipt, progress=progress)
                return Audited(checked, found)
            return Audited(checked, self._elsewhere(_work(checked)))
        except VerificationError as e:
            return Audited(checked, e)

    def audit(
        self,
        checked: Checked,
        cells: Cells = CELLS,
        progress: Callable[[int], None] | None = None,
        *,
        earlier: Challenge | None = None,
        drawn: Callable[[Challenge], None] | None = None,
    ) -> Audited:
        """Draw cells of an answer, have the node open them, and check the opening.

        Args:
            checked: the answer.
            cells: how many cells to draw, which ones, or all.
            progress: is called with the number of rows of each cell that was checked.
            earlier: a challenge of this answer whose opening was not checked. It is sent again if it fits
                what is held, and ``cells`` are not drawn: the node has seen it, and answers few others.
            drawn: is called with a new challenge before it is sent.

        Raises InputError if only a card is held, a cell cannot be opened, ``earlier`` is of another answer,
        the node's terms do not promise the public proofs that are checked, or the node wants another API key.
        """
        self._require_promised(checked)
        auditor = self.auditor(checked.terms)
        try:
            claim = self._claim(auditor, checked)
        except VerificationError as e:
            return Audited(checked, e)
        if earlier is not None and self._fits(earlier):
            challenge = earlier
            self._require_of(claim, challenge)
        else:
            challenge = auditor.challenge(checked.request, checked.receipt, cells)
            if drawn is not None:
                drawn(challenge)
        most = self._most(claim, challenge)
        opening = cast(BinaryIO, tempfile.SpooledTemporaryFile(_SPOOLED))
        sent, start, deadline = time.time(), time.monotonic(), auditor.deadline(claim)
        body = OpenCall(checked.request, checked.receipt, challenge).encode()
        refusal: str | None = None
        elsewhere = False
        found: Verified | VerificationError
        try:
            with naming(claim):
                refusal = self._receive(body, opening, most, start, deadline)
                waited = time.monotonic() - start
                if refusal is not None:
                    raise VerificationError(10, f"the node does not open: {refusal}")
            opening.seek(0)
            if self._elsewhere is not None:
                found = self._elsewhere(_work(checked, challenge, opening.read(), waited))
            else:
                found = auditor.check(
                    checked.request, checked.receipt, challenge, opening, waited=waited, progress=progress
                )
        except VerificationError as e:
            waited, found, elsewhere = time.monotonic() - start, e, isinstance(e, _Elsewhere)
        except BaseException:
            opening.close()
            raise
        opening.seek(0)
        audited = Audited(checked, found, challenge, opening, sent, waited, refusal, elsewhere)
        weakref.finalize(audited, opening.close)
        return audited

    def _fits(self, challenge: Challenge) -> bool:
        """Whether a challenge asks for what it takes to check it with what is held."""
        if isinstance(self._holds, ModelCard):
            return False
        try:
            require_kind(self._holds, challenge)
        except InputError:
            return False
        return True

    def _require_promised(self, checked: Checked) -> None:
        """Raise InputError if public proofs are checked that the node may refuse: none are promised."""
        if isinstance(self._holds, ProofHolds):
            proofs = () if checked.terms is None else Terms.decode(checked.terms).proofs
            if self._holds.asked.public_id not in proofs:
                raise InputError(
                    "the node's terms promise no public proofs by the codes of this public key: "
                    "its answers take another audit"
                )

    def _require_of(self, claim: Claim, challenge: Challenge) -> None:
        """Raise InputError unless a challenge is one of this answer: the node is not to blame for it."""
        try:
            check_challenge(claim, challenge)
        except VerificationError as e:
            raise InputError(f"the earlier challenge is none of this answer: {e}") from e

    def _claim(self, auditor: Auditor, checked: Checked) -> Claim:
        try:
            return auditor.claim(checked.request, checked.receipt)
        except MismatchError as e:
            if checked.nonce_by == "client":
                raise
            with naming(checked.claim):
                raise VerificationError(4, "the node chose a nonce that belongs to another question") from e

    def _most(self, claim: Claim, challenge: Challenge) -> int:
        program, total = self.auditor(None).card.program, claim.statement.rows
        largest = require_openable(
            program, total, challenge.cells, tables=challenge.tables, hints=challenge.hints
        )
        proof = self._holds.most if isinstance(self._holds, ProofHolds) else 0
        return min(largest * len(challenge.cells) + proof + _FRAME, MAX_EVIDENCE_OPENING)

    def _receive(
        self, body: bytes, opening: BinaryIO, most: int, start: float, deadline: float
    ) -> str | None:
        """Write the opening to ``opening``, or return why the node refuses.

        Raises VerificationError (step 10) if no opening came by the deadline, and (step 1) if it is larger
        than any valid one.
        """
        pause, refusal, said = _FIRST_PAUSE, None, "silence"
        while True:
            left = deadline - (time.monotonic() - start)
            if left <= 0:
                if refusal is not None:
                    return refusal
                raise VerificationError(
                    10, "no opening by the deadline", expected=f"{deadline:.3f} s", found=said
                )
            opening.seek(0)
            opening.truncate()
            try:
                answered = self._try(body, opening, most, left)
            except self._library.TransportError:
                answered = _Wait(None, None, said)
            if answered is None or isinstance(answered, str):
                return answered
            refusal, said, seconds = answered.refusal or refusal, answered.said, answered.seconds
            if seconds is None:
                seconds = pause * (0.5 + random.random())  # noqa: S311 - no secret depends on it
                pause = min(2 * pause, _LONGEST_PAUSE)
            time.sleep(max(0.0, min(seconds, deadline - (time.monotonic() - start))))

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
            return self._answered(response, until)

    def _answered(self, response: Any, until: float) -> str | _Wait:
        """Return a refusal, or how long to wait, for a status that is not 200.

        Raises InputError if the node does not admit this auditor, and _Elsewhere (step 10) for what is no
        answer of a node.
        """
        status, body = response.status_code, _body(response, until)
        said = f"status {status}: {body[:300].decode('utf-8', 'replace')}"
        if status in _NOT_ADMITTED:
            raise InputError(f"the node does not take challenges with these credentials: {said}")
        after = retry_after(response.headers.get("retry-after"))
        refusal = said if status in _REFUSING and _is_error(body) else None
        if status >= 500 or status in _PASSING or (status == 429 and after is not None):
            return _Wait(None if after is None else max(_FIRST_PAUSE, after), refusal, said)
        if refusal is None:
            raise _Elsewhere(10, f"neither an opening nor a refusal came: {said}")
        return refusal


def _work(
    checked: Checked, challenge: Challenge | None = None, opening: bytes = b"", waited: float = 0.0
) -> AuditWork:
    """Return what a worker elsewhere needs to check an answer."""
    from proofcompute.scaling import AuditWork

    return AuditWork(
        request=checked.request.encode(),
        receipt=checked.receipt,
        challenge=b"" if challenge is None else challenge.encode(),
        opening=opening,
        waited=waited,
        terms=checked.terms or b"",
    )


class _Elsewhere(VerificationError):
    """What came is no answer of a node."""


@dataclass(frozen=True)
class _Wait:
    seconds: float | None
    """How long the node says; None: as this client sees fit."""
    refusal: str | None
    said: str


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a ``Retry-After``; None if it states none."""
    try:
        found = float(value or "")
    except ValueError:
        return None
    return min(max(found, 0.0), REFUSAL_SECONDS) if math.isfinite(found) else None


def _body(response: Any, until: float) -> bytes:
    """Return the beginning of the body of an error."""
    text = b""
    for piece in response.iter_raw():
        text += piece
        if len(text) > MAX_ERROR or time.monotonic() > until:
            break
    return text


def _is_error(body: bytes) -> bool:
    """Whether a body is an error in the form of OpenAI's interface, as nodes answer."""
    try:
        error = read_json(body, MAX_ERROR).get("error")
    except InputError:
        return False
    return isinstance(error, dict) and isinstance(error.get("message"), str)
