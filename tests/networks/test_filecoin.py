"""CIDs, CAR files and piece commitments: equal to those of IPFS's and Filecoin's own code, both ways."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.driver import call, done, refused
from networks.judging import judged
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.errors import EnvelopeError, InputError, LimitError
from proofcompute.networks.filecoin import piece as pieces
from proofcompute.networks.filecoin.car import check_car, pack, unpack
from proofcompute.networks.filecoin.cids import DAG_PB, RAW, Cid, read_varint, varint
from proofcompute.networks.filecoin.piece import CHUNK, PieceHash
from proofcompute.networks.filecoin.unixfs import Link, Node, Tree

pytest.importorskip("dag_cbor")

SIZES = [1, 65, 127, 128, 254, 1016, 4097, CHUNK, CHUNK + 1, (1 << 20) + 1, 2 * CHUNK + 129]
DEEP = {"leaf": 16, "links": 3}


def data_of(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def packed(data: bytes, **options: Any) -> tuple[Any, bytes]:
    out = io.BytesIO()
    found = pack(io.BytesIO(data), out, hash_rows=kernels_for("cpu").hash_rows, **options)
    return found, out.getvalue()


# -- their code says the same -----------------------------------------------------------------------------


def test_addresses_are_those_of_their_code(tmp_path: Path) -> None:
    """Of files around every boundary, and of trees with many levels; files that they make are read."""
    cases = [(size, {"leaf": 1 << 20, "links": 1024}) for size in SIZES]
    cases += [(16 * n + extra, DEEP) for n in (1, 2, 3, 4, 9, 10, 27, 28, 40) for extra in (0, 1)]
    ours, asked = [], []
    for number, (size, shape) in enumerate(cases):
        file, car, made = (tmp_path / f"{kind}{number}" for kind in ("file", "car", "made"))
        data = data_of(size, number)
        file.write_bytes(data)
        found, bytes_of_car = packed(data, **shape)
        car.write_bytes(bytes_of_car)
        ours.append((found, data, made))
        asked.append({"file": file, "car": car, "make": made, "raw": number % 3 > 0, **shape})
    for (found, data, made), question, said in zip(ours, asked, judged("filecoin.mjs", asked), strict=True):
        assert "error" not in said
        assert said["roots"] == [str(found.cid)]
        assert said["blocks"] == found.blocks
        if question["raw"]:
            assert said["cid"] == str(found.cid)
        if len(data) >= 65:  # the least that their code takes
            assert said["piece"] == str(found.piece.cid)
            assert said["legacy"] == str(found.piece.legacy_cid)
        out = io.BytesIO()
        with made.open("rb") as stream:
            assert unpack(stream, out, Cid.parse(said["cid"])) == len(data)
        assert out.getvalue() == data


@pytest.mark.parametrize("pattern", ["0", "00", "010", "100", "1000", "0001"])
def test_leaves_of_zeros_are_skipped_over_and_are_there(tmp_path: Path, pattern: str) -> None:
    """A CAR has the bytes that it would have if each of them was written."""
    data = b"".join(bytes(16) if each == "0" else data_of(16) for each in pattern)
    found, car = packed(data, leaf=16, links=2)
    tree, blocks = Tree(2), list[tuple[Cid, bytes]]()
    for at in range(0, len(data), 16):
        blocks += tree.leaf(data[at : at + 16])
    blocks += tree.finish()
    assert car == car_of(tree.root.cid, *blocks)
    assert len(car) == found.car_size
    (tmp_path / "car").write_bytes(car)
    (said,) = judged("filecoin.mjs", [{"car": tmp_path / "car"}])
    assert said == {"roots": [str(found.cid)], "blocks": len(blocks)}


def mutations(car: bytes) -> dict[str, bytes]:
    head = 1 + car[0]
    first = bytearray(car)
    first[-1] ^= 1
    root = bytearray(car)
    root[head - 12] ^= 1
    cid = bytearray(car)
    cid[head + 10] ^= 1
    version = bytearray(car)
    version[head - 1] = 2
    length = bytearray(car)
    length[head] ^= 1
    return {
        "another byte in a block": bytes(first),
        "another root": bytes(root),
        "another CID of a block": bytes(cid),
        "another version": bytes(version),
        "another size of a block": bytes(length),
        "cut off": car[:-1],
        "cut off inside the head": car[: head - 2],
        "bytes after the end": car + b"\x05abc",
    }


def test_damaged_files_are_rejected_by_both(tmp_path: Path) -> None:
    _, car = packed(data_of(100), **DEEP)
    changed = mutations(car)
    for number, data in enumerate(changed.values()):
        (tmp_path / str(number)).write_bytes(data)
    answers = judged("filecoin.mjs", [{"car": tmp_path / str(n)} for n in range(len(changed))])
    for (name, data), said in zip(changed.items(), answers, strict=True):
        assert "error" in said, name
        with pytest.raises(EnvelopeError):
            check_car(io.BytesIO(data))
        with pytest.raises(EnvelopeError):
            unpack(io.BytesIO(data), io.BytesIO())


# -- pieces -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 127, 128, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
@pytest.mark.parametrize("step", [1 << 16, CHUNK + 13])
def test_a_piece_does_not_depend_on_how_data_comes(size: int, step: int) -> None:
    """Nor on whether its head is known first or last, nor on who hashes."""
    rows, data = kernels_for("cpu").hash_rows, data_of(size)
    once, parts, late = (PieceHash(rows) for _ in range(3))
    once.update(data)
    head = data[: min(50, size)]
    late.update(bytes(len(head)) + data[len(head) :])
    for at in range(0, size, step):
        parts.update(data[at : at + step])
    assert once.finish() == parts.finish() == late.finish(head)
    if size <= 128:
        definition = PieceHash()
        definition.update(data)
        assert definition.finish() == once.finish()


def test_zeros_are_hashed_once() -> None:
    """A hole in a sparse file costs no hashing, and gives the same root."""
    calls = 0

    def rows(suite: str, prefix: bytes, given: Any) -> Any:
        nonlocal calls
        calls += len(given)
        return kernels_for("cpu").hash_rows(suite, prefix, given)

    sparse = PieceHash(rows)
    for _ in range(8):
        sparse.update(bytes(CHUNK))
    found = sparse.finish()
    assert calls < 100
    node = np.zeros((1, 32), np.uint8)
    for _ in range(found.height):
        node = kernels_for("cpu").hash_rows("sha256", b"", np.tile(node, (1, 2)))
        node[:, -1] &= 0x3F
    assert found.root == node.tobytes()


def test_pieces_that_no_sector_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="empty"):
        PieceHash().finish()
    monkeypatch.setattr(pieces, "MAX_PIECE", 100)
    with pytest.raises(LimitError, match="64 GiB"):
        PieceHash().update(bytes(101))
    small = PieceHash()
    small.update(b"abc")
    with pytest.raises(InputError, match="head"):
        small.finish(b"abcd")


# -- hostile files ----------------------------------------------------------------------------------------


def section(cid: Cid, block: bytes) -> bytes:
    return varint(len(bytes(cid)) + len(block)) + bytes(cid) + block


def car_of(root: Cid, *blocks: tuple[Cid, bytes]) -> bytes:
    _, car = packed(b"x")
    head = car[: 1 + car[0]].replace(bytes(Cid.of(RAW, b"x")), bytes(root))
    return head + b"".join(section(*each) for each in blocks)


def node_of(*links: tuple[Cid, int], data: bytes = b"", size: int | None = None, kind: int = 2) -> bytes:
    def field(number: int, value: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(value)) + value

    inner = b"\x08" + varint(kind) + (field(2, data) if data else b"")
    inner += b"\x18" + varint(sum(n for _, n in links) + len(data) if size is None else size)
    inner += b"".join(b"\x20" + varint(n) for _, n in links)
    return b"".join(field(2, field(1, bytes(c)) + field(2, b"")) for c, _ in links) + field(1, inner)


def dag(block: bytes) -> tuple[Cid, bytes]:
    return Cid.of(DAG_PB, block), block


def rejected(car: bytes, because: str, **options: Any) -> None:
    with pytest.raises(EnvelopeError, match=because):
        unpack(io.BytesIO(car), io.BytesIO(), **options)


def test_a_small_file_that_unfolds_without_end_is_refused_first() -> None:
    """Each level links twice to the one below; nothing is written."""
    leaf = Cid.of(RAW, b"x" * 1000)
    blocks, last, size = [(leaf, b"x" * 1000)], leaf, 1000
    for _ in range(12):
        made = dag(node_of((last, size), (last, size)))
        blocks.append(made)
        last, size = made[0], 2 * size
    out = io.BytesIO()
    with pytest.raises(EnvelopeError, match="more than"):
        unpack(io.BytesIO(car_of(last, *blocks)), out, most=100_000)
    assert out.getvalue() == b""
    assert unpack(io.BytesIO(car_of(last, *blocks)), out, most=size) == size


def test_links_without_bytes_unfold_nothing() -> None:
    empty = dag(node_of(data=b""))
    rejected(car_of(*dag(node_of((empty[0], 0)))[:1], empty, dag(node_of((empty[0], 0)))), "none may be 0")


def test_nodes_that_lie_are_rejected() -> None:
    leaf, raw = (Cid.of(RAW, b"abc"), b"abc"), Cid.of(RAW, b"abc")
    for block, because in [
        (node_of((raw, 4)), "its link says"),
        (node_of((raw, 3), size=9), "says that it has"),
        (node_of((raw, 3), kind=1), "none of a file"),
        (node_of((raw, 3))[::-1], "varint|field|wire|canonical"),
        (node_of((raw, 3)) + b"\x0a\x00", "canonical"),
        (b"", "no data"),
        (node_of((raw, 3))[:-1], "ends"),
    ]:
        made = dag(block)
        rejected(car_of(made[0], leaf, made), because)
    made = dag(node_of((raw, 3)))
    rejected(car_of(made[0], made), "lacks the block")
    rejected(car_of(raw, made), "lacks|hold")
    inner = dag(node_of((raw, 3)))
    rejected(
        car_of(dag(node_of((inner[0], 4)))[0], leaf, inner, dag(node_of((inner[0], 4)))), "its link says"
    )


def test_levels_are_limited() -> None:
    leaf = Cid.of(RAW, b"abc")
    blocks, last = [(leaf, b"abc")], leaf
    for _ in range(20):
        blocks.append(dag(node_of((last, 3))))
        last = blocks[-1][0]
    rejected(car_of(last, *blocks), "levels")


def test_other_hashes_codecs_and_sizes_are_not_read() -> None:
    leaf = Cid.of(RAW, b"abc")
    for cid in (replace(leaf, codec=0x71), replace(leaf, hash=0)):
        rejected(car_of(leaf, (cid, b"abc")), "not read")
    rejected(car_of(leaf) + varint(1 << 40), "bytes; 1 to")
    rejected(car_of(leaf) + b"\x80" * 9, "varint|size")
    rejected(b"", "empty")
    rejected(b"\x05hello", "canonical")
    rejected(car_of(leaf, (leaf, b"abc")), "is of", expected=Cid.of(RAW, b"abd"))


def test_more_blocks_than_places_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.networks.filecoin.car.MAX_BLOCKS", 3)
    rejected(packed(data_of(100), **DEEP)[1], "blocks")


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("Qm" + "a" * 44, "base32"),
        ("b!", "not base32"),
        ("b" * 300, "base32"),
        (str(Cid.of(RAW, b"")).upper().replace("B", "b", 1), "canonical"),
        (str(Cid.of(RAW, b"")) + "aa", "canonical|base32"),
        ("bai", "version|ends|canonical|base32"),
    ],
)
def test_text_that_is_no_cid(text: str, because: str) -> None:
    with pytest.raises(EnvelopeError, match=because):
        Cid.parse(text)


def test_varints_have_one_form() -> None:
    for value in (0, 1, 127, 128, 300, (1 << 63) - 1):
        assert read_varint(varint(value), 0) == (value, len(varint(value)))
    for bad in (b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01"):
        with pytest.raises(EnvelopeError):
            read_varint(bad, 0)


def test_a_node_is_read_as_it_was_made() -> None:
    tree = Tree(2)
    blocks = [b for data in (b"abc", b"de") for b in tree.leaf(data)] + list(tree.finish())
    node = Node.decode(blocks[-1][1])
    assert node.size == tree.root.size == 5
    assert node.links == (Link(Cid.of(RAW, b"abc"), 3, 3), Link(Cid.of(RAW, b"de"), 2, 2))


# -- commands ---------------------------------------------------------------------------------------------


def test_a_file_goes_into_a_car_and_comes_back(tmp_path: Path) -> None:
    file, car, back = (tmp_path / name for name in ("evidence", "evidence.car", "back"))
    file.write_bytes(data_of(3_000_000))
    said = done("network", "filecoin", "pack", file, "-o", car)
    assert done("network", "filecoin", "check", car, "--cid", said["cid"])["cid"] == said["cid"]
    assert done("network", "filecoin", "unpack", car, "-o", back)["bytes"] == 3_000_000
    assert back.read_bytes() == file.read_bytes()
    assert done("network", "filecoin", "pack", file)["piece_cid"] == said["piece_cid"]
    again = done("network", "filecoin", "pack", car)
    assert again["piece_cid"] == said["car_piece_cid"]
    assert car.stat().st_size == said["car_bytes"]


def test_a_damaged_car_is_invalid_and_writes_nothing(tmp_path: Path) -> None:
    car, back = tmp_path / "car", tmp_path / "back"
    car.write_bytes(packed(data_of(100))[1][:-1])
    for command in (("check", car), ("unpack", car, "-o", back)):
        result = call("network", "filecoin", *command)
        assert result.status == 1
        assert "INVALID" in result.err
    assert not back.exists()
    assert "exists" in refused("network", "filecoin", "pack", car, "-o", car)
    (tmp_path / "empty").touch()
    assert "empty" in refused("network", "filecoin", "pack", tmp_path / "empty", "-o", back)
    assert not back.exists()


def test_networks_are_listed() -> None:
    found = {each["name"]: each for each in done("network", "list")["networks"]}
    assert found["filecoin"]["interface"] == "theirs"
