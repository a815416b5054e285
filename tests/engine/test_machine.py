"""Requests join, leave, fail, share prefixes and run again: each receipt is that of running alone."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
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

import synthetic
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.engine import Engine, Keep, Session, admission, prefixes
from proofcompute.errors import InputError, MismatchError, NonFiniteError
from proofcompute.protocol import buffers
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover.answering import store

PROMPTS = (
    "Once upon a time there was a word",
    "Once upon a time, there was",
    "Once upon a time",
    "Once",
    "z",
    "to be",
)
SMALL = 20_000
"""Bytes of a cache that holds a few blocks."""


def asynchronous() -> NumpyKernels:
    """The definition as a device that places row numbers and hashes three rows at a time."""
    kernels = NumpyKernels()
    kernels.ahead = 3
    return kernels


BACKENDS: dict[str, Kernels] = {"numpy": NumpyKernels(), "a device": asynchronous(), "numba": NumbaKernels()}


@cache
def alone(request: Request) -> bytes:
    """The receipt of running by oneself, all rows kept."""
    return synthetic.prove(synthetic.model(), request).data


def answer_of(request: Request) -> list[int]:
    return [int(t) for t in np.frombuffer(Receipt.decode(alone(request)).outputs[0][1], "<i4")]


class Serving(RuleBasedStateMachine):
    """One engine and whoever asks it."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[Session] = []
        self.doomed: set[Session] = set()
        self.finished: list[Request] = []

    @initialize(
        backend=st.sampled_from([*BACKENDS]),
        keep=st.sampled_from(Keep),
        rows=st.integers(1, 40),
        chunk=st.integers(1, 24),
        beside=st.integers(1, 16),
        most=st.sampled_from([0, SMALL, 1 << 30]),
    )
    def begin(self, backend: str, keep: Keep, rows: int, chunk: int, beside: int, most: int) -> None:
        m, self.kernels = synthetic.model(), BACKENDS[backend]
        most = 0 if keep is Keep.NOTHING else most
        how: dict[str, Any] = {"rows": rows, "chunk": chunk, "beside": beside, "keep": keep}
        self.engine = Engine(m, self.kernels, node=synthetic.NODE.public, prefixes=most, **how)
        self.node = synthetic.node(m, self.kernels)

    # -- what may happen -------------------------------------------------------------------------------
    @rule(
        prompt=st.sampled_from(PROMPTS),
        tokens=st.integers(1, 30),
        sampled=st.booleans(),
        suite=st.sampled_from(["sha256", "sha256", "blake3"]),
        scope=st.sampled_from([b"", b"", b"somebody"]),
        known=st.integers(0, 3),
    )
    def join(self, prompt: str, tokens: int, sampled: bool, suite: str, scope: bytes, known: int) -> None:
        """Somebody asks, perhaps with tokens that are known from before."""
        request = synthetic.request(
            synthetic.model(), prompt, max_tokens=tokens, **self.sampling(sampled, suite)
        )
        answer = answer_of(request)[: known * 2]
        self.add(request, answer, scope=scope)

    def sampling(self, sampled: bool, suite: str) -> dict[str, Any]:
        how: dict[str, Any] = {"suite": suite}
        return how | ({"sampling": synthetic.SAMPLED, "seed": bytes([9] * 32)} if sampled else {})

    def add(self, request: Request, answer: list[int], **how: Any) -> Session:
        share = {"share": how["share"]} if "share" in how else {}
        most = self.engine.nbytes(request, answer, **share)
        session = self.engine.add(request, answer, **how)
        session.most_bytes = most  # type: ignore[attr-defined]
        self.live.append(session)
        return session

    @rule(prompt=st.sampled_from(PROMPTS))
    def lie(self, prompt: str) -> None:
        """The known tokens are not the request's."""
        request = synthetic.request(synthetic.model(), prompt, max_tokens=9)
        known = answer_of(request)[:2]
        self.doomed.add(self.add(request, [known[0] ^ 1, *known[1:]]))

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 100))
    def spoil(self, which: int) -> None:
        """A request's arithmetic has no result from now on: what its later rows read is no number."""
        session = self.live[which % len(self.live)]
        if session.done and session not in self.doomed:
            session.trace.arrays["k_scale.1"][session.done - 1] = np.float32(np.nan)
            self.doomed.add(session)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 100))
    def cancel(self, which: int) -> None:
        session = self.live[which % len(self.live)]
        if session not in self.doomed:  # rows that were spoiled from outside must not be shared
            self.live.remove(session)
            self.engine.remove(session)

    @precondition(lambda self: self.finished)
    @rule(which=st.integers(0, 100), share=st.sampled_from([0.05, 0.5, 1.0]))
    def again(self, which: int, share: float) -> None:
        """An answer's trace is computed again, so that its cells can be opened."""
        request = self.finished[which % len(self.finished)]
        session = self.add(request, answer_of(request), share=share)
        assert session.keep is Keep.ALL
        session.is_again = True  # type: ignore[attr-defined]

    @rule(steps=st.integers(1, 12))
    def step(self, steps: int) -> None:
        for _ in range(steps):
            self.one_step()

    def one_step(self) -> None:
        before = {s: (s.done, s.emitted) for s in self.live}
        decoding = [s for s in self.live if s.decoding and s.share == 1]
        changed, failed = self.engine.step()
        rows = sum(s.done - before[s][0] for s in self.live if before[s][0] or not s.shares)
        assert rows <= self.engine.rows
        if len(self.live) <= self.engine.rows:
            for session in decoding:
                assert session.done > before[session][0] or session.error is not None
        for session, error in failed:
            assert session in self.doomed
            assert error is session.error
            assert isinstance(error, MismatchError | NonFiniteError)
            with pytest.raises(InputError, match="the run failed"):
                session.statement()
        assert all(s.emitted > before[s][1] for s in changed)
        for session in changed:
            if not session.running:
                self.check(session)
        self.live = [s for s in self.live if s.running]

    def check(self, session: Session) -> None:
        """What a finished session commits to, and whether it can be opened."""
        assert session not in self.doomed
        request = session.request
        found = self.node.commit(session, keep=False)
        assert found.encode() == alone(request)
        assert self.node.commit(session, keep=False).encode() == alone(request)
        if session.keep is Keep.ALL:
            assert store(session, self.kernels).root() == found.trace_root
        else:
            with pytest.raises(InputError, match="dropped"):
                store(session, self.kernels)
            assert session.trace.nbytes <= 4 * session.trace.most
        assert session.trace.nbytes <= session.most_bytes  # type: ignore[attr-defined]
        self.finished.append(request)

    # -- what always holds -----------------------------------------------------------------------------
    @invariant()
    def memory_is_accounted_for(self) -> None:
        if not hasattr(self, "engine"):
            return
        cache = self.engine._prefixes.cache
        assert cache.nbytes == sum(block.nbytes for block in cache._blocks.values())
        assert 0 <= cache.nbytes <= cache.most
        assert self.engine.held == cache.nbytes + sum(s.trace.nbytes for s in self.live)
        for session in self.live:
            assert session.trace.nbytes <= session.most_bytes  # type: ignore[attr-defined]

    def teardown(self) -> None:
        """Whoever is left ends within a bounded number of steps, and then nothing is held."""
        if not hasattr(self, "engine"):
            return
        left = sum(s.trace.most - s.done for s in self.live)
        for _ in range((left + 1) * (len(self.live) + 2)):
            if not self.live:
                break
            self.one_step()
        assert not self.live
        self.engine.forget_prefixes()
        assert self.engine.held == 0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, blocks and windows are small, so that short requests have several."""
    monkeypatch.setattr(buffers, "PAGE", 8)
    monkeypatch.setattr(prefixes, "ROWS", 4)
    monkeypatch.setattr(admission, "AHEAD", 4)


@pytest.mark.usefixtures("small")
def test_any_schedule_gives_the_receipts_of_running_alone() -> None:
    long = os.environ.get("HYPOTHESIS_PROFILE") == "long"
    run_state_machine_as_test(
        Serving, settings=settings(max_examples=1000 if long else 15, stateful_step_count=50 if long else 30)
    )
