"""The log's tree, beside the definitions of RFC 9162 computed by an oracle."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle import transparency_log as oracle
from proofcompute.commitments import log_tree
from proofcompute.commitments.log_tree import inclusion, root_of, verify_consistency, verify_inclusion
from proofcompute.errors import FormatError, InputError

# The leaves and roots of the test vectors that implementations of RFC 6962 share
# (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc, Apache-2.0).
KNOWN_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    bytes(range(0x60, 0x70)).hex(),
]
KNOWN_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def grown(leaves: list[bytes]) -> log_tree.Growing:
    tree = log_tree.Growing()
    for leaf in leaves:
        tree.append(log_tree.leaf_hash(leaf))
    return tree


def subtree(leaves: list[bytes], a: int, b: int) -> bytes:
    return log_tree.fold(
        [oracle.root(leaves[n << level : n + 1 << level]) for level, n in log_tree.parts(a, b)]
    )


def test_roots_are_those_that_implementations_share() -> None:
    leaves = [bytes.fromhex(leaf) for leaf in KNOWN_LEAVES]
    assert log_tree.Growing().root == log_tree.EMPTY == oracle.root([])
    for n, root in enumerate(KNOWN_ROOTS, 1):
        assert grown(leaves[:n]).root.hex() == oracle.root(leaves[:n]).hex() == root


def test_every_proof_of_small_logs_is_the_oracles() -> None:
    leaves = [b"leaf %d" % n for n in range(33)]
    for size in range(1, 34):
        now, root = leaves[:size], oracle.root(leaves[:size])
        assert grown(now).root == root == root_of([log_tree.leaf_hash(leaf) for leaf in now])
        for n in range(size):
            proof = [subtree(now, a, b) for a, b in log_tree.inclusion_ranges(n, size)]
            assert proof == oracle.path(n, now) == inclusion([log_tree.leaf_hash(x) for x in now], n)
            assert verify_inclusion(n, size, log_tree.leaf_hash(now[n]), proof, root)
        for first in range(size + 1):
            proof = [subtree(now, a, b) for a, b in log_tree.consistency_ranges(first, size)]
            if first:
                assert proof == oracle.proof(first, now)
            assert verify_consistency(first, size, oracle.root(now[:first]), root, proof)


@given(st.integers(1, 300), st.randoms(use_true_random=False))
def test_changed_proofs_prove_nothing(size: int, rng: random.Random) -> None:
    leaves = [b"leaf %d" % n for n in range(size)]
    root, n, first = oracle.root(leaves), rng.randrange(size), rng.randint(1, size)
    included, hashed = oracle.path(n, leaves), log_tree.leaf_hash(leaves[n])
    consistency, old = oracle.proof(first, leaves), oracle.root(leaves[:first])
    assert verify_inclusion(n, size, hashed, included, root)
    assert verify_consistency(first, size, old, root, consistency)
    other = log_tree.leaf_hash(b"another")
    assert not verify_inclusion(n, size, other, included, root)
    assert not verify_inclusion(n, size, hashed, included, other)
    assert not verify_inclusion(n, size, hashed, [*included, other], root)
    assert not verify_inclusion((n + 1) % size, size, hashed, included, root) or size == 1
    assert not verify_consistency(first, size, old, other, consistency)
    assert not verify_consistency(first, size, other, root, consistency)
    assert not verify_consistency(first, size, old, root, [*consistency, other])
    checks: list[tuple[list[bytes], Callable[[list[bytes]], bool]]] = [
        (included, lambda p: verify_inclusion(n, size, hashed, p, root)),
        (consistency, lambda p: verify_consistency(first, size, old, root, p)),
    ]
    for proof, check in checks:
        for at in range(len(proof)):
            assert not check([*proof[:at], other, *proof[at + 1 :]])
            assert not check([*proof[:at], *proof[at + 1 :]])
            assert not check([*proof[:at], proof[at][:-1], *proof[at + 1 :]])


def test_what_cannot_be_proved_is_refused() -> None:
    with pytest.raises(FormatError):
        log_tree.inclusion_ranges(3, 3)
    with pytest.raises(FormatError):
        log_tree.consistency_ranges(4, 3)
    with pytest.raises(InputError, match="1 to"):
        root_of([])
    for number in (-1, 3):
        with pytest.raises(InputError, match="no leaf"):
            inclusion([log_tree.EMPTY] * 3, number)
    assert not verify_inclusion(3, 3, log_tree.EMPTY, [], log_tree.EMPTY)
    assert not verify_consistency(4, 3, log_tree.EMPTY, log_tree.EMPTY, [])
    assert not verify_consistency(0, 3, log_tree.leaf_hash(b""), log_tree.EMPTY, [])
    assert not verify_consistency(0, 3, log_tree.EMPTY, log_tree.EMPTY, [log_tree.EMPTY])
    assert not verify_consistency(3, 3, log_tree.EMPTY, log_tree.EMPTY, [log_tree.EMPTY])
    assert not verify_consistency(3, 5, log_tree.EMPTY, log_tree.EMPTY, [])
    assert not verify_consistency(3, 5, log_tree.EMPTY, log_tree.EMPTY, [log_tree.EMPTY] * 66)
