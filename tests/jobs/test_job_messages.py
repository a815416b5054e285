"""The messages of GEMM jobs: encodings, and damage to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cases import NODE, claim, run
from proofcompute.errors import FormatError, InputError
from proofcompute.jobs import (
    MatrixId,
    ProductChallenge,
    ProductReceipt,
    ProductRequest,
    product_request,
    prove_product,
)
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


PINNED = [
    (
        "int8",
        "25151724a689df4cf52b3749e16c0c19c13bf33bc23d4df8eae2165b29eb66d1",
        "ee5af5efb0d7cd208945c8fc7b52c0f4cbfc8d8057424e2bb964a3d79822c709",
    ),
    (
        "int16",
        "fd77c15ac8b6d8144131a2c58c5ccbc5e60b9386b51e39e7e1929ea1462cb30d",
        "175f2aaeba21a8fbd69e72a1a6798e090e7bca3136e7d341bf52e164d564b37f",
    ),
    (
        "float32",
        "a00101313a3e0564af8ffa00856e98fb4c40417e0ade0f5ac6a59d6a3a16feaf",
        "08fc8a025de920a15f254e2a2cf2302bda838940945f5b27ba38c45d6a6b88ea",
    ),
]


@pytest.mark.parametrize(("dtype", "request_digest", "receipt_digest"), PINNED)
def test_digests_of_jobs_are_pinned(dtype: str, request_digest: str, receipt_digest: str) -> None:
    a = (np.arange(12).reshape(3, 4) - 5).astype(dtype)
    b = (np.arange(8).reshape(4, 2) * 3 - 7).astype(dtype)
    request = product_request(a, b, nonce=bytes(range(32)), node=NODE.public, device="numpy")
    assert request.digest.hex() == request_digest
    assert prove_product(request, a, b, NODE, device="numpy").receipt.digest.hex() == receipt_digest


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
