"""A prover that lies and recommits: the real interpreter and the real commitments around forged values.

:func:`forge` runs a program token by token on its own terms (other operations, other weights, other settings,
altered rows, chosen tokens) and then builds every tree, the trace root and the signature over what came out,
so that nothing is wrong but the lie. An audit that rejects it has found the lie itself; a byte flipped in an
honest opening would only show that hashes are compared.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U64, Array, Span
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, InputError
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Generation, Receipt, Request
from proofcompute.protocol.requests import inputs_of
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import Trace
from proofcompute.prover import StoredTrace, open_cells

__all__ = [
    "Choose",
    "ForgedRows",
    "Forgery",
    "Rewrite",
    "commit",
    "forge",
    "generation_of",
    "unchanged",
]

Rewrite = Callable[[str, int, Array], Array]
"""Takes a tensor's name, the first row and rows, and returns the rows that are committed, or seen."""
Choose = Callable[[int, int], int]
"""Takes the number of an answer token and the token that the program gave, and returns the one answered."""

RETENTION: Final = 3600
"""Seconds for which the receipt of a forgery promises that challenges are answered."""
BEYOND: Final = 16
"""Tokens by which an answer may be longer than the request allows."""
ROWS_AT_ONCE: Final = 64
"""Rows that one step computes if none is rewritten."""


def unchanged(name: str, first: int, rows: Array) -> Array:
    """Return ``rows``: the :data:`Rewrite` of who is honest."""
    return rows


def generation_of(request: Request) -> Generation:
    """Return the generation settings of a request. Raises InputError if it has none."""
    if request.generation is None:
        raise InputError("these cheats are for language models")
    return request.generation


@dataclass(eq=False)
class ForgedRows:
    """Serves rows of a growing trace, as a RowReader, and alters them on the way in and on the way out."""

    trace: Trace
    settings: Generation
    seed: bytes
    """The seed of the draws."""
    write_as: Rewrite = unchanged
    see_as: Rewrite = unchanged

    def read(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.trace.arrays[name][span.a : span.b]

    def prefix(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.see_as(name, span.a, self.trace.arrays[name][: span.b].copy())

    def whole(self, name: str, span: Span) -> Array:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.see_as(name, span.a, self.trace.arrays[name].copy())

    def write(self, name: str, span: Span, rows: Array) -> None:
        """See :class:`proofcompute.program.source.RowReader`."""
        if name in self.trace.arrays:
            self.trace.arrays[name][span.a : span.b] = self.write_as(name, span.a, rows.copy())

    def sampling(self, trace: int) -> Sampling:
        """See :class:`proofcompute.program.source.RowReader`."""
        return self.settings.sampling

    def draws(self, span: Span) -> U64:
        """See :class:`proofcompute.program.source.RowReader`."""
        return draws(self.seed, span.a, span.b)


@dataclass(frozen=True, eq=False)
class Forgery:
    """A committed and signed lie."""

    claims: Model
    """The model that the receipt names."""
    runs: Model
    """The model that ran."""
    request: Request
    statement: Statement
    """What the receipt claims, as a verifier reads it."""
    stored: StoredTrace
    receipt: Receipt
    identity: NodeIdentity
    """The key that signs."""

    @property
    def claim(self) -> Claim:
        """What the receipt would claim if it were true."""
        return Claim(self.receipt, self.statement)

    def signed(self, identity: NodeIdentity | None = None, **changes: Any) -> Forgery:
        """Return the same with changed receipt fields, signed again, by the same key unless one is given."""
        identity = identity or self.identity
        receipt = replace(self.receipt, **{"node": identity.public, **changes})
        return replace(self, receipt=receipt.signed(identity.sign(receipt.signed_digest)), identity=identity)

    def recommitted(self, groups: Sequence[Array]) -> Forgery:
        """Return the same over other leaf data: trees, trace root and signature are made anew."""
        stored = StoredTrace(
            self.stored.statement,
            self.stored.suite,
            [np.ascontiguousarray(g) for g in groups],
            self.stored.kernels,
        )
        return replace(self, stored=stored).signed(trace_root=stored.root())

    def challenge(self, *cells: Cell, hints: bool = True) -> Challenge:
        """Return a challenge of these cells, or of all.

        With ``hints`` it is one of a verifier that holds a key, without them of one that holds the model.
        """
        named = cells or all_cells(self.claim)
        return Challenge(self.receipt.digest, named, hints=hints, tables=hints)

    def open(self, challenge: Challenge, using: Model | None = None) -> bytes:
        """Return the opening that answers ``challenge``.

        Its product hints are made with the weights of ``using``: of the model that ran, unless it is given.
        With the true model they are true products of the forged rows.
        """
        out = io.BytesIO()
        open_cells(using or self.runs, self.stored, self.receipt, challenge, out, self.identity)
        return out.getvalue()


def forge(
    claims: Model,
    asked: Request,
    kernels: Kernels,
    identity: NodeIdentity,
    *,
    runs: Model | None = None,
    settings: Generation | None = None,
    write_as: Rewrite = unchanged,
    see_as: Rewrite = unchanged,
    choose: Choose = lambda number, token: token,
    stop: Callable[[list[int]], str | None] | None = None,
    prompt: Sequence[int] | None = None,
) -> Forgery:
    """Run ``runs`` and claim that ``claims`` ran. Without further arguments the run is honest.

    Args:
        claims: the model that the request asks for.
        asked: a request of a language model.
        kernels: a backend of which the arrays are NumPy's.
        identity: the key that signs.
        runs: the model that runs; ``claims`` if not given.
        settings: what the cheat samples with; the request's if not given.
        write_as: gives the rows that are committed, from which all later segments and rows start.
        see_as: gives what a read of a prefix (by attention or the sampler) really sees.
        choose: replaces answer tokens; the run goes on from the replacement.
        stop: the cheat's stop rule: it returns a stop reason, or None.
        prompt: the tokens that really run.
    """
    runs = runs or claims
    generation, vocabulary = generation_of(asked), claims.card.vocabulary
    inputs = inputs_of(asked, claims.program, claims.model_id)
    (tokens,), (name,) = inputs, claims.program.outputs
    given = [int(t) for t in (inputs[tokens] if prompt is None else prompt)]
    room = min(claims.program.context, len(given) + generation.max_tokens + BEYOND)
    program, trace = runs.program, Trace(claims.program, room)
    seed = settings.seed if settings else asked.draw_seed
    rows = ForgedRows(trace, settings or generation, seed, write_as, see_as)
    source = Source(rows, runs, ComputeProducts(runs.matrix))
    step = ROWS_AT_ONCE if write_as is unchanged and see_as is unchanged else 1  # rewrites may depend on rows
    answer: list[int] = []
    reason: str | None = None
    done = 0
    while reason is None:
        known = [*given, *answer]
        trace.arrays[tokens][: len(known)] = known
        token = 0
        for a in range(done, len(known), step):
            b = min(a + step, len(known))
            for segment in range(len(program.segments)):
                first = max(a, program.first_row(segment, len(given)))
                if first < b:
                    out = run(program, segment, [Span(0, first, b)], source, kernels)
                    token = int(out[name][-1]) if name in out else token
        done = len(known)
        answer.append(choose(len(answer), token))
        reason = stop(answer) if stop else stop_reason(generation, answer, vocabulary)
    return commit(claims, runs, asked, answer, trace, reason, kernels, identity)


def commit(
    claims: Model,
    runs: Model,
    asked: Request,
    answer: list[int],
    trace: Trace,
    reason: str,
    kernels: Kernels,
    identity: NodeIdentity,
) -> Forgery:
    """Commit to a trace and sign a receipt for it, whatever it holds, tokens that do not exist included."""
    program, generation = claims.program, generation_of(asked)
    ((tokens, prompt),) = inputs_of(asked, program, claims.model_id).items()
    (name,) = program.outputs
    outputs = {name: np.array(answer, np.int32)}
    statement = Statement(
        program=program,
        prompt=len(prompt),
        rows=len(prompt) + len(answer) - 1,
        inputs={tokens: np.concatenate([prompt, outputs[name][:-1]])},
        outputs=outputs,
        sampling=generation.sampling,
        seed=asked.draw_seed,
    )
    groups = [trace.group(g, 0, statement.rows) for g in range(len(program.committed))]
    stored = StoredTrace(statement, asked.suite, groups, kernels)
    receipt = Receipt(
        suite=asked.suite,
        model_id=claims.model_id,
        request_digest=asked.digest,
        outputs=((name, outputs[name].astype("<i4").tobytes()),),
        rows=statement.rows,
        stop_reason=reason,
        trace_root=stored.root(),
        retention=RETENTION,
        node=identity.public,
    )
    return Forgery(claims, runs, asked, statement, stored, receipt, identity).signed()
