"""Publishing: what is written, what an interruption leaves, and how another's codes are checked."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofcompute.codes.circle import CircleCode
from proofcompute.commitments import merkle
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    ProofcomputeError,
    VerificationError,
)
from proofcompute.models.model import Model
from proofcompute.public.coding import SUITE
from proofcompute.public.layout import Layout
from proofcompute.public.proving import prove, verify_proof
from proofcompute.public.publishing import (
    Published,
    check_leaves,
    load_published,
    publish,
    write_published,
)
from proofcompute.public.store import codes_path
from public.world import KERNELS, POSITIONS, SECURITY, answered, changed, model, published, request


class Reader:
    """A model whose weights are counted as they are read, and that ends after some."""

    def __init__(self, inner: Model, most: int = 1 << 30) -> None:
        self.card, self._inner, self._most = inner.card, inner, most
        self.read: list[str] = []

    def weight(self, name: str) -> Any:
        if len(self.read) >= self._most:
            raise KeyboardInterrupt
        self.read.append(name)
        return self._inner.weight(name)


@pytest.mark.parametrize("kind", ["w16a16", "experts22"])
def test_an_interrupted_publisher_goes_on_without_reading_again(kind: str, tmp_path: Path) -> None:
    names = [s.name for s in model(kind).program.weights]
    wanted = published(kind).key
    for most in (0, 1, len(names) - 1):
        path = tmp_path / f"public{most}"
        with pytest.raises(KeyboardInterrupt):
            write_published(Reader(model(kind), most), KERNELS, path)
        assert not path.exists()
        reader = Reader(model(kind))
        made = write_published(reader, KERNELS, path)
        assert reader.read == names[most:]
        assert made.key.public_id == wanted.public_id
        again = load_published(path, KERNELS)
        assert again.key.encode() == wanted.encode()
        assert [t.root for t in again.trees] == list(wanted.roots)


def test_digests_belong_to_a_model_and_a_key(tmp_path: Path) -> None:
    path = tmp_path / "public"
    write_published(model("w8a16"), KERNELS, path)
    with pytest.raises(InputError, match="is of rate 4, not 3"):
        write_published(model("w8a16"), KERNELS, path, rho=3)
    with pytest.raises(InputError, match="is of model"):
        write_published(model("w8a8"), KERNELS, path)
    data = codes_path(path).read_bytes()
    for wrong in (
        b"",
        data[:-1],
        data + b"\0",
        changed(data, 20),
        changed(data, len(data) - 1),
        changed(data, len(data) - 500),
    ):
        codes_path(path).write_bytes(wrong)
        with pytest.raises(ProofcomputeError):
            write_published(model("w8a16"), KERNELS, path)
        with pytest.raises(ProofcomputeError) as raised:
            load_published(path, KERNELS)
        assert isinstance(raised.value, FormatError | InputError | LimitError | MismatchError)
    codes_path(path).unlink()
    with pytest.raises(InputError, match="cannot read"):
        load_published(path, KERNELS)


def _forged(kind: str, share: float) -> Published:
    """A publisher whose codes are of other weights in a share of the positions."""
    mine = published(kind)
    trees = []
    for code, tree in zip(mine.key.layout.codes, mine.trees, strict=True):
        digests = np.array([list(tree.leaf(i)) for i in range(code.circle.size)], np.uint8)
        digests[: int(share * len(digests))] ^= 1
        trees.append(merkle.Tree(SUITE, digests, KERNELS.hash_rows))
    return Published(replace(mine.key, roots=tuple(t.root for t in trees)), trees)


def test_random_positions_find_codes_of_other_weights() -> None:
    check_leaves(published("w8a16"), model("w8a16"), KERNELS, 30)
    with pytest.raises(MismatchError, match="is not that of the weights"):
        check_leaves(_forged("w8a16", 0.5), model("w8a16"), KERNELS, 60)
    with pytest.raises(MismatchError, match="of another model"):
        check_leaves(published("w8a16"), model("w8a8"), KERNELS, 1)
    with pytest.raises(InputError, match="at least one position"):
        check_leaves(published("w8a16"), model("w8a16"), KERNELS, 0)


@pytest.mark.parametrize("what", ["scale", "largest"])
def test_what_a_public_key_says_of_weights_is_checked_too(what: str) -> None:
    """Understated squares would let sets leave the range in which the lift is unique."""
    mine = published("w16a16")
    name = mine.key.layout.planes[0].weight
    entry = mine.key.matrices[name]
    other = (
        replace(entry, scale=entry.scale * np.float32(2))
        if what == "scale"
        else replace(entry, largest=(entry.largest[0] - 1, *entry.largest[1:]))
    )
    key = replace(mine.key, matrices={**mine.key.matrices, name: other})
    assert key.public_id != mine.key.public_id
    with pytest.raises(MismatchError, match=f"other values for {name}"):
        check_leaves(Published(key, mine.trees), model("w16a16"), KERNELS, 1)


def test_rates_out_of_range_are_refused() -> None:
    for rho in (0, 9, 4.0, True):
        with pytest.raises(InputError, match="the rate is 1 to 8"):
            publish(model("w8a16"), KERNELS, rho=rho)  # type: ignore[arg-type]


# -- the layout ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["w16a16", "experts22"])
def test_messages_hold_every_weight_once(kind: str) -> None:
    layout = published(kind).key.layout
    for number, code in enumerate(layout.codes):
        ends = [0]
        for plane in layout.of_code(number):
            assert plane.first == ends[-1]
            ends.append(plane.first + plane.rows)
            matrix = plane.matrix(model(kind).matrix(plane.weight))
            messages = layout.messages(plane, matrix, 0, plane.rows)
            assert messages.shape == (plane.rows, code.length)
            flat = messages.reshape(-1, code.width)[: plane.m]
            assert np.array_equal(flat, matrix)
            assert not messages.reshape(-1, code.width)[plane.m :].any()
        assert ends[-1] == code.rows


def test_wide_matrices_are_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.public.layout.MAX_CONTRACTION", 16)
    layout = Layout.of(model("w8a16").program, 4)
    wide = [p for p in layout.planes if p.d > 16]
    assert wide
    for plane in wide:
        code, matrix = layout.codes[plane.code], plane.matrix(model("w8a16").matrix(plane.weight))
        pieces, high = -(-plane.d // 16), 1 << code.side
        messages = layout.messages(plane, matrix, 0, plane.rows).reshape(-1, pieces, high, 16)
        whole = messages.transpose(0, 2, 1, 3).reshape(-1, pieces * 16)
        assert np.array_equal(whole[: plane.m, : plane.d], matrix)
        some = layout.messages(plane, matrix, 1, plane.rows)
        assert np.array_equal(some, layout.messages(plane, matrix, 0, plane.rows)[1:])


def test_proofs_of_matrices_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices wider than 2^15 are too large for a test, so pieces of 2^4 columns stand for them."""
    monkeypatch.setattr("proofcompute.public.layout.MAX_CONTRACTION", 16)
    monkeypatch.setattr("proofcompute.public.evaluation._COLUMN_BITS", 4)
    kind = "w16a16"
    made, out = publish(model(kind), KERNELS), io.BytesIO()
    prove(made, model(kind), [answered(kind)], out, positions=POSITIONS, kernels=KERNELS)
    assert {c.width for c in made.key.layout.codes} == {16}

    def verify(data: bytes) -> None:
        verify_proof(made.key, [request(kind)], io.BytesIO(data), kernels=KERNELS, security=SECURITY)

    verify(out.getvalue())
    for back in (5, 2000, 20_000):
        with pytest.raises(VerificationError):
            verify(changed(out.getvalue(), len(out.getvalue()) - back))


def test_codes_that_are_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofcompute.public.layout.MAX_PLANES", 3)
    with pytest.raises(LimitError, match="more than 3 matrices"):
        Layout.of(model("w8a16").program, 4)
    monkeypatch.undo()
    monkeypatch.setattr("proofcompute.public.layout.MAX_CODE_ROWS", 2)
    with pytest.raises(LimitError, match="rows and"):
        Layout.of(model("w8a16").program, 4)
    assert CircleCode.of_rate(100, 4).agreement <= 1 / 16
