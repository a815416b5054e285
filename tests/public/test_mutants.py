"""Every check of public proofs without weights matters: without it, a named attack passes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

import synthetic
from adversary.mutation import PUBLIC, Edit, apply, raised_at, sites
from beacons.world import ATTESTOR, OTHER
from proofcompute.beacons import Round
from proofcompute.errors import Cell, VerificationError
from proofcompute.jobs import NOT_RECEIVED
from proofcompute.public import evaluation, products
from proofcompute.public.proof import ALL, Proof, ProofHead, write_proof
from proofcompute.public.proving import prove
from proofcompute.public.sums import Sums
from public import opened as openings
from public import test_products as jobs
from public.forging import altered, head_cells
from public.test_attacks import lying
from public.test_drawn import attested, drawn
from public.world import KERNELS, POSITIONS, model, proof, published, request, verified

KIND = "w8a16"
Attack = Callable[[], object]

OPENINGS = "public.openings"
EVALUATION, READING = "public.evaluation", "public.reading"
PROVING, PRODUCTS = "public.proving", "public.products"


def never(module: str, condition: str) -> Edit:
    return Edit(module, f"if {condition}:", "if False:")


@dataclass(frozen=True)
class Mutant:
    """One check."""

    site: str
    """Where it raises: file, function and the beginning of the text."""
    edits: tuple[Edit, ...]
    """What removes it."""
    attack: Callable[[], Attack]
    """Prepares a verification that must fail, and then passes."""


def false() -> Any:
    """An answer with one wrong accumulator."""
    return altered(KIND, {(head_cells(KIND)[0], 0, 0): 1})


def of(data: bytes, **options: Any) -> Attack:
    options = {"cells": 1, **options}
    return lambda: verified(KIND, data, request(KIND), **options)


def shown(data: bytes, *, head: Callable[[ProofHead], ProofHead], made: bytes | None = None) -> bytes:
    """The proof with another head, or another evaluation."""
    found, out = Proof.read(io.BytesIO(data)), io.BytesIO()
    old = found.evaluation.read(found.evaluation_size)
    openings = [(o, len(o.read(1 << 30))) for o in found.openings]
    write_proof(out, head(found.head), found.receipts, openings, old if made is None else made)
    return out.getvalue()


def same(head: ProofHead) -> ProofHead:
    return head


def first(head: ProofHead, **changes: Any) -> ProofHead:
    (one,) = head.requests
    return replace(head, requests=(replace(one, **changes),))


def opened_as(frames: Callable[[Any], list[bytes]], cells: Any = "all") -> Attack:
    """An opening for a challenge that asks for a proof, of frames that the node signs."""
    asked = openings.challenge(cells)
    data = openings.closed(frames(asked), asked)
    return lambda: openings.check(asked, data)


def proof_of_no_products(asked: Any) -> list[bytes]:
    return [*synthetic.frames(openings.opened(asked))[:-2], b"a proof of something"]


def false_with_the_best_proof(asked: Any) -> list[bytes]:
    return openings.false_hints(asked, {(openings.last_cell(asked), 0, 0): 1})


def a_plane_left_out() -> Attack:
    """The prover does not name the weights of the false product."""
    one, out = false(), io.BytesIO()
    layout = published(KIND).key.layout
    name = model(KIND).program.plans[-1].sites[-1].weight
    left = {p.number for p in layout.of_weight(name)}

    def without(transcript: Any, sums: list[Sums[Any]], *more: Any) -> Any:
        for some in sums:
            some.a = {number: a for number, a in some.a.items() if number not in left}
        return made(transcript, sums, *more)

    made = evaluation.prove
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "prove", without)
        prove(published(KIND), model(KIND), [one], out, positions=POSITIONS, kernels=KERNELS)
    return of(out.getvalue())


def other_cells(**options: Any) -> Attack:
    return of(proof(KIND, drawn(4)), **options)


def beacon_of_another_attestor() -> Attack:
    good, data = attested(), proof(KIND, drawn(4, attested(OTHER)))
    assert good.receipt_digest == attested(OTHER).receipt_digest
    return of(data, cells=4, attestors=[ATTESTOR.public])


def digests_written_first() -> Attack:
    """The head's digest is not that of the opening, and all challenges of the evaluation follow from it."""
    from proofcompute.public.transcript import Absorbed

    honest = proof(KIND)
    (one,) = Proof.read(io.BytesIO(honest)).head.requests
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Absorbed, "digest", lambda self: bytes(32))
        data = proof(KIND)
    assert one.digest != bytes(32)
    return of(data, cells=ALL)


def product(c: Callable[[Any], Any], data: Callable[[Any], bytes] | None = None) -> Attack:
    """A node that signs another C."""
    done = jobs.signed("one", c(jobs.signed("one").c.copy()))
    sent = jobs.proved_by_force("one", jobs.answered(done)) if data is None else data(done)
    return lambda: jobs.verified("one", sent, done, received=[NOT_RECEIVED])


def residue(c: Any) -> Any:
    c[0, 0] += -((1 << 31) - 1) if c[0, 0] > 0 else (1 << 31) - 1
    return c


def one_more(c: Any) -> Any:
    c[0, 0] += 1
    return c


def product_digest_written_first(done: Any) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products._SummedRows, "digest", lambda self: bytes(32))
        return jobs.proved("one", jobs.answered(done))


MUTANTS: dict[str, Mutant] = {
    "planes that no evaluation names": Mutant(
        "public/evaluation:Followed.require: 8: evaluation: a product used other weights",
        (never(EVALUATION, "not sums.u.keys() <= {plane.number for plane in shape.planes}"),),
        a_plane_left_out,
    ),
    "rounds add up": Mutant(
        "public/evaluation:Followed.require: 8: evaluation: a round of sumcheck",
        (never("codes.sumcheck", "not np.array_equal(add(at0, at1), claim)"),),
        lambda: of(proof(KIND, false())),
    ),
    "the value is that of the combined weights": Mutant(
        "public/evaluation:Followed.require: 8: evaluation: the combined weights do not give",
        (never(EVALUATION, "not np.array_equal(multiply(self._value, right), product)"),),
        lambda: of(lying(KIND, false(), close=False)[0]),
    ),
    "combined weights are those that were coded": Mutant(
        "public/evaluation:_check_code: 8: evaluation: the combined weights are not",
        (
            never(
                EVALUATION,
                "not np.array_equal(circle.words(w, at, project), project(_signed(opened.words), rows))",
            ),
        ),
        lambda: of(lying(KIND, false())[0]),
    ),
    "opened words are under the root": Mutant(
        "public/evaluation:_check_code: 7: evaluation: a position is not",
        (never(EVALUATION, "any(f != root for f in found)"),),
        lambda: of(lying(KIND, false(), fit=True, publish=False)[0]),
    ),
    "the key is the verifier's": Mutant(
        "public/reading:proof_for: 3: the proof is for another",
        (never(READING, "head.public_id != key.public_id"),),
        lambda: of(shown(proof(KIND), head=lambda head: replace(head, public_id=bytes(32))), cells=ALL),
    ),
    "positions suffice": Mutant(
        "public/reading:proof_for: 1: {} positions of each code",
        (never(READING, "bits < security"),),
        lambda: of(proof(KIND, positions=24), cells=ALL),
    ),
    "cells suffice": Mutant(
        "public/reading:require_count: 10: {} of {} {} are proved",
        (never(READING, "not enough"),),
        lambda: other_cells(cells=ALL),
    ),
    "the opening is the one in the head": Mutant(
        "public/proving:verify_proof: 6: the opening is not the one",
        (never(PROVING, "digest != head.digests[number]"),),
        digests_written_first,
    ),
    "products need an evaluation": Mutant(
        "public/proving:verify_proof: 8: the opening has products",
        (Edit(PROVING, "elif sums.u:", "elif False:"),),
        lambda: of(shown(proof(KIND, false()), head=same, made=b"")),
    ),
    "products that an opening's proof does not fit": Mutant(
        "public/evaluation:Followed.require: 8: evaluation: a round of sumcheck",
        (Edit(OPENINGS, ".require(0, sums)", ""),),
        lambda: opened_as(false_with_the_best_proof),
    ),
    "no products, no proof": Mutant(
        "public/openings:_Evaluated.check: 10: the opening has no products",
        (never(OPENINGS, "frame"),),
        lambda: opened_as(proof_of_no_products, (Cell(0, 0, 2),)),
    ),
    "beacons are checked": Mutant(
        "beacons/checking:tries_before: 6: str(e)",
        (
            Edit(
                READING,
                "beacon, tries_before(beacon, receipt_digest, request_digest, attestors)",
                "beacon, 1",
            ),
        ),
        beacon_of_another_attestor,
    ),
    "who believes attestors wants beacons": Mutant(
        "public/reading:beacon_in: 6: the {} are drawn by",
        (never(READING, "attestors and shown.cells != ALL"),),
        lambda: other_cells(attestors=[ATTESTOR.public]),
    ),
    "elements of C are small": Mutant(
        "public/products:_SummedRows.test: 8: an element of C",
        (never(PRODUCTS, "int(c.max()) >= MAX_ACCUMULATOR or int(c.min()) <= -MAX_ACCUMULATOR"),),
        lambda: product(residue),
    ),
    "the opened product is the one in the head": Mutant(
        "public/products:verify_products: 6: the opening is not",
        (never(PRODUCTS, "summed.digest() != shown.digest"),),
        lambda: product(lambda c: c, product_digest_written_first),
    ),
    "products have an evaluation": Mutant(
        "public/products:verify_products: 1: the proof has no evaluation",
        (
            never(PRODUCTS, "after is None"),
            Edit(
                PRODUCTS,
                "after.require(number, summed.sums)",
                "after is None or after.require(number, summed.sums)",
            ),
        ),
        lambda: product(
            one_more, lambda done: shown(jobs.proved("one", jobs.answered(done)), head=same, made=b"")
        ),
    ),
    "who believes attestors wants beacons of products": Mutant(
        "public/reading:beacon_in: 6: the {} are drawn by",
        (never(READING, "attestors and shown.cells != ALL"),),
        lambda: product_without_a_beacon(),
    ),
    "a product's beacon is part of what its proof is about": Mutant(
        "public/products:verify_products: 6: the opening is not",
        (Edit(PRODUCTS, 'self._transcript.absorb("beacon", beacon.encode())', "pass"),),
        lambda: product_with_a_beacon_put_in(),
    ),
}
OTHERWISE = {
    "public/evaluation:_check_code: 1: evaluation: {} positions": "a tree counts its leaves, too",
    "public/evaluation:_check_code: 1: evaluation: {}": "a path of another length",
    "public/openings:_Evaluated.check: 1: str(e)": "a proof that does not decode",
    "public/reading:proof_for: 1: str(e)": "a stream that is no proof",
    "public/reading:followed: 1: str(e)": "an evaluation that does not decode",
    "public/reading:followed: 1: the evaluation has": "decoding has this limit, but after reading",
    "public/reading:numbers: 4: the proof is not of": "a receipt is compared with its request again",
    "public/products:verify_products: 1: rows of products": "a number of runs draws no rows",
    "public/reading:beacon_in: 1: str(e)": "a beacon that does not decode",
    "public/proving:verify_proof: 1: str(e)": "cells that no challenge can name",
}
"""Checks that turn what cannot be used into a rejection: without them another error stops it."""


def product_without_a_beacon() -> Attack:
    done = jobs.signed("one")
    data = jobs.proved("one", jobs.answered(done, 3))
    return lambda: jobs.verified("one", data, done, rows=3, attestors=[ATTESTOR.public])


def product_with_a_beacon_put_in() -> Attack:
    """Rows that the receipt's hash drew are shown as those of a beacon; here both are all."""
    done = jobs.signed("short")
    data = jobs.proved("short", jobs.answered(done, 2))
    data = shown(data, head=lambda head: first(head, beacon=jobs.attested(done).encode()))
    return lambda: jobs.verified("short", data, done, rows=2, attestors=[ATTESTOR.public])


def test_every_place_that_rejects_has_a_mutant() -> None:
    """A new check in these files fails here until it has a mutant that shows what it is for."""
    places = [s.name for file in PUBLIC for s in sites(file)]
    known = [m.site for m in MUTANTS.values()] + list(OTHERWISE)
    for place in places:
        assert any(place.startswith(site) for site in known), place
    for site in known:
        assert any(place.startswith(site) for place in places), site


@pytest.mark.parametrize("name", MUTANTS)
def test_an_attack_on_a_public_proof_passes_only_without_the_check(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant = MUTANTS[name]
    monkeypatch.setattr(Round, "check", lambda self, chain: None)
    attack = mutant.attack()
    with pytest.raises(VerificationError) as caught:
        attack()
    assert any(site.startswith(mutant.site) for site in raised_at(caught.value, PUBLIC))
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, mutant.edits)
        assert attack()
    with pytest.raises(VerificationError):
        attack()
