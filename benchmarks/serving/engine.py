"""Measures the engine of a server without HTTP: requests that run at once, and what their receipts cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Final
from unittest import mock

import numpy as np

from proofcompute.bench.timing import in_turn
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.engine import Engine, Session
from proofcompute.errors import ExecutionError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.protocol.trace import Trace
from proofcompute.prover.commit import make_receipt
from proofcompute.testing.requests import token_request

__all__ = ["Engines"]

_RECEIPTS: Final = 8
"""Requests at once for which the cost of receipts is measured."""


class Engines:
    """Runs some requests at once on one engine.

    Args:
        model: the model.
        engine: an engine for it.
        prompt, tokens: the length of each request's prompt and answer.
    """

    def __init__(self, model: Model, engine: Engine, prompt: int, tokens: int) -> None:
        self.model, self.engine = model, engine
        self.prompt, self.tokens = prompt, tokens
        self.identity = NodeIdentity(bytes(32))
        self._random = np.random.default_rng(1)
        self._vocabulary = model.program.weight["embedding"].rows

    def speeds(self, counts: Sequence[int], rounds: int) -> list[dict[str, Any]]:
        """Return tokens per second with so many requests at once, each count once in every round."""
        for count in counts:
            self.run(count, receipts=True)  # compiles, and records steps of these sizes
        times = in_turn([lambda n=n: self.run(n, receipts=True) for n in counts], rounds)  # type: ignore[misc]
        rates = [[n * self.tokens / t for t in some] for n, some in zip(counts, times, strict=True)]
        return [
            {
                "live": n,
                "tokens_per_second": median(some),
                "over_one": median(a / b for a, b in zip(some, rates[0], strict=True)),
                "rounds": {"seconds": some_times},
            }
            for n, some, some_times in zip(counts, rates, times, strict=True)
        ]

    def receipts(self, rounds: int) -> list[dict[str, Any]]:
        """Return the time of the same requests with receipts, and without hashing and signing anything."""

        def without() -> None:
            with unhashed():
                self.run(_RECEIPTS, receipts=False)

        without()
        self.run(_RECEIPTS, receipts=True)
        bare, whole = in_turn([without, lambda: self.run(_RECEIPTS, receipts=True)], rounds)
        return [
            {
                "live": _RECEIPTS,
                "without_seconds": median(bare),
                "with_seconds": median(whole),
                "cost": median(b / a - 1 for a, b in zip(bare, whole, strict=True)),
                "rounds": {"without": bare, "with": whole},
            }
        ]

    def run(self, count: int, *, receipts: bool) -> None:
        """Run so many requests at once to their end; sign a receipt for each as it ends if ``receipts``."""
        waiting = {id(s): s for s in (self.engine.add(self._request()) for _ in range(count))}
        while waiting:
            stepped = self.engine.step()
            if stepped.failed:
                raise stepped.failed[0][1]
            for session in stepped.changed:
                if session.reason is not None:
                    self._finish(waiting.pop(id(session)), receipts=receipts)

    def _finish(self, session: Session, *, receipts: bool) -> None:
        if len(session.answer) != self.tokens:
            raise ExecutionError(f"{len(session.answer)} tokens instead of {self.tokens}")
        if receipts:
            make_receipt(self.model, session, self.engine.kernels, self.identity)

    def _request(self) -> Request:
        """Return a request whose prompt no other one begins like."""
        ids = self._random.integers(0, self._vocabulary, self.prompt).astype(np.int32)
        return token_request(self.model, self.prompt, self.tokens, given=ids)


@contextmanager
def unhashed() -> Iterator[None]:
    """Let traces hash nothing until the block ends, so that their roots cannot be asked for."""

    def nothing(*_: object, **__: object) -> None:
        return None

    with mock.patch.multiple(Trace, hash_segment=nothing, hash_ahead=nothing, _hash=nothing, grow=nothing):
        yield
