"""Carry out commands on several threads, which synchronise by polling shared words.

Decoding a token takes a few hundred commands of some 10 us, too short to wake a thread for each of them.
The thread that *leads* carries out the commands in order. Threads that *follow* poll for a command whose
units are shared out, also for a moment between two tokens, and take units of it. No thread has a fixed share:
each begins with a part of its own, then helps the others with theirs, so a follower that is not scheduled, or
that has stopped, costs only the help it does not give. The leader waits for units that a follower has begun.

The words, each on a cache line of its own, are: the number of the latest command shared out, which only
grows; the command's index; for how many rows it is carried out; the units done;
whether a unit found an error; and for each part, the command's number and how many of its units are taken. A
thread takes a unit by a compare-and-exchange of the part's word. This fails once the leader has gone on: the
leader closes all parts before it changes any other word, so a thread that has seen a word of the next command
finds that the parts no longer carry the number that it knows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, external, helper
from proofcompute.arithmetic.backends.numba.codegen.signatures import write
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.numba.steps.commands import lines, unit, units
from proofcompute.arithmetic.backends.numba.steps.layout import COMMANDS, SLOTS
from proofcompute.arrays import I64

__all__ = ["MOST_UNITS", "follow", "lead", "shared_words"]

_STRIDE: Final = 16
"""Distance between two shared words, in int64: two cache lines, since lines are fetched in pairs."""
_NUMBER: Final = 0
_COMMAND: Final = 1 * _STRIDE
_ROWS: Final = 2 * _STRIDE
_DONE: Final = 3 * _STRIDE
_WRONG: Final = 4 * _STRIDE
_TAKEN: Final = 5 * _STRIDE
_BITS: Final = 20
"""Low bits of a part's word that count the units taken; the command's number is above them."""
_MASK: Final = (1 << _BITS) - 1
MOST_UNITS: Final = 1 << (_BITS - 1)
"""Most units of a command."""

_LOOKS: Final = 200
"""Polls of a word after which each further poll yields the processor."""
_PATIENCE: Final = 10_000
"""Polls after which a follower stops: some ms."""

_load, _store, _add, _exchange, _pause = (
    emitted("atomic", name) for name in ("load", "store", "add", "exchange", "pause")
)
_yield_processor: Final = external("sched_yield", types.int32())
"""The POSIX function that lets another thread of any process run."""


def shared_words(seats: int) -> I64:
    """Return zeroed words for ``seats`` threads to share."""
    return np.zeros(_TAKEN + seats * _STRIDE, np.int64)


@helper
def _take_part(e: Any, slots: Any, rows: Any, words: Any, number: Any, seat: Any, seats: Any) -> None:
    """Carry out units of the shared-out command until none is left."""
    whole = units(e, rows)
    for s in range(seats):
        part = (seat + s) % seats
        word = _TAKEN + part * _STRIDE
        first = whole * part // seats
        count = whole * (part + 1) // seats - first
        while True:
            taken = _load(words, word)
            if taken >> _BITS != number:
                return
            i = taken & _MASK
            if i >= count:
                break
            if _exchange(words, word, taken, taken + 1):
                if not unit(e, slots, rows, first + i):
                    _store(words, _WRONG, 1)
                _add(words, _DONE, 1)


@kernel(types.boolean(COMMANDS, SLOTS, types.int64, write(types.int64, 1), types.int64))
def lead(commands: Any, slots: Any, rows: Any, words: Any, seats: Any) -> Any:
    """Carry out all commands for the rows of the first ``rows`` slots; return whether there was no error.

    Only one thread at a time may lead with the same words.
    """
    number = words[_NUMBER]
    for c in range(commands.size):
        e = commands[c]
        whole = units(e, rows)
        if whole == 0:
            if not lines(e, slots, rows):
                return False
            continue
        number += 1
        for part in range(seats):  # this closes the part: no unit of any command is left
            _store(words, _TAKEN + part * _STRIDE, number << _BITS | _MASK)
        _store(words, _COMMAND, c)
        _store(words, _ROWS, rows)
        _store(words, _DONE, 0)
        _store(words, _WRONG, 0)
        for part in range(seats):
            _store(words, _TAKEN + part * _STRIDE, number << _BITS)
        _store(words, _NUMBER, number)
        _take_part(e, slots, rows, words, number, 0, seats)
        looks = 0
        while _load(words, _DONE) != whole:
            looks += 1
            _pause()
            if looks > _LOOKS:
                _yield_processor()
        if _load(words, _WRONG):
            return False
    return True


@kernel(types.void(COMMANDS, SLOTS, write(types.int64, 1), types.int64, types.int64))
def follow(commands: Any, slots: Any, words: Any, seat: Any, seats: Any) -> None:
    """Help the leader that uses the same words, until no command was shared out for a while.

    ``seat`` is at least 1 and differs from every other follower's.
    """
    last = _load(words, _NUMBER)
    looks = 0
    while looks < _PATIENCE:
        number = _load(words, _NUMBER)
        if number == last:
            looks += 1
            _pause()
            if looks > _LOOKS:
                _yield_processor()
            continue
        last = number
        looks = 0
        c = _load(words, _COMMAND)
        _take_part(commands[c], slots, _load(words, _ROWS), words, number, seat, seats)
