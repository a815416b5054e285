"""merkle: vectors, every range of small trees against the recursion of RFC 9162, every wrong index."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.arithmetic.definition import NumpyKernels
from proofcompute.commitments.hashing import SUITES, digest, hash_ranges, hash_rows, tag
from proofcompute.commitments.merkle import (
    Forest,
    Tree,
    leaves,
    leaves_of_groups,
    proof_length,
    root_from_range,
    roots_from_leaves,
)
from proofcompute.errors import FormatError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())
SIZE = 20


def ranges(hashed: Any) -> Any:
    """What a backend hashes ranges with, given what it hashes rows with."""
    return partial(hash_ranges, hashed=hashed)


def vector_leaves(suite: str, n: int) -> Any:
    data = b"".join(struct.pack("<I", 7 * i * i + 1) for i in range(n))
    rows = np.frombuffer(data, dtype=np.uint8).reshape(n, 4)
    return leaves(suite, tag(suite, "trace", "x"), rows, hash_rows)


def digests(nodes: Sequence[str]) -> Any:
    return np.frombuffer(bytes.fromhex("".join(nodes)), dtype=np.uint8).reshape(len(nodes), 32)


def mth(hashes: Sequence[bytes]) -> bytes:
    """RFC 9162, section 2.1.1."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def never(suite: str, prefix: bytes, rows: Any) -> Any:
    raise AssertionError("hashed before the checks")


TREES = [Tree("sha256", vector_leaves("sha256", n), hash_rows) for n in range(SIZE + 1)]
LEAVES = vector_leaves("sha256", SIZE + 1)


# -- several trees ---------------------------------------------------------------------------------------
class Counting(NumpyKernels):
    """Counts the calls that hash, and those that bring results to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.hashed: list[int] = []
        self.fetched = 0

    def hash_rows(self, suite: str, prefix: bytes, rows: Any) -> Any:
        self.hashed.append(len(rows))
        return super().hash_rows(suite, prefix, rows)

    def host(self, x: Any) -> Any:
        self.fetched += 1
        return x


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("trees", [1, 2, 5])
def test_trees_that_grow_together(suite: str, trees: int) -> None:
    """Roots and proofs are those of single trees; a level is one call, and all proofs are fetched by one."""
    for n in (*range(SIZE + 1), 31, 32, 33, 63, 64, 65, 127, 511):
        every = digests(
            [
                digest(suite, bytes([t]) + n.to_bytes(2) + i.to_bytes(2)).hex()
                for t in range(trees)
                for i in range(n)
            ]
        )
        forest, kernels = every.reshape(trees, n, 32), Counting()
        before = forest.tobytes()
        alone = [Tree(suite, x, hash_rows) for x in forest]
        together = Forest(suite, forest, n, kernels)
        assert together.size == n
        assert together.roots() == [tree.root for tree in alone]
        assert forest.tobytes() == before
        levels = (n - 1).bit_length() if n else 0
        assert len(kernels.hashed) == levels
        assert sum(kernels.hashed) == trees * max(n - 1, 0)
        assert kernels.fetched == (n > 0)
        ranges = [
            (t, a, b) for t in range(trees) for a, b in {(0, n), (n // 3, n // 2), (n - 1, n)} if 0 <= a < b
        ]
        kernels.fetched = 0
        assert together.range_proofs(ranges) == [alone[t].range_proof(a, b) for t, a, b in ranges]
        assert kernels.fetched == 1
        for wrong in ((0, 0, n + 1), (0, n, n)):
            with pytest.raises(FormatError):
                together.range_proofs([wrong])


def test_trees_over_the_first_leaves() -> None:
    every = LEAVES[None]
    for n in range(SIZE + 1):
        assert Forest("sha256", every, n, NumpyKernels()).roots() == [TREES[n].root]
    for n in (-1, SIZE + 2):
        with pytest.raises(FormatError, match="leaves"):
            Forest("sha256", every, n, NumpyKernels())


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3, 31), np.uint8), np.zeros((3, 32), np.uint8), np.zeros((2, 3, 32), np.int8)]
)
def test_leaves_of_no_forest(bad: Any) -> None:
    with pytest.raises(FormatError, match="leaves of trees"):
        Forest("sha256", bad, 2, NumpyKernels())


def test_leaves_of_groups() -> None:
    rows = np.arange(60, dtype=np.uint8).reshape(2, 5, 6)
    tags = [tag("sha256", "rows", name) for name in ("a", "b")]
    found = leaves_of_groups("sha256", tags, [[x] for x in rows], NumpyKernels())
    for i in range(2):
        assert found[i].tobytes() == leaves("sha256", tags[i], rows[i], hash_rows).tobytes()
    for bad in (tags[0] + b"x", b""):
        with pytest.raises(FormatError, match="domain tag"):
            leaves_of_groups("sha256", [tags[0], bad], [[x] for x in rows], NumpyKernels())


# -- vectors ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["roots"], ids=lambda c: f"{c['suite']}-{c['size']}")
def test_roots(case: Any) -> None:
    tree = Tree(case["suite"], vector_leaves(case["suite"], case["size"]), hash_rows)
    assert tree.root.hex() == case["root"]
    assert tree.size == case["size"]


@pytest.mark.parametrize("case", VECTORS["proofs"], ids=lambda c: f"{c['size']}-{c['a']}-{c['b']}")
def test_proofs(case: Any) -> None:
    found = TREES[case["size"]].range_proof(case["a"], case["b"])
    assert [node.hex() for node in found] == case["proof"]


@pytest.mark.parametrize(
    "case", VECTORS["mutated"], ids=lambda c: f"{c['suite']}-{c['size']}-{c['a']}-{c['b']}-{c['name']}"
)
def test_mutated_proofs(case: Any) -> None:
    proof = [bytes.fromhex(node) for node in case["proof"]]
    arguments = (case["suite"], case["size"], case["a"], case["b"], digests(case["leaves"]), proof)
    if case["outcome"] == "FormatError":
        with pytest.raises(FormatError):
            root_from_range(*arguments, ranges(never))
    else:
        same = root_from_range(*arguments, ranges(hash_rows)).hex() == case["root"]
        assert same == (case["outcome"] == "match")


def test_published_roots_of_rfc_6962() -> None:
    # The eight inputs and roots with which Certificate Transparency implementations test their trees; RFC
    # 9162 keeps the hashing of RFC 6962. Leaves have no tag there.
    inputs = [
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    ]  # fmt: skip
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    hashed = [hashlib.sha256(b"\0" + bytes.fromhex(data)).hexdigest() for data in inputs]
    assert [Tree("sha256", digests(hashed[:n]), hash_rows).root.hex() for n in range(1, 9)] == roots
    empty = Tree("sha256", digests([]), hash_rows)
    assert empty.root.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# -- all ranges of small trees ---------------------------------------------------------------------------
@pytest.mark.parametrize("n", range(1, SIZE + 1))
def test_every_range(n: int) -> None:
    tree, hashes = TREES[n], [leaf.tobytes() for leaf in LEAVES[:n]]
    assert tree.root == mth(hashes)
    for a in range(n):
        for b in range(a + 1, n + 1):
            proof = tree.range_proof(a, b)
            assert len(proof) == proof_length(n, a, b)
            assert root_from_range("sha256", n, a, b, LEAVES[a:b], proof, ranges(hash_rows)) == tree.root


@pytest.mark.parametrize("n", range(1, SIZE + 1))
def test_single_leaves_together(n: int) -> None:
    """As one by one, right or wrong: also with a leaf twice, another leaf, a changed digest."""
    tree = TREES[n]
    ids = [*range(n), n - 1, 0]
    proofs = [tree.range_proof(i, i + 1) for i in ids]
    given = np.stack([LEAVES[i] for i in ids])
    found = roots_from_leaves("sha256", n, ids, given, proofs, hash_rows)
    assert found == [tree.root] * len(ids)
    given[0] = LEAVES[n]
    proofs = [[d[::-1] for d in proof] if i % 3 == 1 else proof for i, proof in enumerate(proofs)]
    found = roots_from_leaves("sha256", n, ids, given, proofs, hash_rows)
    for i, number in enumerate(ids):
        alone = root_from_range(
            "sha256", n, number, number + 1, given[i : i + 1], proofs[i], ranges(hash_rows)
        )
        assert found[i] == alone
    assert found[0] != tree.root


def test_a_wrong_proof_among_many() -> None:
    tree = TREES[9]
    proofs = [tree.range_proof(i, i + 1) for i in range(9)]
    for wrong in (
        proofs[3][:-1],
        [*proofs[3], bytes(32)],
        [*proofs[3][:-1], bytes(31)],
        [*proofs[3][:-1], "x"],
    ):
        some = [*proofs[:3], wrong, *proofs[4:]]
        with pytest.raises(FormatError):
            roots_from_leaves("sha256", 9, range(9), LEAVES[:9], some, never)  # type: ignore[arg-type]
    with pytest.raises(FormatError):
        roots_from_leaves("sha256", 9, range(1, 10), LEAVES[:9], proofs, never)
    with pytest.raises(FormatError):
        roots_from_leaves("sha256", 9, range(9), LEAVES[:8], proofs, never)


@pytest.mark.parametrize("n", range(1, 12))
def test_every_wrong_range(n: int) -> None:
    """An honest proof and honest leaves, presented as every other range: refused, or another root."""
    tree = TREES[n]
    for a in range(n):
        for b in range(a + 1, n + 1):
            proof = tree.range_proof(a, b)
            for other in range(-1, n + 2):
                for end in range(-1, n + 2):
                    if (other, end) == (a, b):
                        continue
                    try:
                        root = root_from_range("sha256", n, other, end, LEAVES[a:b], proof, ranges(hash_rows))
                    except FormatError:
                        continue
                    assert root != tree.root


@pytest.mark.parametrize("n", range(2, 9))
def test_every_wrong_node(n: int) -> None:
    tree = TREES[n]
    for a in range(n):
        for b in range(a + 1, n + 1):
            proof = tree.range_proof(a, b)
            for i in range(len(proof)):
                for wrong in (bytes(32), tree.root, proof[i - 1] if len(proof) > 1 else b"\1" * 32):
                    forged = [*proof[:i], wrong, *proof[i + 1 :]]
                    assert (
                        root_from_range("sha256", n, a, b, LEAVES[a:b], forged, ranges(hash_rows))
                        != tree.root
                    )


def test_a_proof_is_minimal() -> None:
    for n in range(1, SIZE + 1):
        assert proof_length(n, 0, n) == 0
        for a in range(n):
            assert proof_length(n, a, a + 1) <= (n - 1).bit_length()


@given(st.data())
def test_large_sizes_need_no_tree(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 2**63))
    a = data.draw(st.integers(0, size - 1))
    proof = [digest("sha256", bytes([i])) for i in range(proof_length(size, a, a + 1))]
    root = root_from_range("sha256", size, a, a + 1, LEAVES[:1], proof, ranges(hash_rows))
    assert len(root) == 32
    assert len(proof) <= 63
    if proof:
        with pytest.raises(FormatError):
            root_from_range("sha256", size, a, a + 1, LEAVES[:1], proof[:-1], ranges(never))


# -- refusals --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("size", "a", "b"),
    [(0, 0, 0), (0, 0, 1), (5, 2, 2), (5, 3, 2), (5, -1, 2), (5, 0, 6), (5, 5, 6), (-1, 0, 1),
     (2**63 + 1, 0, 1), (5, True, 2), (5, 0, True), (True, 0, 1), (5.0, 0, 1), (5, 0.0, 1), (5, None, 1)],
)  # fmt: skip
def test_ranges_that_do_not_exist(size: Any, a: Any, b: Any) -> None:
    with pytest.raises(FormatError):
        proof_length(size, a, b)
    with pytest.raises(FormatError):
        root_from_range("sha256", size, a, b, LEAVES[:1], [], ranges(never))
    if type(size) is int and size == 5:
        with pytest.raises(FormatError):
            TREES[5].range_proof(a, b)


@pytest.mark.parametrize(
    "bad",
    [LEAVES[:2], LEAVES[:0], LEAVES[0], LEAVES[:1, :31], LEAVES[:1].astype(np.int8), LEAVES[None, :1]],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_leaves_of_another_shape(bad: Any) -> None:
    with pytest.raises(FormatError):
        root_from_range("sha256", 5, 0, 1, bad, TREES[5].range_proof(0, 1), ranges(never))


@pytest.mark.parametrize("bad", [LEAVES[0], LEAVES[:, :31], LEAVES.astype(np.int8), LEAVES[None]])
def test_a_tree_of_something_else(bad: Any) -> None:
    with pytest.raises(FormatError):
        Tree("sha256", bad, never)


@pytest.mark.parametrize(
    "node", ["x" * 32, bytearray(32), None, 0, memoryview(bytes(32)), bytes(31), (0,) * 32]
)
def test_proof_nodes_of_another_type(node: Any) -> None:
    proof: Any = TREES[5].range_proof(1, 2)
    with pytest.raises(FormatError):
        root_from_range("sha256", 5, 1, 2, LEAVES[1:2], [*proof[:-1], node], ranges(never))


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33)])
def test_leaves_need_a_whole_tag(bad: bytes) -> None:
    with pytest.raises(FormatError):
        leaves("sha256", bad, np.zeros((1, 4), dtype=np.uint8), never)


# -- the shape of the work -------------------------------------------------------------------------------
@pytest.mark.parametrize("suite", SUITES)
def test_prefixes_and_one_call_per_level(suite: str) -> None:
    calls: list[tuple[bytes, tuple[int, ...]]] = []

    def counting(name: str, prefix: bytes, rows: Any) -> Any:
        assert name == suite
        assert rows.flags.c_contiguous
        calls.append((prefix, rows.shape))
        return hash_rows(name, prefix, rows)

    rows = np.arange(44, dtype=np.uint8).reshape(11, 4)
    hashed = leaves(suite, bytes(range(32)), rows, counting)
    tree = Tree(suite, hashed, counting)
    nodes = [(b"\x01", (pairs, 64)) for pairs in (5, 3, 1, 1)]
    assert calls == [(b"\x00" + bytes(range(32)), (11, 4)), *nodes]
    assert hashed[3].tobytes() == digest(suite, b"\x00" + bytes(range(32)) + bytes([12, 13, 14, 15]))
    calls.clear()
    assert root_from_range(suite, 11, 0, 11, hashed, [], ranges(counting)) == tree.root
    assert calls == nodes


def test_a_tree_does_not_share_the_callers_leaves() -> None:
    mine = LEAVES[:5].copy()
    tree = Tree("sha256", mine, hash_rows)
    mine[:] = 0
    assert tree.range_proof(1, 2) == TREES[5].range_proof(1, 2)
