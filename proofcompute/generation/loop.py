"""The engine: runs requests through a program, several in one step (design, section 4).

One step takes every request's pending rows (a piece of its prompt, or its last token), concatenates them and
runs each segment once. Rows depend on earlier rows of their own request only, so what a request's trace holds
does not depend on who else was in the step, nor on how its prompt was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proofcompute.errors import InputError, MismatchError
from proofcompute.generation.stop import stop_reason
from proofcompute.interpreter import run
from proofcompute.kernels import I32, U64, Array, Kernels, Sampling
from proofcompute.messages import Generation, Request, require_addressed
from proofcompute.model import Model
from proofcompute.placement import Placement
from proofcompute.program import Span
from proofcompute.source import ComputeProducts, Products, Source
from proofcompute.statement import Statement, draws
from proofcompute.trace import Trace

__all__ = ["Engine", "Session"]

CHUNK = 256
"""Rows of one request in one step, at most."""


@dataclass(eq=False)
class Session:
    """One request while it runs."""

    number: int
    request: Request
    inputs: Mapping[str, Array]
    prompt: int
    """Rows of the input."""
    trace: Trace
    answer: list[int] = field(default_factory=list)
    """Tokens generated so far (or, when a run is resumed, known from before)."""
    outputs: dict[str, Array] = field(default_factory=dict)
    """Output rows of a program that does not generate."""
    draws: Array | None = None
    """The random numbers of rows whose token is drawn, uint64 [capacity, 2]."""
    done: int = 0
    """Rows computed."""
    emitted: int = 0
    """Answer tokens computed; differs from the answer's length only while a resumed run catches up."""
    reason: str | None = None
    """Why it stopped; None while it runs."""

    @property
    def known(self) -> int:
        """Rows whose public input is known."""
        if self.request.generation is None:
            return self.prompt
        return min(self.prompt + len(self.answer), self.trace.capacity)

    def statement(self) -> Statement:
        """The public claim of a finished session."""
        if self.reason is None:
            raise InputError("the run is not finished")
        program = self.trace.program
        if program.feedback:
            outputs: dict[str, Array] = {program.outputs[0]: np.array(self.answer, np.int32)}
        else:
            outputs = {name: self.trace.memory.host(rows) for name, rows in self.outputs.items()}
        return self.request.statement(program, self.inputs, outputs)


class _SessionRows:
    """RowReader over the traces of running sessions."""

    def __init__(self, kernels: Kernels) -> None:
        self.sessions: dict[int, Session] = {}
        self._kernels = kernels

    def read(self, name: str, span: Span) -> Array:
        return self.sessions[span.trace].trace.arrays[name][span.a : span.b]

    def prefix(self, name: str, span: Span) -> Array:
        return self.sessions[span.trace].trace.arrays[name][: span.b]

    def write(self, name: str, span: Span, rows: Array) -> None:
        session = self.sessions[span.trace]
        buffer = session.trace.arrays.get(name)
        if buffer is not None:
            self._kernels.put(buffer, span.a, span.b, rows)
        if name in session.outputs:
            self._kernels.put(session.outputs[name], span.a, span.b, rows)

    def sampling(self, trace: int) -> Sampling:
        generation = self.sessions[trace].request.generation
        return generation.sampling if generation else Sampling()

    def draws(self, span: Span) -> U64:
        rows = self.sessions[span.trace].draws
        if rows is None:
            raise InputError("this request draws no tokens")
        return rows[span.a : span.b]


class _Key:
    """Under which a backend keeps what it repeats; kept as long as this lives."""


class Engine:
    """Runs requests against one model."""

    def __init__(
        self,
        model: Model,
        kernels: Kernels,
        *,
        node: bytes = b"",
        chunk: int = CHUNK,
        products: Products | None = None,
    ) -> None:
        """``node`` is the public key for which it answers: what is addressed to another one is refused.

        ``products`` replaces the plain computation of products from the model's weights.
        """
        self.model = model
        self.node = node
        self.kernels = kernels
        self.chunk = chunk
        self.vocabulary = model.card.vocabulary
        self._rows = _SessionRows(kernels)
        self._placed = Placement(model.program, model.weights, kernels)
        self._sources = [
            Source(self._rows, w, products or ComputeProducts(w.matrix)) for w in self._placed.weights
        ]
        self._count = 0
        self._decoding: tuple[list[Session], _Key] = ([], _Key())

    def add(self, request: Request, answer: Sequence[int] = ()) -> Session:
        """Begin a request; ``answer`` holds tokens known from an interrupted run, or all of a finished one.

        A whole answer takes no row beyond those that its trace has, in memory or in time.

        Raises MismatchError or InputError if the request is not one for this model and this node.
        """
        require_addressed(request, self.node)
        program, generation = self.model.program, request.generation
        inputs = request.check(program, self.model.model_id)
        most = generation.max_tokens if generation else 0
        if len(answer) > most:
            raise MismatchError("more tokens were kept of the interrupted run than its request allows")
        if generation and stop_reason(generation, answer, self.vocabulary) is not None:
            most = len(answer)
        prompt = next(iter(inputs.values())).shape[0]
        capacity = prompt + (most - 1 if generation else 0)
        trace = Trace(program, capacity, self.kernels, self._placed.homes)
        session = Session(self._count, request, inputs, prompt, trace, list(answer))
        for name, rows in inputs.items():
            session.trace.arrays[name][:prompt] = rows
        if request.generation is None:
            for name in program.outputs:
                spec = program.specs[name]
                home = self._placed.homes[name]
                session.outputs[name] = home.zeros((prompt, *spec.shape), spec.numpy)
        else:
            session.draws = self._placed.homes[program.outputs[0]].zeros((capacity, 2), np.uint64)
            self._draw(session, prompt - 1, prompt)
            self._feed(session, prompt, answer)
        self._count += 1
        self._rows.sessions[session.number] = session
        return session

    def remove(self, session: Session) -> None:
        """Forget a session, finished or not; between steps only."""
        if self._rows.sessions.pop(session.number, None) is not None:
            self._decoding = [], _Key()

    def step(self) -> list[Session]:
        """Run pending rows of every unfinished session; returns the sessions that got a token or finished."""
        live = list(self._rows.sessions.values())
        if not live:
            return []
        spans = [Span(s.number, s.done, min(s.done + self.chunk, s.known)) for s in live]
        for session in live:
            session.trace.settle(session.request.suite, session.done)
        key = self._key(live, spans)
        tokens = self.kernels.step(
            key, spans, lambda places: self._compute(live, [Span(*p) for p in places], hashing=key is None)
        )
        changed = self._advance(live, spans, tokens)
        for session in live:
            suite = session.request.suite
            if session.reason is None:
                session.trace.hash_ahead(suite, session.done, self.kernels)
            elif self.kernels.ahead:
                session.trace.grow(suite, session.done, self.kernels)
        return changed

    def _key(self, live: list[Session], spans: Sequence[Span]) -> _Key | None:
        """The same for steps in which the same sessions decode one token each."""
        if any(p.b - p.a != 1 or p.a < s.prompt for p, s in zip(spans, live, strict=True)):
            return None
        if self._decoding[0] != live:
            self._decoding = live, _Key()
        return self._decoding[1]

    def _compute(self, live: Sequence[Session], spans: Sequence[Span], *, hashing: bool) -> I32 | None:
        """Run every segment on the rows of ``spans``; the tokens emitted, if the program emits them.

        ``hashing``: what segments write may be hashed beside those that follow.
        """
        tokens: I32 | None = None
        program = self.model.program
        cuts: dict[bool, list[Span]] = {}  # segments that emit tokens begin at a later row than the others
        for index, plan in enumerate(program.plans):
            emits = bool(plan.emits)
            if emits not in cuts:
                cuts[emits] = [
                    Span(p.trace, first, p.b)
                    for p, s in zip(spans, live, strict=True)
                    if (first := max(p.a, program.first_row(index, s.prompt))) < p.b
                ]
            if cuts[emits]:
                out = run(program, index, cuts[emits], self._sources[index], self._placed.kernels[index])
                if plan.emits and program.feedback:
                    tokens = out[program.outputs[0]]
            if hashing:
                for session, span in zip(live, spans, strict=True):
                    session.trace.hash_segment(session.request.suite, index, span.b, self.kernels)
        return tokens

    def _advance(self, live: Sequence[Session], spans: Sequence[Span], tokens: I32 | None) -> list[Session]:
        changed, at = [], 0
        program = self.model.program
        for session, span in zip(live, spans, strict=True):
            session.done = span.b
            if not program.feedback:
                if session.done == session.prompt:
                    session.reason = "complete"
            else:
                n = span.b - max(span.a, session.prompt - 1)
                if n > 0 and tokens is not None:
                    self._take(session, [int(t) for t in tokens[at : at + n]])
                    at += n
            if session.reason is not None:
                self.remove(session)
            if session.reason is not None or session.emitted:
                changed.append(session)
        return changed

    def _take(self, session: Session, tokens: Sequence[int]) -> None:
        generation = session.request.generation or Generation(1)
        for token in tokens:
            if session.emitted < len(session.answer):
                if session.answer[session.emitted] != token:
                    raise MismatchError(
                        "the tokens kept of the interrupted run are not this request's; start anew"
                    )
            else:
                session.answer.append(token)
                self._feed(session, session.prompt + session.emitted, [token])
            session.emitted += 1
            session.reason = stop_reason(generation, session.answer[: session.emitted], self.vocabulary)
            if session.reason is not None:
                if session.emitted < len(session.answer):
                    raise MismatchError(
                        "the tokens kept of the interrupted run go on after its end; start anew"
                    )
                return

    def _feed(self, session: Session, row: int, tokens: Sequence[int]) -> None:
        buffer = session.trace.arrays[self.model.program.inputs[0][0]]
        room = max(0, min(len(tokens), session.trace.capacity - row))
        if room:
            buffer[row : row + room] = tokens[:room]
            self._draw(session, row, row + room)

    def _draw(self, session: Session, a: int, b: int) -> None:
        """Provide the random numbers of rows a..b where the request's settings use any."""
        generation = session.request.generation
        if generation and generation.sampling.temperature and session.draws is not None:
            session.draws[a:b] = draws(session.request.draw_seed, a, b)

    def run(self, session: Session, on_step: Callable[[Session], None] | None = None) -> None:
        """Step until ``session`` is finished, calling ``on_step`` after each step in which it got tokens."""
        while session.reason is None:
            if session in self.step() and on_step is not None:
                on_step(session)
