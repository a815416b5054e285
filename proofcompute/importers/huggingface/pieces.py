"""Says where the rows of a canonical tensor are stored: whole, fused with others, transposed, or stacked.

A family's table gives a rule for each canonical name. A rule is the stored name without its suffix, or a
function made by one of those below. The same rule serves a matrix and its bias, whose suffixes are
``.weight`` and ``.bias``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from proofcompute.importers.architecture import Arch, Block, Moe, tensor_shapes

__all__ = [
    "Names",
    "Piece",
    "Rule",
    "Want",
    "by_head",
    "exact",
    "experts",
    "fused",
    "interleaved_experts",
    "one_per_head",
    "per_head_qkv",
    "pieces",
    "transposed",
    "transposed_experts",
]


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a canonical tensor: row j is row ``first + j step`` of a stored tensor."""

    name: str
    """The stored tensor."""
    shape: tuple[int, ...]
    """The shape that it must have."""
    rows: int
    first: int = 0
    step: int = 1
    index: int | None = None
    """Which matrix of a stack, where the stored tensor has an axis more."""
    transposed: bool = False
    """Whether rows are columns of what is stored."""
    flat: bool = False
    """Whether rows are the elements of what is stored, in order, whatever its shape."""


@dataclass(frozen=True)
class Want:
    """A canonical tensor that is looked for."""

    shape: tuple[int, ...]
    suffix: str
    """``.weight`` or ``.bias``."""
    block: Block | None
    """The block that it belongs to."""
    prefix: str
    """What stored names of the block, or of the whole model, begin with."""


Rule = str | Callable[[Want], tuple[Piece, ...]]


@dataclass(frozen=True)
class Names:
    """The stored names of a family."""

    model: Mapping[str, Rule]
    """Rules for tensors outside the blocks; whole names."""
    block: Mapping[str, Rule]
    """Rules for tensors of a block; names after the prefix."""
    prefix: str = "model.layers.{}."
    """What stored names of block i begin with."""


def pieces(arch: Arch, names: Names) -> Iterator[tuple[str, tuple[Piece, ...]]]:
    """Yield canonical names and where their rows are, in order, for all tensors of ``arch``."""
    for name, shape in tensor_shapes(arch).items():
        block, prefix, table, local = None, "", names.model, name
        if name.startswith("layers."):
            _, i, local = name.split(".", 2)
            block, prefix, table = arch.blocks[int(i)], names.prefix.format(i), names.block
        local, suffix = (
            (local.removesuffix(".bias"), ".bias") if local.endswith(".bias") else (local, ".weight")
        )
        rule = table[local]
        want = Want(shape, suffix, block, prefix)
        yield name, _whole(rule, want) if isinstance(rule, str) else rule(want)


def _whole(stored: str, want: Want) -> tuple[Piece, ...]:
    return (Piece(want.prefix + stored + want.suffix, want.shape, want.shape[0]),)


def exact(stored: str) -> Rule:
    """The stored name has no suffix."""
    return lambda want: (Piece(want.prefix + stored, want.shape, want.shape[0]),)


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1]


def transposed(stored: str) -> Rule:
    """A matrix is stored as [in, out], as in the Conv1D layers of GPT-2."""

    def rule(want: Want) -> tuple[Piece, ...]:
        matrix = len(want.shape) == 2
        name = want.prefix + stored + want.suffix
        return (Piece(name, _turned(want.shape), want.shape[0], transposed=matrix),)

    return rule


def fused(stored: str, part: str, *, turned: bool = False) -> Rule:
    """Rows ``part`` of q, k and v, or of gate and up, which are stored one after another.

    ``turned`` says that the stored matrix is [in, out].
    """

    def rule(want: Want) -> tuple[Piece, ...]:
        sizes = _sizes(_block(want))[part in ("gate", "up")]
        first = sum(rows for name, rows in sizes.items() if list(sizes).index(name) < list(sizes).index(part))
        shape = (sum(sizes.values()), *want.shape[1:])
        transposed = turned and len(shape) == 2
        name = want.prefix + stored + want.suffix
        stored_shape = _turned(shape) if transposed else shape
        return (Piece(name, stored_shape, want.shape[0], first, transposed=transposed),)

    return rule


def _block(want: Want) -> Block:
    if want.block is None:
        raise TypeError("a rule for tensors of blocks stands in the table of the model")
    return want.block


def _sizes(block: Block) -> tuple[dict[str, int], dict[str, int]]:
    a, ffn = block.attention, block.ffn
    width = 0 if isinstance(ffn, Moe) else ffn.width
    qkv = {"q": a.heads * a.head_dim, "k": a.kv_heads * a.head_dim, "v": a.kv_heads * a.v_dim}
    return qkv, {"gate": width, "up": width}


def per_head_qkv(stored: str, part: str) -> Rule:
    """Rows ``part`` of a matrix that holds q, k and v of the first head, then of the second, and so on."""

    def rule(want: Want) -> tuple[Piece, ...]:
        a = _block(want).attention
        c, name = a.head_dim, want.prefix + stored + want.suffix
        shape, offset = (3 * a.heads * c, *want.shape[1:]), "qkv".index(part) * c
        return tuple(Piece(name, shape, c, 3 * c * head + offset) for head in range(a.heads))

    return rule


def by_head(stored: str) -> Rule:
    """The norms of all heads are stored as one matrix, a row for each head."""

    def rule(want: Want) -> tuple[Piece, ...]:
        c = _block(want).attention.head_dim
        name, n = want.prefix + stored + want.suffix, want.shape[0]
        return (Piece(name, (n // c, c), n, flat=True),)

    return rule


def one_per_head(stored: str) -> Rule:
    """A norm of each head is a tensor of its own; ``stored`` has a place for the head's number."""

    def rule(want: Want) -> tuple[Piece, ...]:
        c = _block(want).attention.head_dim
        names = [want.prefix + stored.format(head) + want.suffix for head in range(want.shape[0] // c)]
        return tuple(Piece(name, (c,), c) for name in names)

    return rule


def _experts(want: Want) -> int:
    ffn = _block(want).ffn
    if not isinstance(ffn, Moe):
        raise TypeError("a rule for experts stands in the table of a family without them")
    return ffn.experts


def experts(stored: str) -> Rule:
    """Each expert's matrix is a tensor of its own; ``stored`` has a place for the expert's number."""

    def rule(want: Want) -> tuple[Piece, ...]:
        count = _experts(want)
        shape = (want.shape[0] // count, *want.shape[1:])
        names = [want.prefix + stored.format(e) + want.suffix for e in range(count)]
        return tuple(Piece(name, shape, shape[0]) for name in names)

    return rule


def transposed_experts(stored: str) -> Rule:
    """Experts are stacked, each [in, out]; a bias has the name with ``_bias``."""
    return _stacked(stored, 0, 1)


def interleaved_experts(stored: str, part: str) -> Rule:
    """As :func:`transposed_experts`, with columns of gate and up in turns."""
    return _stacked(stored, ("gate", "up").index(part), 2)


def _stacked(stored: str, first: int, step: int) -> Rule:
    def rule(want: Want) -> tuple[Piece, ...]:
        count = _experts(want)
        rows = want.shape[0] // count
        matrix = len(want.shape) == 2
        shape = (count, *_turned((rows * step, *want.shape[1:])))
        name = want.prefix + stored + ("" if matrix else "_bias")
        return tuple(Piece(name, shape, rows, first, step, index=e, transposed=matrix) for e in range(count))

    return rule
