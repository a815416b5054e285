"""Mutants of public proofs without weights, and the attacks that pass without each check."""

from __future__ import annotations

from dataclasses import dataclass

import synthetic
from adversary.mutants import Mutant
from adversary.mutation import Edit
from proofcompute.protocol.messages import Challenge, OpeningHead, frame_digest
from proofcompute.public.proof import ALL
from proofcompute.public.proving import Answered, coded_challenge
from proofcompute.public.sums import random_rows
from proofcompute.public.transcript import Absorbed
from proofcompute.verifier import Verified, check_receipt
from public import opened
from public.forging import altered, unseen
from public.world import LONG, answered, model, proof, published, verified

KIND = "w8a16"


@dataclass(frozen=True)
class FalseHints:
    """An answer with false hints, whose prover knows the checks that its verifier runs."""

    answer: Answered

    def verify(self) -> Verified:
        (found,) = verified(KIND, proof(KIND, self.answer), self.answer.request)
        return found


def rows_known_first() -> FalseHints:
    """A node knows the random rows of a cell before it sends the cell.

    It reduces a lattice, and finds short errors that the rows combine to zero.
    """
    one, key = answered(KIND, LONG), published(KIND).key
    claim = check_receipt(key, one.request, one.receipt, None)
    challenge, (head, *frames) = coded_challenge(claim, ALL), synthetic.frames(one.opening.read())
    assert len(frames) == len(challenge.cells) + 1
    heard = Absorbed(key.public_id, claim.receipt, challenge)
    heard.roots(OpeningHead.decode(head, len(model(KIND).program.committed)).roots)
    for frame in frames[:-2]:
        heard._transcript.challenge("rows")
        heard._transcript.absorb("cell", frame_digest(frame))
    last = challenge.cells[-1]
    seed = heard._transcript.challenge("rows").read(32)
    errors = unseen(random_rows(seed, 0, range(1), last.b - last.a)[0])
    assert 0 < max(map(abs, errors)) < 4000
    return FalseHints(altered(KIND, {(len(challenge.cells) - 1, 0, 0): errors}, ALL, LONG))


ABSORB = 'self._transcript.absorb("cell", b"".join(digests))'
DRAW = 'self.seeds[cell] = self._transcript.challenge("rows").read(_SEED)'


@dataclass(frozen=True)
class WithoutProof:
    """An opening with false hints that ends without the proof which its challenge asks for."""

    challenge: Challenge
    opening: bytes

    def verify(self) -> Verified:
        return opened.check(self.challenge, self.opening)


def no_proof() -> WithoutProof:
    asked = opened.challenge("all")
    frames = opened.false_hints(asked, {(opened.last_cell(asked), 0, 0): 1})
    return WithoutProof(asked, opened.closed(frames[:-1], asked))


CODED_MUTANTS: dict[str, Mutant] = {
    "coded rows after the hints": Mutant(
        (),
        (Edit("public.transcript", f"{ABSORB}\n        {DRAW}", f"{DRAW}\n        {ABSORB}"),),
        rows_known_first,
    ),
    "an opening has the proof that is asked for": Mutant(
        ("verifier/verify:_check_ending: 10: the opening has no public proof",),
        (Edit("verifier.verify", "if ending is not None:", "if False:"),),
        no_proof,
    ),
}
