"""Audit a node with canaries: ask, check the receipts, audit the answers, and keep every verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from proofcompute.client.canaries import ENDPOINTS, Canary, Traffic
from proofcompute.client.challenger import Audited, Challenger, retry_after
from proofcompute.client.exchange import Checked
from proofcompute.client.record import Record
from proofcompute.client.transport import ProofTransport
from proofcompute.errors import InputError, VerificationError
from proofcompute.logs import service_log, short
from proofcompute.verifier import Verified
from proofcompute.verifier.auditor import Cells

__all__ = ["STATES", "Campaign", "Plan", "Summary"]

_log = service_log(__name__)

STATES: Final = ("verified", "receipted", "contradicted", "silent", "refused", "unanswered")
"""What a canary can come to: cells or the whole answer checked; the receipt checked only; something is
false; no opening by the deadline; the node says that it does not open; no answer, for a reason that proves
nothing."""
_FAILED: Final = ("contradicted", "silent", "refused")
_ATTEMPTS: Final = 3
"""Attempts to get an answer to one canary."""
_DRAWS: Final = 50
"""Canaries that are drawn until one fits the model's context."""
SHARES: Final = (0.01, 0.1)
"""Shares of altered cells for which the probability of detection is stated."""


@dataclass(frozen=True)
class Plan:
    """How much is audited."""

    count: int
    """Canaries to send, those of earlier runs included."""
    cells: Cells | None
    """Cells of each answer to check; None: receipts only."""
    replay: bool = False
    """Whether answers are computed again instead, which the node does not notice."""
    budget: int | None = None
    """The most tokens to pay for, prompts and answers together."""


@dataclass
class Summary:
    """What the canaries came to."""

    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    tokens: int = 0
    """Tokens of prompts and answers."""
    cells: int = 0
    """Single-row cells checked."""
    nonces: dict[str, int] = field(default_factory=lambda: {"client": 0, "node": 0})
    """Canaries by who chose the nonce."""
    _miss_one: float = 0.0
    _miss_share: dict[float, float] = field(default_factory=lambda: dict.fromkeys(SHARES, 0.0))

    @property
    def sent(self) -> int:
        """Canaries that were sent."""
        return sum(self.states.values())

    @property
    def failed(self) -> int:
        """Answers that were contradicted, or whose cells the node did not open."""
        return sum(self.states[s] for s in _FAILED)

    @property
    def detects_one(self) -> float:
        """Probability that an honest verdict on all of this would have been a rejection if one cell of each
        audited answer had been altered.
        """
        return -math.expm1(self._miss_one)

    def detects_share(self, share: float) -> float:
        """Return the same probability for this share of the cells of each answer, one of :data:`SHARES`."""
        return -math.expm1(self._miss_share[share])

    def detects_answers(self, share: float) -> float:
        """Return the probability that at least one audited answer is among a share of all answers that a node
        alters as a whole, not knowing which are audited.
        """
        return -math.expm1(self.states["verified"] * math.log1p(-share))

    def add(self, verdict: Mapping[str, Any]) -> None:
        """Count one verdict, as the record has it."""
        self.states[verdict["state"]] += 1
        self.tokens += verdict["tokens"]
        self.cells += verdict["cells"]
        self.nonces[verdict["nonce_by"]] += 1
        if verdict["state"] == "verified":
            self._miss_one += _log_miss(verdict["detects_one"])
            for share in SHARES:
                self._miss_share[share] += _log_miss(verdict["detects_shares"][str(share)])


_Kept = tuple[Checked, int | None]
"""A checked answer with its number in the record."""


class Campaign:
    """Sends canaries one after the other and audits the answers.

    Args:
        transports: for each of "client" and "node", makes the transport of one canary that looks like a
            client whose nonces are chosen by that side. It calls the given function with each checked answer.
        traffic: draws canaries.
        plan: how much is audited.
        challenger: audits answers; None: receipts only.
        record: where answers and verdicts are kept; None: nowhere.
        library: the module httpx or httpx2.
        on_verdict: is called with each verdict, and with the audit if there was one.
    """

    def __init__(
        self,
        transports: Mapping[str, Callable[[Callable[[Checked], None]], ProofTransport]],
        traffic: Traffic,
        plan: Plan,
        *,
        challenger: Challenger | None,
        record: Record | None,
        library: ModuleType,
        on_verdict: Callable[[Mapping[str, Any], Audited | None], Mapping[str, Any]],
    ) -> None:
        self._transports, self._traffic, self._plan = transports, traffic, plan
        self._challenger, self._record, self._library, self._tell = challenger, record, library, on_verdict
        self.summary = Summary()
        for verdict in record.verdicts if record is not None else ():
            self.summary.add(verdict)

    def run(self) -> Summary:
        """Audit what an earlier run left, then send canaries until the plan is done, and return the summary.

        Raises InputError if no canary fits the model.
        """
        if self._record is not None and self._challenger is not None:
            card = self._challenger.auditor(None).card
            for number, checked in self._record.pending(card).items():
                self._judge(checked, number)
        plan = self._plan
        while self.summary.sent < plan.count and (plan.budget is None or self.summary.tokens < plan.budget):
            self._one(self._traffic.next())
        return self.summary

    def _one(self, canary: Canary) -> None:
        """Send one canary, again if it does not fit, and judge what comes."""
        time.sleep(canary.pause)
        answers, failure, said = self._asked(canary)
        for checked, number in answers:
            self._judge(checked, number)
        if failure is not None:
            self._note(_verdict("contradicted", canary.nonce_by, failure), None, None)
        elif not answers:
            self._note({**_verdict("unanswered", canary.nonce_by), "error": said}, None, None)

    def _asked(self, canary: Canary) -> tuple[list[_Kept], VerificationError | None, str]:
        """Return what :meth:`_ask` returns for this canary, or for the first one that fits the model."""
        for _ in range(_DRAWS - 1):
            try:
                return self._ask(canary)
            except InputError as e:
                _log.info("a canary does not fit the model: %s", type(e).__name__)
                canary = self._traffic.next()
        return self._ask(canary)

    def _ask(self, canary: Canary) -> tuple[list[_Kept], VerificationError | None, str]:
        """Return the checked answers to a canary, the contradiction if there was one, and what went wrong.

        An answer is on record as soon as it is checked, so that nothing that follows loses it.
        """
        answers: list[_Kept] = []
        said = ""

        def keep(checked: Checked) -> None:
            answers.append((checked, None if self._record is None else self._record.answer(checked)))

        for attempt in range(_ATTEMPTS):
            transport = self._transports[canary.nonce_by](keep)
            url = transport.base_url + ENDPOINTS[canary.endpoint]
            request = self._library.Request(
                "POST", url, headers=list(canary.headers), content=canary.body, extensions=_TIMES
            )
            wait: float | None = 2.0**attempt
            try:
                response = transport.handle_request(request)
                try:
                    body = b"".join(response.stream)
                finally:
                    response.close()
                if response.status_code < 400:
                    return answers, None, ""
                said = f"status {response.status_code}: {body[:300].decode('utf-8', 'replace')}"
                wait = retry_after(response.headers.get("retry-after"))
            except VerificationError as e:
                return answers, e, ""
            except self._library.TransportError as e:
                said = f"{type(e).__name__}: {e}"
            finally:
                transport.close()
            if answers:
                return answers, None, said
            if wait is None:
                break
            if attempt + 1 < _ATTEMPTS:
                time.sleep(wait)
        return [], None, said

    def _judge(self, checked: Checked, number: int | None) -> None:
        """Audit one answer as the plan says."""
        plan, audited = self._plan, None
        start = time.monotonic()
        if self._challenger is not None and (plan.replay or plan.cells is not None):
            if plan.replay:
                audited = self._challenger.replay(checked)
            else:
                audited = self._challenger.audit(checked, plan.cells if plan.cells is not None else "all")
        found = None if audited is None else audited.found
        if found is None:
            state = "receipted"
        elif isinstance(found, Verified):
            state = "verified"
        elif audited is not None and audited.refusal is not None:
            state = "refused"
        else:
            state = "silent" if found.step == 10 and not found.attributable else "contradicted"
        verdict = {**_verdict(state, checked.nonce_by, found, checked), "seconds": time.monotonic() - start}
        self._note(verdict, audited, number)

    def _note(self, verdict: Mapping[str, Any], audited: Audited | None, number: int | None) -> None:
        verdict = {**verdict, **self._tell(verdict, audited)}
        if self._record is not None:
            self._record.verdict(verdict, number)
        self.summary.add(verdict)


_TIMES: Final = {"timeout": {"connect": 5.0, "read": 600.0, "write": 600.0, "pool": 600.0}}
"""The time-outs of openai's client, in seconds."""


def _verdict(
    state: str,
    nonce_by: str,
    found: Verified | VerificationError | None = None,
    checked: Checked | None = None,
) -> dict[str, Any]:
    """Return a verdict as the record has it."""
    made: dict[str, Any] = {
        "state": state,
        "nonce_by": nonce_by,
        "when": time.time(),
        "tokens": 0,
        "cells": 0,
        "error": None,
    }
    if checked is not None:
        receipt, statement = checked.claim.receipt, checked.claim.statement
        made |= {
            "request_digest": receipt.request_digest.hex(),
            "receipt_digest": receipt.digest.hex(),
            "node": receipt.node.hex(),
            "tokens": len(checked.request.inputs[0][1]) // 4 + len(receipt.outputs[0][1]) // 4,
            "rows": statement.rows,
            "total_cells": statement.cells,
        }
    if isinstance(found, Verified):
        made |= {
            "cells": found.cells,
            "soundness_bits": found.soundness_bits,
            "detects_one": found.detects_one,
            "detects_shares": {str(s): found.detects_share(s) for s in SHARES},
            "bytes_opened": found.bytes_opened,
        }
        _log.info("canary %s: verified %d cells", made["request_digest"][:16], found.cells)
    elif found is not None:
        made |= {
            "error": str(found),
            "step": found.step,
            "cell": None if found.cell is None else list(found.cell),
            "operation": found.operation,
            "attributable": found.attributable,
        }
        _log.warning("canary %s: %s at step %d", short(found.request_digest), state, found.step)
    return made


def _log_miss(probability: float) -> float:
    """Return the natural logarithm of the probability of the opposite."""
    return math.log1p(-probability) if probability < 1 else -math.inf
