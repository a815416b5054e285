"""Define the hash suites, the domain tags, and the extendable-output functions behind every random draw.

A *suite* is one of SHA-256 (FIPS 180-4; the default), Keccak-256 (the original padding byte 0x01 that
Ethereum contracts compute, not SHA3-256 of FIPS 202) and BLAKE3. All digests have 32 bytes. The first
byte of the hashed data says which kind of data it is, so no digest of one kind is one of another:

====  ============================================  =======================================
byte  rest                                          result
====  ============================================  =======================================
0x00  tag, row                                      leaf of a tree (merkle)
0x01  left, right                                   inner node of a tree (merkle)
0x02  tag, size as u64 little-endian, tree's root   :func:`seal`: the root of a named tensor
0x03  tag, encoded message                          :func:`message_digest`
0x70  "roofcompute/v1", suite, kind, name           :func:`tag`
====  ============================================  =======================================

Randomness is SHAKE-256 (FIPS 202) under every suite: its capacity of 512 bits leaves room beyond the 2^80
hash queries that docs/spec/freivalds.md#soundness grants a grinder. Inputs are length-prefixed, so different
lists of parts are different byte strings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, final

import numpy as np
import numpy.typing as npt

from proofcompute.errors import FormatError, InputError, UnsupportedError

if TYPE_CHECKING:
    from Crypto.Hash.SHAKE256 import SHAKE256_XOF

__all__ = [
    "DIGEST",
    "SUITES",
    "HashRows",
    "State",
    "Transcript",
    "Xof",
    "check_leaves",
    "check_ranges",
    "check_rows",
    "climb",
    "digest",
    "hash_ranges",
    "hash_rows",
    "hash_trees",
    "large_digest",
    "message_digest",
    "message_state",
    "nodes_needed",
    "parents",
    "require_suite",
    "seal",
    "tag",
]

U8 = npt.NDArray[np.uint8]
HashRows: TypeAlias = Callable[[str, bytes, U8], U8]
"""The type of ``hash_rows(suite, prefix, rows)``: the definition, or a backend's function."""

SUITES: Final = ("sha256", "keccak256", "blake3")
"""Names of the hash suites; the first is the default."""
DIGEST: Final = 32
"""Size of every digest in bytes."""
_VERSION: Final = b"proofcompute/v1"
_SEAL: Final = b"\x02"
_MESSAGE: Final = b"\x03"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _keccak256(data: bytes) -> bytes:
    from Crypto.Hash import keccak  # imported here because it would slow down every start

    return bytes(keccak.new(data=data, digest_bits=256).digest())


def _blake3(data: bytes) -> bytes:
    from blake3 import blake3

    return bytes(blake3(data).digest())


_DIGESTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "sha256": _sha256,
    "keccak256": _keccak256,
    "blake3": _blake3,
}


def _function(suite: str) -> Callable[[bytes], bytes]:
    try:
        return _DIGESTS[suite]
    except (KeyError, TypeError):
        raise UnsupportedError(f"hash suite {suite!r}; this version has {', '.join(SUITES)}") from None


def require_suite(suite: str) -> None:
    """Raise UnsupportedError unless this version has the suite."""
    _function(suite)


def digest(suite: str, data: bytes) -> bytes:
    """Return the 32-byte digest of ``data``. Raises UnsupportedError for an unknown suite."""
    return _function(suite)(data)


def check_rows(suite: str, rows: U8) -> Callable[[bytes], bytes]:
    """Check the arguments of ``hash_rows``, for every backend, and return the suite's function.

    Raises UnsupportedError for an unknown suite, and InputError unless rows are uint8 [n, w].
    """
    function = _function(suite)
    if rows.ndim != 2 or rows.dtype != np.uint8:
        raise InputError(f"rows to hash are uint8 [n, w], not {rows.dtype} {list(rows.shape)}")
    return function


def hash_rows(suite: str, prefix: bytes, rows: U8) -> U8:
    """Return the digest of ``prefix + row`` for each row of uint8 [n, w]: uint8 [n, 32].

    This is the definition of every fast version. Raises UnsupportedError for an unknown suite, InputError
    unless ``rows`` is a uint8 matrix.
    """
    function = check_rows(suite, rows)
    digests = bytearray().join([function(prefix + row.tobytes()) for row in rows])
    return np.frombuffer(digests, np.uint8).reshape(len(rows), DIGEST)


def parents(suite: str, prefix: bytes, nodes: U8, hashed: HashRows = hash_rows) -> U8:
    """Return the next level of t trees: nodes [t, n, 32], n >= 1, become [t, ceil(n / 2), 32].

    Pairs from the left become the digest of prefix + left + right; a lone last node moves up unchanged.
    """
    trees, n, _ = nodes.shape
    if n == 1:
        return nodes
    paired = n // 2 * 2
    pairs = np.ascontiguousarray(nodes[:, :paired]).reshape(trees * (n // 2), 2 * DIGEST)
    above = hashed(suite, prefix, pairs).reshape(trees, n // 2, DIGEST)
    return np.concatenate((above, nodes[:, paired:]), axis=1) if n % 2 else above


def check_leaves(suite: str, leaves: U8, size: int) -> None:
    """Check the arguments of ``hash_trees``, for every backend.

    Raises UnsupportedError for an unknown suite, and InputError unless each tree has at least ``size`` >= 1
    leaves.
    """
    require_suite(suite)
    if leaves.ndim != 3 or leaves.shape[2] != DIGEST or leaves.dtype != np.uint8:
        raise InputError(
            f"leaves of trees are uint8 [t, n, {DIGEST}], not {leaves.dtype} {list(leaves.shape)}"
        )
    if not 1 <= size <= leaves.shape[1]:
        raise InputError(f"trees over {size} of {leaves.shape[1]} leaves")


def hash_trees(suite: str, prefix: bytes, leaves: U8, size: int, hashed: HashRows = hash_rows) -> U8:
    """Return all m nodes of t trees over the first ``size`` >= 1 of their leaves [t, >= size, 32]: [t, m,
    32].

    The nodes come level after level (:func:`parents`), leaves first and the root last. Raises as
    :func:`check_leaves`.
    """
    check_leaves(suite, leaves, size)
    levels = [leaves[:, :size]]
    while levels[-1].shape[1] > 1:
        levels.append(parents(suite, prefix, levels[-1], hashed))
    return np.concatenate(levels, axis=1)


def climb(size: int, a: int, b: int) -> Iterator[tuple[int, int, int | None, int | None]]:
    """Walk from leaves a..b of a tree of ``size`` leaves to its root.

    Yields for each level below the root the known nodes lo..hi, and the numbers of the nodes that are needed
    to the left and to the right of them (None if none is needed).
    """
    lo, hi = a, b
    while size > 1:
        left = lo - 1 if lo % 2 else None
        right = hi if hi % 2 and hi < size else None
        yield lo, hi, left, right
        lo, hi, size = lo // 2, (hi + 1) // 2, (size + 1) // 2


def hash_ranges(
    suite: str,
    prefix: bytes,
    size: int,
    ranges: Sequence[tuple[int, int]],
    leaves: U8,
    given: U8,
    hashed: HashRows = hash_rows,
) -> U8:
    """Return the roots of t >= 1 trees of ``size`` leaves, given leaves a..b of each and its proof: [t, 32].

    ``ranges`` holds a and b of each tree. ``leaves`` [sum of b - a, 32] are the known leaves of all trees,
    one tree after the other. ``given`` are the further nodes that :func:`climb` asks for, in its order.
    Raises InputError unless both are uint8 and complete, and 0 <= a < b <= size.
    """
    require_suite(suite)
    check_ranges(size, ranges, leaves, given)
    roots = bytearray()
    done = used = 0
    for a, b in ranges:
        nodes = leaves[done : done + b - a]
        done += b - a
        for _, _, left, right in climb(size, a, b):
            parts = [nodes]
            if left is not None:
                parts.insert(0, given[used : used + 1])
                used += 1
            if right is not None:
                parts.append(given[used : used + 1])
                used += 1
            nodes = parents(suite, prefix, np.concatenate(parts)[None], hashed)[0]
        roots += nodes.tobytes()
    return np.frombuffer(roots, np.uint8).reshape(-1, DIGEST)


def check_ranges(size: int, ranges: Sequence[tuple[int, int]], leaves: U8, given: U8) -> None:
    """Raise InputError unless these are valid arguments of :func:`hash_ranges`."""
    if not ranges or any(not 0 <= a < b <= size for a, b in ranges):
        raise InputError(f"leaves {list(ranges)} are not ranges of trees of {size}")
    known = sum(b - a for a, b in ranges)
    needed = sum(nodes_needed(size, a, b) for a, b in ranges)
    for digests, count in ((leaves, known), (given, needed)):
        if digests.shape != (count, DIGEST) or digests.dtype != np.uint8:
            raise InputError(
                f"expected {count} digests uint8 [n, {DIGEST}], not {digests.dtype} {list(digests.shape)}"
            )


@lru_cache(maxsize=1 << 12)  # a verification asks for each several times
def nodes_needed(size: int, a: int, b: int) -> int:
    """Return how many nodes :func:`climb` needs besides the leaves a..b."""
    return sum((left is not None) + (right is not None) for _, _, left, right in climb(size, a, b))


# -- domains ---------------------------------------------------------------------------------------------
def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise FormatError(f"{what} has lone surrogates") from None


def tag(suite: str, kind: str, name: str) -> bytes:
    """Return the 32-byte domain tag of a tensor or message, hashed by the suite itself.

    It is the digest of "proofcompute/v1", suite, kind and name joined by NUL. Neither a suite nor a kind
    contains a NUL (a kind that does raises FormatError) and the name comes last, so the joined text
    determines all three.
    """
    require_suite(suite)
    return _tag(suite, kind, name)


@lru_cache(maxsize=1 << 12)  # a verification asks for each at every cell
def _tag(suite: str, kind: str, name: str) -> bytes:
    if "\0" in kind:
        raise FormatError("the kind of a domain tag contains no NUL")
    parts = (_VERSION, suite.encode(), _utf8(kind, "kind"), _utf8(name, "name"))
    return digest(suite, b"\0".join(parts))


def seal(suite: str, kind: str, name: str, size: int, root: bytes) -> bytes:
    """Return the root of a named tensor: digest(0x02, tag, size as u64 little-endian, root of its tree).

    ``size`` is the number of leaves, 0..2^64 - 1; ``root`` has 32 bytes. Raises FormatError otherwise.
    """
    if not 0 <= size < 1 << 64:
        raise FormatError(f"a tree of {size} leaves cannot be sealed")
    if len(root) != DIGEST:
        raise FormatError(f"a root has {DIGEST} bytes, not {len(root)}")
    return digest(suite, _SEAL + tag(suite, kind, name) + size.to_bytes(8, "little") + root)


def message_digest(suite: str, kind: str, encoded: bytes) -> bytes:
    """Return the digest by which other messages refer to one: digest(0x03, tag(kind, ""), encoded)."""
    return digest(suite, _MESSAGE + tag(suite, kind, "") + encoded)


def large_digest(kind: str, *pieces: bytes | memoryview) -> bytes:
    """Return :func:`message_digest` in BLAKE3 of a message in pieces, without copying them."""
    state = message_state("blake3", kind)
    for piece in pieces:
        state.update(piece)
    return state.digest()


class State(Protocol):
    """A digest that is computed piece by piece."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Append ``data`` to what is hashed."""
        ...

    def digest(self) -> bytes:
        """Return the digest of what was appended so far."""
        ...


def message_state(suite: str, kind: str) -> State:
    """Return :func:`message_digest` of an empty message, to which the message is then appended in pieces.

    Raises UnsupportedError for an unknown suite.
    """
    begin = _MESSAGE + tag(suite, kind, "")
    if suite == "sha256":
        return hashlib.sha256(begin)
    if suite == "keccak256":
        from Crypto.Hash import keccak

        return keccak.new(data=begin, digest_bits=256)
    from blake3 import blake3

    return blake3(begin)


# -- randomness ------------------------------------------------------------------------------------------
def _prefixed(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


@final
class Xof:
    """A stream of bytes that a domain and a list of parts determine.

    The stream is SHAKE-256 of "proofcompute/v1/xof", the domain and the parts, each preceded by its length as
    u64 little-endian. ``Xof(d, a, b)`` and ``Xof(d, a + b)`` are unrelated streams.
    """

    __slots__ = ("_shake",)

    def __init__(self, domain: str, *parts: bytes) -> None:
        from Crypto.Hash import SHAKE256  # hashlib's SHAKE cannot continue an output

        shake = SHAKE256.new(_prefixed(_VERSION + b"/xof") + _prefixed(_utf8(domain, "domain")))
        for part in parts:
            shake.update(len(part).to_bytes(8, "little"))
            shake.update(part)
        self._shake: SHAKE256_XOF = shake

    def read(self, n: int) -> bytes:
        """Return the next ``n`` bytes; ``read(a)``, then ``read(b)``, gives the bytes of ``read(a + b)``."""
        if n < 0:
            raise InputError(f"cannot read {n} bytes")
        return bytes(self._shake.read(n)) if n else b""


@final
class Transcript:
    """A Fiat-Shamir transcript: everything absorbed determines the challenges that are drawn later.

    The state is SHAKE-256 over a sequence of length-prefixed entries, "proofcompute/v1/transcript" and the
    domain first. Absorbing appends "absorb", the label and the data. Drawing appends "challenge" and the
    label, and the 64 bytes that the state then gives seed an :class:`Xof`. So a challenge depends on
    everything absorbed and drawn before it, in order, and data cannot pass for a label or a draw.
    """

    __slots__ = ("_state",)

    def __init__(self, domain: str = "") -> None:
        self._state = hashlib.shake_256(_prefixed(_VERSION + b"/transcript"))
        self._state.update(_prefixed(_utf8(domain, "domain")))

    def absorb(self, label: str, data: bytes | memoryview) -> None:
        """Absorb ``data`` under ``label`` without copying it."""
        self._state.update(_prefixed(b"absorb") + _prefixed(_utf8(label, "label")))
        self._state.update(len(data).to_bytes(8, "little"))
        self._state.update(data)

    def challenge(self, label: str) -> Xof:
        """Draw a stream that depends on the whole transcript so far; two draws in a row differ."""
        name = _utf8(label, "label")
        self._state.update(_prefixed(b"challenge") + _prefixed(name))
        return Xof("transcript", name, self._state.digest(64))
