"""Structure-aware mutation of CBOR messages: one or two places of an honest message are made hostile.

A message is parsed with our own reader, changed as a tree, and written by the small emitter below, which can
also write what deterministic CBOR forbids (long heads, floats, maps, tags, indefinite lengths). Bytes are
also changed directly: flips, cuts, insertions, splices of two messages, heads that announce too much.

All choices come from a ``random.Random``; under Hypothesis it is one of ``st.randoms``, so that failures
shrink to the least mutation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, TypeAlias

from proofcompute.encoding import wire

Tree: TypeAlias = Any
"""What ``wire.decode`` gives (int, bytes, str, tuple), and :class:`Raw`."""
Path: TypeAlias = tuple[int, ...]
"""Index at each level from the root."""

LIMIT = 1 << 30
EDGES = [s << n for n in (0, 5, 7, 8, 15, 16, 20, 24, 31, 32, 53, 63, 64) for s in (1, -1)]
BOUNDARIES = sorted(
    {edge + step for edge in EDGES for step in (-1, 0, 1)}
    | {0, 23, 24, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x80000000}
)
"""Integers at the edges of heads, limits and types, and bit patterns of infinity, NaN and -0."""
TEXTS = ("", "\0", "a", "é", "€" * 100, "\u202e", "a" * 257, "x" * 70_000, "sha256", "keccak256", "matrix")


class Raw:
    """Bytes that stand where an item should be, canonical or not."""

    def __init__(self, data: bytes) -> None:
        self.data = data


FOREIGN = tuple(
    bytes.fromhex(code)
    for code in (
        "a0", "a10102", "c000", "c24101", "d9d9f700", "f4", "f5", "f6", "f7", "f820", "f93c00", "fa7fc00000",
        "fb3ff0000000000000", "ff", "5f4161ff", "7f6161ff", "9f00ff", "1800", "190017", "1a00000000", "1c",
        "5800", "7800", "9800", "61ff", "63eda080", "5bffffffffffffffff", "9bffffffffffffffff",
        "3bffffffffffffffff",
    )
)  # fmt: skip
"""Items that deterministic CBOR, or our part of it, does not have."""


def head(major: int, n: int, *, longer: int = 0) -> bytes:
    """A CBOR head; ``longer`` steps beyond the shortest form."""
    extra = next(i for i, bound in enumerate((24, 1 << 8, 1 << 16, 1 << 32, 1 << 64)) if n < bound)
    extra = min(extra + longer, 4)
    if extra == 0:
        return bytes([major << 5 | n])
    return bytes([major << 5 | 23 + extra]) + n.to_bytes(1 << (extra - 1), "big")


def emit(value: Tree) -> bytes:
    """The encoding of a tree."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, int):
        if not -(1 << 64) <= value < 1 << 64:  # a bignum, which is a tag
            digits = (value if value >= 0 else -1 - value).to_bytes(16, "big")
            return (b"\xc2" if value >= 0 else b"\xc3") + head(2, 16) + digits
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        data = value.encode()
        return head(3, len(data)) + data
    return head(4, len(value)) + b"".join(emit(v) for v in value)


def parse(data: bytes) -> Tree:
    """The tree of a canonical message."""
    return wire.decode(data, limit=LIMIT, what="honest message")


def paths(tree: Tree, at: Path = ()) -> Iterator[Path]:
    """Every place of a tree, the root first."""
    yield at
    if isinstance(tree, tuple):
        for i, v in enumerate(tree):
            yield from paths(v, (*at, i))


def get(tree: Tree, path: Path) -> Tree:
    """What is at a place."""
    for i in path:
        tree = tree[i]
    return tree


def put(tree: Tree, path: Path, value: Tree) -> Tree:
    """The tree with another value at a place."""
    if not path:
        return value
    i = path[0]
    return (*tree[:i], put(tree[i], path[1:], value), *tree[i + 1 :])


# -- trees -----------------------------------------------------------------------------------------------
def mutate_tree(rng: Random, tree: Tree, others: Sequence[Tree]) -> Tree:
    """The tree with one place changed; ``others`` lend items."""
    path = _place(rng, tree)
    here = get(tree, path)
    if rng.random() < 0.2:
        return put(tree, path, _foreign(rng, tree, here, others))
    return put(tree, path, _near(rng, here))


def _place(rng: Random, tree: Tree) -> Path:
    """Half the time a walk from the root, which favours short lists; else any place."""
    if rng.random() < 0.5:
        path: Path = ()
        while isinstance(tree, tuple) and tree and rng.random() < 0.85:
            i = rng.randrange(len(tree))
            path, tree = (*path, i), tree[i]
        return path
    return rng.choice(list(paths(tree)))


def _foreign(rng: Random, tree: Tree, here: Tree, others: Sequence[Tree]) -> Tree:
    """An item of another type, from another place, or none of ours at all."""
    kind = rng.randrange(6)
    if kind == 0:
        return Raw(rng.choice(FOREIGN))
    if kind == 1:  # the same item with a head that is not the shortest
        return Raw(_longer(rng, here))
    if kind == 2:
        donor = rng.choice([tree, *others])
        return get(donor, _place(rng, donor))
    if kind == 3:  # nested, up to beyond the depth limit
        for _ in range(rng.choice((1, 2, 15, 16, 17, 300))):
            here = (here,)
        return here
    if kind == 4:
        return _other_type(here)
    return rng.choice((0, -1, b"", "", (), (0,) * 3, bytes(32), 1 << 63, ((),) * 40))


def _longer(rng: Random, item: Tree) -> bytes:
    data = emit(item)
    if isinstance(item, Raw):
        return data
    if isinstance(item, int):
        n = item if item >= 0 else -1 - item
        return head(data[0] >> 5, n & (1 << 64) - 1, longer=rng.randrange(1, 5))
    n = len(item.encode()) if isinstance(item, str) else len(item)
    return head(data[0] >> 5, n, longer=rng.randrange(1, 5)) + data[len(head(data[0] >> 5, n)) :]


def _other_type(item: Tree) -> Tree:
    if isinstance(item, int):
        return (item & (1 << 64) - 1).to_bytes(8, "little")
    if isinstance(item, bytes):
        return item.decode("latin-1")
    if isinstance(item, str):
        return item.encode()
    return emit(item)


def _near(rng: Random, item: Tree) -> Tree:
    """An item of the same type."""
    if isinstance(item, int):
        return _near_int(rng, item)
    if isinstance(item, bytes):
        return _near_bytes(rng, item)
    if isinstance(item, str):
        return _near_text(rng, item)
    return _near_list(rng, item) if isinstance(item, tuple) else item


def _near_int(rng: Random, n: int) -> int:
    kind = rng.randrange(4)
    if kind == 0:
        return n + rng.choice((-1, 1))
    if kind == 1:
        return n ^ 1 << rng.randrange(33)
    if kind == 2:
        return -1 - n
    return rng.choice(BOUNDARIES)


def _near_bytes(rng: Random, data: bytes) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return data[: rng.randrange(len(data) + 1)]
    if kind == 1:
        return data + bytes(rng.choice((1, 4, 32, 300)))
    if kind == 2:
        return data + data
    if kind == 3:
        return rng.choice((b"", bytes(len(data)), b"\xff" * len(data), bytes(32), bytes(70_000)))
    if kind == 4 and len(data) >= 8:  # one whole word: little-endian integers and floats live in there
        at = 4 * rng.randrange(len(data) // 4)
        word = rng.choice(BOUNDARIES) & 0xFFFFFFFF
        return data[:at] + word.to_bytes(4, "little") + data[at + 4 :]
    return _flip(rng, data)


def _flip(rng: Random, data: bytes) -> bytes:
    if not data:
        return b"\0"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _near_text(rng: Random, text: str) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return text[:-1]
    if kind == 1:
        return text + rng.choice(TEXTS)
    if kind == 2 and text:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice("\0aZé\u2028😀") + text[at + 1 :]
    return rng.choice(TEXTS)


def _near_list(rng: Random, items: tuple[Tree, ...]) -> tuple[Tree, ...]:
    kind = rng.randrange(7)
    if not items:
        return rng.choice(((0,), (b"",), ("",), ((),), (0,) * 70))
    i, j = rng.randrange(len(items)), rng.randrange(len(items))
    if kind == 0:
        return items[:i] + items[i + 1 :]
    if kind == 1:
        return (*items[:i], items[i], *items[i:])
    if kind == 2:
        swapped = list(items)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        return tuple(swapped)
    if kind == 3:
        return (*items[:i], items[j], *items[i + 1 :])
    if kind == 4:
        return ()
    if kind == 5:
        return items * rng.choice((2, 10, 1000)) if len(emit(items)) < 200 else items[::-1]
    return items[: i + 1]


# -- bytes -----------------------------------------------------------------------------------------------
def mutate_bytes(rng: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """``data`` with one place changed; ``others`` are spliced in."""
    kind = rng.randrange(9)
    at = rng.randrange(len(data) + 1)
    if kind <= 1:
        return _flip(rng, data)
    if kind == 2:
        return data[:at]
    if kind == 3:
        end = min(len(data), at + rng.choice((1, 2, 8, 40)))
        return data[:at] + data[end:]
    if kind == 4:
        return data[:at] + rng.randbytes(rng.choice((1, 2, 8, 40))) + data[at:]
    if kind == 5:
        return data[:at] + data[max(0, at - rng.choice((1, 2, 8, 40))) :]
    if kind == 6:
        other = rng.choice([data, *others])
        return data[:at] + other[rng.randrange(len(other) + 1) :]
    if kind == 7:
        return data[:at] + rng.choice(FOREIGN) + data[at + 1 :]
    bomb = head(rng.choice((2, 3, 4)), rng.choice((1 << 20, 1 << 30, 1 << 40, (1 << 64) - 1)))
    return data[:at] + bomb + data[at + 1 :]


def mutant(rng: Random, honest: Sequence[bytes]) -> bytes:
    """A mutant of one of the honest messages, usually at one place, sometimes at two."""
    data = rng.choice(honest)
    rest = [h for h in honest if h is not data]
    if rng.random() < 0.35:
        for _ in range(rng.choice((1, 1, 2))):
            data = mutate_bytes(rng, data, rest)
        return data
    tree = parse(data)
    for _ in range(rng.choice((1, 1, 1, 2))):
        tree = mutate_tree(rng, tree, [parse(h) for h in rest[:2]])
    return emit(tree)
