"""What a mutant is, how checks are removed, and attacks that only mutants need (docs/spec/adversary.md).

A check that another one also covers is listed with ``setup``: the edits that take the other protection away
first, so that this check is what stands between the attack and acceptance. The checks of the verifier's own
bookkeeping (step 10) cannot be reached by any message; their ``setup`` breaks the verifier as a careless
change might, and the check must notice.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from adversary.attacks import ATTACKS
from adversary.cheats import CHEATS
from adversary.mutation import Edit
from adversary.setting import BLOCK_0, BLOCK_1, HEAD, KERNELS, ROWS, case, forge, model
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Array
from proofcompute.attacks.case import Case
from proofcompute.attacks.taken_apart import opened
from proofcompute.attacks.values import edit_rows
from proofcompute.errors import Cell
from proofcompute.models.model import Model
from proofcompute.protocol.cells import public_challenge
from proofcompute.testing.altered import reweighted
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Verified, verify_public


class Verification(Protocol):
    """A whole verification, private or public."""

    def verify(self) -> Verified: ...


@dataclass(frozen=True)
class Mutant:
    """One check."""

    sites: tuple[str, ...]
    """Where it raises, and where what it translates was raised."""
    edits: tuple[Edit, ...]
    """What removes it."""
    attack: Callable[[], Verification]
    """What then passes."""
    setup: tuple[Edit, ...] = ()
    """Other protections that are removed first, or the fault that the check must notice."""
    together: bool = False
    """Whether the attack is prepared under ``setup``: the prover shares the fault."""


# -- attacks that only mutants need --------------------------------------------------------------------------
class Turncoat(io.BytesIO):
    """A file that its writer changes between the two times that it is read."""

    def __init__(self, first: bytes, second: bytes) -> None:
        super().__init__(first)
        self._second = second

    def seek(self, offset: int, whence: int = 0) -> int:
        super().seek(0)
        self.truncate()
        self.write(self._second)
        return super().seek(offset, whence)


@dataclass(frozen=True)
class PublicCase:
    """Everything that one public verification gets."""

    forgery: Forgery
    receipt: bytes
    count: int
    opening: bytes
    shown: bytes | None = None
    """What is there when the columns are hashed, if it is not the opening."""

    def verify(self) -> Verified:
        stream = io.BytesIO(self.opening) if self.shown is None else Turncoat(self.shown, self.opening)
        return verify_public(
            model(),
            self.forgery.request,
            self.receipt,
            self.count,
            stream,
            kernels=KERNELS,
        )


def public(
    forgery: Forgery,
    receipt: Callable[[bytes], bytes] = lambda data: data,
    opening: Callable[[bytes], bytes] = lambda data: data,
    count: int = 12,
) -> PublicCase:
    """A public proof of some cells."""
    data = forgery.open(public_challenge(forgery.claim, count))
    return PublicCase(forgery, receipt(forgery.receipt.encode()), count, opening(data))


def columns_known_first() -> PublicCase:
    """Other hints are shown while the columns are hashed; those that are checked could be made to fit."""
    proof = public(forge())
    at = len(proof.opening) - 1000  # in the last part
    shown = proof.opening[:at] + bytes([proof.opening[at] ^ 1]) + proof.opening[at + 1 :]
    return replace(proof, shown=shown)


def context_of_one_row() -> Case:
    """Attention saw its own row only; nothing before it is opened."""

    def alone(name: str, row: int, rows: Array) -> Array:
        return np.concatenate([np.zeros_like(rows[:row]), rows[row:]]) if name[0] in "kv" else rows

    return case(forge(see_as=alone), Cell(BLOCK_0, 9, 10), Cell(BLOCK_1, 9, 10))


def without(weight: str) -> Model:
    """The model in which one matrix is zero."""

    def clear(name: str, w: Matrix) -> Matrix:
        return Matrix(np.zeros_like(w.q), w.scale, w.bias) if name == weight else w

    return reweighted(model(), clear)


def product_left_out() -> Case:
    """The last product of a block was never made."""
    return case(forge(runs=without("block.1.ffn.down")), Cell(BLOCK_1, 4, 6))


def hint_left_out() -> Case:
    """The last product of a block was never made, and its hint is not sent."""
    forgery = forge(runs=without("block.1.ffn.down"))
    cell = Cell(BLOCK_1, 4, 6)
    attack = case(forgery, cell)
    opening = opened(forgery, attack.challenge)
    short = opening.with_part(0, hints=opening.parts[0].hints[:-1])
    return replace(attack, opening=short.encode())


def values_altered() -> Case:
    return case(forge(write_as=edit_rows("v.0", 5)), Cell(BLOCK_0, 5, 6))


def named(name: str) -> Callable[[], Case]:
    return ATTACKS[name][0]


def a_layer_left_out() -> Case:
    return case(CHEATS["one layer skipped"].build(), Cell(BLOCK_1, 4, 6))


def token_edited() -> Case:
    return case(CHEATS["last answer token edited"].build(), Cell(HEAD, ROWS - 1, ROWS))


# -- edits ---------------------------------------------------------------------------------------------------
V, C, S, P = "verifier.verify", "verifier.claim", "verifier.sources", "verifier.public"
L, F = "verifier.cells", "protocol.frames"
O, E = "protocol.messages.opening", "protocol.messages.closing"  # noqa: E741
M, T, R = "protocol.receipts", "protocol.promises", "protocol.requests"


def never(module: str, condition: str) -> Edit:
    """``if condition:`` is never true."""
    return Edit(module, f"if {condition}:", "if False:")


SHORTEST_HEAD = Edit("encoding.wire", "if argument < SMALLEST[announced]:", "if argument < 0:")
SHORTEST_FRAME = Edit("encoding.frames", "if size < least:", "if size < 0:")
CANONICAL_RECEIPT = never(M, "message.encode() != data")
ANY_SCHEME = Edit("commitments.signing", "if name not in _SCHEMES:", "if (name := ED25519) is None:")
PART_SIZE = Edit(L, "frames.part(shape.largest)", "frames.part(1 << 28)")
PROOF_LENGTH = Edit(
    O,
    'reader.digests(group.proof, "Merkle proof")',
    'tuple(bytes(reader.view("", 32)) for _ in range(reader.array_of_some(64, "")))',
)
PROOF_CUT = Edit(
    "commitments.merkle",
    "[d for proof in proofs for d in proof]",
    "[d for r, proof in zip(ranges, proofs) for d in proof[: nodes_needed(size, *r)]]",
)
"""What a proof has too much is not used."""
RANGE_LENGTH = never("commitments.merkle", "len(proof) != expected")
HINT_WIDTH = Edit("protocol.hints", "if not data or not 1 <= data[0] <= widest(claim.bound):", "if False:")
HINT_MINIMAL = never("protocol.hints", "width(low, high) != bits")
HINT_BOUND = never("protocol.hints", "max(high, -low) > claim.bound")
HINT_LENGTH = never("arithmetic.definition.bitpack", "len(data) != size")
COUNT_PRODUCTS = never(L, "products.made != len(need.sites)")
SKIP_MISSING = (
    Edit(L, 'raise VerificationError(10, "the opening lacks this cell", cell=cell)', "return None"),
    Edit(
        L,
        "part = _part(opened)",
        "if (part := _part(opened)) is None: return opened.cell",
    ),
)
CLOSED = Edit(
    F,
    'raise VerificationError(10, "the opening lacks its closing frame")',
    'return OpeningEnd(b"")',
)
EMPTY_HEAD = Edit(L, 'raise VerificationError(10, "the opening is empty")', "return ()")

VERIFY = "verifier/verify:"
CELLS = "verifier/cells:"
FRAMES = "protocol/frames:"
CLAIM = "verifier/claim:"
RECEIPTS = "protocol/receipts:"
PROMISES = "protocol/promises:"
SOURCES = "verifier/sources:"
PUBLIC = "verifier/public:"
OPENING = "protocol/hints:"
STOP = "protocol/stop:check_answer: "
OUTPUTS = CLAIM + "_check_outputs: 5: "
CELL = CLAIM + "check_challenge: 6: str(e)"
STATEMENT = "protocol/statement:Statement.check_cell: "
HINT = SOURCES + "HintedProducts._product: "
HOLDS = SOURCES + "HintedProducts._require: "
