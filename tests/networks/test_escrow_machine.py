"""Any sequence of calls by clients, nodes and a corrupt member of the committee, beside a model.

Two of three members are honest: they sign what is true of a receipt whose work its node shows, that a node
shows none while it does not, and nothing else. Everybody calls whatever they like, with any signatures that
exist or that the corrupt ones make. After each call contract and model agree about every job and every coin;
in the end time passes, and everybody has what is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from networks.chain import Chain, RevertedError, running
from networks.committees import WINDOW, Committee, digest
from networks.escrow_scenes import votes_of
from proofcompute.networks.evm.escrow import Terms
from proofcompute.networks.evm.typed import mixed

pytest.importorskip("eth_keys")
pytest.importorskip("eth_abi")

HONEST = (0, 1)
ACCEPT, CONTRADICT, SILENT, REFUSED = 1, 2, 3, 4
FUNCTIONS = {ACCEPT: "accept", CONTRADICT: "contradict", SILENT: "silence", REFUSED: "silence"}
ENDS = {"open": "cancel", "taken": "expire", "accepted": "release", "silent": "forfeit"}
NOBODY = "0x" + 40 * "0"
RIGHT, WRONG = digest("right"), digest("wrong")
TRUTH = {RIGHT: ACCEPT, WRONG: CONTRADICT}
"""What honest members sign once they have seen the work. The honest node makes right ones only."""


AGREED: dict[str, st.SearchStrategy[Any]] = {
    "honest": st.booleans(),
    "client": st.integers(0, 1),
    "stake": st.sampled_from([5, 5, 0]),
    "forfeit": st.sampled_from([2, 5, 0]),
    "hurry": st.sampled_from([False, False, True]),
    "locks": st.sampled_from([2, 2, 2, 1, 0]),
}
"""What jobs are about, and how many of both sides lock their money at once."""


@dataclass
class Job:
    """What the model knows of a job."""

    terms: Terms
    honest: bool
    state: str = "unknown"
    until: int = 0


class Escrow(RuleBasedStateMachine):
    """Contract and model."""

    chain: Chain

    @initialize(
        mute=st.sets(st.booleans()),
        jobs=st.lists(st.fixed_dictionaries(AGREED), min_size=2, max_size=4),
    )
    def begin(self, mute: set[bool], jobs: list[dict[str, Any]]) -> None:
        """Deploy a contract of its own; some of the nodes, honest or not, show no work at first."""
        self.mute, self.shown = mute, {True, False} - mute
        self.found = Committee.deploy(self.chain)
        self.jobs: list[Job] = []
        self.owed: dict[str, int] = {}
        self.people = [mixed(bytes.fromhex(a[2:])) for a in self.chain.accounts[:6]]
        for each in jobs:
            self.agree(**each)

    @rule(honest=st.booleans())
    def show(self, honest: bool) -> None:
        """A node shows its work, late or in time; who signed that it did not cannot take that back."""
        self.shown.add(honest)

    def true(self, honest: bool, receipt: bytes) -> list[int]:
        """What honest members sign, or have signed, about a receipt of a node."""
        return [TRUTH[receipt]] * (honest in self.shown) + [SILENT, REFUSED] * (honest in self.mute)

    @rule(job=st.fixed_dictionaries(AGREED))
    def agree_later(self, job: dict[str, Any]) -> None:
        """Client and node agree on another job."""
        self.agree(**job)

    def agree(self, honest: bool, client: int, stake: int, forfeit: int, hurry: bool, locks: int) -> None:
        """Client and node agree on terms: of the same request as before perhaps, and in a hurry perhaps."""
        if len(self.jobs) == 4:
            return
        self.jobs.append(
            Job(
                self.found.terms(
                    client=self.people[client],
                    payee=self.people[2 + honest],
                    node=digest("node", honest),
                    price=3 + len(self.jobs),
                    stake=stake,
                    forfeit=min(stake, forfeit),
                    take_by=self.chain.now + (3 if hurry else 30),
                    deadline=self.chain.now + (9 if hurry else 60),
                ),
                honest,
            )
        )
        for _ in range(locks):
            self.lock(len(self.jobs) - 1, 0, 0)

    @precondition(lambda self: self.jobs)
    @rule(job=st.integers(0, 3), who=st.integers(0, 5), less=st.sampled_from([0, 0, 0, 1]))
    def lock(self, job: int, who: int, less: int) -> None:
        """Somebody opens or takes a job."""
        known = self.jobs[job % len(self.jobs)]
        terms, name = known.terms, "take" if known.state == "open" else "open"
        value = (terms.stake if name == "take" else terms.price) - less
        owner = terms.payee if name == "take" else terms.client
        # Mostly the one who may.
        sender = owner if who < 4 else self.people[who]
        if value < 0:
            return
        fits = sender == owner and not less and self.chain.now + 1 <= terms.take_by
        done = self.tries(fits and known.state in ("unknown", "open"), name, known, sender, value)
        if done:
            known.state = "taken" if name == "take" else "open"

    @precondition(lambda self: self.jobs)
    @rule(
        job=st.integers(0, 3),
        who=st.integers(0, 5),
        name=st.sampled_from([None] * 3 + ["cancel", "release", "forfeit", "expire"]),
    )
    def end(self, job: int, who: int, name: str | None) -> None:
        """Somebody cancels, releases, forfeits or expires a job."""
        known, now = self.jobs[job % len(self.jobs)], self.chain.now + 1
        terms, sender = known.terms, self.people[who]
        # Mostly what fits its state, at any time.
        name = name or ENDS.get(known.state, "release")
        may = {
            "cancel": known.state == "open" and sender == terms.client,
            "release": known.state == "accepted" and now > known.until,
            "forfeit": known.state == "silent" and now > known.until,
            "expire": known.state == "taken" and now > terms.deadline,
        }[name]
        if self.tries(may, name, known, sender, 0):
            known.state, client, payee, nobody = {
                "cancel": ("cancelled", terms.price, 0, 0),
                "release": ("paid", 0, terms.price + terms.stake, 0),
                "forfeit": ("forfeited", terms.price, terms.stake - terms.forfeit, terms.forfeit),
                "expire": ("expired", terms.price, terms.stake, 0),
            }[name]
            self.owe(terms.client, client)
            self.owe(terms.payee, payee)
            self.owe(NOBODY, nobody)

    @precondition(lambda self: self.jobs)
    @rule(
        job=st.integers(0, 3),
        about=st.sampled_from([None, None, None, None, 0, 1, 2, 3]),
        receipt=st.sampled_from([RIGHT, WRONG]),
        outcome=st.sampled_from([None] * 6 + [ACCEPT, CONTRADICT, SILENT, REFUSED]),
        truth=st.integers(0, 2),
        signers=st.sampled_from([(0, 1), (1, 2), (0, 2), (0, 1, 2)] * 2 + [(2,), (2, 3), (0,), (2, 2)]),
        backwards=st.sampled_from([False] * 7 + [True]),
    )
    def bring(
        self,
        job: int,
        about: int | None,
        receipt: bytes,
        outcome: int | None,
        truth: int,
        signers: tuple[int, ...],
        backwards: bool,
    ) -> None:
        """Somebody brings verdicts, perhaps those about another job."""
        known, other = (self.jobs[i % len(self.jobs)] for i in (job, job if about is None else about))
        if known.honest:
            receipt = RIGHT
        votes: list[Any] = []
        true = self.true(other.honest, receipt)
        # Mostly what honest members sign.
        outcome = outcome or true[truth % len(true)]
        for s in signers:
            # An honest member's signature under something false does not exist: a true one is used instead.
            said = true[0] if s in HONEST and outcome not in true else outcome
            (vote,) = votes_of(self.found, other.terms, receipt, said, [s])
            votes.append((*vote[:7], outcome))
        ordered = votes_of(self.found, other.terms, receipt, outcome, signers)
        places = {vote[0]: i for i, vote in enumerate(ordered)}
        votes.sort(key=lambda vote: places[vote[0]], reverse=backwards)
        now = self.chain.now + 1
        subject = (known.terms.node, known.terms.request, known.terms.model)
        fits = (
            subject == (other.terms.node, other.terms.request, other.terms.model)
            and len(set(signers)) == len(signers) >= 2
            and 3 not in signers
            and not (backwards and len(signers) > 1)
            and (outcome in true or not set(signers) & set(HONEST))
        )
        in_time = known.state == "taken" and now <= known.terms.deadline
        later = {ACCEPT: ["silent"], CONTRADICT: ["accepted", "silent"]}.get(outcome, [])
        in_time = in_time or (known.state in later and now <= known.until)
        try:
            self.found.bring_raw(FUNCTIONS[outcome], known.terms, receipt, 7, votes)
        except RevertedError:
            assert not (fits and in_time)
            return
        assert fits
        assert in_time
        if outcome == ACCEPT:
            # What is accepted is right: an honest member said so.
            assert receipt == RIGHT
            known.state, known.until = "accepted", now + WINDOW
        elif outcome in (SILENT, REFUSED):
            # A node that showed its work from the beginning loses nothing.
            assert known.honest in self.mute
            known.state, known.until = "silent", now + WINDOW
        else:
            assert not known.honest
            known.state = "slashed"
            self.owe(known.terms.client, known.terms.price + known.terms.stake)

    @rule(seconds=st.sampled_from([1, 5, 40, WINDOW - 1, WINDOW]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.chain.at(self.chain.now + seconds)

    @rule(who=st.integers(0, 5))
    def withdraw(self, who: int) -> None:
        """Somebody withdraws."""
        address = self.people[who]
        try:
            got = self.found.withdraw(address)
        except RevertedError:
            got = 0
        assert got == self.owed.pop(address, 0)

    def tries(self, may: bool, name: str, job: Job, sender: str, value: int) -> bool:
        """Make a call, and compare whether it went through with what the model says."""
        try:
            self.found.do(name, job.terms, sender, value)
        except RevertedError:
            assert not may, name
            return False
        assert may, name
        return True

    def owe(self, address: str, amount: int) -> None:
        """Credit in the model."""
        if amount:
            self.owed[address] = self.owed.get(address, 0) + amount

    @invariant()
    def every_coin_is_somebodys(self) -> None:
        """What the contract has is what it owes and what it keeps for jobs."""
        if not hasattr(self, "found"):
            return
        kept = 0
        for job in self.jobs:
            assert self.found.state(job.terms) == job.state
            kept += job.terms.price if job.state in ("open", "taken", "accepted", "silent") else 0
            kept += job.terms.stake if job.state in ("taken", "accepted", "silent") else 0
        assert self.chain.balance(self.found.address) == kept + sum(self.owed.values())

    def teardown(self) -> None:
        """Nothing is locked for ever: one call by anybody, and what was verified is paid."""
        if not hasattr(self, "found"):
            return
        self.chain.at(self.chain.now + WINDOW + 100)
        stranger = self.people[5]
        for job in self.jobs:
            name = ENDS.get(job.state)
            if name is not None:
                self.found.do(name, job.terms, job.terms.client if name == "cancel" else stranger)
        for address in self.people:
            if self.found.owed(address):
                self.found.withdraw(address)
        assert self.chain.balance(self.found.address) == self.found.owed(NOBODY)
        forfeited = [j.terms.forfeit for j in self.jobs if j.state in ("silent", "forfeited")]
        assert self.found.owed(NOBODY) == sum(forfeited)
        for job in self.jobs:
            if job.state == "accepted":
                assert self.found.state(job.terms) == "paid"


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with running() as found:
        yield found


def test_no_sequence_of_calls_pays_unverified_work_or_keeps_verified_pay(chain: Chain) -> None:
    class Machine(Escrow):
        pass

    Machine.chain = chain
    quick = settings.default
    assert quick is not None
    chosen = settings(max_examples=max(40, quick.max_examples), stateful_step_count=30)
    run_state_machine_as_test(Machine, settings=chosen)
