"""Publishers whose codes are not those of the weights, and who finds them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from proofcompute.arrays import I8
from proofcompute.commitments import merkle
from proofcompute.errors import FormatError, MismatchError, VerificationError
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import bound_together, hint_sets, largest_squares, pack_set
from proofcompute.models.model import Model
from proofcompute.protocol.hints import sum_hint
from proofcompute.public import evaluation
from proofcompute.public.coding import SUITE, Coder
from proofcompute.public.layout import Layout
from proofcompute.public.message import Shape
from proofcompute.public.proving import prove, verify_proof
from proofcompute.public.publishing import Published, check_leaves, publish
from proofcompute.public.transcript import begun
from public.world import KERNELS, POSITIONS, SECURITY, answered, model, published, request

KIND = "w8a16"
P = (1 << 31) - 1
Change = Callable[[I8], I8]


def coded(change: Change, rho: int = 4) -> Published:
    """A public key of the model, with codes of changed planes."""
    mine, m = published(KIND), model(KIND)
    layout = Layout.of(m.program, rho)
    coder = Coder(layout, KERNELS)
    for plane in layout.planes:
        matrix = plane.matrix(m.matrix(plane.weight))
        coder.add(plane, np.ascontiguousarray(change(matrix)) if plane.number == 0 else matrix)
    trees = coder.trees()
    return Published(replace(mine.key, rho=rho, roots=tuple(t.root for t in trees)), trees)


def _one(w: I8) -> I8:
    out = w.copy()
    out[0, 0] ^= 1
    return out


CHANGES: dict[str, Change] = {
    "one weight": _one,
    "other weights": lambda w: np.random.default_rng(5).integers(-127, 128, w.shape, np.int8),
    "rows swapped": lambda w: np.concatenate([w[1:2], w[:1], w[2:]]),
    "a row repeated": lambda w: np.concatenate([w[:1], w[:1], w[2:]]),
    "rows permuted": lambda w: w[::-1],
    "columns permuted": lambda w: w[:, ::-1],
    "a shorter table": lambda w: np.concatenate([w[:-1], np.zeros_like(w[:1])]),
    "signs": lambda w: -w,
}


@pytest.mark.parametrize("name", CHANGES)
def test_codes_of_other_weights_are_found(name: str) -> None:
    """By who has the weights, at few positions; and no proof of a true answer holds under them."""
    made = coded(CHANGES[name])
    assert made.key.public_id != published(KIND).key.public_id
    with pytest.raises(MismatchError, match="is not that of the weights"):
        check_leaves(made, model(KIND), KERNELS, 2, seed=bytes(32))
    out = io.BytesIO()
    prove(made, model(KIND), [answered(KIND)], out, positions=POSITIONS, kernels=KERNELS)
    with pytest.raises(VerificationError, match="step 7: evaluation: a position is not under"):
        verify_proof(
            made.key, [request(KIND)], io.BytesIO(out.getvalue()), kernels=KERNELS, security=SECURITY
        )


def test_codes_that_are_not_changed_are_those_of_the_weights() -> None:
    assert coded(lambda w: w).key.public_id == published(KIND).key.public_id


def test_roots_of_another_rate_are_found() -> None:
    """Short codes under the name of long ones, and the other way round."""
    for rho, stated in ((3, 4), (4, 3)):
        key = replace(coded(lambda w: w, rho).key, rho=stated)
        mine = published(KIND, stated)
        assert mine.key.public_id != key.public_id
        with pytest.raises(MismatchError, match="its codes are other ones"):
            prove(
                Published(key, mine.trees),
                model(KIND),
                [answered(KIND)],
                io.BytesIO(),
                positions=POSITIONS,
                kernels=KERNELS,
            )


def half(share: float = 0.5) -> tuple[Published, Model]:
    """A code of which some positions are of one model and the others of another, and that other model."""
    mine, m = published(KIND), model(KIND)
    name = mine.key.layout.planes[-1].weight
    q = m.matrix(name).q.copy()
    q[..., 0] ^= 3
    other = replace(m, weights={**m.weights, name: replace(m.matrix(name), q=q)})
    coder = Coder(mine.key.layout, KERNELS)
    for plane in mine.key.layout.planes:
        coder.add(plane, plane.matrix(other.matrix(plane.weight)))
    trees = []
    for tree, digests in zip(mine.trees, coder.digests, strict=True):
        own = np.array([list(tree.leaf(i)) for i in range(len(digests))], np.uint8)
        own[int(share * len(own)) :] = digests[int(share * len(own)) :]
        trees.append(merkle.Tree(SUITE, own, KERNELS.hash_rows))
    return Published(replace(mine.key, roots=tuple(t.root for t in trees)), trees), other


def test_a_publisher_of_half_of_one_model_and_half_of_another_is_found() -> None:
    """Its proofs of either would hold with few positions; coding again, or some positions, find it."""
    made, _ = half()
    assert publish(model(KIND), KERNELS).key.public_id != made.key.public_id
    for seed in range(5):
        with pytest.raises(MismatchError, match="is not that of the weights"):
            check_leaves(made, model(KIND), KERNELS, 20, seed=bytes([seed]) * 32)
    out = io.BytesIO()
    prove(made, model(KIND), [answered(KIND)], out, positions=POSITIONS, kernels=KERNELS)
    with pytest.raises(VerificationError, match="step 7: evaluation: a position is not under"):
        verify_proof(
            made.key, [request(KIND)], io.BytesIO(out.getvalue()), kernels=KERNELS, security=SECURITY
        )


def test_proofs_of_half_a_code_hold_as_often_as_the_bound_says() -> None:
    """With one position of each code, which nobody accepts: a share of 3/4 of the positions is right."""
    made, _ = half(0.75)
    codes = sum(a.root != b.root for a, b in zip(made.trees, published(KIND).trees, strict=True))
    held, tries = 0, 200
    for number in range(tries):
        # the public id is absorbed, so each constant of the key gives other positions
        name, scale = next((n, e.scale) for n, e in made.key.matrices.items())
        entry = replace(made.key.matrices[name], bias=np.full(len(scale), number, np.float32))
        key = replace(made.key, matrices={**made.key.matrices, name: entry})
        held += _holds(Published(key, made.trees))
    wanted = 0.75**codes
    assert abs(held / tries - wanted) < 4 * (wanted * (1 - wanted) / tries) ** 0.5


def _holds(made: Published) -> bool:
    """Whether the positions of a proof lie in the part that is of the model; nothing else can fail."""
    shape = Shape.of(made.key.layout, [p.number for p in made.key.layout.planes])
    transcript = begun(made.key.public_id, 1, [bytes(32)])
    places = evaluation._positions(transcript, shape, 1)
    mine = published(KIND).trees
    return all(
        made.trees[number].leaf(q) == mine[number].leaf(q)
        for number, some in zip(shape.codes, places, strict=True)
        for q in some
    )


def test_understated_squares_would_let_a_residue_pass_for_its_integer() -> None:
    """Loud rows then have one set for both limbs, whose sums may be p more than what the set says."""
    d = 300
    q = np.stack([np.full((1, d), 127, np.int8), np.full((1, d), 127, np.int8)])  # 256 * 127 + 127
    w = np.full((1, 1, d), 127, np.int8)
    site = Site("w", 1, d, 2, 1)
    true = (256 * 127 + 127) * 127 * d
    assert (1 << 30) < true < P
    residue = np.array([[true - P]], np.int32)
    packed = [pack_set(residue, KERNELS)]
    r = np.random.default_rng(1).integers(0, P, (1, 6, 1)).astype(np.uint32)

    def summed(squares: tuple[int, ...]) -> tuple[int, float]:
        wanted = hint_sets(site, q, squares, KERNELS)
        some = packed * len(wanted)
        _, u, y = sum_hint(
            some,
            "w",
            wanted,
            np.repeat(r, len(wanted), 0),
            np.ones(1, np.float32),
            (np.ones(1, np.float32), None),
            KERNELS,
        )
        assert u[0, 0, 0] == int(r[0, 0, 0]) * (true % P) % P  # what the codes show of the true product
        return len(wanted), float(y[0, 0])

    squares = largest_squares(w, KERNELS)
    assert bound_together(KERNELS.largest_square(q), squares[0]) is None
    with pytest.raises(FormatError, match="width outside"):
        summed(squares)
    sets, y = summed((squares[0] * 7 // 10,))
    assert (sets, y) == (1, float(np.float32(true - P)))
