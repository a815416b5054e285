"""Cheating provers of docs/spec/adversary.md, each of which recommits; the table :data:`CHEATS` is run by
tests.

A cheat states which cells an audit must reject. Opened with the true weights' products, their outputs are not
what their inputs give (step 9). Opened with the products that the prover really made (``own``), its hints are
not the model's (step 8), or a table row is not (step 7), or there are too few of them (step 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from adversary.setting import (
    BLOCK_0,
    BLOCK_1,
    EMBEDDING,
    FIRST_HEAD_ROW,
    HEAD,
    PROMPT,
    ROWS,
    SAMPLED,
    forge,
    model,
    request,
)
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import Array, Span
from proofcompute.errors import Cell
from proofcompute.models.model import Model
from proofcompute.program.operations import Rope
from proofcompute.program.source import Source
from proofcompute.program.types import Node
from proofcompute.protocol.messages import Generation
from proofcompute.protocol.trace import split_rows
from proofcompute.testing.altered import (
    four_bits,
    one_limb,
    reweighted,
    short_context,
    with_operations,
    without_block,
)
from proofcompute.testing.forging import Forgery, Rewrite

OTHER_PROMPT = "HELLO; WORLD"


def scaled(w: Matrix, change: Callable[[Array], Array]) -> Matrix:
    return Matrix(np.ascontiguousarray(change(w.q.astype(np.int16)).astype(np.int8)), w.scale, w.bias)


@dataclass(frozen=True)
class OffsetRope(Rope):
    """Rotates row t as if it were row t + 1."""

    def run(self, ins: Sequence[Array], spans: Sequence[Span], src: Source, k: Kernels) -> Sequence[Array]:
        return super().run(ins, [Span(s.trace, s.a + 1, s.b + 1) for s in spans], src, k)


# -- another computation -----------------------------------------------------------------------------------
def another_model() -> Forgery:
    return forge(runs=Model(model().card, model(1).weights))


def change_matrix(target: str, change: Callable[[Array], Array]) -> Callable[[], Forgery]:
    def build() -> Forgery:
        return forge(runs=reweighted(model(), lambda n, w: scaled(w, change) if n == target else w))

    return build


def zero_head(q: Array) -> Array:
    q = q.copy()
    q[:, 4:8] = 0  # the second query head, of 4 columns
    return q


def bump(q: Array) -> Array:
    """The smallest change of a matrix: one weight by one."""
    q = q.copy()
    q[0, 3, 5] += 1 if q[0, 3, 5] < 127 else -1
    return q


def layer_of_another_model() -> Forgery:
    m, other = model(), model(1)
    return forge(
        runs=Model(m.card, {n: (other if n.startswith("block.1") else m).weights[n] for n in m.weights})
    )


def layers_swapped() -> Forgery:
    def partner(name: str) -> str:
        swap = {"block.0": "block.1", "block.1": "block.0"}
        return swap.get(name[:7], name[:7]) + name[7:]

    m = model()
    return forge(runs=Model(m.card, {n: m.weights[partner(n)] for n in m.weights}))


def wrong_rope_offset() -> Forgery:
    def shift(node: Node) -> Node:
        op = node.op
        if not isinstance(op, Rope) or node.name != "attention.rope_k":
            return node
        return replace(node, op=OffsetRope(op.heads, op.freqs, op.interleaved))

    return forge(runs=with_operations(model(), shift))


def _stale(name: str, first: int, rows: Array, other: Forgery) -> Array:
    """Rows of keys and values from another prompt's run, up to the end of the prompt."""
    if name[0] not in "kv":
        return rows
    group = other.stored.groups[other.claims.program.group_of[name]]
    old = split_rows(other.claims.program, other.claims.program.group_of[name], group)[name]
    keep = max(0, min(len(PROMPT) - 1, first + len(rows)) - first)
    return np.concatenate([old[first : first + keep], rows[keep:]])


def stale_rows() -> Forgery:
    """Keys and values of another prompt are committed and used."""
    other = forge(asked=request(prompt=OTHER_PROMPT))
    return forge(write_as=lambda name, first, rows: _stale(name, first, rows, other))


def stale_rows_seen() -> Forgery:
    """The right keys and values are committed; attention used those of another prompt."""
    other = forge(asked=request(prompt=OTHER_PROMPT))
    return forge(see_as=lambda name, row, rows: _stale(name, 0, rows, other))


def zeroed_keys() -> Forgery:
    """Keys quantise to zero under an inflated scale, so that attention costs nothing."""

    def flat(name: str, first: int, rows: Array) -> Array:
        if name.startswith("k_scale"):
            return np.full_like(rows, 1e6)
        return np.zeros_like(rows) if name.startswith("k.") else rows

    return forge(write_as=flat)


def inflated_rows() -> Forgery:
    """The residual stream is so large that its norm overflows and every later product is zero."""
    return forge(write_as=lambda name, first, rows: np.full_like(rows, 3e38) if name == "x.1" else rows)


# -- another answer ----------------------------------------------------------------------------------------
def sampled_otherwise(**changes: object) -> Callable[[], Forgery]:
    def build() -> Forgery:
        asked = request(sampling=SAMPLED, seed=bytes([5] * 32))
        assert asked.generation is not None
        return forge(asked=asked, settings=replace(asked.generation, **changes))  # type: ignore[arg-type]

    return build


def sampled_though_greedy() -> Forgery:
    return forge(settings=Generation(6, SAMPLED, bytes([1] * 32)))


def answer_edited(number: int) -> Callable[[], Forgery]:
    """One answer token is replaced after decoding, and the run goes on from it."""
    return lambda: forge(choose=lambda n, token: (token + 1) % 256 if n == number else token)


def answer_edited_over_the_old_trace(number: int) -> Callable[[], Forgery]:
    """One answer token is replaced; the trace stays that of the old answer."""

    def build() -> Forgery:
        honest = forge()
        answer = [int(t) for t in honest.statement.outputs["next"]]
        answer[number] = (answer[number] + 1) % 256
        return _answered(honest, answer)

    return build


def _answered(trace: Forgery, answer: list[int]) -> Forgery:
    """The committed rows of one run under the answer of another."""
    tokens = np.concatenate(
        [trace.statement.inputs["tokens"][: len(PROMPT)], np.array(answer[:-1], np.int32)]
    )
    outputs = {"next": np.array(answer, np.int32)}
    statement = replace(trace.statement, inputs={"tokens": tokens}, outputs=outputs)
    stored = replace(trace.stored, statement=statement)
    return replace(trace, statement=statement, stored=stored).signed(
        outputs=(("next", outputs["next"].tobytes()),)
    )


def answer_of_another_run() -> Forgery:
    """The trace of the greedy run under the answer of a sampled one."""
    other = forge(settings=Generation(6, SAMPLED, bytes([1] * 32)))
    return _answered(forge(), [int(t) for t in other.statement.outputs["next"]])


def trace_of_another_prompt() -> Forgery:
    """Another prompt ran; its rows and its answer stand under the prompt that was asked."""
    return forge(prompt=list(OTHER_PROMPT.encode()))


def end_forced() -> Forgery:
    """The end token in place of the third token saves the rest of the answer."""
    return forge(choose=lambda number, token: 257 if number == 2 else token)


def first_choice() -> Forgery:
    """The second choice is asked for; the node draws what the first one would."""
    asked = request(sampling=SAMPLED, seed=bytes([1] * 32), choice=1)
    return forge(asked=asked, settings=asked.generation)


# -- the table ---------------------------------------------------------------------------------------------
Where = Callable[[Cell], bool]


def in_segments(*segments: int) -> Where:
    return lambda cell: cell.segment in segments


def head_of(*numbers: int) -> Where:
    return lambda cell: cell.segment == HEAD and cell.a - FIRST_HEAD_ROW in numbers


@dataclass(frozen=True)
class Cheat:
    """A cheating prover and what becomes of it."""

    build: Callable[[], Forgery]
    where: Where
    """Cells that may be rejected; no other is."""
    least: int
    """Cells that are rejected, at least."""
    own: int = 9
    """Step that rejects it when it opens with the products that it made; with true ones that is always 9."""


_BLOCKS = in_segments(BLOCK_0, BLOCK_1)
_ALL = in_segments(EMBEDDING, BLOCK_0, BLOCK_1, HEAD)
_ANSWER = ROWS - FIRST_HEAD_ROW

CHEATS: dict[str, Cheat] = {
    "another model of the same shape": Cheat(another_model, _ALL, 3 * ROWS, own=7),
    "weights rounded to four bits": Cheat(lambda: forge(runs=four_bits(model())), _BLOCKS, 2 * ROWS, own=8),
    "one-limb activations": Cheat(lambda: forge(runs=one_limb(model())), _ALL, 2 * ROWS, own=8),
    "one matrix zeroed": Cheat(
        change_matrix("block.1.ffn.gate_up", np.zeros_like), in_segments(BLOCK_1), ROWS, own=8
    ),
    "one weight off by one": Cheat(
        change_matrix("block.0.attention.o", bump), in_segments(BLOCK_0), ROWS - 4, own=8
    ),
    "one head zeroed": Cheat(
        change_matrix("block.0.attention.qkv", zero_head), in_segments(BLOCK_0), ROWS - 1, own=8
    ),
    "one layer skipped": Cheat(lambda: forge(runs=without_block(model())), in_segments(BLOCK_1), ROWS, own=8),
    "one layer of another model": Cheat(layer_of_another_model, in_segments(BLOCK_1), ROWS, own=8),
    "layers swapped": Cheat(layers_swapped, _BLOCKS, 2 * ROWS, own=8),
    "shortened context": Cheat(lambda: forge(runs=short_context(model(), 4)), _BLOCKS, ROWS, own=8),
    "wrong offset in RoPE": Cheat(wrong_rope_offset, _BLOCKS, 2 * ROWS),
    "stale keys and values committed": Cheat(stale_rows, _BLOCKS, len(PROMPT) - 1),
    "stale keys and values used": Cheat(stale_rows_seen, _BLOCKS, ROWS),
    "keys quantised to zero": Cheat(zeroed_keys, _BLOCKS, 2 * ROWS),
    "residual stream inflated": Cheat(inflated_rows, in_segments(BLOCK_0), ROWS),
    "another seed": Cheat(sampled_otherwise(seed=bytes([6] * 32)), in_segments(HEAD), 1),
    "the draws of another choice": Cheat(first_choice, in_segments(HEAD), 1),
    "greedy in place of sampling": Cheat(sampled_otherwise(sampling=Sampling()), in_segments(HEAD), 1),
    "another temperature": Cheat(
        sampled_otherwise(sampling=replace(SAMPLED, temperature=1.5)), in_segments(HEAD), 1
    ),
    "top-k left out": Cheat(
        sampled_otherwise(sampling=replace(SAMPLED, top_k=0, top_p=1.0)), in_segments(HEAD), 1
    ),
    "repetition penalty left out": Cheat(
        sampled_otherwise(sampling=replace(SAMPLED, repetition_penalty=1.0)), in_segments(HEAD), 1
    ),
    "sampling in place of greedy": Cheat(sampled_though_greedy, in_segments(HEAD), 1),
    "first answer token edited": Cheat(answer_edited(0), head_of(0), 1),
    "last answer token edited": Cheat(answer_edited(5), head_of(5), 1),
    "answer edited over the old trace": Cheat(
        answer_edited_over_the_old_trace(2),
        lambda c: head_of(2)(c) or c == Cell(EMBEDDING, FIRST_HEAD_ROW + 3, FIRST_HEAD_ROW + 4),
        2,
    ),
    "answer of another run": Cheat(answer_of_another_run, in_segments(EMBEDDING, HEAD), 2),
    "trace of another prompt": Cheat(trace_of_another_prompt, in_segments(EMBEDDING), 10),
    "end token forced": Cheat(end_forced, head_of(2), 1),
}


def edit_rows(tensor: str, row: int) -> Rewrite:
    """One element of one committed row is altered when it is written; everything later follows from it."""

    def edit(name: str, first: int, rows: Array) -> Array:
        if name == tensor and first <= row < first + len(rows):
            flat = rows[row - first].reshape(-1)
            flat[0] += 1 if rows.dtype != np.int8 or flat[0] < 127 else -1
        return rows

    return edit
