"""Proofs that a node makes while it opens: their bytes are those of proofs of openings that lie there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

import synthetic
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.encoding.files import writing
from proofcompute.encoding.window import memory_of, window
from proofcompute.errors import InputError
from proofcompute.protocol.received import received
from proofcompute.prover.node import Node
from proofcompute.public.proof import ALL, Proof, ProofHead, ProofWriter, Shown, write_proof
from proofcompute.public.proving import Answered, OwnAnswer, prove
from public.world import KERNELS, POSITIONS, answered, model, proof, published, verified


def own(kind: str, one: Answered, kernels: Kernels = KERNELS) -> OwnAnswer:
    node = Node(model(kind), synthetic.NODE, device=kernels)
    return OwnAnswer(one.request, one.receipt, node, one.cells, one.beacon)


def made(kind: str, *some: Answered | OwnAnswer, kernels: Kernels = KERNELS) -> bytes:
    out = io.BytesIO()
    prove(published(kind), model(kind), some, out, positions=POSITIONS, kernels=kernels)
    return out.getvalue()


@pytest.mark.parametrize("kernels", [KERNELS, NumbaKernels()], ids=["numpy", "cpu"])
@pytest.mark.parametrize("kind", ["w8a16", "w16a16", "w8a8", "experts11", "experts22"])
def test_the_bytes_are_those_of_a_proof_of_an_opening(kind: str, kernels: Kernels) -> None:
    assert made(kind, own(kind, answered(kind), kernels), kernels=kernels) == proof(kind)


def test_own_answers_beside_openings() -> None:
    many = [answered("w8a16", i, cells) for i, cells in ((0, ALL), (1, 3), (2, 5))]
    wanted = made("w8a16", *many)
    mixed: list[Answered | OwnAnswer] = [own("w8a16", many[0]), many[1], own("w8a16", many[2])]
    assert made("w8a16", *mixed) == wanted
    assert len(verified("w8a16", wanted, *(a.request for a in many), cells=3)) == 3


def test_progress_tells_every_cell_once() -> None:
    rows: list[int] = []
    out, mine = io.BytesIO(), own("w8a16", answered("w8a16"))
    prove(
        published("w8a16"),
        model("w8a16"),
        [mine],
        out,
        positions=POSITIONS,
        kernels=KERNELS,
        progress=rows.append,
    )
    (found,) = verified("w8a16", out.getvalue())
    assert sum(rows) == found.cells == found.total


def test_a_proof_goes_straight_into_its_file(tmp_path: Path) -> None:
    with writing(tmp_path / "proof") as stream:
        prove(
            published("w8a16"),
            model("w8a16"),
            [own("w8a16", answered("w8a16"))],
            stream,
            positions=POSITIONS,
            kernels=KERNELS,
        )
    assert (tmp_path / "proof").read_bytes() == proof("w8a16")


class OneWay(io.BytesIO):
    """A stream in which nothing can be sought."""

    def seekable(self) -> bool:
        return False


def test_a_stream_without_places_takes_openings_only() -> None:
    one = answered("w8a16")
    for some, good in (([one], True), ([own("w8a16", one)], False)):
        out = OneWay()
        options: dict[str, Any] = {"positions": POSITIONS, "kernels": KERNELS}
        if good:
            prove(published("w8a16"), model("w8a16"), some, out, **options)
            assert out.getvalue() == proof("w8a16")
        else:
            with pytest.raises(InputError, match="a stream to seek in"):
                prove(published("w8a16"), model("w8a16"), some, out, **options)


# -- the writer ---------------------------------------------------------------------------------------------
def head(*digests: bytes) -> ProofHead:
    return ProofHead(bytes(32), 3, tuple(Shown(ALL, d) for d in digests))


@pytest.mark.parametrize("most", [20, 200, 60_000, 70_000, 1 << 33])
@pytest.mark.parametrize("size", [0, 20, 200, 60_000])
def test_an_opening_shorter_than_expected_is_moved(size: int, most: int) -> None:
    data, known, before = bytes(i % 251 for i in range(size)), head(b"d" * 32), b"before"
    out = io.BytesIO()
    out.write(before)
    writer = ProofWriter(out, head(bytes(32)))
    if size > most:
        with pytest.raises(InputError, match="were expected"):
            writer.made(b"receipt", most, lambda stream: stream.write(data))
        return
    writer.made(b"receipt", most, lambda stream: stream.write(data))
    writer.end(b"evaluation", known)
    wanted = io.BytesIO()
    write_proof(wanted, known, [b"receipt"], [(io.BytesIO(data), size)], b"evaluation")
    assert out.getvalue() == before + wanted.getvalue()


def test_long_openings_are_moved_piece_by_piece() -> None:
    data, known = bytes(range(256)) * 12_000, head(b"d" * 32)  # three pieces
    out = io.BytesIO()
    writer = ProofWriter(out, known)
    writer.made(b"receipt", 1 << 32, lambda stream: stream.write(data))
    writer.end(b"")
    found = Proof.read(io.BytesIO(out.getvalue()))
    assert found.openings[0].read(1 << 30) == data


def test_an_opening_in_memory_is_read_without_a_copy() -> None:
    stream = io.BytesIO(bytes(range(100)))
    part = window(stream, 10, 20)
    assert received(part) is part
    assert received(stream) is stream
    held = memory_of(part)
    assert held is not None
    assert bytes(held) == bytes(range(10, 30))

    class Elsewhere:
        def read(self, size: int) -> bytes:
            return b""

    other = cast(BinaryIO, Elsewhere())
    assert received(other) is not other
