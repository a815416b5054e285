"""Audit a node with canaries: ask first, then challenge the answers, and keep every verdict.

A challenge tells the node who its auditor is, and a look at its terms tells that somebody checks. A node that
is honest from then on, to whoever sits at the same address, would be seen by the first canary alone. So all
canaries are answered first, unless a receipt's retention is too short for that. The tally says how many were
sent when the node may have known, and counts nothing for them.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from proofcompute.client.asking import Asker, Came
from proofcompute.client.budget import Meter
from proofcompute.client.canaries import Canary, Traffic
from proofcompute.client.challenger import Audited, Challenger
from proofcompute.client.checked import Checked
from proofcompute.client.contradictions import Contradiction
from proofcompute.client.entries import Answer, Asked, Challenged, Entry, Published, Verdict
from proofcompute.client.limits import MAX_BODY
from proofcompute.client.lookalike import ATTEMPTS
from proofcompute.client.pins import Served
from proofcompute.client.tally import Tally
from proofcompute.client.verdicts import about_answer, about_response, audited_state
from proofcompute.errors import FormatError, InputError, StoppedError, VerificationError
from proofcompute.logs import service_log
from proofcompute.openai import call_of, read_json
from proofcompute.protocol.messages import Challenge, Request, Terms
from proofcompute.protocol.promises import check_promise
from proofcompute.verifier import check_receipt
from proofcompute.verifier.auditor import Cells
from proofcompute.verifier.policy import AuditPolicy

__all__ = ["Campaign", "Plan", "Told"]

_log = service_log(__name__)

_DRAWS: Final = 50
"""Canaries that are drawn until one fits the model and the budget."""

Told = Callable[[Verdict, Audited | Contradiction | None], Mapping[str, Any]]
"""Is called with each verdict, and with the audit or the contradiction that it is about; returns what the
record says besides."""


@dataclass(frozen=True)
class Plan:
    """How much is audited."""

    count: int
    """Canaries to send, those of earlier runs included."""
    cells: Cells | AuditPolicy | None
    """Cells of each answer to check, or the policy that draws them for each; None: receipts only."""
    replay: bool = False
    """Whether answers are computed again instead, which the node does not notice."""

    def __post_init__(self) -> None:
        if isinstance(self.cells, AuditPolicy) and not self.cells.always:
            raise InputError(
                "this policy checks nothing of some answers, and a canary that is not checked shows nothing: "
                "take a policy whose probabilities add up to 1"
            )


class Campaign:
    """Sends canaries one after the other, and audits the answers.

    Args:
        asker: asks the node.
        traffic: draws canaries.
        plan: how much is audited.
        served: the model that must answer.
        tally: counts, with what earlier runs left.
        meter: holds the budget.
        write: keeps an entry and has the tally take it.
        tell: hears of verdicts.
        challenger: audits answers; None: receipts only.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        asker: Asker,
        traffic: Traffic,
        plan: Plan,
        *,
        served: Served,
        tally: Tally,
        meter: Meter,
        write: Callable[[Entry], None],
        tell: Told,
        challenger: Challenger | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._asker, self._traffic, self._plan, self._served = asker, traffic, plan, served
        self._tally, self._meter, self._write, self._tell = tally, meter, write, tell
        self._challenger, self._clock = challenger, clock
        self._waiting: dict[tuple[int, int], Checked] = {}
        self._earlier: set[tuple[int, int]] = set()
        self.stopped = ""
        """Why the plan was not carried out to its end; empty if it was."""

    def run(self) -> None:
        """Send canaries and audit the answers, with those that earlier runs left, until the plan is done.

        Raises InputError if no canary fits the model, or if there are too few recorded requests.
        """
        self._resume()
        missing, left = self._plan.count - len(self._tally.sent), self._traffic.left
        if left is not None and left < missing:
            raise InputError(f"{missing} canaries are to be sent, and {left} recorded requests can be used")
        try:
            while len(self._tally.sent) < self._plan.count:
                self._one()
                for place in [p for p, checked in self._waiting.items() if self._is_due(checked)]:
                    self._judge(place)
        except StoppedError as e:
            self.stopped = str(e)
        try:  # to audit what was answered takes no tokens
            for place in list(self._waiting):
                self._judge(place)
        except StoppedError as e:
            self.stopped = self.stopped or str(e)

    # -- what an earlier run left ----------------------------------------------------------------------------
    def _resume(self) -> None:
        for terms in self._tally.terms:
            self._asker.learn(terms)
        for number, sent in self._tally.sent.items():
            if sent.lacks:
                self._lost(number, "the audit was interrupted before an answer came", 1)
            for answer in sent.waiting:
                place = number, answer.choice
                self._waiting[place] = self._restored(answer, sent.asked)
                self._earlier.add(place)

    def _restored(self, answer: Answer, asked: Asked) -> Checked:
        """Return an answer of the record. Raises InputError if it is none of this model's."""
        try:
            request = Request.decode(answer.request)
            claim = check_receipt(self._served.card, request, answer.receipt)
        except (FormatError, VerificationError) as e:
            raise InputError(f"answer {answer.id} on record cannot be audited: {e}") from e
        return Checked(request, answer.receipt, claim, asked.nonce_by, answer.terms, answer.when)

    # -- asking ----------------------------------------------------------------------------------------------
    def _one(self) -> None:
        """Send one canary that fits, and keep what comes."""
        canary, asked = self._drawn()
        self._meter.pause(canary.pause)
        number = asked.id
        self._write(replace(asked, when=self._clock()))

        def keep(checked: Checked, lost: int) -> None:
            choice, receipt = checked.request.choice, checked.claim.receipt
            self._write(
                Answer(
                    number,
                    choice,
                    checked.when,
                    checked.request.encode(),
                    checked.receipt,
                    checked.terms,
                    tokens=receipt.tokens,
                    lost=lost,
                )
            )
            self._waiting[number, choice] = checked

        try:
            came = self._asker.ask(canary, keep, self._attempts(asked))
        except StoppedError as e:
            if self._tally.sent[number].lacks:
                self._lost(number, str(e), 1)
            raise
        self._came(number, came)

    def _came(self, number: int, came: Came) -> None:
        """Keep the verdict on a canary that has no answer, or whose response contradicts itself."""
        found = came.contradiction
        if found is not None:
            detail = found if isinstance(found, Contradiction) else None
            error = found.error if isinstance(found, Contradiction) else found
            self._note(about_response(number, error, detail, came.lost), detail)
        elif self._tally.sent[number].lacks:
            self._lost(number, came.said or "no answer", came.lost)

    def _lost(self, number: int, why: str, lost: int) -> None:
        """Keep that an answer of a canary is missing: it counts as not checked, whatever the others are."""
        lost = 0 if self._tally.sent[number].answers else lost  # answers say how many came to nothing before
        self._note(Verdict(number, None, "unanswered", self._clock(), error=why, lost=lost))

    def _drawn(self) -> tuple[Canary, Asked]:
        """Draw a canary that the model can answer within the budget."""
        stopped: StoppedError | None = None
        why = ""
        for _ in range(_DRAWS):
            self._meter.require_time()
            try:
                canary = self._traffic.next()
                asked = self._asked(canary)
                self._meter.require_tokens(self._tally.tokens, asked.prompt + asked.most)
            except InputError as e:
                why = str(e)
                if self._traffic.left == 0:
                    break
            except StoppedError as e:
                stopped = e
            else:
                return canary, asked
        raise stopped or InputError(f"no canary fits the model: {why}")

    def _asked(self, canary: Canary) -> Asked:
        """Return the entry of a canary. Raises InputError if it does not fit the model."""
        call = call_of(read_json(canary.body, MAX_BODY), endpoint=canary.endpoint)
        requests = call.requests(
            self._served.prompter, nonce=secrets.token_bytes(32), node=b"", date=datetime.now(UTC).date()
        )
        most = sum(r.generation.max_tokens for r in requests if r.generation is not None)
        prompt = len(requests[0].inputs[0][1]) // 4
        number = len(self._tally.sent)
        return Asked(number, canary.name, canary.nonce_by, self._clock(), prompt, most, len(requests))

    def _attempts(self, asked: Asked) -> int:
        """Return how often a canary may be asked, so that the budget holds whatever comes of it."""
        limit, one = self._meter.budget.tokens, asked.prompt + asked.most
        if limit is None:
            return ATTEMPTS
        others = self._tally.tokens - one  # it counts this canary once already
        return max(1, min(ATTEMPTS, (limit - others) // one))

    # -- judging ---------------------------------------------------------------------------------------------
    def _is_due(self, checked: Checked) -> bool:
        """Whether half of the time has passed in which the node promises to answer challenges."""
        plan = self._plan
        if self._challenger is None or plan.replay:
            return False
        return self._clock() - checked.when >= checked.claim.receipt.retention / 2

    def _judge(self, place: tuple[int, int]) -> None:
        """Audit one answer as the plan says."""
        challenger = self._challenger
        self._meter.require_time()
        start = time.monotonic()
        if challenger is not None and self._plan.replay:
            self._conclude(place, challenger.replay(self._waiting[place]), start)
            return
        try:
            checked = self._under_terms(place)
        except VerificationError as e:
            self._conclude(place, Audited(self._waiting[place], e), start)
            return
        named = checked.claim.receipt.terms_digest != b""
        more: dict[str, Any] = {"unpublished": named and checked.terms is None}
        if challenger is None:
            self._close(about_answer(*place, "receipted", checked, **more))
        elif self._is_too_late(place):
            why = "the time had passed in which the node promises to answer challenges"
            self._close(about_answer(*place, "unopened", checked, error=why, **more))
        else:
            cells = self._cells()
            audited = challenger.audit(
                checked, cells, earlier=self._sent_before(place), drawn=lambda made: self._sends(place, made)
            )
            self._conclude(place, audited, start, **more)

    def _cells(self) -> Cells:
        planned = self._plan.cells
        if isinstance(planned, AuditPolicy):
            planned = planned.choose()
        return "all" if planned is None else planned

    def _sent_before(self, place: tuple[int, int]) -> Challenge | None:
        """Return the challenge of an answer that an interruption left without a verdict."""
        number, choice = place
        found = self._tally.sent[number].challenged.get(choice)
        try:
            return None if found is None else Challenge.decode(found.challenge)
        except FormatError as e:
            raise InputError(f"the challenge of answer {number} on record cannot be sent again: {e}") from e

    def _sends(self, place: tuple[int, int], challenge: Challenge) -> None:
        self._write(Challenged(*place, self._clock(), challenge.encode()))

    def _conclude(self, place: tuple[int, int], audited: Audited, start: float, **more: Any) -> None:
        """Give the verdict on an answer that was audited since ``start``."""
        checked, challenger = audited.checked, self._challenger
        deadline = math.inf
        if challenger is not None:
            deadline = challenger.auditor(checked.terms).deadline(checked.claim)
        verdict = about_answer(*place, audited_state(audited, deadline), checked, audited.found, **more)
        took = {"seconds": time.monotonic() - start}
        self._close(replace(verdict, found={**verdict.found, **took}), audited)

    def _under_terms(self, place: tuple[int, int]) -> Checked:
        """Return an answer with its terms. Raises VerificationError if they and the receipt disagree."""
        known = self._asker.published
        checked = self._waiting[place] = self._asker.under_terms(self._waiting[place])
        if known is None and self._asker.published:
            self._write(Published(self._clock(), self._asker.published))
        if checked.terms is not None:
            check_promise(checked.claim.receipt, Terms.decode(checked.terms), 0)
        return checked

    def _is_too_late(self, place: tuple[int, int]) -> bool:
        """Whether an answer of an earlier run cannot be challenged any more."""
        checked = self._waiting[place]
        return place in self._earlier and self._clock() - checked.when > checked.claim.receipt.retention

    def _close(self, verdict: Verdict, audited: Audited | None = None) -> None:
        self._note(verdict, audited)
        if verdict.choice is not None:
            del self._waiting[verdict.id, verdict.choice]

    def _note(self, verdict: Verdict, about: Audited | Contradiction | None = None) -> None:
        _log.info("canary %d: %s", verdict.id, verdict.state)
        self._write(replace(verdict, found={**verdict.found, **self._tell(verdict, about)}))
