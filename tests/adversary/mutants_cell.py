"""Mutants of steps 7 to 10, cell by cell, and of public proofs."""

from __future__ import annotations

import io
from dataclasses import replace

from adversary.bools import committed_twos
from adversary.cheats import CHEATS
from adversary.mutants import (
    CELLS,
    CLOSED,
    COUNT_PRODUCTS,
    EMPTY_HEAD,
    FRAMES,
    HINT,
    HINT_BOUND,
    HINT_MINIMAL,
    HINT_WIDTH,
    HOLDS,
    OPENING,
    PROOF_CUT,
    PROOF_LENGTH,
    PUBLIC,
    RANGE_LENGTH,
    SKIP_MISSING,
    SOURCES,
    VERIFY,
    F,
    L,
    Mutant,
    P,
    PublicCase,
    S,
    V,
    a_layer_left_out,
    columns_known_first,
    context_of_one_row,
    hint_left_out,
    named,
    never,
    product_left_out,
    public,
    token_edited,
    values_altered,
)
from adversary.mutation import Edit
from adversary.routed import sets_too_many
from adversary.setting import forge, honest
from proofcompute.attacks.openings import head_of_another_version
from proofcompute.attacks.taken_apart import LIMIT, frame, joined, opened
from proofcompute.encoding.frames import read_frame
from proofcompute.protocol.cells import public_challenge


def of_another_version(data: bytes) -> bytes:
    """An opening whose head is of another version."""
    stream = io.BytesIO(data)
    frames = [frame(stream), *iter(lambda: read_frame(stream, limit=LIMIT, what=""), None)]
    return joined(head_of_another_version(frames))


def of_another_challenge() -> PublicCase:
    """A public proof whose head names another challenge than the receipt gives."""
    proof = public(forge())
    challenge = public_challenge(proof.forgery.claim, proof.count)
    opening = opened(proof.forgery, challenge)
    answers = (opening.head.receipt_digest, challenge.digest)
    head = replace(opening.head, challenge_digest=bytes(32))
    return replace(proof, opening=replace(opening, head=head, answers=answers).encode())


CELL_MUTANTS: dict[str, Mutant] = {
    # step 7
    "trace root": Mutant(
        (CELLS + "check_head: 7: the opened roots do not hash to the trace root",),
        (never(L, "trace_root(suite, seals) != claim.receipt.trace_root"),),
        named("trace made up after the receipt"),
    ),
    "length of a Merkle proof": Mutant(
        (CELLS + "check_cell: 7: str(e)",),
        (
            RANGE_LENGTH,
            PROOF_CUT,
        ),
        named("a proof one digest long"),
        setup=(PROOF_LENGTH,),
    ),
    "rows under the trace root": Mutant(
        (SOURCES + "open_groups: 7: rows {}..{} of {} are not under the trace root",),
        (never(S, "root != roots[g.group]"),),
        named("noise committed, right rows opened"),
    ),
    "committed floats are canonical": Mutant(
        (SOURCES + "open_groups: 7: {} holds -0 or a number that is not finite",),
        (never(S, "values.dtype == np.float32 and not kernels.is_settled(values)"),),
        named("a committed negative zero"),
    ),
    "committed bools are canonical": Mutant(
        (SOURCES + "open_groups: 7: {} holds a byte that is no bool",),
        (never(S, "values.dtype == np.bool_ and values.size and int(values.view(np.uint8).max()) > 1"),),
        committed_twos,
    ),
    "table rows under the model id": Mutant(
        (SOURCES + "open_tables: 7: row {} of {} is not under the model id",),
        (never(S, "root != card.root_of[spec.name]"),),
        named("embedding of another model"),
    ),
    # step 8
    "width of a hint": Mutant(
        (HINT + "8: str(e)", OPENING + "_sets: hint of {}: width outside 1..{} bits"),
        (HINT_WIDTH,),
        named("an accumulator plus p"),
        setup=(HINT_BOUND,),
    ),
    "least width of a hint": Mutant(
        (HINT + "8: str(e)", OPENING + "_require_bounds: hint of {}: more bits than its values need"),
        (HINT_MINIMAL,),
        named("more bits than needed"),
    ),
    "bound of a hint": Mutant(
        (HINT + "8: str(e)", OPENING + "_require_bounds: hint of {}: a value is beyond its bound"),
        (HINT_BOUND,),
        named("accumulators minus p"),
        setup=(HINT_WIDTH,),
    ),
    "sets of a hint": Mutant(
        (HINT + "8: str(e)", OPENING + "_sets: hint of {}: {} sets of integers, not {}"),
        (
            never("protocol.hints", "len(packed) != len(wanted)"),
            Edit(
                "protocol.hints",
                "for data, claim in zip(packed, wanted, strict=True):",
                "for data, claim in zip(packed[-len(wanted) :], wanted):",
            ),
        ),
        named("a set for each limb"),
        together=True,
    ),
    "sets that no row chose": Mutant(
        (SOURCES + "HintedProducts.experts: 8: the hint holds sets that no row chose",),
        (never(S, "used != len(self.hints[self.made])"),),
        sets_too_many,
    ),
    "padding of a hint": Mutant(
        (HINT + "8: str(e)",),
        (never("arithmetic.definition.bitpack", "spare and data[-1] >> (8 - spare)"),),
        named("a padding bit set"),
    ),
    "product": Mutant(
        (HOLDS + "8: the product check failed",),
        (never(S, "not holds"),),
        a_layer_left_out,
    ),
    "product of every row": Mutant(
        (HOLDS + "8: the product check failed",),
        (
            Edit(
                "arithmetic.definition.hints",
                "np.array_equal(projections, right)",
                "np.array_equal(projections[:, :-1], right[:, :-1])",
            ),
        ),
        named("one value of the last row off by one"),
    ),
    "the wanted token's product": Mutant(
        (HOLDS + "8: the product check failed",),
        (
            Edit(
                "arithmetic.definition.hints",
                "np.array_equal(projections, right)",
                "projections.shape == right.shape",
            ),
        ),
        named("the wanted token's accumulator raised"),
    ),
    "error of a whole limb": Mutant(
        (HOLDS + "8: the product check failed",),
        (never(S, "not holds"),),
        named("a compensating error of a whole limb"),
    ),
    "arithmetic": Mutant(
        (CELLS + "check_cell: 8: the arithmetic has no result: {}",),
        (never("arithmetic.definition.attention", "(s < ZERO).any()"),),
        named("a negative key scale"),
    ),
    # step 9
    "committed rows": Mutant(
        (SOURCES + "OpenedRows.write: 9: the computed rows differ from {}",),
        (never(S, "not _identical(claimed, rows)"),),
        named("a committed row altered"),
    ),
    "answer tokens": Mutant(
        (SOURCES + "OpenedRows.write: 9: the computed rows differ from {}",),
        (never(S, "not _identical(claimed, rows)"),),
        token_edited,
    ),
    # step 10
    "nothing left over": Mutant(
        (FRAMES + "Frames.close: 10: the opening holds more than was asked for",),
        (never(F, "not self._ended()"),),
        named("bytes after the end"),
    ),
    "opening is there": Mutant(
        (CELLS + "check_head: 10: the opening is empty",),
        (EMPTY_HEAD, *SKIP_MISSING),
        named("nothing opened"),
        setup=(CLOSED,),
    ),
    "part is there": Mutant(
        (CELLS + "_part: 10: the opening lacks this cell",),
        SKIP_MISSING,
        named("only lucky cells opened"),
        setup=(CLOSED,),
    ),
    "every cell": Mutant(
        (VERIFY + "_check_opening: 10: a cell was not checked",),
        (never(V, "tuple(checked) != challenge.cells"),),
        named("only lucky cells opened"),
        setup=(
            Edit(
                L,
                "for cell in challenge.cells:\n        need = needs",
                "for cell in challenge.cells[:-1]:\n        need = needs",
            ),
        ),
    ),
    "every row": Mutant(
        (SOURCES + "OpenedRows.read: 10: other rows of {} were opened, from {} on",),
        (
            Edit(
                S,
                'raise VerificationError(10, f"other rows of {name} were opened, from {first} on", '
                "cell=self.cell)",
                "return np.concatenate([np.zeros((first, *rows.shape[1:]), rows.dtype), rows])",
            ),
        ),
        context_of_one_row,
        setup=(
            Edit("protocol.needs", "a if mode is Reads.SAME else 0", "a"),
            Edit(
                "prover.stored",
                "return rows[span.a - first : span.b - first]",
                "return self.kernels.concatenate("
                "[self.kernels.zeros((first, *rows.shape[1:]), rows.dtype), rows])[span.a : span.b]",
            ),
        ),
        together=True,
    ),
    "every product": Mutant(
        (CELLS + "check_cell: 10: a product was not checked",),
        (COUNT_PRODUCTS,),
        product_left_out,
        setup=(
            Edit(
                S,
                "if not holds:",
                'if weight != "block.1.ffn.down" and not holds:',
            ),
            Edit(
                S,
                "self.made += 1\n        return found",
                'self.made += call.weight != "block.1.ffn.down"\n        return found',
            ),
        ),
    ),
    "every hint": Mutant(
        (HINT + "10: no hint for this product",),
        (
            Edit(
                S,
                'raise VerificationError(10, "no hint for this product", cell=self.cell, operation=weight)',
                "return CheckedHint((), True, residual + np.float32(0)), 0  # a product of zeros",
            ),
        ),
        hint_left_out,
        setup=(
            Edit("protocol.shapes", "_most_sets(need.plan) if hints", "_most_sets(need.plan)[:-1] if hints"),
            COUNT_PRODUCTS,
        ),
    ),
    "every output": Mutant(
        (CELLS + "check_cell: 10: an output of the cell was not compared",),
        (never(L, "rows.compared != {*need.plan.writes, *need.plan.emits}"),),
        values_altered,
        setup=(
            Edit(
                S,
                "for what, claimed in claims:",
                'for what, claimed in claims if name[0] != "v" else ():',
            ),
        ),
    ),
    # public proofs
    "public head": Mutant(
        (PUBLIC + "opening_frames: 1: str(e)",),
        (never("encoding.wire", "found != version"),),
        lambda: public(honest(), opening=of_another_version),
    ),
    "public challenge": Mutant(
        (PUBLIC + "opening_frames: 6: the proof does not open the {} cells that it should",),
        (
            never(
                P, "head.receipt_digest == claim.receipt.digest and head.challenge_digest != challenge.digest"
            ),
        ),
        of_another_challenge,
        setup=(
            never(
                L, "head.receipt_digest != claim.receipt.digest or head.challenge_digest != challenge.digest"
            ),
        ),
    ),
    "public hints are those hashed": Mutant(
        (PUBLIC + "verify_public: 6: the opening was changed while it was read",),
        (never(P, "read[0].digest() != read[1].digest()"),),
        columns_known_first,
    ),
    "public opening is there": Mutant(
        (PUBLIC + "opening_frames: 10: the opening is empty",),
        (
            Edit(P, 'raise VerificationError(10, "the opening is empty")', "return"),
            EMPTY_HEAD,
            *SKIP_MISSING,
            CLOSED,
        ),
        lambda: public(CHEATS["last answer token edited"].build(), opening=lambda data: b""),
    ),
}
