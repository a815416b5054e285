"""Run requests through a program, several in one step (docs/spec/programs.md#execution).

One step takes pending rows of requests (a piece of a prompt, or a last token) as :mod:`.schedule` shares them
out, concatenates them and runs each segment once. Rows depend only on earlier rows of their own request, so a
request's trace does not depend on the other requests in the step or on how its prompt was cut.

A program whose segments read all rows needs all rows of a segment before the next segment: a step takes
whole requests then, and runs each segment in pieces of as many rows as a step may have.

If a step has no result (a value overflows, an index lies outside its table), it is not known whose rows are
at fault. So the step is repeated with one session at a time. Sessions that fail alone are removed with their
error, and the others go on as if they had run alone. Where a device's memory is short, whoever came last
gives way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I32, Batch, Span
from proofcompute.engine.admission import Door
from proofcompute.engine.prefixes import Prefixes, depends_on_tokens
from proofcompute.engine.schedule import Budget, Pause, pieces, share_out
from proofcompute.engine.session import Failure, Keep, Session, SessionRows
from proofcompute.errors import ExecutionError, InputError, MismatchError
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.placement import Placement
from proofcompute.program.source import ComputeProducts, Products, Source
from proofcompute.protocol.messages import Request

__all__ = ["Engine", "Stepped"]

ROWS: Final = 512
"""Most rows of all requests in one step."""
CHUNK: Final = 256
"""Most rows of one request in one step."""
_BESIDE: Final = 8
_BESIDE_ON_A_DEVICE: Final = 2
"""The part of the budget that prompts have while others have rows; a device needs more rows to be busy."""
_FAILURES: Final = (ExecutionError, InputError, MemoryError)
"""Errors that a session's own rows can cause in a step; any other DeviceError is no session's fault."""

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
    """An engine that runs requests against one model. Only one thread at a time may use it."""

    def __init__(
        self,
        model: Model,
        kernels: Kernels,
        *,
        node: bytes = b"",
        rows: int = ROWS,
        chunk: int = CHUNK,
        beside: int | None = None,
        keep: Keep = Keep.ALL,
        products: Products | None = None,
        prefixes: int = 0,
    ) -> None:
        """Place the model's weights on the backend.

        Args:
            model: the model, weights included.
            kernels: the backend.
            node: public key for which the engine answers; requests that address another key are refused.
            rows: most rows in one step.
            chunk: most rows of one request in one step.
            beside: most rows of prompts in a step in which other requests have rows; None: an eighth of
                ``rows`` on a CPU, and a half on a device.
            keep: what stays of the rows of requests.
            products: replaces the plain computation of products from the model's weights.
            prefixes: most bytes of the cache of prefixes (docs/adr/0038-prefixes-are-shared.md); 0: no cache.
                Programs whose rows depend on more than tokens have none.

        Raises InputError for a budget below one row, and for a cache of an engine that keeps nothing or has
        products of its own.
        """
        if min(rows, chunk) < 1 or prefixes < 0:
            raise InputError(f"a step of {min(rows, chunk)} rows, or a cache of {prefixes} bytes")
        if prefixes and (keep is Keep.NOTHING or products is not None):
            raise InputError("a cache of prefixes would keep rows of an engine that is to keep none of them")
        self.model = model
        self.kernels = kernels
        self.rows = rows
        self.chunk = chunk
        self._whole = model.program.reads_all
        if beside is None:
            beside = rows // (_BESIDE_ON_A_DEVICE if kernels.ahead else _BESIDE)
        self.beside = max(1, beside)
        self.vocabulary = model.card.vocabulary
        self._rows = SessionRows(kernels)
        self.placed = Placement(model.program, model.weights, kernels)
        """The weights on the backend."""
        self._sources = [
            Source(self._rows, w, products or ComputeProducts(w.matrix)) for w in self.placed.weights
        ]
        shared = prefixes if depends_on_tokens(model.program) else 0
        self._door = Door(model, node, kernels, self.placed.homes, keep, early=shared > 0)
        self._prefixes = Prefixes(shared, model.program, self._door.dropped(keep), kernels)
        self._count = 0
        self._turn = 0
        self._pause = Pause()
        self._decoding: tuple[list[Session], CaptureKey] = ([], CaptureKey())

    # -- requests --------------------------------------------------------------------------------------
    def nbytes(
        self, request: Request, answer: Sequence[int] = (), *, share: float = 1.0, keep: Keep | None = None
    ) -> int:
        """Return the most bytes that the request's trace will take, trees included. Nothing is allocated.

        The arguments are those of :meth:`add`, and so are the errors. Any thread may ask.
        """
        return self._door.accept(request, answer, share, keep).nbytes(min(self.chunk, self.rows))

    def add(
        self,
        request: Request,
        answer: Sequence[int] = (),
        *,
        share: float = 1.0,
        scope: bytes = b"",
        keep: Keep | None = None,
    ) -> Session:
        """Begin a request and return its session.

        Args:
            request: what to compute.
            answer: the tokens known from an interrupted run, or all tokens of a finished one. With a whole
                answer, memory is taken and rows are computed only for the rows of its trace.
            share: below 1, the most of the time that the session gets while others have rows: for a
                computation that is done again.
            scope: sessions share prefixes only with sessions of the same scope. How long a prompt takes
                tells whether its beginning is in the cache, so clients who must not learn that of each other
                need scopes of their own.
            keep: what stays of this session's rows; None: all rows of what is computed again, which has a
                whole answer or a share below 1, and what the engine keeps of any other.

        What is computed again shares no prefixes, so that rows which memory has altered are found.

        Raises MismatchError or InputError if the request is not one for this model and this node, and
        InputError for a share outside 0..1.
        """
        accepted = self._door.accept(request, answer, share, keep)
        session = self._door.session(self._count, request, answer, accepted)
        session.share, session.scope, session.turn = share, scope, self._turn
        self._count += 1
        self._rows.sessions[session.number] = session
        return session

    def remove(self, session: Session) -> None:
        """Remove a session, finished or not; call this between steps only.

        The rows that it has computed may stay in the cache of prefixes.
        """
        if self._rows.sessions.pop(session.number, None) is None:
            return
        self._moved()
        if session.error is None:
            self._prefixes.leave(session)

    @property
    def held(self) -> int:
        """Bytes of the traces of all running sessions, and of the cache of prefixes."""
        return sum(s.trace.nbytes for s in self._rows.sessions.values()) + self.prefix_bytes

    @property
    def prefix_bytes(self) -> int:
        """Bytes of the cache of prefixes."""
        return self._prefixes.cache.nbytes

    def forget_prefixes(self) -> None:
        """Drop all rows from the cache of prefixes."""
        self._prefixes.cache.clear()

    # -- steps -----------------------------------------------------------------------------------------
    def step(self) -> Stepped:
        """Run pending rows of sessions within the budget; return which sessions changed and which failed.

        A session that fails is removed and has its :attr:`Session.error`; the others are not affected.

        Raises DeviceError if the device is at fault, and then every session is as it was. If it has too
        little memory, only sessions that lack it fail.
        """
        everybody = list(self._rows.sessions.values())
        if not everybody:
            return Stepped([], [])
        start = time.monotonic()
        budget = Budget(self.rows, self.chunk, self.beside, self._whole)
        given = share_out(everybody, budget, self._turn, again=self._pause.over)
        chosen = [s for s in everybody if s.number in given]
        spans = self._ready(chosen, given)
        live = [s for s in chosen if s.running]
        before = [s.emitted for s in live]
        for some, part, result in self._all_results(live, spans):
            if isinstance(result, _FAILURES):
                some[0].fail(result)
            else:
                self._advance(some, part, result)
        self._turn += 1
        self._pause.note(everybody, chosen, time.monotonic() - start)
        for session, emitted in zip(live, before, strict=True):
            if session.running and session.emitted and not emitted:
                self._prefixes.leave(session)  # others may wait with the same beginning
        for session in chosen:
            session.turn = self._turn
            try:
                if session.running:
                    session.trace.hash_ahead(session.request.suite, session.done, self.kernels)
                    continue
                self.remove(session)
                if session.reason is not None:
                    self._finish(session)
            except MemoryError as error:
                session.fail(error)
                self.remove(session)
        return Stepped(
            [s for s, n in zip(live, before, strict=True) if s.emitted > n or s.reason is not None],
            [(s, s.error) for s in chosen if s.error is not None],
        )

    def _ready(self, chosen: Sequence[Session], given: dict[int, int]) -> list[Span]:
        """Make room for the rows of the chosen sessions, and return the spans of those for which there is."""
        spans = []
        for session in chosen:
            try:
                if session.done == 0:
                    self._prefixes.use(session)
                a, b = session.done, min(session.done + given[session.number], session.known)
                suite, known = session.request.suite, session.known
                if session.trace.prepare(suite, a, b, known, self.kernels):
                    self._moved()
                spans.append(Span(session.number, a, b))
            except MemoryError as error:
                session.fail(error)
        return spans

    def _finish(self, session: Session) -> None:
        """Hash what is left of a finished session where that is better done early."""
        suite, trace = session.request.suite, session.trace
        if trace.passing:
            trace.finish(suite, session.done, self.kernels)
        elif self.kernels.ahead:
            trace.grow(suite, session.done, self.kernels)

    def _moved(self) -> None:
        """Forget recorded steps: some buffers that they name are gone."""
        self._decoding = [], CaptureKey()

    def _all_results(self, live: list[Session], spans: list[Span]) -> list[_Result]:
        """Return the results of a step of some sessions, before any of them advances.

        A CPU decodes by a recorded step, so tokens and prompts are computed one after the other there: that
        reads the weights twice, and is still faster than both in a step that is not recorded. Each of the two
        is repeated on its own if it fails.
        """
        parts = [at_once := list(zip(live, spans, strict=True))]
        if not self.kernels.ahead:
            parts = [[(s, x) for s, x in at_once if s.decodes(x) is decodes] for decodes in (True, False)]
        return [
            result
            for part in parts
            if part
            for result in self._results([s for s, _ in part], [p for _, p in part])
        ]

    def _results(self, live: list[Session], spans: list[Span]) -> list[_Result]:
        """Return the result of one step of all sessions or, if that fails, of a step of each session."""
        decoding = all(map(Session.decodes, live, spans))
        capture = self._capture(live) if decoding else None
        batch = Batch(self.placed, [self._rows.member(s) for s in live]) if decoding else None
        try:
            return [(live, spans, self._run(live, spans, capture, batch))]
        except _FAILURES as error:
            if len(live) == 1:
                return [(live, spans, error)]
            if isinstance(error, MemoryError):
                self._moved()  # recorded steps hold memory
        capture = batch = None
        results: list[_Result] = []
        for session, span in reversed(list(zip(live, spans, strict=True))):
            one: tuple[list[Session], list[Span]] = [session], [span]
            try:
                results.append((*one, self._run(*one)))
            except _FAILURES as error:
                if isinstance(error, MemoryError):
                    session.fail(error)  # so that its memory is there for those that came before it
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
        windows: list[Span] = []
        if self.kernels.ahead and any(s.trace.buffers.dropped for s in live):
            # a device reads row numbers from memory, and those in windows are others than those in traces
            firsts = [s.trace.buffers.first if s.trace.buffers.dropped else 0 for s in live]
            windows = [Span(n, a - first, b - first) for (n, a, b), first in zip(spans, firsts, strict=True)]
            batch = None

        def compute(placed: Sequence[Span]) -> I32 | None:
            rows = placed[: len(placed) - len(windows)]
            self._rows.placed = {p.trace: (p, w) for p, w in zip(rows, placed[len(rows) :], strict=False)}
            return self._compute(rows, hashing=capture is None)

        return self.kernels.step(capture, [*spans, *windows], compute, batch)

    def _capture(self, live: list[Session]) -> CaptureKey | None:
        """Return one key for all steps in which the same sessions decode one token each.

        There is none where what a step does depends on values.
        """
        if not self.model.program.captured:
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
        cuts: dict[bool, list[list[Span]]] = {}  # segments that emit may begin at a later row than the others
        for index, plan in enumerate(program.plans):
            emits = bool(plan.emits)
            if emits not in cuts:
                found = [
                    Span(p.trace, first, p.b)
                    for p, s in zip(spans, live, strict=True)
                    if (first := max(p.a, program.first_row(index, s.prompt))) < p.b
                ]
                cuts[emits] = pieces(found, self.rows) if self._whole else [found] * bool(found)
            for piece in cuts[emits]:
                out = run(program, index, piece, self._sources[index], self.placed.kernels[index])
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
                        session.take([int(t) for t in tokens[at : at + n]], self.vocabulary)
                    except MismatchError as error:
                        session.fail(error)
                    at += n

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
