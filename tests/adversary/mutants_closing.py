"""Mutants of the closing frame, of long rows, and of what is said of a rejection."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adversary.attacks import ATTACKS
from adversary.attacks import CELLS as AUDITED
from adversary.closings import Framing, pieces_cut_elsewhere, with_pieces
from adversary.mutants import (
    CELLS,
    CLOSED,
    FRAMES,
    HOLDS,
    VERIFY,
    E,
    F,
    L,
    Mutant,
    Turncoat,
    V,
    named,
    never,
)
from adversary.mutation import Edit
from adversary.setting import KERNELS, case, honest, target
from proofcompute.attacks.case import Case
from proofcompute.attacks.closings import edited
from proofcompute.verifier import Verified, verify


@dataclass(frozen=True)
class Changed:
    """An opening that is another one when it is read again."""

    case: Case
    later: bytes

    def verify(self) -> Verified:
        c = self.case
        stream = Turncoat(c.opening, self.later)
        return verify(c.holder, c.request, c.receipt, c.challenge, stream, kernels=KERNELS)


def changed_while_read() -> Changed:
    good = case(honest(), *AUDITED)
    return Changed(replace(good, opening=good.opening[:-1000]), good.opening)


def framing(name: str) -> Framing:
    return Framing(ATTACKS[name][0]())


def another_scheme() -> Case:
    """A scheme that may come to exist, but is not the one that the receipt is signed by."""
    return edited(3, "eip712-secp256k1")(target())


RESERVED = Edit(E, "scheme_of(scheme).signature", "64")
"""A scheme that is reserved is read."""

CLOSING_MUTANTS: dict[str, Mutant] = {
    "closing frame is there": Mutant(
        (FRAMES + "Frames.close: 10: the opening lacks its closing frame",),
        (CLOSED,),
        named("no closing frame"),
    ),
    "closing frame is the last": Mutant(
        (FRAMES + "Frames.close: 10: the opening holds more than was asked for",),
        (never(F, "not self._ended()"),),
        named("the closing frame twice"),
    ),
    "form of the closing frame": Mutant(
        (FRAMES + "_end: 1: str(e)",),
        (never("encoding.wire", "found != version"),),
        named("a closing frame of another version"),
    ),
    "scheme of the closing frame": Mutant(
        (FRAMES + "_end: 2: the opening is signed by another scheme than the receipt",),
        (never(F, "end.scheme != receipt.scheme"),),
        another_scheme,
        setup=(RESERVED,),
    ),
    "signature of the closing frame": Mutant(
        (FRAMES + "_end: 2: the node's signature of the opening does not hold",),
        (
            never(
                F,
                "not signature_holds(receipt.node, end.signed_digest(receipt.digest, challenge_digest), "
                "end.signature)",
            ),
        ),
        named("a closing frame of another node"),
    ),
    "frames are those signed, where evidence is wanted": Mutant(
        (FRAMES + "Frames.require_signed: 2: the opening is not what the node signed",),
        (never(F, "not self._signed(end)"),),
        named("right frames, another digest signed"),
    ),
    "no blame for what the node did not sign": Mutant(
        (
            FRAMES + "Frames.blame: 2: the opening is not what the node signed; as it is, it fails {}",
            HOLDS + "8: the product check failed",
        ),
        (Edit(F, "if self._signed(end):", "if end is not None:"),),
        lambda: framing("a bit flipped on the way"),
    ),
    "changed while it was read": Mutant(
        (VERIFY + "_reject: 6: the opening was changed while it was read",),
        (Edit(V, 'raise VerificationError(6, "the opening was changed while it was read")', "return None"),),
        changed_while_read,
    ),
    "size of a piece": Mutant(
        (CELLS + "_ahead: 1: {} bytes of rows in a frame, not {}",),
        (never(L, "len(piece) != size"),),
        with_pieces(pieces_cut_elsewhere),
        setup=(Edit(L, "frames.piece(size)", "frames.piece(1 << 20)"),),
    ),
}
