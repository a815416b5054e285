"""Keccak-256 and BLAKE3 in plain Python, for test vectors: written from the specifications, never fast.

Sources: FIPS 202 for the permutation (the original padding byte is 0x01 where SHA-3 has 0x06); "BLAKE3: one
function, fast everywhere", section 2.
"""

from __future__ import annotations

import hashlib

MASK64 = (1 << 64) - 1
MASK32 = (1 << 32) - 1


def _rotl64(x: int, n: int) -> int:
    return ((x << n) | (x >> (64 - n))) & MASK64 if n else x


def _round_constants() -> list[int]:
    """FIPS 202, algorithm 5: bit 2^j - 1 of constant i is output j + 7i of an LFSR."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if register & 1:
                constant |= 1 << ((1 << j) - 1)
            register <<= 1
            if register & 0x100:
                register ^= 0x171
        constants.append(constant)
    return constants


_RC = _round_constants()


def _keccak_f(lanes: list[list[int]]) -> list[list[int]]:
    for constant in _RC:
        column = [row[0] ^ row[1] ^ row[2] ^ row[3] ^ row[4] for row in lanes]
        theta = [column[(x - 1) % 5] ^ _rotl64(column[(x + 1) % 5], 1) for x in range(5)]
        lanes = [[lanes[x][y] ^ theta[x] for y in range(5)] for x in range(5)]
        x, y, current = 1, 0, lanes[1][0]
        for t in range(24):  # rho and pi together
            x, y = y, (2 * x + 3 * y) % 5
            current, lanes[x][y] = lanes[x][y], _rotl64(current, (t + 1) * (t + 2) // 2 % 64)
        lanes = [
            [lanes[x][y] ^ (~lanes[(x + 1) % 5][y] & MASK64 & lanes[(x + 2) % 5][y]) for y in range(5)]
            for x in range(5)
        ]
        lanes[0][0] ^= constant
    return lanes


def keccak256(data: bytes) -> bytes:
    """Keccak with capacity 512 and the original padding."""
    rate = 136
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % rate)
    padded[-1] |= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for start in range(0, len(padded), rate):
        for i in range(rate // 8):
            lanes[i % 5][i // 5] ^= int.from_bytes(padded[start + 8 * i : start + 8 * i + 8], "little")
        lanes = _keccak_f(lanes)
    return b"".join(lanes[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


_IV = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]  # fmt: skip
_PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8


def _mix(v: list[int], a: int, b: int, c: int, d: int, x: int, y: int) -> None:
    for word, first, second in ((x, 16, 12), (y, 8, 7)):
        v[a] = (v[a] + v[b] + word) & MASK32
        v[d] ^= v[a]
        v[d] = (v[d] >> first | v[d] << (32 - first)) & MASK32
        v[c] = (v[c] + v[d]) & MASK32
        v[b] ^= v[c]
        v[b] = (v[b] >> second | v[b] << (32 - second)) & MASK32


def _compress(chaining: list[int], block: bytes, counter: int, flags: int) -> list[int]:
    """The new chaining value: the first eight words of the output."""
    words = [int.from_bytes(block.ljust(64, b"\0")[4 * i : 4 * i + 4], "little") for i in range(16)]
    v = [*chaining, *_IV[:4], counter & MASK32, counter >> 32, len(block), flags]
    for _ in range(7):
        for i in range(4):
            _mix(v, i, 4 + i, 8 + i, 12 + i, words[2 * i], words[2 * i + 1])
        for i in range(4):
            _mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, words[8 + 2 * i], words[9 + 2 * i])
        words = [words[i] for i in _PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def _bytes(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _subtree(data: bytes, chunk: int, flags: int) -> list[int]:
    """Chaining value of the subtree over ``data``, whose first chunk has this number."""
    if len(data) <= 1024:
        chaining = _IV
        blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
        for i, block in enumerate(blocks):
            last = _CHUNK_END | flags if i == len(blocks) - 1 else 0
            chaining = _compress(chaining, block, chunk, (_CHUNK_START if i == 0 else 0) | last)
        return chaining
    left = 1024
    while 2 * left < len(data):
        left *= 2
    halves = _subtree(data[:left], chunk, 0), _subtree(data[left:], chunk + left // 1024, 0)
    return _compress(_IV, _bytes(halves[0]) + _bytes(halves[1]), 0, _PARENT | flags)


def blake3(data: bytes) -> bytes:
    """BLAKE3, unkeyed, 32 bytes."""
    return _bytes(_subtree(data, 0, _ROOT))


def sha256(data: bytes) -> bytes:
    """SHA-256 of FIPS 180-4, from the standard library."""
    return hashlib.sha256(data).digest()


HASHES = {"sha256": sha256, "keccak256": keccak256, "blake3": blake3}
