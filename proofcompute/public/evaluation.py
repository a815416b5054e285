"""Show that sums of products fit coded weights (docs/spec/public-proofs.md#the-evaluation).

For each request and each plane l that products used, U_l = A_l W_l^T has to hold over F = GF(p^6), W_l being
the plane that the public key coded. The transcript gives a point s in F^I and beta_l, and for each request

    sum over l, j of V_l[j] beta_l A_l[j] = sum over l of beta_l <eq(s), U_l>,    V_l = eq(s)^T W_l

is proved by sumcheck. All of them share the challenges, so they end in one value of the multilinear extension
of all those planes, at a point of bits of plane, column and row. For each code that holds such planes the
prover sends the combination w of its messages that the row part of the point asks for. <w, column part>,
summed over the codes, has to be that value. **After** that the transcript gives positions: at each, the word
of w has to be the same combination of the words of all messages, which are opened and hashed to the code's
root. So a request is checked with its own sums, and nothing of the others but their messages.

If the value is false, some w is not the combination of the coded messages, and then its word agrees with that
of the true one in at most 2^-rho of the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I8, I32, U32, U64
from proofcompute.codes import sumcheck
from proofcompute.codes.circle import draw_positions
from proofcompute.codes.extension import DEGREE, add, drawn, of_products, total, words, zeros
from proofcompute.codes.sumcheck import Multiply, equality
from proofcompute.commitments import merkle
from proofcompute.commitments.hashing import Transcript
from proofcompute.errors import FormatError, VerificationError
from proofcompute.limits import MAX_CONTRACTION
from proofcompute.public.coding import SUITE, digests_of
from proofcompute.public.layout import CodedKey, Layout, Plane
from proofcompute.public.message import Evaluation, Opened, Shape, le
from proofcompute.public.sums import Sums

__all__ = ["Followed", "prove"]

_COLUMN_BITS: Final = (MAX_CONTRACTION - 1).bit_length()
_JOINED: Final = 1 << 24
"""Most weights of several planes that are handled together: as many are copied."""


# -- what prover and verifier compute alike ------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Point:
    """The challenges before sumcheck."""

    s: Sequence[U64]
    beta: U64

    @staticmethod
    def draw(transcript: Transcript, shape: Shape) -> _Point:
        transcript.absorb("planes", shape.mask)
        xof = transcript.challenge("point")
        s = drawn(xof, shape.row_bits)
        return _Point([s[:, i : i + 1] for i in range(shape.row_bits)], drawn(xof, max(1, len(shape.planes))))


def _rounds(transcript: Transcript) -> Callable[[U64], U64]:
    def draw(messages: U64) -> U64:
        transcript.absorb("round", le(messages.astype(np.uint32)))
        return drawn(transcript.challenge("round"), 1)

    return draw


def _split(shape: Shape, point: Sequence[U64]) -> tuple[Sequence[U64], Sequence[U64]]:
    """Return the parts of a point that belong to columns and to planes."""
    return point[: shape.column_bits], point[shape.column_bits :]


def _row_part(shape: Shape, number: int, s: Sequence[U64], point: Sequence[U64], multiply: Multiply) -> U64:
    """Return the factor of each message of a code, [6, rows]; planes that no product used have zero."""
    code, (columns, planes) = shape.layout.codes[number], _split(shape, point)
    of_plane, high = equality(planes, multiply), equality(s[code.side :], multiply)
    of_piece = equality(columns[_COLUMN_BITS:], multiply)
    out = zeros(code.rows)
    for at, plane in enumerate(shape.planes):
        if plane.code != number:
            continue
        pieces = -(-plane.d // code.width)
        blocks = plane.rows // pieces
        part = multiply(np.ascontiguousarray(high[:, :blocks]), of_plane[:, at : at + 1])
        for piece in range(pieces):
            place = out[:, plane.first + piece : plane.first + plane.rows : pieces]
            place[:] = multiply(part, of_piece[:, piece : piece + 1])
    return out


def _column_part(
    shape: Shape, number: int, s: Sequence[U64], point: Sequence[U64], multiply: Multiply
) -> U64:
    """Return the factor of each value of a message of a code, [6, length]."""
    code, (columns, _) = shape.layout.codes[number], _split(shape, point)
    low = equality(s[: code.side], multiply)
    within = np.ascontiguousarray(equality(columns[:_COLUMN_BITS], multiply)[:, : code.width])
    return np.concatenate([multiply(within, low[:, i : i + 1]) for i in range(low.shape[1])], axis=1)


def _positions(transcript: Transcript, shape: Shape, count: int) -> list[list[int]]:
    xof = transcript.challenge("positions")
    return [draw_positions(xof, shape.layout.codes[c].circle.size, count) for c in shape.codes]


# -- the prover ----------------------------------------------------------------------------------------------
def prove(
    transcript: Transcript,
    sums: Sequence[Sums[Any]],
    matrix: Callable[[Plane], I8],
    trees: Sequence[merkle.Tree],
    positions: int,
    kernels: Kernels,
) -> Evaluation:
    """Make the evaluation of the sums of each request.

    ``matrix`` returns the weights [m, d] of a plane, and ``trees`` are those over the codes.
    """
    layout = sums[0].key.layout
    shape = Shape.of(layout, sorted(set().union(*(one.a for one in sums))))
    point = _Point.draw(transcript, shape)
    multiply = kernels.multiply_extension
    eq = words(equality(point.s, multiply))
    f, *gs = (shape.table() for _ in range(1 + len(sums)))
    for at, plane in enumerate(shape.planes):
        part = np.ascontiguousarray(eq[:, : plane.m])
        f[:, at, : plane.d] = kernels.host(kernels.fold(matrix(plane), part))
        beta = point.beta[:, at : at + 1]
        for g, one in zip(gs, sums, strict=True):
            if plane.number in one.a:
                g[:, at, : plane.d] = multiply(one.a[plane.number], beta)
    flat = [g.reshape(DEGREE, -1) for g in (f, *gs)]
    rounds, end, _, _ = sumcheck.proved(flat[0], flat[1:], _rounds(transcript), multiply)
    combined = []
    for number in shape.codes:
        rows = words(_row_part(shape, number, point.s, end, multiply))
        held = [plane for plane in shape.planes if plane.code == number]
        at_rows = np.concatenate([np.arange(plane.first, plane.first + plane.rows) for plane in held])
        parts = (messages for _, messages in _messages(layout, held, matrix))
        combined.append(kernels.fold_parts(parts, np.ascontiguousarray(rows[:, at_rows])))
        transcript.absorb("combined", le(combined[-1]))
    opened = []
    for number, found in zip(shape.codes, _positions(transcript, shape, positions), strict=True):
        code = layout.codes[number]
        basis = code.circle.basis(found)
        leaves = np.empty((len(found), code.rows), np.uint32)
        for first, messages in _messages(layout, layout.of_code(number), matrix):
            leaves[:, first : first + len(messages)] = kernels.host(kernels.project(messages, basis)).T
        paths = tuple(tuple(trees[number].range_proof(q, q + 1)) for q in found)
        opened.append(Opened(leaves, paths))
    made = np.array(rounds, np.uint64).reshape(-1, len(sums), DEGREE, 3)
    return Evaluation(shape, made, tuple(combined), tuple(opened))


def _messages(
    layout: Layout, planes: Iterable[Plane], matrix: Callable[[Plane], I8]
) -> Iterator[tuple[int, I8]]:
    """Yield the messages of planes of one code, which follow one another, and the number of the first.

    Small planes are joined, as a call of a backend for the few messages of one would cost more than these.
    """
    some: list[I8] = []
    first = size = 0
    for plane in planes:
        messages = layout.messages(plane, matrix(plane), 0, plane.rows)
        if some and size + messages.size > _JOINED:
            yield first, _joined(some)
            some, size = [], 0
        if not some:
            first = plane.first
        some.append(messages)
        size += messages.size
    if some:
        yield first, _joined(some)


def _joined(some: list[I8]) -> I8:
    return some[0] if len(some) == 1 else np.concatenate(some)


# -- the verifier --------------------------------------------------------------------------------------------
class Followed:
    """An evaluation whose combined weights are those that were coded; what it says of a request is open."""

    def __init__(
        self, transcript: Transcript, key: CodedKey, found: Evaluation, positions: int, kernels: Kernels
    ) -> None:
        """Draw all challenges, and check what no request has a part in.

        Raises VerificationError (steps 1, 7 and 8) unless the combined weights are those that were coded.
        """
        shape, multiply = found.shape, kernels.multiply_extension
        self._found, self._kernels = found, kernels
        self._point = point = _Point.draw(transcript, shape)
        self._eq = equality(point.s, multiply)
        draw = _rounds(transcript)
        self._drawn = [draw(messages) for messages in found.rounds]
        end = self._drawn[::-1]
        columns, planes = _split(shape, end)
        self._of_column, self._of_plane = equality(columns, multiply), equality(planes, multiply)
        value, parts = zeros(1), []
        for number, w in zip(shape.codes, found.combined, strict=True):
            column = _column_part(shape, number, point.s, end, multiply)
            value = add(value, _inner([(column, w)], kernels))
            transcript.absorb("combined", le(w))
            parts.append(words(_row_part(shape, number, point.s, end, multiply)))
        self._value = value
        places = _positions(transcript, shape, positions)
        for number, w, rows, opened, place in zip(
            shape.codes, found.combined, parts, found.opened, places, strict=True
        ):
            _check_code(key, number, w, rows, opened, place, kernels)

    def require(self, request: int, sums: Sums[Any]) -> None:
        """Check the sums of a request, by its number in the proof. Raises VerificationError (step 8)."""
        shape, multiply, kernels = self._found.shape, self._kernels.multiply_extension, self._kernels
        if not sums.u.keys() <= {plane.number for plane in shape.planes}:
            raise VerificationError(8, "evaluation: a product used other weights than it names")
        used = [at for at, plane in enumerate(shape.planes) if plane.number in sums.u]
        planes = [shape.planes[at] for at in used]
        of_rows = _inner([(self._eq[:, : p.m], sums.u[p.number]) for p in planes], kernels)
        of_columns = _inner([(self._of_column[:, : p.d], sums.a[p.number]) for p in planes], kernels)
        beta = np.ascontiguousarray(self._point.beta[:, used])
        claim = total(multiply(of_rows, beta))
        factors = multiply(beta, np.ascontiguousarray(self._of_plane[:, used]))
        right = total(multiply(of_columns, factors))
        product = sumcheck.followed(claim, list(self._found.rounds[:, request]), self._drawn)
        if product is None:
            raise VerificationError(8, "evaluation: a round of sumcheck does not add up")
        if not np.array_equal(multiply(self._value, right), product):
            raise VerificationError(8, "evaluation: the combined weights do not give the value")


def _check_code(
    key: CodedKey, number: int, w: U32, rows: U32, opened: Opened, at: Sequence[int], kernels: Kernels
) -> None:
    """Check the opened positions of one code."""
    layout, root = key.layout, key.roots[number]
    circle = layout.codes[number].circle
    if len(opened.words) != len(at):
        raise VerificationError(1, f"evaluation: {len(opened.words)} positions, not {len(at)}")
    leaves = digests_of(opened.words, layout, number, kernels)
    try:
        found = merkle.roots_from_leaves(SUITE, circle.size, at, leaves, opened.paths, kernels.hash_rows)
    except FormatError as e:
        raise VerificationError(1, f"evaluation: {e}") from e
    if any(f != root for f in found):
        raise VerificationError(7, "evaluation: a position is not under the code's root")

    def project(y: I32, s: U32) -> U32:
        return kernels.host(kernels.project(y, s))

    if not np.array_equal(circle.words(w, at, project), project(_signed(opened.words), rows)):
        raise VerificationError(8, "evaluation: the combined weights are not those that were coded")


def _inner(pairs: Sequence[tuple[U64, U64 | U32]], kernels: Kernels) -> U64:
    """Return the sum of the products of the elements of each pair: [6, pairs]."""
    return of_products([kernels.host(kernels.project(_signed(words(x)), words(y))) for x, y in pairs])


def _signed(residues: U32) -> I32:
    """Return residues as the integers that they are, which are below 2^31."""
    return np.ascontiguousarray(residues).view(np.int32)
