"""The messages of GEMM jobs: encodings, and damage to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cases import NODE, claim, run
from proofcompute.errors import FormatError, InputError
from proofcompute.jobs import MatrixId, ProductChallenge, ProductReceipt, ProductRequest
from proofcompute.jobs.commitment import leaf_rows, rows_from_leaves


def test_messages_survive_their_encoding() -> None:
    j = run("float32", "keccak256", NODE.public)
    challenge = claim(j).draw(5)
    messages: list[ProductRequest | ProductReceipt | ProductChallenge] = [j.request, j.receipt, challenge]
    for message in messages:
        again = type(message).decode(message.encode())
        assert again == message
        assert again.encode() == message.encode()
    assert ProductReceipt.decode(j.receipt.encode()).digest == j.receipt.digest


@pytest.mark.parametrize("which", ["request", "receipt", "challenge"])
def test_every_damaged_message_is_a_typed_error_or_another_message(which: str) -> None:
    j = run()
    messages: dict[str, ProductRequest | ProductReceipt | ProductChallenge] = {
        "request": j.request,
        "receipt": j.receipt,
        "challenge": ProductChallenge(j.receipt.digest, ((0, 2), (5, 6))),
    }
    message = messages[which]
    data = message.encode()
    for i in range(len(data)):
        for value in {data[i] ^ 1, data[i] ^ 0x80, 0, 255} - {data[i]}:
            damaged = data[:i] + bytes([value]) + data[i + 1 :]
            try:
                other = type(message).decode(damaged)
            except InputError:
                continue
            assert other != message
            assert other.encode() == damaged
        with pytest.raises(InputError):
            type(message).decode(data[:i])


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_typed_error(data: bytes) -> None:
    for kind in (ProductRequest, ProductReceipt, ProductChallenge):
        with pytest.raises(InputError):
            kind.decode(data)


@pytest.mark.parametrize(
    "ranges",
    [(), ((1, 1),), ((2, 1),), ((0, 2), (1, 3)), ((3, 4), (0, 1)), ((-1, 1),), ((0, (1 << 24) + 1),)],
)
def test_ranges_ascend_and_do_not_overlap(ranges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(InputError):
        ProductChallenge(bytes(32), ranges)


def test_requests_are_consistent() -> None:
    ok = MatrixId("int8", 2, 2, bytes(32))
    for a, b, nonce, node, suite in (
        (ok, replace(ok, rows=3), bytes(32), b"", "sha256"),
        (ok, replace(ok, dtype="float32"), bytes(32), b"", "sha256"),
        (ok, replace(ok, dtype="int64"), bytes(32), b"", "sha256"),
        (replace(ok, dtype="int64"), ok, bytes(32), b"", "sha256"),
        (ok, ok, bytes(31), b"", "sha256"),
        (ok, ok, bytes(32), bytes(31), "sha256"),
        (ok, ok, bytes(32), b"", "md5"),
    ):
        with pytest.raises(FormatError):
            ProductRequest(a, b, nonce, node, suite)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "float32", "float64"])
def test_rows_and_leaves_are_inverse(dtype: str) -> None:
    x = (np.arange(12).reshape(3, 4) - 5).astype(dtype)
    data = leaf_rows(x).tobytes()
    assert data == x.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    np.testing.assert_array_equal(rows_from_leaves(data, dtype, 3, 4), x)
    with pytest.raises(FormatError):
        rows_from_leaves(data[:-1], dtype, 3, 4)
