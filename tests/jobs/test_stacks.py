"""Products of stacks: pairs as NumPy broadcasts them, one receipt, and lies about members."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import proofcompute as pc
from adversary.mutation import Edit, apply
from jobs.cases import DEVICE, NODE, Job, audit, claim, closed, frames_of, opened, recommitted, step
from proofcompute.arrays import Array
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, VerificationError
from proofcompute.jobs import (
    MatrixId,
    ProductChallenge,
    ProductKey,
    ProductProof,
    ProductRequest,
    ProductVerified,
    Stacks,
    float_bound,
    job,
    product_request,
    prove_product,
    verify_product,
)

LEADS = [
    ((3,), ()),
    ((), (3,)),
    ((3,), (3,)),
    ((1,), (3,)),
    ((2, 1), (3,)),
    ((2, 3), (2, 3)),
    ((2, 1, 2), (1, 3, 1)),
    ((3, 1), (1, 2)),
    ((1, 1), ()),
]


def factors(
    a: tuple[int, ...], b: tuple[int, ...], dtype: str = "int8", n: int = 4, d: int = 6, m: int = 3
) -> tuple[Array, Array]:
    rng = np.random.default_rng(len(a) + 10 * len(b))
    if dtype.startswith("float"):
        return rng.standard_normal((*a, n, d)).astype(dtype), rng.standard_normal((*b, d, m)).astype(dtype)
    return rng.integers(-100, 100, (*a, n, d), dtype), rng.integers(-100, 100, (*b, d, m), dtype)


def run(a: tuple[int, ...] = (3,), b: tuple[int, ...] = (3,), dtype: str = "int8") -> Job:
    left, right = factors(a, b, dtype)
    request = product_request(left, right, node=NODE.public, device=DEVICE)
    return Job(left, right, request, prove_product(request, left, right, NODE, device=DEVICE))


@pytest.mark.parametrize(("a", "b"), LEADS)
def test_members_are_paired_as_numpy_pairs_them(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    stacks = Stacks(a, b)
    assert stacks.lead == np.broadcast_shapes(a, b)
    numbers = [np.arange(np.prod(lead, dtype=int)).reshape(lead) for lead in (a, b)]
    expected = list(zip(*(np.broadcast_to(x, stacks.lead).reshape(-1) for x in numbers), strict=True))
    assert [stacks.pair(i) for i in range(stacks.members)] == expected


def test_stacks_that_do_not_broadcast_or_are_too_many() -> None:
    for a, b in (((2,), (3,)), ((2, 3), (3, 2)), ((0,), (1,)), ((-1,), ())):
        with pytest.raises(FormatError):
            Stacks(a, b)
    with pytest.raises(FormatError, match="at most 6"):
        Stacks((1,) * 7, ())
    with pytest.raises(LimitError, match="stack of"):
        Stacks((1 << 13, 1), (1 << 12,))


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "float64"])
@pytest.mark.parametrize(("a", "b"), LEADS)
def test_an_honest_stack_passes(a: tuple[int, ...], b: tuple[int, ...], dtype: str) -> None:
    left, right = factors(a, b, dtype)
    with job(right, identity=NODE, suite="blake3", device=DEVICE) as resident:
        c, proof = resident.matmul(left, check=True)
        given = resident.prove(left, request=proof.request, c=c)
        assert given.receipt == proof.receipt
    expected = left @ right if dtype.startswith("f") else left.astype(np.int64) @ right.astype(np.int64)
    np.testing.assert_array_equal(c, expected)
    j = Job(left, right, proof.request, proof)
    result = audit(j, c=c)
    assert (result.rows, result.total) == (c.size // 3, c.size // 3)
    again = verify_product(left, right, c, device=DEVICE)
    assert again.complete
    if again.bound is not None:
        assert again.bound.caught.shape == float_bound(left, right).caught.shape == (result.rows,)
    else:
        key = ProductKey(right, suite="blake3", device=DEVICE)
        assert key.check(left, c).complete
        assert audit(j, b=key).complete
        assert key.request(left, nonce=proof.request.nonce) == proof.request


def test_one_b_for_a_stack_is_one_matrix_of_all_rows() -> None:
    left, right = factors((3,), ())
    stacked, whole = (
        product_request(x, right, nonce=bytes(32), device=DEVICE) for x in (left, left.reshape(-1, 6))
    )
    assert (stacked.a, stacked.b, stacked.shape) == (whole.a, whole.b, whole.shape)
    assert stacked.digest != whole.digest


def test_requests_for_stacks_survive_their_encoding() -> None:
    for a, b in LEADS:
        j = run(a, b)
        again = ProductRequest.decode(j.request.encode())
        assert again == j.request
        assert again.stacks == Stacks(a, b)
    plain = run((), ()).request
    assert plain.encode()[:40] == replace(plain, stacks=Stacks()).encode()[:40]
    from proofcompute.encoding import wire

    top = wire.as_list(wire.decode(plain.encode(), limit=4096, what="request"), "request")
    for version, rest in ((1, (((), ()),)), (2, (((), ()),)), (2, ()), (3, (((3,), ()),)), (2, ((3,),))):
        with pytest.raises(FormatError):
            ProductRequest.decode(wire.encode((top[0], version, *top[2:], *rest)))


def test_requests_for_stacks_are_consistent() -> None:
    a, b = MatrixId("int8", 6, 4, bytes(32)), MatrixId("int8", 8, 5, bytes(32))
    assert ProductRequest(a, b, bytes(32), stacks=Stacks((2,), (2,))).shape == ("int32", 6, 5)
    for stacks in (Stacks((4,), (4,)), Stacks((2,), ()), Stacks((2,), (3,) * 2 + (1,)), Stacks((), (8,))):
        with pytest.raises(FormatError):
            ProductRequest(a, b, bytes(32), stacks=stacks)
    with pytest.raises(LimitError, match="rows"):
        ProductRequest(
            replace(a, rows=1 << 24, width=4), replace(b, rows=8), bytes(32), stacks=Stacks((1,), (2,))
        )


def test_rows_are_drawn_over_all_or_of_each() -> None:
    j = run((2, 3), (3,))
    n = 4
    seen = set()
    for _ in range(40):
        drawn = claim(j).draw(2, each=True)
        rows = [r for a, b in drawn.ranges for r in range(a, b)]
        assert [r // n for r in rows] == [i for i in range(6) for _ in range(2)]
        assert all(a // n == (b - 1) // n for a, b in drawn.ranges)
        seen |= set(rows)
        some = claim(j).draw(5)
        assert some.rows == 5
        assert all(a // n == (b - 1) // n for a, b in some.ranges)
    assert seen == set(range(24))
    assert audit(j, challenge=claim(j).draw(2, each=True)).rows == 12
    assert claim(j).draw(4, each=True).ranges == claim(j).draw(24).ranges == claim(j).all_rows().ranges
    assert len(claim(j).all_rows().ranges) == 6
    for each in (True, False):
        with pytest.raises(InputError, match="cannot be drawn"):
            claim(j).draw(0, each=each)


def test_a_stack_of_many_members_takes_no_memory_to_challenge() -> None:
    members = 1 << 20
    a = MatrixId("int8", members, 4, bytes(32))
    request = ProductRequest(a, MatrixId("int8", 4, 4, bytes(32)), bytes(32), stacks=Stacks((members,), ()))
    j = run()
    receipt = replace(j.receipt, c=replace(j.receipt.c, rows=members))
    wide = replace(claim(j), request=request, receipt=receipt)
    with pytest.raises(LimitError, match="ranges"):
        wide.all_rows()
    with pytest.raises(InputError, match="cannot be drawn"):
        wide.draw(1, each=True)


def test_a_proof_of_a_stack_in_a_file(tmp_path: Path) -> None:
    j = run((2, 1), (3,))
    j.proof.save(tmp_path / "proof")
    again = ProductProof.load(tmp_path / "proof", NODE, device=DEVICE)
    assert (again.request, again.receipt) == (j.request, j.receipt)
    assert (again.a.shape, again.c.shape) == (j.a.shape, (2, 3, 4, 3))
    assert opened(Job(j.a, j.b, j.request, again)) == opened(j)


def test_a_key_of_a_stack_in_a_file(tmp_path: Path) -> None:
    j = run()
    ProductKey(j.b, suite="sha256", device=DEVICE).save(tmp_path / "key")
    again = ProductKey.load(tmp_path / "key", device=DEVICE)
    assert again.lead == (3,)
    assert audit(j, b=again).complete
    flat = ProductKey(j.b.reshape(-1, 3), suite="sha256", device=DEVICE)
    assert flat.identity == again.identity
    with pytest.raises(MismatchError, match="key"):
        audit(j, b=flat)
    with pytest.raises(MismatchError, match="leading axes"):
        audit(j, b=j.b.reshape(1, 3, 6, 3))


# -- lies ------------------------------------------------------------------------------------------------
def swapped(x: Array) -> Array:
    return x[[1, 0, 2]]


@pytest.mark.parametrize("dtype", ["int8", "int16", "float64"])
def test_swapped_members_are_caught(dtype: str) -> None:
    """All members are right, and two of them are in each other's place."""
    honest = run(dtype=dtype)
    liar = recommitted(honest, swapped(honest.proof.c))
    assert step(lambda: audit(liar)) == 8
    for member in (0, 1):
        asked = ProductChallenge(liar.receipt.digest, ((4 * member, 4 * member + 1),))
        assert step(lambda asked=asked: audit(liar, challenge=asked)) == 8  # type: ignore[misc]
    rest = ProductChallenge(liar.receipt.digest, ((8, 12),))
    assert audit(liar, challenge=rest).rows == 4


def test_rows_of_another_member_are_not_under_the_root() -> None:
    """C is swapped, and so are the rows of A that it opens: each range is right by itself."""
    honest = run()
    liar = recommitted(honest, swapped(honest.proof.c), a=swapped(honest.a))
    assert step(lambda: audit(liar)) == 7
    asked = claim(honest).all_rows()
    frames = frames_of(honest, asked)
    data = closed(honest, asked, [frames[1], frames[0], frames[2]])
    assert step(lambda: audit(honest, challenge=asked, opening=data)) == 7


def test_the_c_received_has_its_members_in_order() -> None:
    honest = run()
    for sent in (swapped(honest.proof.c), honest.proof.c.reshape(12, 3), honest.proof.c[:2]):
        assert step(lambda sent=sent: audit(honest, c=sent)) == 5  # type: ignore[misc]


def test_a_wrong_element_of_one_member_is_caught_there() -> None:
    honest = run((2, 1), (3,))
    c = honest.proof.c
    for i, j in itertools.product(range(2), range(3)):
        c = honest.proof.c.copy()
        c[i, j, 2, 1] += 1
        liar = recommitted(honest, c)
        row = 4 * (3 * i + j) + 2
        asked = ProductChallenge(liar.receipt.digest, ((row, row + 1),))
        assert step(lambda liar=liar, asked=asked: audit(liar, challenge=asked)) == 8  # type: ignore[misc]
    with pytest.raises(VerificationError):
        verify_product(honest.a, honest.b, c, device=DEVICE)
    with pytest.raises(VerificationError):
        ProductKey(honest.b, device=DEVICE).check(honest.a, c)
    with pytest.raises(MismatchError, match="nothing was signed"):
        prove_product(honest.request, honest.a, honest.b, NODE, c=c, device=DEVICE)


def test_a_receipt_is_for_one_way_of_stacking() -> None:
    """The same rows in the same order, as another stack: another request."""
    left, right = factors((2, 2), (2, 2))
    asked = product_request(left, right, device=DEVICE)
    one = Job(left, right, asked, prove_product(asked, left, right, NODE, device=DEVICE))
    a, b, c = left.reshape(4, 4, 6), right.reshape(4, 6, 3), one.proof.c.reshape(4, 4, 3)
    two = product_request(a, b, nonce=asked.nonce, device=DEVICE)
    assert (two.a, two.b) == (asked.a, asked.b)
    assert step(lambda: audit(one, request=two, b=b, c=c)) == 4
    with pytest.raises(MismatchError, match="A is not"):
        prove_product(two, left, right, NODE, device=DEVICE)


def test_a_range_is_of_one_member() -> None:
    j = run()
    across = ProductChallenge(j.receipt.digest, ((3, 5),))
    with pytest.raises(FormatError, match="not of one product"):
        opened(j, across)
    with pytest.raises(FormatError, match="not of one product"):
        audit(j, challenge=across, opening=b"")


def never(condition: str, module: str = "jobs.messages") -> Edit:
    return Edit(module, f"if {condition}:", "if False:")


TEST = "used.test(rows_a, rows_c, member)"
MUTANTS: dict[str, tuple[tuple[Edit, ...], int]] = {
    "another B": ((Edit("jobs.verifying", TEST, TEST.replace("member", "1 - member")),), 8),
    "swapped A": ((never("root != of.root", "jobs.verifying"),), 7),
    "sent swapped": ((never("c != receipt.c", "jobs.claim"),), 5),
    "sent flat": ((never("(c.dtype.name, *c.shape) != wanted", "jobs.claim"),), 5),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_lie_about_members_passes_only_without_the_check(name: str) -> None:
    honest = run((2,), (2,))
    c, swap = honest.proof.c, [1, 0]
    other_a, other_b = honest.a[swap], honest.b[swap]
    of_other_a, of_other_b = (
        pc.matmul(x, y, device=DEVICE)[0] for x, y in ((other_a, honest.b), (honest.a, other_b))
    )
    attacks: dict[str, Callable[[], ProductVerified]] = {
        "another B": lambda: audit(recommitted(honest, of_other_b)),
        "swapped A": lambda: audit(recommitted(honest, of_other_a, a=other_a)),
        "sent swapped": lambda: audit(honest, c=c[swap]),
        "sent flat": lambda: audit(honest, c=c.reshape(8, 3)),
    }
    edits, expected = MUTANTS[name]
    with pytest.raises(VerificationError) as caught:
        attacks[name]()
    assert caught.value.step == expected
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, edits)
        assert attacks[name]().rows == 8


def test_an_opening_of_a_stack_is_read_frame_by_frame() -> None:
    j = run()
    asked = claim(j).all_rows()
    data = opened(j, asked)
    for cut in (len(data) // 2, len(data) - 1):
        with pytest.raises(VerificationError):
            audit(j, challenge=asked, opening=data[:cut])
    stream = io.BytesIO()
    j.proof.open_rows(asked, stream)
    assert stream.getvalue() == data
