"""Run the segments of one stage of a pipeline (docs/spec/pipelines.md#running).

The node of a stage computes rows of a request step by step, from rows that earlier stages hand to it. It
hashes what it was handed and what it hands on as it comes, so that both sides of a boundary know the roots
over all rows so far.

Steps of several requests are computed together, as :mod:`.loop` does: their rows are concatenated, and each
segment runs once. Rows depend on rows of their own request alone, so what a request gives does not depend on
the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I32, U8, Array, Span
from proofcompute.commitments import merkle
from proofcompute.commitments.frontier import Frontier
from proofcompute.engine.schedule import pieces
from proofcompute.engine.session import Session, SessionRows
from proofcompute.errors import FormatError, InputError
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.placement import Placement
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.protocol.buffers import grown
from proofcompute.protocol.messages import Request
from proofcompute.protocol.requests import check_indices, inputs_of
from proofcompute.protocol.stages import StagePlan
from proofcompute.protocol.trace import Trace, group_leaves, split_rows

__all__ = ["StageEngine", "StageRun", "StageStep"]

ROWS: Final = 256
"""Most rows of one segment at a time."""
_DRAWN: Final = 16
"""Bytes of the random numbers of a row."""


class StageStep(NamedTuple):
    """What a step gave."""

    handed: Mapping[int, bytes]
    """Leaf data of the step's rows of each group that the stage hands on, rows end to end."""
    emitted: Mapping[str, Array]
    """Rows of public outputs that the step emitted, by name."""


@dataclass(eq=False)
class StageRun:
    """One request while a stage runs it."""

    session: Session
    plan: StagePlan
    roots: dict[int, Frontier]
    """The roots over all rows so far, of the groups that the stage was handed and of those it hands on."""
    emitted: dict[str, list[Array]] = field(default_factory=dict)
    """Rows of public outputs that the stage emitted, by name."""
    taken: int = 0
    """Rows for which everything is there from which they are computed."""

    @property
    def request(self) -> Request:
        """The request."""
        return self.session.request

    @property
    def rows(self) -> int:
        """Rows computed so far."""
        return self.session.done


@final
class StageEngine:
    """The weights of one stage on a backend. Only one thread at a time may use it."""

    def __init__(self, model: Model, kernels: Kernels, plan: StagePlan) -> None:
        """Place the weights of the stage's segments."""
        self.model, self.kernels, self.plan = model, kernels, plan
        program = model.program
        self.placed = Placement(program, model.weights, kernels, plan.segments)
        self._homes = self.placed.homes
        self._rows = SessionRows(kernels)
        self._sources = {
            i: Source(self._rows, self.placed.weights[i], ComputeProducts(self.placed.weights[i].matrix))
            for i in plan.segments
        }
        self._only = frozenset(t for g in plan.holds for t in program.committed[g].tensors)
        self._count = 0

    def most_bytes(self, request: Request, answer: Sequence[int] | None = None) -> int:
        """Return the most bytes that the rows of a request take here. Nothing is allocated.

        Raises the errors of :meth:`begin`.
        """
        program = self.model.program
        _, _, most = self._size(request, answer)
        held = sum(program.group_bytes(group) for group in self.plan.holds) + _DRAWN
        return most * (held + sum(spec.nbytes for _, spec in program.inputs))

    def _size(self, request: Request, answer: Sequence[int] | None) -> tuple[Mapping[str, Array], int, int]:
        """Return the inputs of a request, how many rows they have, and the most rows of its trace."""
        inputs = inputs_of(request, self.model.program, self.model.model_id)
        prompt = most = next(iter(inputs.values())).shape[0]
        if request.generation is not None:
            most += (request.generation.max_tokens if answer is None else len(answer)) - 1
        return inputs, prompt, most

    def begin(self, request: Request, answer: Sequence[int] | None = None) -> StageRun:
        """Begin a request.

        ``answer`` are all tokens of an answer that is computed again; None: they are not known yet.

        Raises MismatchError or InputError if the request is not one for the model, or has no such answer.
        """
        program, generation = self.model.program, request.generation
        inputs, prompt, most = self._size(request, answer)
        room = grown(0, most if answer else prompt, most)
        trace = Trace(program, room, self.kernels, self._homes, most=most, only=self._only)
        session = Session(self._count, request, inputs, prompt, trace)
        for name, values in inputs.items():
            trace.arrays[name][:prompt] = values
        if generation is None:
            session.first_output = prompt - 1 if program.pooled else 0
            for name in self.plan.emits:
                shape = (prompt - session.first_output, *program.specs[name].shape)
                session.outputs[name] = self._homes[name].zeros(shape, program.specs[name].numpy)
        elif self.plan.emits:
            session.draws = self._homes[program.outputs[0]].zeros((most, 2), np.uint64)
            session.draw(prompt - 1, prompt)
        if answer:
            self._feed(session, answer[:-1])
        self._count += 1
        self._rows.sessions[session.number] = session
        crossing = (*self.plan.reads, *self.plan.hands)
        return StageRun(session, self.plan, {g: Frontier(request.suite) for g in crossing})

    def remove(self, run: StageRun) -> None:
        """Forget a request; its trace stays with the run."""
        self._rows.sessions.pop(run.session.number, None)

    def take(self, run: StageRun, end: int, tokens: Sequence[int], given: Mapping[int, bytes]) -> None:
        """Take what the rows up to ``end`` are computed from, the first half of a step.

        Args:
            run: the request.
            end: the row after the last one; a program that reads all rows takes all of them at once.
            tokens: answer tokens that follow those known so far.
            given: leaf data of the rows of each group that earlier stages hand to this one.

        Raises InputError (FormatError) if rows, tokens or groups are not those that come next, or a row holds
        what no node may commit. The run cannot go on after an error.
        """
        session, a = run.session, run.taken
        self._feed(session, tokens)
        if not a < end <= session.known:
            raise InputError(f"rows {a}..{end} of a request of which {session.known} rows are known")
        session.trace.prepare(session.request.suite, a, end, session.known, self.kernels)
        if set(given) != set(self.plan.reads):
            raise InputError(f"groups {sorted(given)} were handed on where {list(self.plan.reads)} are read")
        for group in self.plan.reads:
            self._take(run, group, a, end, given[group])
        run.taken = end

    def compute(self, runs: Sequence[StageRun], most: int | None = None) -> list[StageStep]:
        """Compute rows that were taken, of different requests together: the second half of a step.

        ``most`` is the most rows of each request; None: all that were taken.

        Raises InputError if a program that reads all rows has not taken all of them, and ExecutionError if
        the arithmetic has no result, of whichever request. All requests are as before then.
        """
        program, spans = self.model.program, list[Span]()
        for one in runs:
            session, a, b = one.session, one.session.done, one.taken
            if program.reads_all and (a, b) != (0, session.prompt):
                raise InputError("this program reads all rows, so that a step takes all of them")
            spans.append(Span(session.number, a, b if most is None else min(b, a + most)))
        for one, parts in zip(runs, self._compute(runs, spans), strict=True):
            for name, rows in parts.items():
                one.emitted.setdefault(name, []).extend(rows)
        return [self._advance(one, span) for one, span in zip(runs, spans, strict=True)]

    def _advance(self, run: StageRun, span: Span) -> StageStep:
        """Note that rows of a request are computed, and return what they give."""
        handed: dict[int, bytes] = {}
        run.session.done = span.b
        for group in self.plan.hands:
            rows = self.kernels.host(run.session.trace.group(group, span.a, span.b))
            self._grow(run, group, rows)
            handed[group] = rows.tobytes()
        return StageStep(handed, self._emitted(run, span.a, span.b))

    def _feed(self, session: Session, tokens: Sequence[int]) -> None:
        """Take answer tokens, which are the inputs of the rows that follow."""
        program, generation = self.model.program, session.request.generation
        if not tokens:
            return
        if generation is None or len(session.answer) + len(tokens) > generation.max_tokens:
            raise InputError("more tokens than the request allows")
        ((name, spec),) = program.inputs
        check_indices(program, {name: np.array(tokens, np.int64)})
        row = session.prompt + len(session.answer)
        room = max(0, min(len(tokens), session.trace.most - row))
        session.answer.extend(tokens)
        if room:
            session.trace.arrays[name][row : row + room] = np.array(tokens[:room], spec.numpy)
            if session.draws is not None:
                session.draw(row, row + room)

    def _take(self, run: StageRun, group: int, a: int, b: int, data: bytes) -> None:
        """Take rows that an earlier stage computed, if they are rows that a node may commit."""
        program, trace = self.model.program, run.session.trace
        name = program.committed[group].name
        if len(data) != (b - a) * program.group_bytes(group):
            raise FormatError(f"{len(data)} bytes of {name} for {b - a} rows")
        rows: U8 = np.frombuffer(data, np.uint8).reshape(b - a, -1)
        for tensor, values in split_rows(program, group, rows).items():
            # the verifier would reject openings of this node that hold such rows
            if values.dtype == np.float32 and not self.kernels.is_settled(values):
                raise FormatError(f"{tensor} holds -0 or a number that is not finite")
            if values.dtype == np.bool_ and values.size and int(values.view(np.uint8).max()) > 1:
                raise FormatError(f"{tensor} holds a byte that is no bool")
            home = trace.buffers.home(tensor)
            home.write_rows(trace.arrays[tensor], a, b, home.array(values))
        self._grow(run, group, rows)

    def _grow(self, run: StageRun, group: int, rows: U8) -> None:
        leaves = group_leaves(self.model.program, run.request.suite, group, rows, self.kernels.hash_rows)
        run.roots[group].add(leaves)

    def _compute(self, runs: Sequence[StageRun], spans: Sequence[Span]) -> list[dict[str, list[Array]]]:
        """Run the stage's segments on rows of requests, in pieces, and return what each emitted."""
        program, prompts = self.model.program, [one.session.prompt for one in runs]
        made: list[tuple[str, Array, Sequence[Span]]] = []

        def compute(placed: Sequence[Span]) -> I32 | None:
            for index in self.plan.segments:
                wanted = [
                    Span(of, first, end)
                    for (of, start, end), prompt in zip(placed, prompts, strict=True)
                    if (first := max(start, program.first_row(index, prompt))) < end
                ]
                for piece in pieces(wanted, ROWS):
                    out = run(program, index, piece, self._sources[index], self.placed.kernels[index])
                    if program.feedback:
                        made.extend((name, out[name], piece) for name in program.plans[index].emits)
            return None

        self.kernels.step(None, spans, compute)
        emitted: dict[int, dict[str, list[Array]]] = {span.trace: {} for span in spans}
        for name, rows, piece in made:
            host, at = self.kernels.host(rows), 0
            for span in piece:
                emitted[span.trace].setdefault(name, []).append(host[at : at + span.b - span.a])
                at += span.b - span.a
        return list(emitted.values())

    def _emitted(self, run: StageRun, a: int, b: int) -> dict[str, Array]:
        """Return the rows of public outputs that the step from row a to row b emitted."""
        session, program = run.session, self.model.program
        if program.feedback:
            first = max(a, session.prompt - 1)
            if not self.plan.emits or first >= b:
                return {}
            (name,) = self.plan.emits
            rows = np.concatenate(run.emitted[name])
            return {name: rows[first - session.prompt + 1 :]}
        if b < session.prompt:
            return {}
        return {name: self.kernels.host(session.outputs[name]) for name in self.plan.emits}

    def written(self, run: StageRun) -> dict[int, bytes]:
        """Return the root over all rows so far of each group that the stage writes, by group."""
        program, suite, hash_rows = self.model.program, run.request.suite, self.kernels.hash_rows
        found: dict[int, bytes] = {}
        for group in self.plan.writes:
            rows = self.kernels.host(run.session.trace.group(group, 0, run.rows))
            found[group] = merkle.Tree(
                suite, group_leaves(program, suite, group, rows, hash_rows), hash_rows
            ).root
        return found

    def answered(self, run: StageRun) -> dict[str, Array]:
        """Return all rows of public outputs that the stage has emitted."""
        return self._emitted(run, 0, run.rows)
