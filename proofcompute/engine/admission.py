"""Accept requests: check them, say what memory they will take, and make their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Array
from proofcompute.engine.session import Keep, Session
from proofcompute.errors import InputError, MismatchError
from proofcompute.models.model import Model
from proofcompute.program.program import Program
from proofcompute.protocol.buffers import grown, most_bytes, passing
from proofcompute.protocol.messages import Request
from proofcompute.protocol.receipts import require_addressed
from proofcompute.protocol.requests import inputs_of
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import Trace

__all__ = ["AHEAD", "Accepted", "Door"]

AHEAD: Final = 32
"""Finished rows that are hashed together before a request ends; they fill the lanes of a vector twice."""
_DRAW: Final = 16
"""Bytes of the random number of a row."""


@dataclass(frozen=True, eq=False)
class Accepted:
    """A request that can run."""

    program: Program
    inputs: Mapping[str, Array]
    """The input's rows by name."""
    prompt: int
    """Rows of the input."""
    most: int
    """Most rows of the trace."""
    keep: Keep
    """What stays of the rows."""
    shares: bool
    """Whether it may take rows from the cache of prefixes, and leave some."""
    dropped: frozenset[str] | None
    """Tensors whose rows are dropped; None: all rows stay."""
    ahead: int
    """Finished rows from which they are hashed before the request ends; 0: never."""

    def nbytes(self, rows: int) -> int:
        """Return the most bytes that the trace takes if a step has at most ``rows`` of its rows.

        A step has all of them if the program reads all rows.
        """
        window = max(self.most if self.program.reads_all else min(rows, self.most), self.ahead)
        drawn = _DRAW * self.most if self.program.feedback else 0
        return drawn + most_bytes(self.program, self.most, self.dropped or frozenset(), window)


@dataclass(frozen=True, eq=False)
class Door:
    """What decides whether an engine takes a request."""

    model: Model
    node: bytes
    """Public key for which the engine answers."""
    kernels: Kernels
    homes: Mapping[str, Kernels]
    """The memory of each tensor."""
    keep: Keep
    """What the engine keeps of rows."""
    early: bool
    """Whether rows are hashed before a request ends although they all stay."""

    @cached_property
    def _passing(self) -> frozenset[str]:
        return passing(self.model.program)

    def dropped(self, keep: Keep) -> frozenset[str] | None:
        """Return the tensors that a trace drops; None if it keeps all rows."""
        return None if keep is Keep.ALL else self._passing

    def accept(self, request: Request, answer: Sequence[int], share: float, keep: Keep | None) -> Accepted:
        """Check a request, and say how it runs. Raises as :meth:`.Engine.add`."""
        if not 0 < share <= 1:
            raise InputError(f"a share of {share} of the row budget; it is above 0 and at most 1")
        require_addressed(request, self.node)
        program, generation = self.model.program, request.generation
        inputs = inputs_of(request, program, self.model.model_id)
        prompt = most = next(iter(inputs.values())).shape[0]
        tokens = generation.max_tokens if generation else 0
        if len(answer) > tokens:
            raise MismatchError("more tokens were kept of the interrupted run than its request allows")
        again = share < 1
        if generation is not None:
            whole = stop_reason(generation, answer, self.model.card.vocabulary) is not None
            most += (len(answer) if whole else tokens) - 1
            again |= whole
        kept = keep or (Keep.ALL if again else self.keep)
        early = self.early or kept is not Keep.ALL
        ahead = max(AHEAD, self.kernels.ahead) if early else self.kernels.ahead
        shares = kept is self.keep and not again
        return Accepted(program, inputs, prompt, most, kept, shares, self.dropped(kept), ahead)

    def session(self, number: int, request: Request, answer: Sequence[int], how: Accepted) -> Session:
        """Return the session of an accepted request; its buffers have room for the rows known so far."""
        program, prompt = how.program, how.prompt
        trace = Trace(
            program,
            grown(0, min(how.most, prompt + len(answer)), how.most),
            self.kernels,
            self.homes,
            most=how.most,
            dropped=how.dropped,
            ahead=how.ahead,
        )
        session = Session(number, request, how.inputs, prompt, trace, list(answer))
        session.keep, session.shares = how.keep, how.shares
        for name, values in how.inputs.items():
            trace.arrays[name][:prompt] = values
        if request.generation is None:
            session.first_output = prompt - 1 if program.pooled else 0
            for name in program.outputs:
                spec, first = program.specs[name], session.first_output
                session.outputs[name] = self.homes[name].zeros((prompt - first, *spec.shape), spec.numpy)
        else:
            session.draws = self.homes[program.outputs[0]].zeros((how.most, 2), np.uint64)
            session.draw(prompt - 1, prompt)
            session.feed(prompt, answer)
        return session
