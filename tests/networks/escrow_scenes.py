"""What the escrow contract must do, scene by scene: the tests run them, and each mutant must fail one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from networks.chain import Chain, RevertedError
from networks.committees import FORFEIT, KEYS, MEMBERS, PRICE, STAKE, WINDOW, Committee, digest, work
from proofcompute.networks.evm.contract import contract
from proofcompute.networks.evm.escrow import LONGEST, Terms
from proofcompute.networks.evm.typed import ORDER, Domain, message, typed_digest

RECEIPT = digest("receipt")
ACCEPT, CONTRADICT, SILENT, REFUSED = 1, 2, 3, 4

Deploy = Callable[..., Committee]


def _taken(found: Committee, **changes: Any) -> Terms:
    terms = found.terms(**changes)
    found.do("open", terms)
    found.do("take", terms)
    return terms


def _refused(because: str, call: Callable[[], object]) -> None:
    with pytest.raises(RevertedError, match=because):
        call()


def a_verified_answer_is_paid(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    found.bring(terms, RECEIPT, ACCEPT)
    until = found.chain.now + WINDOW
    _refused("too early", lambda: found.do("release", terms))
    found.chain.at(until - 1)
    _refused("too early", lambda: found.do("release", terms))
    found.chain.at(until + 1)
    _refused("too late", lambda: found.bring(terms, RECEIPT, CONTRADICT))
    found.do("release", terms, sender=found.chain.accounts[7])
    assert (found.state(terms), found.owed(terms.payee), found.owed(terms.client)) == (
        "paid",
        PRICE + STAKE,
        0,
    )
    assert found.withdraw(terms.payee) == PRICE + STAKE
    _refused("nothing owed", lambda: found.withdraw(terms.payee))
    assert found.chain.balance(found.address) == 0
    for name in ("open", "take", "cancel", "release", "expire"):
        with pytest.raises(RevertedError):
            found.do(name, terms)
    for outcome in (ACCEPT, CONTRADICT):
        _refused("not taken", lambda o=outcome: found.bring(terms, RECEIPT, o))  # type: ignore[misc]


def a_contradiction_takes_the_stake(deploy: Deploy) -> None:
    found = deploy()
    for accepted in (False, True):
        terms = _taken(found, request=digest("request", accepted))
        if accepted:
            found.bring(terms, RECEIPT, ACCEPT)
        # Any receipt of the node for this request will do.
        found.bring(terms, digest("another receipt"), CONTRADICT, (1, 2))
        assert (found.state(terms), found.owed(terms.payee)) == ("slashed", 0)
        assert found.withdraw(terms.client) == PRICE + STAKE
        for name in ("release", "expire", "cancel"):
            with pytest.raises(RevertedError):
                found.do(name, terms)


def what_no_quorum_judged_is_returned(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    _refused("too early", lambda: found.do("expire", terms))
    found.chain.at(terms.deadline - 1)
    _refused("too early", lambda: found.do("expire", terms))
    found.chain.at(terms.deadline + 1)
    for outcome in (ACCEPT, CONTRADICT):
        _refused("too late", lambda o=outcome: found.bring(terms, RECEIPT, o))  # type: ignore[misc]
    found.do("expire", terms, sender=found.chain.accounts[7])
    assert found.state(terms) == "expired"
    assert (found.owed(terms.client), found.owed(terms.payee)) == (PRICE, STAKE)
    _refused("not taken", lambda: found.do("expire", terms))


def silence_costs_what_was_agreed(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    _refused("not silent", lambda: found.do("forfeit", terms))
    # Who refuses shows no more than who says nothing: both count together.
    both = [*votes_of(found, terms, RECEIPT, SILENT, [0]), *votes_of(found, terms, RECEIPT, REFUSED, [2])]
    found.bring_raw("silence", terms, RECEIPT, 7, sorted(both, key=lambda vote: _place(vote)))
    assert found.state(terms) == "silent"
    until = found.chain.now + WINDOW
    for name in ("release", "cancel", "expire", "take"):
        with pytest.raises(RevertedError):
            found.do(name, terms)
    _refused("not taken", lambda: found.bring(terms, RECEIPT, SILENT))
    _refused("too early", lambda: found.do("forfeit", terms))
    found.chain.at(until - 1)
    _refused("too early", lambda: found.do("forfeit", terms))
    for outcome in (ACCEPT, CONTRADICT):
        _refused("too late", lambda o=outcome: found.bring(terms, RECEIPT, o))  # type: ignore[misc]
    found.do("forfeit", terms, sender=found.chain.accounts[7])
    assert found.state(terms) == "forfeited"
    assert (found.owed(terms.client), found.owed(terms.payee)) == (PRICE, STAKE - FORFEIT)
    _refused("not silent", lambda: found.do("forfeit", terms))
    assert found.withdraw(terms.client) == PRICE
    assert found.withdraw(terms.payee) == STAKE - FORFEIT
    # Nobody has the rest.
    assert found.chain.balance(found.address) == found.owed("0x" + 40 * "0") == FORFEIT


def a_node_that_shows_its_work_after_all_is_judged_by_it(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    found.bring(terms, RECEIPT, SILENT)
    found.chain.at(terms.deadline + 1)
    found.bring(terms, RECEIPT, ACCEPT)
    _refused("not silent", lambda: found.do("forfeit", terms))
    _refused("not taken", lambda: found.bring(terms, RECEIPT, SILENT))
    _refused("too early", lambda: found.do("release", terms))
    found.chain.at(found.chain.now + WINDOW + 1)
    found.do("release", terms)
    assert (found.state(terms), found.owed(terms.payee)) == ("paid", PRICE + STAKE)
    other = _taken(found, request=digest("other"))
    found.bring(other, RECEIPT, SILENT)
    found.chain.at(other.deadline + 1)
    found.bring(other, RECEIPT, CONTRADICT)
    assert (found.state(other), found.owed(other.client)) == ("slashed", PRICE + STAKE)
    _refused("not silent", lambda: found.do("forfeit", other))


def silence_is_said_of_a_taken_job_in_time(deploy: Deploy) -> None:
    found = deploy()
    terms = found.terms()
    _refused("not taken", lambda: found.bring(terms, RECEIPT, SILENT))
    found.do("open", terms)
    _refused("not taken", lambda: found.bring(terms, RECEIPT, SILENT))
    found.do("take", terms)
    greedy = found.terms(request=digest("greedy"))
    object.__setattr__(greedy, "forfeit", STAKE + 1)
    _refused("more than it locks", lambda: found.do("open", greedy))
    found.chain.at(terms.deadline + 1)
    _refused("too late", lambda: found.bring(terms, RECEIPT, SILENT))
    free = _taken(found, request=digest("free"), forfeit=0)
    found.bring(free, RECEIPT, REFUSED)
    found.chain.at(found.chain.now + WINDOW + 1)
    found.do("forfeit", free)
    assert (found.owed(free.client), found.owed(free.payee)) == (PRICE, STAKE)


def _place(vote: Any) -> str:
    """The address of a vote's signer, by which votes are in order."""
    return next(key.address.lower() for i, key in enumerate(KEYS) if digest("auditor", i) == vote[0])


def a_job_that_nobody_took_is_cancelled_by_its_client(deploy: Deploy) -> None:
    found = deploy()
    terms = found.terms()
    _refused("not open", lambda: found.do("cancel", terms))
    found.do("open", terms)
    _refused("opened before", lambda: found.do("open", terms))
    _refused("not the client", lambda: found.do("cancel", terms, sender=terms.payee))
    for outcome in (ACCEPT, CONTRADICT):
        _refused("not taken", lambda o=outcome: found.bring(terms, RECEIPT, o))  # type: ignore[misc]
    found.do("cancel", terms)
    assert found.withdraw(terms.client) == PRICE
    _refused("not open", lambda: found.do("take", terms))
    _refused("not open", lambda: found.do("cancel", terms))
    _refused("opened before", lambda: found.do("open", terms))


def a_taken_job_is_not_cancelled(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    _refused("not open", lambda: found.do("cancel", terms))
    _refused("not open", lambda: found.do("take", terms))
    _refused("not accepted", lambda: found.do("release", terms))
    found.bring(terms, RECEIPT, ACCEPT)
    _refused("not taken", lambda: found.bring(terms, RECEIPT, ACCEPT, (1, 2)))
    _refused("not taken", lambda: found.do("expire", terms))


def only_client_and_node_lock_what_they_agreed(deploy: Deploy) -> None:
    found = deploy()
    terms = found.terms()
    _refused("not the client", lambda: found.do("open", terms, sender=terms.payee))
    for value in (0, PRICE - 1, PRICE + 1):
        _refused("not the price", lambda v=value: found.do("open", terms, value=v))  # type: ignore[misc]
    _refused("not open", lambda: found.do("take", terms))
    found.do("open", terms)
    _refused("not the node", lambda: found.do("take", terms, sender=terms.client))
    for value in (0, STAKE - 1, STAKE + 1):
        _refused("not the stake", lambda v=value: found.do("take", terms, value=v))  # type: ignore[misc]
    other = replace(terms, price=1)
    _refused("not open", lambda: found.do("take", other))
    found.chain.at(terms.take_by + 1)
    _refused("too late", lambda: found.do("take", terms))
    late = found.terms(take_by=found.chain.now - 5, request=digest("late"))
    _refused("too late", lambda: found.do("open", late))
    forever = found.terms(deadline=found.chain.now + LONGEST + 100)
    _refused("too long", lambda: found.do("open", forever))
    backwards = found.terms()
    object.__setattr__(backwards, "deadline", backwards.take_by)
    _refused("no time", lambda: found.do("open", backwards))
    free = found.terms()
    object.__setattr__(free, "price", 0)
    _refused("no price", lambda: found.do("open", free))


def votes_of(
    found: Committee, terms: Terms, receipt: bytes, outcome: int, signers: Sequence[int]
) -> list[Any]:
    """The votes of signers in ascending order of their addresses, as the contract takes them."""
    votes = []
    for s in sorted(signers, key=lambda s: KEYS[s].address.lower()):
        known = work(terms, receipt, outcome, s)
        raw = KEYS[s].sign(typed_digest(message(known), found.domain))
        votes.append(
            (known.auditor, known.bundle_sha256, known.outcome.step, known.made, raw[64], raw[:32],
             int.from_bytes(raw[32:64]), outcome)
        )  # fmt: skip
    return votes


def a_minority_settles_nothing(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    for name, outcome in (("accept", ACCEPT), ("contradict", CONTRADICT), ("silence", SILENT)):
        (one,) = votes_of(found, terms, RECEIPT, outcome, [0])
        both = votes_of(found, terms, RECEIPT, outcome, [0, 1])
        stranger = votes_of(found, terms, RECEIPT, outcome, [0, 3])
        high = (*one[:4], 55 - one[4], one[5], ORDER - one[6], one[7])
        for because, votes in {
            "no quorum": [one],
            "in order": [one, one],
            "not a member": stranger,
            "not canonical": [high, both[1]] if both[0] == one else [both[0], high],
        }.items():
            _refused(because, lambda n=name, v=votes: found.bring_raw(n, terms, RECEIPT, 7, v))  # type: ignore[misc]
        _refused("in order", lambda n=name, v=both: found.bring_raw(n, terms, RECEIPT, 7, v[::-1]))  # type: ignore[misc]
    assert found.state(terms) == "taken"


def _changed(votes: Sequence[Any], place: int, value: object) -> list[Any]:
    first = list(votes[0])
    first[place] = value
    return [tuple(first), *votes[1:]]


def claiming(votes: Sequence[Any], outcome: int) -> list[Any]:
    """Votes that say another outcome than what was signed."""
    return [(*vote[:7], outcome) for vote in votes]


def what_was_signed_counts_and_nothing_else(deploy: Deploy) -> None:
    found = deploy()
    terms = _taken(found)
    accepted = votes_of(found, terms, RECEIPT, ACCEPT, [0, 1])
    denied = votes_of(found, terms, RECEIPT, CONTRADICT, [0, 1])
    silent = votes_of(found, terms, RECEIPT, SILENT, [0, 1])
    elsewhere = deploy()
    abroad = replace_domain(found, Domain(found.domain.chain + 1, found.address))
    tried: dict[str, tuple[str, bytes, int, list[Any]]] = {
        "an acceptance as a contradiction": ("contradict", RECEIPT, 7, accepted),
        "a contradiction as an acceptance": ("accept", RECEIPT, 7, denied),
        "silence as an acceptance": ("accept", RECEIPT, 7, silent),
        "silence as a contradiction": ("contradict", RECEIPT, 7, silent),
        "an acceptance as silence": ("silence", RECEIPT, 7, accepted),
        "a contradiction as silence": ("silence", RECEIPT, 7, denied),
        "an acceptance that says contradiction": ("contradict", RECEIPT, 7, claiming(accepted, CONTRADICT)),
        "silence that says acceptance": ("accept", RECEIPT, 7, claiming(silent, ACCEPT)),
        "silence that says contradiction": ("contradict", RECEIPT, 7, claiming(silent, CONTRADICT)),
        "an acceptance that says silence": ("silence", RECEIPT, 7, claiming(accepted, SILENT)),
        "an unknown outcome": ("silence", RECEIPT, 7, claiming(silent, 5)),
        "another receipt": ("accept", digest("unseen"), 7, accepted),
        "other rows": ("accept", RECEIPT, 8, accepted),
        "another contract's": ("accept", RECEIPT, 7, votes_of(elsewhere, terms, RECEIPT, ACCEPT, [0, 1])),
        "another chain's": ("accept", RECEIPT, 7, votes_of(abroad, terms, RECEIPT, ACCEPT, [0, 1])),
        "another auditor": ("accept", RECEIPT, 7, _changed(accepted, 0, bytes(32))),
        "other evidence": ("accept", RECEIPT, 7, _changed(accepted, 1, bytes(32))),
        "another step": ("accept", RECEIPT, 7, _changed(accepted, 2, 9)),
        "another time": ("accept", RECEIPT, 7, _changed(accepted, 3, 9)),
        "no recovery identifier": ("accept", RECEIPT, 7, _changed(accepted, 4, 0)),
    }
    for field in ("node", "request", "model"):
        changes: dict[str, Any] = {field: digest("other")}
        other = replace(terms, **changes)
        votes = votes_of(found, other, RECEIPT, ACCEPT, [0, 1])
        tried[f"about another {field}"] = ("accept", RECEIPT, 7, votes)
    for what, (name, receipt, rows, votes) in tried.items():
        print(what)
        with pytest.raises(RevertedError, match=r"not a member|in order|another outcome"):
            found.bring_raw(name, terms, receipt, rows, votes)
    found.bring_raw("accept", terms, RECEIPT, 7, accepted)


def replace_domain(found: Committee, domain: Domain) -> Committee:
    """The same contract as if it were elsewhere."""
    other = Committee(found.chain, found.address)
    other.domain = domain
    return other


def a_committee_is_of_members_and_its_quorum_more_than_half(deploy: Deploy) -> None:
    for threshold in (1, 4):
        _refused("quorum", lambda t=threshold: deploy(raw=(MEMBERS, t, WINDOW)))  # type: ignore[misc]
    for members, because in (
        ([*MEMBERS, MEMBERS[0]], "twice"),
        ([*MEMBERS, "0x" + 40 * "0"], "no member"),
    ):
        _refused(because, lambda m=members: deploy(raw=(m, 3, WINDOW)))  # type: ignore[misc]
    _refused("too long", lambda: deploy(raw=(MEMBERS, 2, LONGEST + 1)))


def somebody_who_refuses_money_stops_nobody(deploy: Deploy) -> None:
    """The node's address is a contract that takes no money: its own pay waits, the client's goes on."""
    found = deploy()
    chain: Chain = found.chain
    refuses = chain.accounts[1]
    chain.ask("anvil_setCode", refuses, "0x60006000fd")
    try:
        chain.ask("anvil_impersonateAccount", refuses)
        terms = _taken(found)
        found.chain.at(terms.deadline + 1)
        found.do("expire", terms)
        assert found.withdraw(terms.client) == PRICE
        with pytest.raises(RevertedError):
            found.withdraw(refuses)
        assert found.owed(refuses) == STAKE
    finally:
        with suppress(RevertedError):
            chain.ask("anvil_setCode", refuses, "0x")
    assert found.withdraw(refuses) == STAKE


def whoever_is_paid_cannot_be_paid_again_meanwhile(deploy: Deploy) -> None:
    """The node's address is a contract that asks for its money again while it gets it."""
    found = deploy()
    chain: Chain = found.chain
    greedy = chain.accounts[1]
    # Called with money, it calls withdraw of its caller, and ignores whether that worked.
    selector = contract("escrow").call("withdraw").data[:4].hex()
    code = f"63{selector}60e01b5f525f5f60045f5f335af100"
    first, second = _taken(found), _taken(found, request=digest("second"))
    for terms in (first, second):
        found.chain.at(found.chain.now + 1)
        found.bring(terms, RECEIPT, ACCEPT)
    found.chain.at(found.chain.now + WINDOW + 1)
    found.do("release", first)
    chain.ask("anvil_setCode", greedy, "0x" + code)
    try:
        assert found.withdraw(greedy) == PRICE + STAKE
        assert chain.balance(found.address) == PRICE + STAKE
    finally:
        chain.ask("anvil_setCode", greedy, "0x")
    found.do("release", second)
    assert found.withdraw(greedy) == PRICE + STAKE


SCENES: dict[str, Callable[[Deploy], None]] = {
    scene.__name__: scene
    for scene in (
        a_verified_answer_is_paid,
        a_contradiction_takes_the_stake,
        what_no_quorum_judged_is_returned,
        silence_costs_what_was_agreed,
        a_node_that_shows_its_work_after_all_is_judged_by_it,
        silence_is_said_of_a_taken_job_in_time,
        a_job_that_nobody_took_is_cancelled_by_its_client,
        a_taken_job_is_not_cancelled,
        only_client_and_node_lock_what_they_agreed,
        a_minority_settles_nothing,
        what_was_signed_counts_and_nothing_else,
        a_committee_is_of_members_and_its_quorum_more_than_half,
        somebody_who_refuses_money_stops_nobody,
        whoever_is_paid_cannot_be_paid_again_meanwhile,
    )
}
