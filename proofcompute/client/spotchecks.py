"""Challenge a share of the answers that pass through a transport, on the spot or in the background.

The share, or what a policy says, is drawn after an answer's receipt has been checked, so a node that computes
an answer does not know whether it will be challenged. Challenges go through a :class:`.Challenger`, which
counts them under its key.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Final

from proofcompute.client.checked import Checked
from proofcompute.client.limits import WAITING_CHALLENGES
from proofcompute.errors import InputError, VerificationError
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.verifier.auditor import CELLS, Cells
from proofcompute.verifier.policy import AuditPolicy

if TYPE_CHECKING:
    from proofcompute.client.challenger import Audited, Challenger

__all__ = ["Checking", "SpotChecks"]

_THREADS: Final = 2
_RANDOM: Final = secrets.SystemRandom()


@dataclass(frozen=True)
class SpotChecks:
    """Which answers are challenged, and how.

    Raises InputError if the share is not above 0 and at most 1, or the challenger cannot check cells.
    """

    challenger: Challenger
    """Challenges the node that answers. It stays the caller's to close, after the transport."""
    share: float
    """Probability with which an answer is challenged."""
    cells: Cells | AuditPolicy = CELLS
    """Cells of it that are checked, or the policy that draws them for each answer."""
    replay: bool = False
    """Whether answers are computed again with the model instead, which the node does not notice."""
    wait: bool = True
    """Whether the end of a challenged answer is held back until the verdict. If not, the client's user has
    the answer before, and a contradiction stops the transport: each later question raises it, and so does
    closing the transport, which waits for all verdicts."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"a share of answers is above 0 and at most 1, not {self.share}")
        holds = self.challenger.auditor(None).holds
        if isinstance(holds, ModelCard):
            raise InputError("a card checks receipts only: challenges take a key or the model")
        if self.replay and not isinstance(holds, Model):
            raise InputError("only who holds the model can compute answers again")
        if self.replay and isinstance(self.cells, AuditPolicy):
            raise InputError("a policy draws cells that are opened, and a replay opens none")

    @property
    def model_id(self) -> bytes:
        """The model whose answers can be challenged."""
        return self.challenger.auditor(None).card.model_id


class Checking:
    """Carries out the spot checks of one transport. Threads may share it.

    Args:
        plan: which answers are challenged.
        stops: whether a contradiction that is found in the background is raised later.
    """

    def __init__(self, plan: SpotChecks, *, stops: bool) -> None:
        self._plan, self._stops = plan, stops
        self._room = Semaphore(WAITING_CHALLENGES)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()
        self._error: BaseException | None = None

    def take(self, checked: Checked, told: Callable[[Audited], None]) -> Audited | None:
        """Challenge an answer, perhaps. Return what contradicts it if that is known now.

        ``told`` is called, in another thread, with what contradicts it later. If too many challenges wait,
        the answer waits too. Raises InputError if the answer cannot be challenged.
        """
        if _RANDOM.random() >= self._plan.share:
            return None
        cells = self._plan.cells.choose() if isinstance(self._plan.cells, AuditPolicy) else self._plan.cells
        if cells is None:
            return None
        if self._plan.wait or not self._room.acquire(blocking=False):
            return self._contradicting(checked, cells)
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "spot-checks")
            future = self._pool.submit(self._later, checked, cells, told)
        future.add_done_callback(self._ended)  # calls at once if it is done, and takes the lock
        return None

    def _contradicting(self, checked: Checked, cells: Cells) -> Audited | None:
        """Audit an answer, and return the audit if it contradicts the answer.

        Raises InputError if the challenger gives up before the node's terms allow: that is no contradiction,
        but nothing was checked either.
        """
        from proofcompute.client.verdicts import gave_up

        challenger = self._plan.challenger
        if self._plan.replay:
            audited = challenger.replay(checked)
        else:
            audited = challenger.audit(checked, cells)
        if not isinstance(audited.found, VerificationError):
            return None
        if gave_up(audited, challenger):
            raise InputError(
                "an answer could not be challenged within your patience, which ends before the deadline of "
                f"the node's terms: {audited.found}"
            )
        return audited

    def _later(self, checked: Checked, cells: Cells, told: Callable[[Audited], None]) -> None:
        audited = self._contradicting(checked, cells)
        if audited is not None:
            told(audited)
            if self._stops and isinstance(audited.found, VerificationError):
                raise audited.found

    def _ended(self, future: Future[None]) -> None:
        self._room.release()
        error = future.exception()
        if error is not None:
            with self._lock:
                self._error = self._error or error

    def require_clean(self) -> None:
        """Raise the first contradiction that was found in the background, or what prevented a challenge."""
        with self._lock:
            error = self._error
        if isinstance(error, VerificationError):
            raise copy(error) from error
        if error is not None:
            raise error

    def settle(self) -> None:
        """Wait for all verdicts, and raise as :meth:`require_clean`."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()
        self.require_clean()
