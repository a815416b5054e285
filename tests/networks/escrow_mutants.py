"""The escrow contract with one check less each: a scene must notice."""

from __future__ import annotations

from typing import Final

_TAKEN: Final = 'assert self.state[job] == TAKEN, "not taken"'
_IN_TIME: Final = 'assert block.timestamp <= terms.deadline, "too late"'
_ACCEPTED: Final = "self._check(terms, receipt, rows, ACCEPTANCE"
_DENIED: Final = "self._check(terms, receipt, rows, CONTRADICTION"
_AGREED: Final = 'assert self.state[job] == ACCEPTED, "not accepted"'
_SILENT: Final = 'assert self.state[job] == SILENT, "not silent"'
_SAYS: Final = 'assert least <= vote.outcome and vote.outcome <= most, "another outcome"'
_SILENCE: Final = "self._check(terms, receipt, rows, SILENCE, REFUSAL, votes)"
MUTANTS: Final[dict[str, tuple[str, str]]] = {
    "a quorum of half": ('assert 2 * _threshold > len(members), "a quorum is more than half"', "pass"),
    "a quorum beyond the members": ('assert _threshold <= len(members), "a quorum is of members"', "pass"),
    "a window without end": ('assert _window <= LONGEST, "too long"', "pass"),
    "nobody as a member": ('assert member != empty(address), "no member"', "pass"),
    "a member twice": ('assert not self.is_member[member], "twice a member"', "pass"),
    "a job opened twice": ('assert self.state[job] == 0, "opened before"', "pass"),
    "opened for somebody else": (
        'assert msg.sender == terms.client, "not the client"\n    assert msg.value',
        "assert msg.value",
    ),
    "opened for another price": ('assert msg.value == terms.price, "not the price"', "pass"),
    "opened for nothing": ('assert terms.price > 0, "no price"', "pass"),
    "opened too late": (
        'assert block.timestamp <= terms.take_by, "too late"\n    assert terms.take_by',
        "assert terms.take_by",
    ),
    "no time between": ('assert terms.take_by < terms.deadline, "no time to work"', "pass"),
    "a lock without end": ('assert terms.deadline <= block.timestamp + LONGEST, "too long"', "pass"),
    "taken before it is opened": (
        'assert self.state[job] == OPEN, "not open"\n    assert msg.sender == terms.payee',
        "assert msg.sender == terms.payee",
    ),
    "taken by another": ('assert msg.sender == terms.payee, "not the node"', "pass"),
    "taken for another stake": ('assert msg.value == terms.stake, "not the stake"', "pass"),
    "taken too late": (
        'assert block.timestamp <= terms.take_by, "too late"\n    self.state[job] = TAKEN',
        "self.state[job] = TAKEN",
    ),
    "cancelled after it was taken": (
        'assert self.state[job] == OPEN, "not open"\n    assert msg.sender == terms.client',
        "assert msg.sender == terms.client",
    ),
    "cancelled by another": (
        'assert msg.sender == terms.client, "not the client"\n    self.state[job] = CANCELLED',
        "self.state[job] = CANCELLED",
    ),
    "cancelled twice": ("self.state[job] = CANCELLED", "pass"),
    "forfeits more than it locks": (
        'assert terms.forfeit <= terms.stake, "forfeits more than it locks"',
        "pass",
    ),
    "accepted before it was taken": (
        f"{_TAKEN}\n        {_IN_TIME}\n    {_ACCEPTED}",
        f"{_IN_TIME}\n    {_ACCEPTED}",
    ),
    "accepted too late": (f"{_IN_TIME}\n    {_ACCEPTED}", f"pass\n    {_ACCEPTED}"),
    "the work is shown too late": (
        'if self.state[job] == SILENT:\n        assert block.timestamp <= self.until[job], "too late"',
        "if self.state[job] == SILENT:\n        pass",
    ),
    "the work cannot be shown after silence": ("if self.state[job] == SILENT:", "if False:"),
    "acceptances unchecked": ("self._check(terms, receipt, rows, ACCEPTANCE, ACCEPTANCE, votes)", "pass"),
    "contradictions taken for acceptances": (
        "self._check(terms, receipt, rows, ACCEPTANCE, ACCEPTANCE, votes)",
        "self._check(terms, receipt, rows, ACCEPTANCE, CONTRADICTION, votes)",
    ),
    "silence taken for contradictions": (
        "self._check(terms, receipt, rows, CONTRADICTION, CONTRADICTION, votes)",
        "self._check(terms, receipt, rows, CONTRADICTION, SILENCE, votes)",
    ),
    "acceptances taken for contradictions": (
        "self._check(terms, receipt, rows, CONTRADICTION, CONTRADICTION, votes)",
        "self._check(terms, receipt, rows, ACCEPTANCE, CONTRADICTION, votes)",
    ),
    "any outcome": (_SAYS, "pass"),
    "outcomes from below": (_SAYS, 'assert vote.outcome <= most, "another outcome"'),
    "outcomes from above": (_SAYS, 'assert least <= vote.outcome, "another outcome"'),
    "silence before it was taken": (
        f"{_TAKEN}\n    {_IN_TIME}\n    {_SILENCE}",
        f"{_IN_TIME}\n    {_SILENCE}",
    ),
    "silence too late": (f"{_IN_TIME}\n    {_SILENCE}", _SILENCE),
    "silence unchecked": (_SILENCE, "pass"),
    "contradictions taken for silence": (
        _SILENCE,
        "self._check(terms, receipt, rows, CONTRADICTION, REFUSAL, votes)",
    ),
    "a refusal is no silence": (_SILENCE, "self._check(terms, receipt, rows, SILENCE, SILENCE, votes)"),
    "silence ends at once": (
        "self.state[job] = SILENT\n    self.until[job] = block.timestamp + window",
        "self.state[job] = SILENT\n    self.until[job] = block.timestamp",
    ),
    "forfeited without silence": ('assert self.state[job] == SILENT, "not silent"', "pass"),
    "forfeited early": (
        f'{_SILENT}\n    assert block.timestamp > self.until[job], "too early"',
        _SILENT,
    ),
    "forfeited twice": ("self.state[job] = FORFEITED", "pass"),
    "the client gets no price back after silence": (
        "self.state[job] = FORFEITED\n    self.owed[terms.client] += terms.price",
        "self.state[job] = FORFEITED",
    ),
    "the client gets the forfeit": (
        "self.owed[empty(address)] += terms.forfeit",
        "self.owed[terms.client] += terms.forfeit",
    ),
    "silence costs nothing": (
        "self.owed[terms.payee] += terms.stake - terms.forfeit",
        "self.owed[terms.payee] += terms.stake",
    ),
    "silence costs all": ("self.owed[terms.payee] += terms.stake - terms.forfeit", "pass"),
    "no window": ("self.until[job] = block.timestamp + window", "self.until[job] = block.timestamp"),
    "a window without a beginning": ("self.until[job] = block.timestamp + window", "pass"),
    "contradicted after the window": (
        'in [ACCEPTED, SILENT]:\n        assert block.timestamp <= self.until[job], "too late"',
        "in [ACCEPTED, SILENT]:\n        pass",
    ),
    "no contradiction after silence": ("in [ACCEPTED, SILENT]:", "== ACCEPTED:"),
    "contradicted after the deadline": (f"{_IN_TIME}\n    {_DENIED}", f"pass\n    {_DENIED}"),
    "contradicted before it was taken": (
        f"{_TAKEN}\n        {_IN_TIME}\n    {_DENIED}",
        f"{_IN_TIME}\n    {_DENIED}",
    ),
    "contradictions unchecked": (
        "self._check(terms, receipt, rows, CONTRADICTION, CONTRADICTION, votes)",
        "pass",
    ),
    "slashed again": ("self.state[job] = SLASHED", "pass"),
    "the stake of a liar stays": (
        "self.state[job] = SLASHED\n    self.owed[terms.client] += terms.price + terms.stake",
        "self.state[job] = SLASHED\n    self.owed[terms.client] += terms.price",
    ),
    "released unaccepted": ('assert self.state[job] == ACCEPTED, "not accepted"', "pass"),
    "released early": (
        f'{_AGREED}\n    assert block.timestamp > self.until[job], "too early"',
        _AGREED,
    ),
    "released at the last moment": (
        'assert self.state[job] == ACCEPTED, "not accepted"\n    assert block.timestamp > self.until[job]',
        'assert self.state[job] == ACCEPTED, "not accepted"\n    assert block.timestamp >= self.until[job]',
    ),
    "forfeited at the last moment": (
        'assert self.state[job] == SILENT, "not silent"\n    assert block.timestamp > self.until[job]',
        'assert self.state[job] == SILENT, "not silent"\n    assert block.timestamp >= self.until[job]',
    ),
    "released twice": ("self.state[job] = PAID", "pass"),
    "paid without the stake": (
        "self.owed[terms.payee] += terms.price + terms.stake",
        "self.owed[terms.payee] += terms.price",
    ),
    "expired after it was accepted": (
        'assert self.state[job] == TAKEN, "not taken"\n    assert block.timestamp > terms.deadline',
        "assert block.timestamp > terms.deadline",
    ),
    "expired early": ('assert block.timestamp > terms.deadline, "too early"', "pass"),
    "expired twice": ("self.state[job] = EXPIRED", "pass"),
    "withdrawn again": ("self.owed[msg.sender] = 0", "pass"),
    "paid while it is being paid": (
        'self.owed[msg.sender] = 0\n    raw_call(msg.sender, b"", value=amount)',
        'raw_call(msg.sender, b"", value=amount)\n    self.owed[msg.sender] = 0',
    ),
    "a minority": ('assert len(votes) >= threshold, "no quorum"', "pass"),
    "two forms of a signature": ('assert vote.s <= HALF_ORDER, "not canonical"', "pass"),
    "strangers": ('assert self.is_member[signer], "not a member"', "pass"),
    "one member twice": ('assert convert(signer, uint160) > last, "not in order"', "pass"),
    "one member twice, in a row": (
        "assert convert(signer, uint160) > last",
        "assert convert(signer, uint160) >= last",
    ),
    "another chain": ("chain.id, self))", "convert(31337, uint256) + 0 * chain.id + 1 - 1, empty(address)))"),
    **{
        f"unsigned {what}": (f"                {what},\n", f"                {zero},\n")
        for what, zero in {
            "receipt": "empty(bytes32)",
            "terms.request": "empty(bytes32)",
            "terms.model": "empty(bytes32)",
            "terms.node": "empty(bytes32)",
            "vote.outcome": "convert(1, uint8)",
            "rows": "convert(7, uint64)",
        }.items()
    },
}
"""What is replaced by what, by the mistake that it makes."""
GUARD: Final = "# pragma nonreentrancy on"
"""The second bar against calls from within; with it, the order in ``withdraw`` does not matter."""
