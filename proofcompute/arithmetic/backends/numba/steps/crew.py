"""Carrying out commands on several threads, which wait for each other by looking at shared words.

Decoding a token takes a few hundred commands of some 10 us, too short to wake a thread for each of them.
The thread that *leads* carries out the commands in order. Those who *follow* look for what can be shared
out, again and again, also for a moment between two tokens, and take units of it. No thread has a fixed
share: each begins with a part of its own, then helps the others with theirs, so a follower that the system
does not let run, or that has gone, costs no more than the help it does not give. The leader waits for units
that somebody has begun.

Words (each on a cache line of its own): the number of the latest command shared out, ever increasing; which
one it is; how many rows later than recorded; units done; whether one found an error; and for each part,
that number and how many of its units were taken. A unit is taken by exchanging the last of these, which
fails once the leader has gone on: it closes all parts before it changes any other word, so whoever has seen
a word of the next command finds that the parts are no longer those of the number it knows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.backends.numba.codegen import signatures as types
from proofcompute.arithmetic.backends.numba.codegen.definitions import emitted, external, helper
from proofcompute.arithmetic.backends.numba.codegen.signatures import write
from proofcompute.arithmetic.backends.numba.runtime.cache import kernel
from proofcompute.arithmetic.backends.numba.steps.commands import COMMANDS, begin, unit
from proofcompute.arrays import I64

__all__ = ["MOST_UNITS", "follow", "lead", "shared_words"]

_STRIDE: Final = 16
"""Words from one to the next: two cache lines, which are fetched in pairs."""
_NUMBER: Final = 0
_COMMAND: Final = 1 * _STRIDE
_LATER: Final = 2 * _STRIDE
_DONE: Final = 3 * _STRIDE
_WRONG: Final = 4 * _STRIDE
_TAKEN: Final = 5 * _STRIDE
_BITS: Final = 20
"""Of a part's word, for the units taken; the number is above them."""
_MASK: Final = (1 << _BITS) - 1
MOST_UNITS: Final = 1 << (_BITS - 1)
"""Units that a command may have."""

_LOOKS: Final = 200
"""Looks at a word before the processor is offered to others at each further one."""
_PATIENCE: Final = 10_000
"""Looks, some ms, after which a follower goes."""

_load, _store, _add, _exchange, _pause = (
    emitted("atomic", name) for name in ("load", "store", "add", "exchange", "pause")
)
_yield_processor: Final = external("sched_yield", types.int32())
"""Lets another thread run, of whatever process (POSIX)."""


def shared_words(seats: int) -> I64:
    """The words that so many threads share."""
    return np.zeros(_TAKEN + seats * _STRIDE, np.int64)


@helper
def _take_part(e: Any, later: Any, words: Any, number: Any, seat: Any, seats: Any) -> None:
    """Units of the shared-out command until there are none left."""
    for s in range(seats):
        part = (seat + s) % seats
        word = _TAKEN + part * _STRIDE
        first = e.units * part // seats
        count = e.units * (part + 1) // seats - first
        while True:
            taken = _load(words, word)
            if taken >> _BITS != number:
                return
            i = taken & _MASK
            if i >= count:
                break
            if _exchange(words, word, taken, taken + 1):
                if not unit(e, later, first + i):
                    _store(words, _WRONG, 1)
                _add(words, _DONE, 1)


@kernel(types.boolean(COMMANDS, types.int64, write(types.int64, 1), types.int64))
def lead(commands: Any, later: Any, words: Any, seats: Any) -> Any:
    """Carries out all commands, ``later`` rows after those recorded. Whether there was no error.

    One thread at a time may lead with the same words.
    """
    number = words[_NUMBER]
    _store(words, _LATER, later)
    for c in range(commands.size):
        e = commands[c]
        if not begin(e, later):
            return False
        if e.units == 0:
            continue
        number += 1
        for part in range(seats):  # closed: no unit is left of any command
            _store(words, _TAKEN + part * _STRIDE, number << _BITS | _MASK)
        _store(words, _COMMAND, c)
        _store(words, _DONE, 0)
        _store(words, _WRONG, 0)
        for part in range(seats):
            _store(words, _TAKEN + part * _STRIDE, number << _BITS)
        _store(words, _NUMBER, number)
        _take_part(e, later, words, number, 0, seats)
        looks = 0
        while _load(words, _DONE) != e.units:
            looks += 1
            _pause()
            if looks > _LOOKS:
                _yield_processor()
        if _load(words, _WRONG):
            return False
    return True


@kernel(types.void(COMMANDS, write(types.int64, 1), types.int64, types.int64))
def follow(commands: Any, words: Any, seat: Any, seats: Any) -> None:
    """Helps whoever leads with the same words, until nothing was shared out for a while.

    ``seat`` is 1 or more, and no other follower's.
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
        _take_part(commands[c], _load(words, _LATER), words, number, seat, seats)
