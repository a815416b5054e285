"""Run requests through a program, several in one step (docs/spec/programs.md#execution).

One step takes the pending rows of every request (a piece of its prompt, or its last token), concatenates them
and runs each segment once. Rows depend only on earlier rows of their own request, so a request's trace does
not depend on the other requests in the step or on how its prompt was cut.

If a step has no result (a value overflows, an index lies outside its table), it is not known whose rows are
at fault. So the step is repeated with one session at a time. Sessions that fail alone are removed with their
error, and the others go on as if they had run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I32, Array, Batch, Span
from proofcompute.engine.session import Failure, Keep, Session, SessionRows
from proofcompute.errors import ExecutionError, InputError, MismatchError
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.placement import Placement
from proofcompute.program.source import ComputeProducts, Products, Source
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.receipts import require_addressed
from proofcompute.protocol.requests import inputs_of
from proofcompute.protocol.statement import draws
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import Trace

__all__ = ["Engine", "Stepped"]

ROWS = 512
"""Most rows of all requests in one step."""
CHUNK = 256
"""Most rows of one request in one step."""
_FAILURES: Final = (ExecutionError, InputError, MemoryError)
"""Errors that a session's own rows can cause in a step; a DeviceError is no session's fault."""

_Result = tuple[Sequence[Session], Sequence[Span], I32 | Failure | None]
"""Sessions, the rows that a step computed of each, and the emitted tokens or the only session's error."""


class Stepped(NamedTuple):
    """What a step did."""

    changed: list[Session]
    """Sessions for which a token was computed or that finished."""
    failed: list[tuple[Session, Failure]]
    """Sessions that failed, each with its error; they are removed."""


class CaptureKey:
    """A key under which a backend keeps a recorded step for as long as the key exists."""


class Engine:
    """An engine that runs requests against one model."""

    def __init__(
        self,
        model: Model,
        kernels: Kernels,
        *,
        node: bytes = b"",
        rows: int = ROWS,
        chunk: int = CHUNK,
        keep: Keep = Keep.ALL,
        products: Products | None = None,
        prefixes: int = 0,
    ) -> None:
        """Place the model's weights on the backend.

        ``node`` is the public key for which the engine answers; requests that address another key are
        refused. A step takes at most ``rows`` rows, and at most ``chunk`` of a request. ``keep`` says what
        stays of the rows. ``products`` replaces the plain computation of products from the model's weights.
        ``prefixes`` is the most bytes of the cache of prefixes; 0: none.
        """
        self.model = model
        self.node = node
        self.kernels = kernels
        self.rows = rows
        self.chunk = chunk
        self.keep = keep
        self.prefixes = prefixes
        self.vocabulary = model.card.vocabulary
        self._rows = SessionRows(kernels)
        self._placed = Placement(model.program, model.weights, kernels)
        self._sources = [
            Source(self._rows, w, products or ComputeProducts(w.matrix)) for w in self._placed.weights
        ]
        self._count = 0
        self._decoding: tuple[list[Session], CaptureKey] = ([], CaptureKey())

    def _accept(self, request: Request, answer: Sequence[int]) -> tuple[dict[str, Array], int]:
        """Return the input rows of a request and the most rows of its trace. Raises as :meth:`add`."""
        require_addressed(request, self.node)
        program, generation = self.model.program, request.generation
        inputs = inputs_of(request, program, self.model.model_id)
        most = generation.max_tokens if generation else 0
        if len(answer) > most:
            raise MismatchError("more tokens were kept of the interrupted run than its request allows")
        if generation and stop_reason(generation, answer, self.vocabulary) is not None:
            most = len(answer)
        prompt = next(iter(inputs.values())).shape[0]
        return inputs, prompt + (most - 1 if generation else 0)

    def nbytes(self, request: Request, answer: Sequence[int] = ()) -> int:
        """Return the most bytes that the request's trace will take. Raises as :meth:`add`."""
        _, capacity = self._accept(request, answer)
        program = self.model.program
        return capacity * sum(s.nbytes for n, s in program.specs.items() if n in program.group_of)

    def add(
        self, request: Request, answer: Sequence[int] = (), *, share: float = 1.0, scope: bytes = b""
    ) -> Session:
        """Begin a request and return its session.

        ``answer`` holds the tokens known from an interrupted run, or all tokens of a finished one. With a
        whole answer, memory is taken and rows are computed only for the rows of its trace. A ``share`` below
        1 is the most of the row budget that the session gets while others have rows. Sessions share prefixes
        only with sessions of the same ``scope``.

        Raises MismatchError or InputError if the request is not one for this model and this node, and
        InputError for a share outside 0..1.
        """
        if not 0 < share <= 1:
            raise InputError(f"a share of {share} of the row budget; it is above 0 and at most 1")
        inputs, capacity = self._accept(request, answer)
        program, prompt = self.model.program, next(iter(inputs.values())).shape[0]
        trace = Trace(program, capacity, self.kernels, self._placed.homes)
        session = Session(self._count, request, inputs, prompt, trace, list(answer))
        session.share, session.scope = share, scope
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
        """Remove a session, finished or not; call this between steps only."""
        if self._rows.sessions.pop(session.number, None) is not None:
            self._decoding = [], CaptureKey()

    def step(self) -> Stepped:
        """Run pending rows of every session, and return which sessions changed and which failed.

        A session that fails is removed and has its :attr:`Session.error`; the others are not affected.

        Raises DeviceError if the device is at fault, and then every session is as it was.
        """
        live = list(self._rows.sessions.values())
        if not live:
            return Stepped([], [])
        before = [s.emitted for s in live]
        spans = [Span(s.number, s.done, min(s.done + self.chunk, s.known)) for s in live]
        for some, part, result in self._results(live, spans):
            if isinstance(result, _FAILURES):
                self._fail(some[0], result)
            else:
                self._advance(some, part, result)
        for session in live:
            suite = session.request.suite
            if session.running:
                session.trace.hash_ahead(suite, session.done, self.kernels)
                continue
            self.remove(session)
            if session.reason is not None and self.kernels.ahead:
                session.trace.grow(suite, session.done, self.kernels)
        return Stepped(
            [s for s, n in zip(live, before, strict=True) if s.emitted > n or s.reason is not None],
            [(s, s.error) for s in live if s.error is not None],
        )

    def _results(self, live: list[Session], spans: list[Span]) -> list[_Result]:
        """Return the result of one step of all sessions or, if that fails, of a step of each session."""
        capture = self._capture(live, spans)
        batch = Batch(self._placed, [self._rows.member(s) for s in live]) if capture else None
        try:
            return [(live, spans, self._run(live, spans, capture, batch))]
        except _FAILURES as error:
            if len(live) == 1:
                return [(live, spans, error)]
        results: list[_Result] = []
        for session, span in zip(live, spans, strict=True):
            one: tuple[list[Session], list[Span]] = [session], [span]
            try:
                results.append((*one, self._run(*one)))
            except _FAILURES as error:
                results.append((*one, error))
        return results

    def _run(
        self,
        live: Sequence[Session],
        spans: Sequence[Span],
        capture: CaptureKey | None = None,
        batch: Batch | None = None,
    ) -> I32 | None:
        """Run one step of some sessions without advancing them, so that it may be run again."""
        for session in live:
            session.trace.finalise(session.request.suite, session.done)
        return self.kernels.step(
            capture, spans, lambda some: self._compute(some, hashing=capture is None), batch
        )

    def _fail(self, session: Session, error: Failure) -> None:
        session.reason = None  # it is set already if known tokens go on after the end
        session.error = error.with_traceback(None)  # its frames hold arrays of the step

    def _capture(self, live: list[Session], spans: Sequence[Span]) -> CaptureKey | None:
        """Return one key for all steps in which the same sessions decode one token each; None for others."""
        if any(p.b - p.a != 1 or p.a < s.prompt for p, s in zip(spans, live, strict=True)):
            return None
        if self._decoding[0] != live:
            self._decoding = live, CaptureKey()
        return self._decoding[1]

    def _compute(self, spans: Sequence[Span], *, hashing: bool) -> I32 | None:
        """Run every segment on the rows of ``spans``, and return the emitted tokens if there are any.

        With ``hashing``, rows that segments write may be hashed while the following segments are computed.
        """
        tokens: I32 | None = None
        program = self.model.program
        live = [self._rows.sessions[p.trace] for p in spans]
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

    def _advance(self, live: Sequence[Session], spans: Sequence[Span], tokens: I32 | None) -> None:
        at, program = 0, self.model.program
        for session, span in zip(live, spans, strict=True):
            session.done = span.b
            if not program.feedback:
                if session.done == session.prompt:
                    session.reason = "complete"
            else:
                n = span.b - max(span.a, session.prompt - 1)
                if n > 0 and tokens is not None:
                    try:
                        self._take(session, [int(t) for t in tokens[at : at + n]])
                    except MismatchError as error:
                        self._fail(session, error)
                    at += n

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
        """Step until ``session`` is finished, calling ``on_step`` after each step.

        Raises the session's error if it fails: ExecutionError if the arithmetic has no result, MismatchError
        if the tokens known from before are not those of its request.
        """
        while session.reason is None:
            self.step()
            if session.error is not None:
                raise session.error
            if on_step is not None:
                on_step(session)
