"""hashing: vectors of an independent oracle, separation of domains, streams."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofcompute.commitments import hashing
from proofcompute.commitments.hasher import check_groups
from proofcompute.commitments.hashing import SUITES, Transcript, Xof
from proofcompute.errors import FormatError, InputError, UnsupportedError

TESTS = Path(__file__).parents[1]
VECTORS = json.loads((TESTS / "vectors" / "hashing.json").read_text())
parts = st.lists(st.binary(max_size=20), max_size=4)


def test_the_vectors_are_what_the_oracle_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oracle.make_commit_vectors", str(tmp_path)]
    subprocess.run(command, cwd=TESTS, check=True)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == ["field.json", "hashing.json", "merkle.json", "wire.json"]
    for path in made:
        assert path.read_bytes() == (TESTS / "vectors" / path.name).read_bytes()


def test_the_oracle_imports_nothing_from_the_package() -> None:
    code = "import sys, oracle.make_commit_vectors; sys.exit('proofcompute' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=TESTS, check=True)


def test_importing_loads_no_hash_library() -> None:
    code = (
        "import sys, proofcompute.commitments.hashing, proofcompute.commitments.merkle\n"
        "import proofcompute.encoding.wire, proofcompute.freivalds.field\n"
        "sys.exit(any(m in sys.modules for m in ('blake3', 'Crypto', 'cbor2')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=True)


# -- suites ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["digests"], ids=lambda c: f"{c['suite']}-{c['length']}")
def test_digests(case: Any) -> None:
    data = bytes(i % 251 for i in range(case["length"]))
    assert hashing.digest(case["suite"], data).hex() == case["digest"]


def test_published_digests_of_nothing() -> None:
    # FIPS 180-4 examples; Ethereum yellow paper, appendix I; BLAKE3's published test vectors
    assert [hashing.digest(suite, b"").hex() for suite in SUITES] == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    ]


@pytest.mark.parametrize("suite", ["", "SHA256", "md5", "sha3_256", "sha256\0", None, 1, []])
def test_an_unknown_suite_is_refused_everywhere(suite: Any) -> None:
    rows = np.zeros((0, 4), dtype=np.uint8)
    for call in (
        lambda: hashing.digest(suite, b""),
        lambda: hashing.hash_rows(suite, b"", rows),
        lambda: hashing.tag(suite, "k", "n"),
        lambda: hashing.seal(suite, "k", "n", 0, bytes(32)),
        lambda: hashing.message_digest(suite, "k", b""),
    ):
        with pytest.raises(UnsupportedError):
            call()


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("shape", [(0, 5), (1, 0), (3, 1), (2, 64), (5, 200)])
def test_hash_rows(suite: str, shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).integers(0, 256, size=shape, dtype=np.uint8)
    for prefix in (b"", b"\x00" + bytes(32)):
        for view in (rows, np.asfortranarray(rows)):
            out = hashing.hash_rows(suite, prefix, view)
            assert out.dtype == np.uint8
            assert out.shape == (shape[0], 32)
            assert [r.tobytes() for r in out] == [hashing.digest(suite, prefix + r.tobytes()) for r in rows]


@pytest.mark.parametrize(
    "rows", [np.zeros(4, np.uint8), np.zeros((2, 4), np.int8), np.zeros((1, 2, 3), np.uint8)]
)
def test_hash_rows_refuses_other_arrays(rows: Any) -> None:
    with pytest.raises(InputError):
        hashing.hash_rows("sha256", b"", rows)


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((4, 32), np.uint8, 4),
        ((1, 4, 31), np.uint8, 4),
        ((1, 4, 32), np.int8, 4),
        ((1, 4, 32), np.uint8, 0),
        ((1, 4, 32), np.uint8, 5),
    ],
)
def test_trees_over_leaves_that_are_none(shape: tuple[int, ...], dtype: Any, size: int) -> None:
    with pytest.raises(InputError, match="trees"):
        hashing.hash_trees("sha256", b"\x01", np.zeros(shape, dtype), size)


@pytest.mark.parametrize("ranges", [[], [(0, 0)], [(2, 1)], [(-1, 1)], [(0, 5)], [(0, 1), (4, 5)]])
def test_ranges_of_no_tree(ranges: list[tuple[int, int]]) -> None:
    digests = np.zeros((4, 32), np.uint8)
    with pytest.raises(InputError, match="are not ranges of trees of 4"):
        hashing.hash_ranges("sha256", b"\x01", 4, ranges, digests, digests)


@pytest.mark.parametrize(("known", "given"), [((1, 32), (3, 32)), ((2, 32), (2, 32)), ((1, 31), (2, 32))])
def test_other_digests_than_ranges_take(known: tuple[int, int], given: tuple[int, int]) -> None:
    """Leaf 0 of 4 takes itself and two nodes."""
    with pytest.raises(InputError, match=r"expected [12] digests"):
        hashing.hash_ranges(
            "sha256", b"\x01", 4, [(0, 1)], np.zeros(known, np.uint8), np.zeros(given, np.uint8)
        )
    for first, second in ((np.int8, np.uint8), (np.uint8, np.int8)):
        leaves: Any = np.zeros((1, 32), first)
        nodes: Any = np.zeros((2, 32), second)
        with pytest.raises(InputError, match="not int8"):
            hashing.hash_ranges("sha256", b"\x01", 4, [(0, 1)], leaves, nodes)


@pytest.mark.parametrize(
    ("tags", "shapes"),
    [
        ([], []),
        ([b"a"], [(2, 4), (2, 4)]),
        ([b"a", b"bc"], [(2, 4), (2, 4)]),
        ([b"a", b"b"], [(2, 4), (2, 5)]),
        ([b"a", b"b"], [(2, 4), (3, 4)]),
    ],
)
def test_groups_that_are_not_alike(tags: list[bytes], shapes: list[tuple[int, int]]) -> None:
    with pytest.raises(InputError, match="tags of one length and the same shapes"):
        check_groups("sha256", tags, [[np.zeros(shape, np.uint8)] for shape in shapes])


@pytest.mark.parametrize(
    ("shape", "dtype", "row"),
    [
        ((1, 2, 32), np.uint8, 0),
        ((2, 2, 31), np.uint8, 0),
        ((2, 64), np.uint8, 0),
        ((2, 2, 32), np.int8, 0),
        ((2, 2, 32), np.uint8, 1),
        ((2, 2, 32), np.uint8, -1),
    ],
)
def test_no_room_for_the_digests_of_groups(shape: tuple[int, ...], dtype: Any, row: int) -> None:
    groups = [[np.zeros((2, 4), np.uint8)]] * 2
    check_groups("sha256", [b"a", b"b"], groups, np.zeros((2, 3, 32), np.uint8), 1)
    with pytest.raises(InputError, match="no room for digests of 2 groups of 2 rows"):
        check_groups("sha256", [b"a", b"b"], groups, np.zeros(shape, dtype), row)


# -- domains ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["tags"], ids=lambda c: f"{c['suite']}-{c['kind']}-{c['name']!a}")
def test_tags(case: Any) -> None:
    assert hashing.tag(case["suite"], case["kind"], case["name"]).hex() == case["tag"]


def test_tags_tell_all_three_apart() -> None:
    names = ["", "a", "b", "ab", "a\0b", "\0", "a\0"]
    kinds = ["", "a", "b", "ab"]
    tags = {hashing.tag(s, k, n) for s, k, n in itertools.product(SUITES, kinds, names)}
    assert len(tags) == len(SUITES) * len(kinds) * len(names)


@pytest.mark.parametrize(("kind", "name"), [("a\0", "b"), ("\0", ""), ("\ud800", ""), ("", "\udfff")])
def test_tags_refuse(kind: str, name: str) -> None:
    with pytest.raises(FormatError):
        hashing.tag("sha256", kind, name)


@pytest.mark.parametrize("case", VECTORS["seals"], ids=lambda c: f"{c['suite']}-{c['mutation'] or 'honest'}")
def test_seals(case: Any) -> None:
    root = bytes.fromhex(case["root"])
    found = hashing.seal(case["suite"], case["kind"], case["name"], case["size"], root).hex()
    assert found == case["seal"] != case["must_differ_from"]


@pytest.mark.parametrize(
    ("size", "root"), [(-1, bytes(32)), (1 << 64, bytes(32)), (1, bytes(31)), (1, bytes(33)), (1, b"")]
)
def test_seals_refuse(size: int, root: bytes) -> None:
    with pytest.raises(FormatError):
        hashing.seal("sha256", "k", "n", size, root)


@pytest.mark.parametrize("case", VECTORS["messages"])
def test_message_digests(case: Any) -> None:
    found = hashing.message_digest(case["suite"], case["kind"], bytes.fromhex(case["encoded"]))
    assert found.hex() == case["digest"]


# -- randomness ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", VECTORS["xof"])
def test_xof_streams(case: Any) -> None:
    stream = bytes.fromhex(case["stream"])
    given_parts = [bytes.fromhex(part) for part in case["parts"]]
    assert Xof(case["domain"], *given_parts).read(len(stream)) == stream


@given(parts, st.lists(st.integers(0, 300), max_size=6))
def test_xof_reads_are_one_stream(given_parts: list[bytes], sizes: list[int]) -> None:
    xof = Xof("d", *given_parts)
    pieces = [xof.read(n) for n in sizes]
    assert [len(piece) for piece in pieces] == sizes
    assert b"".join(pieces) == Xof("d", *given_parts).read(sum(sizes))


@given(parts, parts)
def test_xof_separates_lists_of_parts(first: list[bytes], second: list[bytes]) -> None:
    assert (Xof("d", *first).read(32) == Xof("d", *second).read(32)) == (first == second)


def test_xof_is_shake256() -> None:
    framed = (19).to_bytes(8, "little") + b"proofcompute/v1/xof" + bytes(8)
    assert Xof("").read(500) == hashlib.shake_256(framed).digest(500)


def test_xof_refuses() -> None:
    with pytest.raises(InputError):
        Xof("d").read(-1)
    with pytest.raises(FormatError):
        Xof("\ud800")


@pytest.mark.parametrize("case", VECTORS["transcripts"], ids=lambda c: c["name"])
def test_transcripts(case: Any) -> None:
    transcript, drawn = Transcript(case["domain"]), []
    for act, label, data in case["script"]:
        if act == "absorb":
            transcript.absorb(label, bytes.fromhex(data))
        else:
            drawn.append(transcript.challenge(label).read(32).hex())
    assert drawn == case["drawn"]


def test_no_two_transcripts_draw_the_same() -> None:
    drawn = [c for case in VECTORS["transcripts"] for c in case["drawn"]]
    assert len(set(drawn)) == len(drawn)


entries = st.lists(st.tuples(st.text("ab\0é", max_size=5), st.binary(max_size=8)), max_size=4)


@given(entries, entries)
def test_a_challenge_depends_on_every_entry(first: list[Any], second: list[Any]) -> None:
    def draw(script: list[Any]) -> bytes:
        transcript = Transcript("t")
        for label, data in script:
            transcript.absorb(label, data)
        return transcript.challenge("c").read(32)

    assert (draw(first) == draw(second)) == (first == second)


def test_transcripts_refuse_labels_that_are_not_text() -> None:
    with pytest.raises(FormatError):
        Transcript("\ud800")
    with pytest.raises(FormatError):
        Transcript().absorb("\ud800", b"")
    with pytest.raises(FormatError):
        Transcript().challenge("\ud800")
