"""A prover that lies and recommits: the real interpreter and the real commitments around forged values.

:func:`forge` runs a program token by token on its own terms (another program, other weights, other settings,
altered rows, chosen tokens) and then builds every tree, every root and the signature over what came out, so
that nothing but the lie itself is wrong. :class:`Opening` takes an opening apart and puts it together again.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

import synthetic
from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import U64, Array, Span
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import Cell, VerificationError
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.importers.checkpoint import Decoder, Rope
from proofcompute.importers.decoder import compile_decoder
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.interpreter import run
from proofcompute.program.source import ComputeProducts, Source
from proofcompute.protocol.cells import all_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import (
    Challenge,
    Generation,
    OpeningEnd,
    OpeningHead,
    Part,
    Receipt,
    Request,
    Terms,
    frame_digest,
    frames_digest,
)
from proofcompute.protocol.needs import needs
from proofcompute.protocol.pieces import cut
from proofcompute.protocol.promises import require_within
from proofcompute.protocol.requests import inputs_of
from proofcompute.protocol.shapes import part_shape
from proofcompute.protocol.statement import Statement, draws
from proofcompute.protocol.stop import stop_reason
from proofcompute.protocol.trace import Trace, group_seal, join_rows, trace_root
from proofcompute.prover import StoredTrace, open_cells
from proofcompute.verifier import Key, Verified, check_card, check_receipt, keygen, verify

KERNELS: Kernels = NumpyKernels()
NODE = NodeIdentity(bytes(range(32)))
STRANGER = NodeIdentity(bytes(range(1, 33)))
LIMIT = 1 << 24
MOST = 3600.0
"""Seconds that the verifier waits for an opening, whatever terms say."""

TINY = Decoder(
    layers=2,
    width=16,
    heads=4,
    kv_heads=2,
    head_dim=4,
    ffn_width=24,
    context=160,
    vocabulary=260,
    eps=float(np.float32(1e-5)),
    rope=Rope(10000.0, 4, interleaved=True),
    tied=True,
)
PROMPT = "Hello, world"
ANSWER = 6
"""Tokens asked for."""
ROWS = len(PROMPT) + ANSWER - 1
EMBEDDING, BLOCK_0, BLOCK_1, HEAD = range(4)
FIRST_HEAD_ROW = len(PROMPT) - 1


@cache
def model(seed: int = 0, precision: str = "w8a16") -> Model:
    return compile_decoder(synthetic.checkpoint(seed, TINY), KERNELS, precision)


@cache
def _key(seed: int, precision: str, columns: int, secret: int) -> Key:
    return keygen(model(seed, precision), KERNELS, columns=columns, seed=bytes([secret] * 32))


def key(seed: int = 0, precision: str = "w8a16", columns: int = 2, secret: int = 7) -> Key:
    """Made once, with a new log each time: the requests of tests have one nonce."""
    return replace(_key(seed, precision, columns, secret), log=MemoryLog())


def request(m: Model | None = None, prompt: str = PROMPT, **changes: object) -> Request:
    """A greedy request of ANSWER tokens; generation settings and request fields by keyword."""
    changes.setdefault("max_tokens", ANSWER)
    return synthetic.request(m or model(), prompt, **changes)  # type: ignore[arg-type]


Rewrite = Callable[[str, int, Array], Array]
"""(tensor, first row, rows) to the rows that the cheat commits, or sees."""
Choose = Callable[[int, int], int]
"""(number of answer token, token that the program gave) to the token that the cheat answers."""


def unchanged(name: str, first: int, rows: Array) -> Array:
    return rows


@dataclass(eq=False)
class _Rows:
    """RowReader over a growing trace, with the cheat's hands in it."""

    trace: Trace
    settings: Generation
    write_as: Rewrite
    see_as: Rewrite
    seed: bytes

    def read(self, name: str, span: Span) -> Array:
        return self.trace.arrays[name][span.a : span.b]

    def prefix(self, name: str, span: Span) -> Array:
        return self.see_as(name, span.a, self.trace.arrays[name][: span.b].copy())

    def write(self, name: str, span: Span, rows: Array) -> None:
        if name in self.trace.arrays:
            self.trace.arrays[name][span.a : span.b] = self.write_as(name, span.a, rows.copy())

    def sampling(self, trace: int) -> Sampling:
        return self.settings.sampling

    def draws(self, span: Span) -> U64:
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
    stored: StoredTrace
    receipt: Receipt
    identity: NodeIdentity = NODE
    """Who signs."""

    @property
    def claim(self) -> Claim:
        """What the receipt would claim if it were true."""
        return Claim(self.receipt, self.statement)

    def signed(self, identity: NodeIdentity = NODE, **changes: object) -> Forgery:
        """The same with changed receipt fields, signed again."""
        receipt = replace(self.receipt, **{"node": identity.public, **changes})  # type: ignore[arg-type]
        return replace(self, receipt=receipt.signed(identity.sign(receipt.signed_digest)), identity=identity)

    def recommitted(self, groups: Sequence[Array] | None = None) -> Forgery:
        """The same over other leaf data: every tree, the trace root and the signature are made anew."""
        stored = replace_groups(self.stored, self.stored.groups if groups is None else groups)
        program, suite, rows = self.claims.program, stored.suite, self.statement.rows
        seals = [group_seal(program, suite, g, rows, root) for g, root in enumerate(stored.roots())]
        return replace(self, stored=stored).signed(trace_root=trace_root(suite, seals))

    def challenge(self, *cells: Cell, hints: bool = True) -> Challenge:
        """A challenge of these cells, or of all."""
        named = cells or all_cells(self.claim)
        return Challenge(self.receipt.digest, named, hints=hints, tables=hints)

    def open_bytes(self, challenge: Challenge, using: Model | None = None) -> bytes:
        """An opening whose products are those of the weights ``using`` (the model that ran, if not given)."""
        out, right = io.BytesIO(), self.receipt.signed(self.identity.sign(self.receipt.signed_digest))
        named = replace(challenge, receipt_digest=right.digest)
        open_cells(using or self.runs, self.stored, right, named, out, self.identity)
        if right == self.receipt:
            return out.getvalue()
        opening = Opening.parse(out.getvalue(), self, named)  # of a receipt that is not well signed
        head = replace(opening.head, receipt_digest=self.receipt.digest, challenge_digest=challenge.digest)
        return replace(opening, head=head).encode()

    def open(self, challenge: Challenge, using: Model | None = None) -> Opening:
        """The same, taken apart."""
        return Opening.parse(self.open_bytes(challenge, using), self, challenge)


def replace_groups(stored: StoredTrace, groups: Sequence[Array]) -> StoredTrace:
    return StoredTrace(stored.statement, stored.suite, [np.ascontiguousarray(g) for g in groups], KERNELS)


def forge(
    claims: Model | None = None,
    asked: Request | None = None,
    *,
    runs: Model | None = None,
    settings: Generation | None = None,
    write_as: Rewrite = unchanged,
    see_as: Rewrite = unchanged,
    choose: Choose = lambda number, token: token,
    stop: Callable[[list[int]], str | None] | None = None,
    prompt: Sequence[int] | None = None,
    kernels: Kernels = KERNELS,
) -> Forgery:
    """Run ``runs`` and claim that ``claims`` ran. Without further arguments the run is honest.

    Args:
        settings: what the cheat samples with; the request's if not given.
        write_as: the rows that are committed, and that all later segments and rows start from.
        see_as: what a prefix read (attention, sampler) really sees.
        choose: replaces answer tokens; the run goes on from the replacement.
        stop: the cheat's stop rule, a stop reason or None.
        prompt: tokens that really run.
    """
    claims = claims or model()
    runs = runs or claims
    asked = asked or request(claims)
    generation = asked.generation
    assert generation is not None
    vocabulary = Vocabulary.decode(claims.card.tokenizer)
    inputs = inputs_of(asked, claims.program, claims.model_id)
    given = [int(t) for t in (inputs["tokens"] if prompt is None else prompt)]
    program = runs.program
    trace = Trace(program, claims.program.context)
    rows = _Rows(
        trace, settings or generation, write_as, see_as, settings.seed if settings else asked.draw_seed
    )
    source = Source(rows, runs, ComputeProducts(runs.matrix))
    answer: list[int] = []
    reason: str | None = None
    done = 0
    while reason is None:
        known = [*given, *answer]
        trace.arrays["tokens"][: len(known)] = known
        token = 0
        for row in range(done, len(known)):  # row by row, so that see_as may depend on the row
            for segment in range(len(program.segments)):
                if row >= program.first_row(segment, len(given)):
                    out = run(program, segment, [Span(0, row, row + 1)], source, kernels)
                    token = int(out["next"][-1]) if "next" in out else token
        done = len(known)
        answer.append(choose(len(answer), token))
        rule = stop or (lambda a: stop_reason(generation, a, vocabulary))
        reason = rule(answer)
    return commit(claims, runs, asked, answer, trace, reason)


def commit(
    claims: Model, runs: Model, asked: Request, answer: list[int], trace: Trace, reason: str
) -> Forgery:
    """Commit a trace and sign a receipt for it, whatever it holds."""
    program = claims.program
    inputs = inputs_of(asked, program, claims.model_id)
    prompt = inputs["tokens"]
    rows = len(prompt) + len(answer) - 1
    tokens = np.concatenate([prompt, np.array(answer[:-1], np.int32)])
    outputs = {"next": np.array(answer, np.int32)}
    generation = asked.generation
    assert generation is not None
    statement = Statement(
        program, len(prompt), rows, {"tokens": tokens}, outputs, generation.sampling, asked.draw_seed
    )
    groups = [join_rows(program, g, trace.arrays, 0, rows) for g in range(len(program.committed))]
    receipt = Receipt(
        suite=asked.suite,
        model_id=claims.model_id,
        request_digest=asked.digest,
        outputs=(("next", outputs["next"].astype("<i4").tobytes()),),
        rows=rows,
        stop_reason=reason,
        trace_root=bytes(32),
        retention=3600,
        node=NODE.public,
    )
    stored = StoredTrace(statement, asked.suite, groups, KERNELS)
    return Forgery(claims, runs, asked, statement, stored, receipt).recommitted()


@dataclass(frozen=True)
class Opening:
    """An opening taken apart."""

    head: OpeningHead
    parts: tuple[Part, ...]
    ahead: tuple[tuple[bytes, ...], ...] = ()
    """For each part, the frames of long rows before it; empty if there are none at all."""
    identity: NodeIdentity = NODE
    """Who signs it, whatever it holds."""
    answers: tuple[bytes, bytes] | None = None
    """Digests of receipt and challenge that are signed; those that the head names if there are none."""

    @staticmethod
    def parse(data: bytes, forgery: Forgery, challenge: Challenge) -> Opening:
        stream = io.BytesIO(data)
        statement, program = forgery.statement, forgery.claims.program
        head = OpeningHead.decode(frame(stream), len(program.committed))
        parts: list[Part] = []
        ahead: list[tuple[bytes, ...]] = []
        for cell in challenge.cells:
            need = needs(statement, cell)
            ahead.append(tuple(frame(stream) for g in need.groups for _ in range(cut(program, g).ahead)))
            parts.append(
                Part.decode(
                    frame(stream),
                    part_shape(
                        program,
                        need,
                        statement.rows,
                        cell.b - cell.a,
                        tables=challenge.tables,
                        hints=challenge.hints,
                    ),
                )
            )
        end = OpeningEnd.decode(frame(stream))
        found = Opening(head, tuple(parts), tuple(ahead) if any(ahead) else (), forgery.identity)
        assert end.encode() == found.end(found.frames())
        return found

    def frames(self) -> list[bytes]:
        """All but the closing one."""
        ahead = self.ahead or ((),) * len(self.parts)
        cells = (f for a, p in zip(ahead, self.parts, strict=True) for f in (*a, p.encode()))
        return [self.head.encode(), *cells]

    def end(self, frames: Sequence[bytes]) -> bytes:
        """The closing frame over frames: as an answer to what the head names."""
        end = OpeningEnd(frames_digest([frame_digest(f) for f in frames]))
        digest = end.signed_digest(*(self.answers or (self.head.receipt_digest, self.head.challenge_digest)))
        return end.signed(self.identity.sign(digest)).encode()

    def closed(self, frames: Sequence[bytes]) -> bytes:
        """An opening of any frames, properly signed."""
        return join_frames([*frames, self.end(frames)])

    def encode(self) -> bytes:
        return self.closed(self.frames())

    def with_part(self, index: int, **changes: object) -> Opening:
        """The same with fields of one part replaced."""
        parts = list(self.parts)
        parts[index] = replace(parts[index], **changes)  # type: ignore[arg-type]
        return replace(self, parts=tuple(parts))


def frame(stream: io.BytesIO) -> bytes:
    data = read_frame(stream, limit=LIMIT, what="opening")
    assert data is not None
    return data


def join_frames(frames: Sequence[bytes]) -> bytes:
    out = io.BytesIO()
    for payload in frames:
        write_frame(out, payload)
    return out.getvalue()


@dataclass(frozen=True)
class Case:
    """Everything that one verification gets."""

    holder: Key | Model
    request: Request
    receipt: bytes
    challenge: Challenge
    opening: bytes
    node: bytes | None = None
    terms: Terms | None = None
    """Those that the verifier holds."""
    retention: int = 0
    """What the verifier wants."""
    waited: float = 0.0
    """Seconds until it had the opening."""
    evidence: bool = False
    """Whether the verifier wants evidence of what it accepts."""
    card: bytes | None = None
    """What somebody sent as the card of the model."""

    def verify(self, kernels: Kernels = KERNELS, progress: Callable[[int], None] | None = None) -> Verified:
        if self.card is not None:
            check_card(self.card, self.holder.card.model_id)
        claim = check_receipt(
            self.holder, self.request, self.receipt, self.node, terms=self.terms, retention=self.retention
        )
        if self.terms is not None:
            require_within(self.waited, self.terms.deadline(claim.statement.rows, MOST))
        return verify(
            self.holder,
            self.request,
            self.receipt,
            self.challenge,
            io.BytesIO(self.opening),
            kernels=kernels,
            node=self.node,
            progress=progress,
            evidence=self.evidence,
        )

    def rejection(self) -> VerificationError:
        """The error of a verification that must fail."""
        try:
            self.verify()
        except VerificationError as e:
            return e
        raise AssertionError("the verification passed")


def case(
    forgery: Forgery,
    *cells: Cell,
    holder: Key | Model | None = None,
    using: Model | None = None,
    edit: Callable[[Opening], Opening] | None = None,
) -> Case:
    """A whole audit of a forgery, of all cells or of some."""
    holder = holder or key()
    challenge = forgery.challenge(*cells, hints=isinstance(holder, Key))
    if edit is None:
        opening = forgery.open_bytes(challenge, using)
    else:
        opening = edit(forgery.open(challenge, using)).encode()
    return Case(holder, forgery.request, forgery.receipt.encode(), challenge, opening)


Attack = Callable[[], Case]
"""Prepares one verification that must fail."""


@cache
def honest() -> Forgery:
    return forge()


def single_cells(forgery: Forgery) -> list[Cell]:
    """Every cell of one row."""
    return [
        Cell(segment, row, row + 1)
        for segment, first in enumerate(forgery.statement.first_rows)
        for row in range(first, forgery.statement.rows)
    ]


def bad_cells(forgery: Forgery, using: Model | None = None) -> dict[Cell, int]:
    """The cells that an audit of just them rejects, and the step of each."""
    cells = single_cells(forgery)
    opened = forgery.open(forgery.challenge(*cells), using)
    parts = dict(zip(cells, opened.parts, strict=True))
    found: dict[Cell, int] = {}
    for segment in range(len(forgery.statement.first_rows)):
        mine = [c for c in cells if c.segment == segment]
        if step_of(forgery, opened.head, {c: parts[c] for c in mine}) is None:
            continue
        for cell in mine:
            step = step_of(forgery, opened.head, {cell: parts[cell]})
            if step is not None:
                found[cell] = step
    return found


def step_of(forgery: Forgery, head: OpeningHead, parts: Mapping[Cell, Part]) -> int | None:
    """The step that rejects an audit of these cells, or None if they pass."""
    challenge = forgery.challenge(*parts)
    opening = Opening(replace(head, challenge_digest=challenge.digest), tuple(parts.values())).encode()
    try:
        Case(key(), forgery.request, forgery.receipt.encode(), challenge, opening).verify()
    except VerificationError as e:
        return e.step
    return None
