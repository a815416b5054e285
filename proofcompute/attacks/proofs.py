"""Attacks on public proofs without weights; with the step that rejects each.

The node is in league with whoever makes the proof, and signs what it is given. A proof is of all cells.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np

from proofcompute.arithmetic.definition.bitpack import unpack
from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import I32
from proofcompute.attacks.closings import end_of, framed
from proofcompute.attacks.identities import STRANGER
from proofcompute.attacks.taken_apart import Opening
from proofcompute.attacks.target import NotApplicable, Target
from proofcompute.errors import VerificationError
from proofcompute.freivalds.primes import P31
from proofcompute.freivalds.sets import pack_set
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Request
from proofcompute.public.holder import SECURITY, positions_for
from proofcompute.public.message import Evaluation, Opened
from proofcompute.public.proof import ALL, Proof, ProofHead, write_proof
from proofcompute.public.proving import Answered, coded_challenge, prove, verify_proof
from proofcompute.public.publishing import Published, publish
from proofcompute.testing.forging import Forgery
from proofcompute.verifier import Verified

__all__ = ["PROOFS", "Public", "PublicCase", "PublicForged"]


@dataclass(frozen=True)
class PublicCase:
    """Everything that one verification of a proof gets."""

    public: Public
    data: bytes
    requests: tuple[Request, ...]
    cells: int = ALL
    published: Published | None = None
    """The public key that the verifier trusts; None: that of the target."""
    node: bytes | None = None
    """The node that must have signed; None: the one that the request names."""

    def verify(self) -> Verified:
        """Verify. Raises VerificationError."""
        key = (self.published or self.public.published).key
        stream, kernels = io.BytesIO(self.data), self.public.target.kernels
        found = verify_proof(key, self.requests, stream, kernels=kernels, node=self.node, cells=self.cells)
        return found[0]


@dataclass(eq=False)
class Public:
    """A target with its public key, and proofs of its answers."""

    target: Target
    progress: Callable[[int], None] | None = None
    """Is called with the bytes of weights that were coded."""
    _openings: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    @cached_property
    def published(self) -> Published:
        """The public key, and what a prover needs."""
        return publish(self.target.model, self.target.kernels, progress=self.progress)

    @property
    def positions(self) -> int:
        """Positions of each code that give the security which a verifier asks for."""
        return positions_for(self.published.key.layout, SECURITY)

    def opening(self, forgery: Forgery, using: Model | None = None, cells: int = ALL) -> bytes:
        """Return the opening of the cells that a proof opens."""
        return forgery.open(coded_challenge(forgery.claim, cells), using)

    def proof(self, *answered: Answered, positions: int | None = None, model: Model | None = None) -> bytes:
        """Return the proof of answers. Raises VerificationError if an opening fails but for its products."""
        out, t = io.BytesIO(), self.target
        count = self.positions if positions is None else positions
        prove(self.published, model or t.model, answered, out, positions=count, kernels=t.kernels)
        return out.getvalue()

    def answered(self, forgery: Forgery, opening: bytes, cells: int = ALL) -> Answered:
        """Return an answer with its opening, for :meth:`proof`."""
        return Answered(forgery.request, forgery.receipt.encode(), io.BytesIO(opening), cells)

    @cached_property
    def honest(self) -> bytes:
        """The proof of the honest answer."""
        return self.proof(self.answered(self.target.honest(), self._honest_opening))

    @cached_property
    def _honest_opening(self) -> bytes:
        return self.opening(self.target.honest())

    @cached_property
    def parts(self) -> tuple[ProofHead, Evaluation, bytes]:
        """The parts of the honest proof: head, evaluation decoded and encoded."""
        found = Proof.read(io.BytesIO(self.honest))
        data, layout = found.evaluation.read(found.evaluation_size), self.published.key.layout
        return found.head, Evaluation.decode(data, layout, 1, found.head.positions), data

    def written(
        self, receipt: bytes, opening: bytes, evaluation: bytes | None = None, head: ProofHead | None = None
    ) -> bytes:
        """Return a proof of these parts; evaluation and head are those of the honest one unless given."""
        out = io.BytesIO()
        stream = (io.BytesIO(opening), len(opening))
        mine, _, made = self.parts
        write_proof(out, head or mine, [receipt], [stream], made if evaluation is None else evaluation)
        return out.getvalue()

    def case(self, forgery: Forgery, using: Model | None = None) -> PublicCase:
        """Return the verification of a proof of a lie.

        The proof is made as an honest prover would, if that has no objection, and else put together.
        """
        opening = self.opening(forgery, using)
        try:
            data = self.proof(self.answered(forgery, opening))
        except VerificationError:
            data = self.written(forgery.receipt.encode(), opening)
        return PublicCase(self, data, (forgery.request,))

    def changed(
        self,
        *,
        opening: bytes | None = None,
        evaluation: bytes | None = None,
        head: ProofHead | None = None,
        receipt: bytes | None = None,
    ) -> PublicCase:
        """Return the verification of the honest proof with parts replaced."""
        t = self.target
        data = self.written(
            t.honest().receipt.encode() if receipt is None else receipt,
            self._honest_opening if opening is None else opening,
            evaluation,
            head,
        )
        return PublicCase(self, data, (t.honest().request,))

    @cached_property
    def opened(self) -> Opening:
        """The honest opening, taken apart."""
        forgery = self.target.honest()
        return Opening.parse(self._honest_opening, forgery, coded_challenge(forgery.claim, ALL))


@dataclass(frozen=True)
class PublicForged:
    """A public proof of which something is forged."""

    build: Callable[[Public], PublicCase]
    step: int
    """The step that rejects it."""
    does: str
    """What is forged."""
    kind: str = "public proof"


# -- hints -------------------------------------------------------------------------------------------------
def _accumulators(p: Public, change: Callable[[I32], None]) -> bytes:
    """Return the honest opening in which the head's last product of the last cell has other values [n, m]."""
    opening, t = p.opened, p.target
    at = len(opening.parts) - 1
    site, part = t.plans[t.head].sites[-1], opening.parts[at]
    data, cell = bytes(part.hints[-1][0]), coded_challenge(t.honest().claim, ALL).cells[at]
    n = (cell.b - cell.a) * site.rows
    values = unpack(data[1:], data[0], n * site.m).reshape(n, site.m).copy()
    change(values)
    sets = (pack_set(values, t.kernels), *part.hints[-1][1:])
    return opening.with_part(at, hints=(*part.hints[:-1], sets)).encode()


def _one(values: I32) -> None:
    values[0, -1] += 1


def _two_rows(values: I32) -> None:
    if len(values) < 2:
        raise NotApplicable("a single row")
    values[:2, -1] += np.array([1, -1], np.int32)


def _plus_p(values: I32) -> None:
    """An accumulator plus p is right in the field, and outside of what a product can be."""
    values[0, int(values[0].argmin())] += P31


def _proved(change: Callable[[I32], None]) -> Callable[[Public], PublicCase]:
    """Return a proof of the honest answer with wrong accumulators, made as an honest prover would."""

    def build(p: Public) -> PublicCase:
        answered = p.answered(p.target.honest(), _accumulators(p, change))
        return PublicCase(p, p.proof(answered), (answered.request,))

    return build


def _shown(change: Callable[[I32], None]) -> Callable[[Public], PublicCase]:
    """Return the proof of the honest answer, with an opening of wrong accumulators."""
    return lambda p: p.changed(opening=_accumulators(p, change))


@dataclass(frozen=True, eq=False)
class _Staged(Model):
    """A model of which one weight differs in one stage of making a proof."""

    stage: int = 0
    """0: what sumcheck is about; 1: the combined weights; 2: the positions; -1: all of them."""
    planes: int = 1
    """Planes of the weight, for each of which it is asked for once in a stage."""
    name: str = ""
    asked: list[str] = field(default_factory=list)

    def matrix(self, name: str) -> Matrix:
        """Return a matrix, which is another in this stage."""
        w = super().matrix(name)
        if name != self.name:
            return w
        self.asked.append(name)
        if self.stage not in (-1, (len(self.asked) - 1) // self.planes):
            return w
        q = w.q.copy()
        q[..., -1, -1] ^= 1
        return replace(w, q=q)


def _of_other_weights(stage: int) -> Callable[[Public], PublicCase]:
    """Return a proof whose maker uses other weights in one of its stages."""

    def build(p: Public) -> PublicCase:
        t = p.target
        name = t.products(t.head)[-1]
        planes = len(list(p.published.key.layout.of_weight(name)))
        lying = _Staged(t.model.card, t.model.weights, stage=stage, planes=planes, name=name)
        answered = p.answered(t.honest(), p.opening(t.honest()))
        return PublicCase(p, p.proof(answered, model=lying), (answered.request,))

    return build


# -- the evaluation ----------------------------------------------------------------------------------------
def _evaluation(change: Callable[[Evaluation], Evaluation]) -> Callable[[Public], PublicCase]:
    return lambda p: p.changed(evaluation=change(p.parts[1]).encode())


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Public], PublicCase]:
    return lambda p: p.changed(evaluation=change(p.parts[2]))


def _not_canonical(e: Evaluation) -> Evaluation:
    w = e.combined[0].copy()
    w[0, 0] = P31 + int(w[0, 0] == 0)
    return replace(e, combined=(w, *e.combined[1:]))


def _opened(change: Callable[[Opened], Opened]) -> Callable[[Public], PublicCase]:
    return _evaluation(lambda e: replace(e, opened=(change(e.opened[0]), *e.opened[1:])))


def _word(o: Opened) -> Opened:
    words = o.words.copy()
    words[0, 0] ^= np.uint32(1)
    return Opened(words, o.paths)


def _digest(o: Opened) -> Opened:
    first = o.paths[0]
    digest = bytes([first[0][0] ^ 1]) + first[0][1:]
    return Opened(o.words, ((digest, *first[1:]), *o.paths[1:]))


def _fewer(o: Opened) -> Opened:
    return Opened(o.words[1:], o.paths[1:])


# -- the head ----------------------------------------------------------------------------------------------
def _of_another_key(p: Public) -> PublicCase:
    """The verifier trusts another public key: of the same weights, coded at another rate."""
    other = publish(p.target.model, p.target.kernels, rho=3)
    return replace(p.changed(), published=other)


def _few_positions(p: Public) -> PublicCase:
    """Too few positions of the codes are opened."""
    t = p.target
    honest = p.answered(t.honest(), p.opening(t.honest()))
    return PublicCase(p, p.proof(honest, positions=p.positions // 2 + 8), (t.honest().request,))


def _few_cells(p: Public) -> PublicCase:
    """A few cells are opened, which the receipt's hash draws, and the verifier asks for all."""
    t = p.target
    honest = p.answered(t.honest(), p.opening(t.honest(), cells=4), cells=4)
    return PublicCase(p, p.proof(honest), (t.honest().request,))


def _for_another_request(p: Public) -> PublicCase:
    return replace(p.changed(), requests=(p.target.request(nonce=bytes([1] * 32)),))


# -- the opening -------------------------------------------------------------------------------------------
def _frames(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Public], PublicCase]:
    return lambda p: p.changed(opening=p.opened.closed(change(p.opened.frames())))


def _ended(make: Callable[[Opening], list[bytes]]) -> Callable[[Public], PublicCase]:
    def build(p: Public) -> PublicCase:
        frames = [*p.opened.frames(), *make(p.opened)]
        return p.changed(opening=b"".join(map(framed, frames)))

    return build


def _of_another_receipt(p: Public) -> PublicCase:
    other = p.target.honest(p.target.request(nonce=bytes([1] * 32)))
    return p.changed(opening=p.opening(other))


def _relayed(p: Public) -> PublicCase:
    """Another node signs the receipt and the opening, for a request that names this one."""
    t = p.target
    forgery = t.honest(t.request(node=t.honest().receipt.node)).signed(STRANGER)
    return p.case(forgery)


def _trailing(p: Public) -> PublicCase:
    return replace(p.changed(), data=p.honest + b"\0")


def _cut(p: Public) -> PublicCase:
    return replace(p.changed(), data=p.honest[:-1])


PROOFS: Final[Mapping[str, PublicForged]] = {
    "one accumulator off by one": PublicForged(_proved(_one), 8, "one product of one row is wrong by one"),
    "errors of two rows that cancel": PublicForged(
        _proved(_two_rows), 8, "what is too much in one row is too little in the next"
    ),
    "an accumulator plus p": PublicForged(_shown(_plus_p), 8, "a product is right modulo p only", "hints"),
    "another opening than was proved": PublicForged(
        _shown(_one), 6, "an opening with other products than those that the proof is about"
    ),
    "sumcheck of other weights": PublicForged(
        _of_other_weights(0), 8, "the sums are shown for a weight that is off by one"
    ),
    "combined weights of other weights": PublicForged(
        _of_other_weights(1), 8, "a weight is off by one where weights are combined"
    ),
    "positions of other weights": PublicForged(
        _of_other_weights(2), 7, "a weight is off by one where the code is opened"
    ),
    "a proof of other weights": PublicForged(
        _of_other_weights(-1), 7, "a weight is off by one in all that is proved"
    ),
    "a residue that is not canonical": PublicForged(
        _evaluation(_not_canonical), 1, "a combined weight is p too large"
    ),
    "a word of a position": PublicForged(_opened(_word), 7, "a word of the code is another"),
    "a path of a position": PublicForged(_opened(_digest), 7, "a digest of a path is another", "Merkle"),
    "a position that is left out": PublicForged(_opened(_fewer), 1, "a position of a code is not opened"),
    "no evaluation": PublicForged(_bytes(lambda b: b""), 8, "products are not proved at all"),
    "an evaluation cut off": PublicForged(_bytes(lambda b: b[:-1]), 1, "the evaluation ends early"),
    "an evaluation that goes on": PublicForged(_bytes(lambda b: b + b"\0"), 1, "bytes after the evaluation"),
    "another public key": PublicForged(_of_another_key, 3, "the proof is for other codes than are trusted"),
    "too few positions": PublicForged(_few_positions, 1, "few positions, so that other weights might pass"),
    "too few cells": PublicForged(_few_cells, 10, "a few cells where all were asked for", "challenge"),
    "a proof for another request": PublicForged(
        _for_another_request, 4, "a proof of an answer to an earlier request", "stale receipt"
    ),
    "a part of the opening left out": PublicForged(
        _frames(lambda f: f[:-1]), 10, "a cell of the proof is not opened", "opening"
    ),
    "a part of the opening twice": PublicForged(
        _frames(lambda f: [*f, f[-1]]), 1, "a frame more than the cells take", "opening"
    ),
    "the opening of another receipt": PublicForged(
        _of_another_receipt, 6, "an opening that belongs to another answer", "stale receipt"
    ),
    "an opening that another node closed": PublicForged(
        _ended(lambda o: [end_of(o, STRANGER)]), 2, "another node signed the opening", "relay"
    ),
    "an opening that nobody closed": PublicForged(_ended(lambda o: []), 10, "nobody signed the opening"),
    "a proof of another node": PublicForged(
        _relayed, 2, "another node's receipt and opening are proved", "relay"
    ),
    "bytes after a proof": PublicForged(_trailing, 1, "the proof goes on after its end"),
    "a proof cut off": PublicForged(_cut, 1, "the proof ends early"),
}
"""Attacks on public proofs."""
