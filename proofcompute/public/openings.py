"""Make and check openings that end with a public proof (docs/spec/public-proofs.md#in-an-opening).

A challenge may ask for a public proof: then a frame follows the cells, the evaluation of all their products,
which anybody checks with the public key. The verifier draws the cells after the receipt, as for every
opening, so a node has nothing to grind; what is drawn for the proof is hashed from all that it opened. The
closing frame signs the evaluation like everything before it, and names the challenge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, VerificationError
from proofcompute.limits import MAX_OPENING_PART
from proofcompute.models.card import ModelCard
from proofcompute.models.model import Model
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, ProofAsked, Receipt
from proofcompute.prover.opening import Ending, Hearer
from proofcompute.public import evaluation
from proofcompute.public.evaluation import Followed
from proofcompute.public.holder import GRANTED, SECURITY, CodedHolder, error_bits, positions_for
from proofcompute.public.key import PublicKey
from proofcompute.public.layout import Layout
from proofcompute.public.message import Evaluation
from proofcompute.public.publishing import Published
from proofcompute.public.sums import OwnSums, Sums
from proofcompute.public.transcript import Absorbed, begun
from proofcompute.verifier.proven import Checks, ProofHolds

__all__ = ["MOST_BITS", "ByPublicProof", "ProofMaker"]

MOST_BITS: Final = 2 * SECURITY
"""A node need not open more positions than give so many bits: all of them would be the code itself."""


def _require(layout: Layout, positions: int) -> None:
    """Raise InputError or LimitError unless a node has to make such a proof, and it proves something."""
    if error_bits(layout, positions) <= GRANTED:
        bits = error_bits(layout, positions)
        raise InputError(f"{positions} positions of each code give {bits:.1f} bits, which prove nothing")
    if positions > (most := positions_for(layout, MOST_BITS)):
        raise InputError(f"{positions} positions of each code are asked for, at most {most} are opened")
    if (size := Evaluation.largest(layout, 1, positions)) > MAX_OPENING_PART:
        raise LimitError(f"a public proof may have {size} bytes, more than a frame of {MAX_OPENING_PART}")


# -- the node ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class ProofMaker:
    """Makes the public proofs of a node's openings."""

    published: Published
    """The public key of the model, and the trees over its codes."""
    model: Model
    kernels: Kernels

    def __post_init__(self) -> None:
        key = self.published.key
        if self.model.model_id != key.card.model_id:
            raise MismatchError("the public key is of another model")
        _require(key.layout, positions_for(key.layout, SECURITY))

    def begin(self, receipt: Receipt, challenge: Challenge) -> tuple[Hearer, Ending]:
        """Return what hears one opening while it is written, and what makes the proof that ends it.

        Raises InputError or LimitError if the challenge asks for no proof, one by other codes, or one of too
        few positions or too many.
        """
        key, asked = self.published.key, challenge.proof
        if asked is None:
            raise InputError("the challenge asks for no public proof")
        if asked.public_id != key.public_id:
            raise InputError("public proofs are made by other codes of this model than the challenge names")
        _require(key.layout, asked.positions)
        sums = Sums(key, proving=True)
        absorbed = Absorbed(key.public_id, receipt, challenge)

        def end() -> bytes:
            transcript = begun(key.public_id, asked.positions, [absorbed.digest()])
            if not sums.a:
                return b""
            model, trees = self.model, self.published.trees
            made = evaluation.prove(
                transcript,
                [sums],
                lambda plane: plane.matrix(model.matrix(plane.weight)),
                trees,
                asked.positions,
                self.kernels,
            )
            return made.encode()

        return OwnSums(sums, absorbed, self.kernels), end


# -- the verifier --------------------------------------------------------------------------------------------
class ByPublicProof(ProofHolds):
    """A public key, with which an auditor checks openings that end with a public proof.

    Args:
        key: a public key whose public id the caller trusts.
        security: -log2 of the most error that one attempt may have; above 80, since 2^80 attempts are granted
            to the node.

    Raises InputError or LimitError if so little or so much is asked for that no node has to prove it.
    """

    def __init__(self, key: PublicKey, security: float = SECURITY) -> None:
        self.key = key
        self._asked = ProofAsked(key.public_id, positions_for(key.layout, security))
        _require(key.layout, self._asked.positions)

    @property
    def card(self) -> ModelCard:
        """See ProofHolds."""
        return self.key.card

    @property
    def asked(self) -> ProofAsked:
        """See ProofHolds."""
        return self._asked

    @property
    def most(self) -> int:
        """See ProofHolds."""
        return Evaluation.largest(self.key.layout, 1, self._asked.positions)

    def checks(self, claim: Claim, challenge: Challenge, kernels: Kernels) -> Checks:
        """See ProofHolds."""
        key, asked = self.key, challenge.proof
        if asked is None or asked.public_id != key.public_id:
            raise InputError("the challenge asks for no public proof by the codes of this public key")
        _require(key.layout, asked.positions)
        sums = Sums(key)
        absorbed = Absorbed(key.public_id, claim.receipt, challenge)
        ending = _Evaluated(sums, absorbed, asked.positions, kernels)
        return Checks(CodedHolder(sums, absorbed.seeds, asked.positions), absorbed, ending)


class _Evaluated:
    """Checks the evaluation that ends an opening; an Ending."""

    def __init__(self, sums: Sums[PublicKey], absorbed: Absorbed, positions: int, kernels: Kernels) -> None:
        self._sums, self._absorbed = sums, absorbed
        self._positions, self._kernels = positions, kernels
        self.limit = Evaluation.largest(sums.key.layout, 1, positions)

    def check(self, frame: bytes) -> None:
        """See Ending."""
        key, sums, positions = self._sums.key, self._sums, self._positions
        transcript = begun(key.public_id, positions, [self._absorbed.digest()])
        if not sums.u:
            if frame:
                raise VerificationError(10, "the opening has no products, and an evaluation of some")
            return
        try:
            found = Evaluation.decode(frame, key.layout, 1, positions)
        except (FormatError, LimitError) as e:
            raise VerificationError(1, str(e)) from e
        Followed(transcript, key, found, positions, self._kernels).require(0, sums)
