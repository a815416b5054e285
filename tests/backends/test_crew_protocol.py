"""The words of a crew in every order of two threads: a model of ``crew.lead`` and ``crew.follow``.

Each step reads or writes one shared word, as the compiled code does (reads acquire, writes release, so an
order of steps is all that can differ). The search goes through every interleaving of a leader and a follower
over a few commands, also a follower that is held up between any two looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

SEATS = 2
CLOSED = 99
"""More units than any part has."""


@dataclass(frozen=True)
class Taker:
    """Where a thread is, and what it holds."""

    at: str
    command: int = 0
    number: int = 0
    turn: int = 0
    """Parts it has been through, or words it has stored."""
    taken: int = 0


@dataclass(frozen=True)
class State:
    leader: Taker
    follower: Taker
    last: int = 0
    """The number that the follower saw last."""
    number: int = 0
    command: int = 0
    done: int = 0
    parts: tuple[tuple[int, int], ...] = ((0, 0),) * SEATS
    """For each part, its command's number and the units taken."""
    made: frozenset[int] = frozenset()
    """Units of the leader's command that were carried out."""

    def part(self, i: int, value: tuple[int, int]) -> State:
        return replace(self, parts=(*self.parts[:i], value, *self.parts[i + 1 :]))


class Fault(Exception):
    """Something that must never happen."""


def units_of(count: int, part: int) -> tuple[int, int]:
    first = count * part // SEATS
    return first, count * (part + 1) // SEATS - first


def take(s: State, who: str, seat: int, commands: tuple[int, ...], then: str) -> State:
    """One step of taking units; ``then`` is where the thread goes when none are left."""
    t: Taker = getattr(s, who)

    def go(state: State, **changes: object) -> State:
        return replace(state, **{who: replace(t, **changes)})  # type: ignore[arg-type]

    part = (seat + t.turn) % SEATS
    first, count = units_of(commands[t.command], part)
    if t.at == "look":
        number, taken = s.parts[part]
        if number != t.number:
            return go(s, at=then, turn=0)
        if taken < count:
            return go(s, at="take", taken=taken)
        return go(s, at=then, turn=0) if t.turn + 1 == SEATS else go(s, turn=t.turn + 1)
    if t.at == "take":
        if s.parts[part] != (t.number, t.taken):
            return go(s, at="look")
        return go(s.part(part, (t.number, t.taken + 1)), at="make")
    if t.at == "make":
        unit = first + t.taken
        if (t.command, t.number) != (s.leader.command, s.leader.number) or unit in s.made:
            raise Fault(f"unit {unit} of command {t.command} is not there to be taken")
        return go(replace(s, made=s.made | {unit}), at="count")
    return go(replace(s, done=s.done + 1), at="look")


def lead(s: State, commands: tuple[int, ...], closes: bool) -> State:
    """One step of the leader."""
    t = s.leader
    if t.at == "close":  # the number of the next command, which nobody knows yet
        here = replace(t, number=s.number + 1)
        if not closes or t.turn == SEATS:
            return replace(s, leader=replace(here, at="command", turn=0))
        moved = replace(s, leader=replace(t, turn=t.turn + 1))
        return moved.part(t.turn, (s.number + 1, CLOSED))
    if t.at == "command":
        return replace(s, command=t.command, leader=replace(t, at="zero"), made=frozenset())
    if t.at == "zero":
        return replace(s, done=0, leader=replace(t, at="open"))
    if t.at == "open":
        if t.turn == SEATS:
            return replace(s, number=t.number, leader=replace(t, at="look", turn=0))
        return replace(s, leader=replace(t, turn=t.turn + 1)).part(t.turn, (t.number, 0))
    if t.at == "wait":
        if s.done != commands[t.command]:
            return s
        if s.made != frozenset(range(commands[t.command])):
            raise Fault("the leader goes on before all units are made")
        if t.command + 1 == len(commands):
            return replace(s, leader=replace(t, at="end"))
        return replace(s, leader=replace(t, at="close", command=t.command + 1, turn=0))
    return take(s, "leader", 0, commands, "wait")


def follow(s: State, commands: tuple[int, ...]) -> State:
    """One step of the follower."""
    t = s.follower
    if t.at == "number":
        if s.number == s.last:
            return s
        return replace(s, last=s.number, follower=replace(t, at="command", number=s.number))
    if t.at == "command":
        return replace(s, follower=replace(t, at="look", command=s.command, turn=0))
    return take(s, "follower", 1, commands, "number")


def search(commands: tuple[int, ...], closes: bool) -> int:
    """Goes through all states; returns how many. Fault where one is wrong, or nothing can move on."""
    start = State(Taker("close"), Taker("number"))
    seen, stack = {start}, [start]
    while stack:
        s = stack.pop()
        after = [n for n in _next(s, commands, closes) if n != s]
        if not after and s.leader.at != "end":
            raise Fault("nobody can go on")
        for n in after:
            if n not in seen:
                seen.add(n)
                stack.append(n)
    return len(seen)


def _next(s: State, commands: tuple[int, ...], closes: bool) -> Iterator[State]:
    if s.leader.at != "end":
        yield lead(s, commands, closes)
    yield follow(s, commands)


@pytest.mark.parametrize("commands", [(1,), (2,), (3,), (1, 3), (3, 1), (2, 2), (2, 4), (1, 3, 2), (4, 1, 5)])
def test_every_unit_is_made_once_in_every_order(commands: tuple[int, ...]) -> None:
    assert search(commands, closes=True) > 10


@pytest.mark.parametrize("commands", [(1, 3), (2, 4), (1, 3, 2)])
def test_the_search_finds_parts_that_are_not_closed(commands: tuple[int, ...]) -> None:
    """A follower with the number of one command and the index of the next takes what is not shared out."""
    with pytest.raises(Fault):
        search(commands, closes=False)
