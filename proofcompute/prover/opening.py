"""Open cells of a committed trace: rows with range proofs, table rows and product hints."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import BinaryIO, Final, NamedTuple, Protocol

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import Span
from proofcompute.commitments import merkle
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.errors import Cell, FormatError, InputError, MismatchError
from proofcompute.freivalds.hint import Packed
from proofcompute.freivalds.product import Site
from proofcompute.freivalds.sets import largest_squares
from proofcompute.models.card import weight_leaf_rows, weight_tree
from proofcompute.models.model import Model
from proofcompute.program.interpreter import run_products
from proofcompute.program.placement import Placement
from proofcompute.program.source import HintProducts, QuantisedRows, Source
from proofcompute.protocol.frames import Payload, require_signer, write_frames
from proofcompute.protocol.messages import Challenge, GroupOpening, OpeningHead, Part, Receipt, TableOpening
from proofcompute.protocol.needs import Needs, TableRows, needs
from proofcompute.protocol.openable import require_openable
from proofcompute.protocol.pieces import cut
from proofcompute.protocol.statement import Statement
from proofcompute.prover.stored import StoredRows, StoredTrace
from proofcompute.prover.turns import AnyThread, Turns, piece

__all__ = [
    "Ending",
    "Hearer",
    "OpenedProduct",
    "Openings",
    "check_challenge",
    "open_cells",
    "require_ending",
]


_BATCH: Final = 64
"""Number of cells whose proofs are copied from the backend together."""

_Frame = bytes | memoryview | Payload | list[bytes | memoryview]
"""The payload of a frame, perhaps in pieces."""


class OpenedProduct(NamedTuple):
    """One product of an opened cell, as the hint in the opening is made."""

    site: Site
    rows: tuple[QuantisedRows, ...]
    """The rows of each matrix, in the order of the hint's sets."""


class Hearer(Protocol):
    """Hears what an opening holds while it is written, cell by cell."""

    def roots(self, roots: Sequence[bytes]) -> None:
        """Hear the roots of the groups."""
        ...

    def cell(self, cell: Cell, digests: Sequence[bytes], products: Sequence[OpenedProduct]) -> None:
        """Hear the digests of the frames that open a cell, all cells in order, and the cell's products."""
        ...


Ending = Callable[[], bytes]
"""Makes the frame that follows the cells, once a hearer has heard all of them."""


class _InTurns(NamedTuple):
    """A hearer whose backend is used by another thread, which gives it turns."""

    hearer: Hearer
    turns: Turns

    def roots(self, roots: Sequence[bytes]) -> None:
        """See Hearer."""
        self.hearer.roots(roots)

    def cell(self, cell: Cell, digests: Sequence[bytes], products: Sequence[OpenedProduct]) -> None:
        """See Hearer."""
        piece(self.turns, partial(self.hearer.cell, cell, digests, products))


class _Proved(NamedTuple):
    """A cell, what it needs, and the range proof of each of its groups."""

    cell: Cell
    need: Needs
    proofs: Sequence[tuple[bytes, ...]]


class _Opened(NamedTuple):
    """What was proved, the frame of everything that its cell needs except for long rows, and its products."""

    proved: _Proved
    frame: _Frame
    products: Sequence[OpenedProduct]


class _Written(NamedTuple):
    """A frame to write, and what is done with it then."""

    frame: _Frame
    roots: tuple[bytes, ...] | None = None
    """The roots of the groups, if this frame holds them."""
    opened: _Opened | None = None
    """The cell that ends with this frame."""


class Openings:
    """A model on a backend, with all that openings of its traces have in common.

    Weights are placed when the first product is opened, the sums of squares of a weight are taken when it is
    first used, and the tree of a table is built when the first of its rows is opened. Several threads may
    open at the same time; none of these is made twice.

    What uses the backend is done in ``turns``, one cell after the other. Squares and trees, which depend on
    weights alone, are made on the host by the thread that opens, so that nobody has to wait for them in turn.
    """

    def __init__(
        self, model: Model, kernels: Kernels, turns: Turns | None = None, segments: range | None = None
    ) -> None:
        """Open cells of a model, or of ``segments`` of it whose weights it has."""
        self.model, self._segments = model, segments
        self.kernels = kernels
        self.turns = turns or AnyThread()
        self._host = kernels_for("numpy") if self.turns.apart else kernels
        self._placing = threading.Lock()
        self._placed: Placement | None = None
        self._guard = threading.Lock()
        self._squares: dict[str, tuple[int, ...]] = {}
        self._trees: dict[str, merkle.Tree] = {}

    @property
    def placed(self) -> Placement:
        """The program and its weights on the backend."""
        with self._placing:
            if self._placed is None:
                self._placed = Placement(self.model.program, self.model.weights, self.kernels, self._segments)
            return self._placed

    def squares(self, weight: str) -> tuple[int, ...]:
        """Return the largest sum of squares of a row of a weight matrix, for each limb."""
        found = self._squares.get(weight)
        if found is not None:
            return found
        with self._guard:
            if weight not in self._squares:
                self._squares[weight] = largest_squares(self.model.matrix(weight).q, self._host)
            return self._squares[weight]

    def _tree(self, weight: str) -> merkle.Tree:
        """Return the tree over the rows of a weight matrix."""
        found = self._trees.get(weight)
        if found is not None:
            return found
        with self._guard:
            if weight not in self._trees:
                spec = self.model.program.weight[weight]
                self._trees[weight] = weight_tree(spec, self.model.weights[weight], self._host.hash_rows)
            return self._trees[weight]

    def prepare(self, challenge: Challenge) -> None:
        """Make what the cells of a challenge need of the weights, whichever trace they are of."""
        for segment in sorted({cell.segment for cell in challenge.cells}):
            plan = self.model.program.plans[segment]
            for site in plan.sites if challenge.hints else ():
                self.squares(site.weight)
            for weight, _ in plan.tables if challenge.tables else ():
                self._tree(weight)

    def table(self, rows: TableRows) -> tuple[TableOpening, ...]:
        """Return rows of a weight matrix, each with its proof under the weight's root."""
        spec, weight = self.model.program.weight[rows.weight], self.model.weights[rows.weight]
        tree = self._tree(rows.weight)
        return tuple(
            TableOpening(
                weight_leaf_rows(spec, weight, i, i + 1).tobytes(), tuple(tree.range_proof(i, i + 1))
            )
            for i in rows.ids
        )

    def hints(
        self, trace: StoredTrace, need: Needs, cell: Cell, *, heard: bool
    ) -> tuple[tuple[tuple[Packed, ...], ...], tuple[OpenedProduct, ...]]:
        """Return the packed sets of each product of a cell, and if somebody hears them, their rows."""
        made: list[tuple[Packed, ...]] = []
        rows: list[tuple[QuantisedRows, ...]] = []
        k, weights = self.placed.kernels[cell.segment], self.placed.weights[cell.segment]
        products = HintProducts(weights.matrix, self.squares, made, rows=rows if heard else None)
        source = Source(StoredRows(trace, need, k), weights, products)
        unread = replace(source, products=replace(products, wanted=False))
        run_products(self.model.program, cell.segment, [Span(0, cell.a, cell.b)], source, unread, k)
        if len(made) != len(need.sites):
            raise FormatError(f"{cell}: {len(made)} products were made where {len(need.sites)} are needed")
        return tuple(made), tuple(map(OpenedProduct, need.sites, rows)) if heard else ()

    def part(self, trace: StoredTrace, challenge: Challenge, heard: bool, proved: _Proved) -> _Opened:
        """Open one cell.

        Its frame is hashed here, unless this is another thread than the one that opens.
        """
        cell, need, proofs = proved
        hints, products = self.hints(trace, need, cell, heard=heard) if challenge.hints else ((), ())
        rows = trace.rows([cut(self.model.program, rows).here for rows in need.groups])
        part = Part(
            tuple(GroupOpening(data, proof) for data, proof in zip(rows, proofs, strict=True)),
            tuple(self.table(t) for t in need.tables) if challenge.tables else (),
            hints,
        )
        pieces = part.pieces()
        return _Opened(proved, pieces if self.turns.apart else Payload.of(*pieces), products)

    def write(
        self,
        trace: StoredTrace,
        receipt: Receipt,
        challenge: Challenge,
        stream: BinaryIO,
        identity: NodeIdentity,
        progress: Callable[[int], None] | None = None,
        hearer: Hearer | None = None,
        ending: Ending | None = None,
    ) -> None:
        """Write the opening of a challenge that :func:`check_challenge` let pass; see :func:`open_cells`.

        A ``hearer`` is called on the thread that opens, or in its turn where the backend is another thread's,
        and so is an ``ending``, which the opening has if the challenge asks for it. Raises InputError if only
        one of both is so.
        """
        require_ending(challenge, ending)
        if hearer is not None and self.turns.apart:
            hearer = _InTurns(hearer, self.turns)
        self.prepare(challenge)
        found = self._frames(trace, receipt, challenge, heard=hearer is not None)
        with closing(self.turns.each(found)) as frames:
            payloads = self._ended(_followed(frames, progress, hearer), ending)
            write_frames(stream, payloads, receipt, challenge.digest, identity)

    def _ended(self, payloads: Iterator[Payload], ending: Ending | None) -> Iterator[Payload]:
        yield from payloads
        if ending is not None:
            yield Payload.of(piece(self.turns, ending))

    def _frames(
        self, trace: StoredTrace, receipt: Receipt, challenge: Challenge, *, heard: bool
    ) -> Iterator[_Written]:
        """Yield all frames of an opening except the closing one."""
        program, roots = trace.statement.program, tuple(trace.roots())
        yield _Written(OpeningHead(receipt.digest, challenge.digest, roots).encode(), roots)
        made = partial(self.part, trace, challenge, heard)
        # Inside an item of a map, nothing is split between threads, so a single cell is none.
        each = map if len(challenge.cells) == 1 else self.kernels.map
        for opened in each(made, _proved(trace, challenge)):
            for rows in opened.proved.need.groups:
                long = cut(program, rows)
                for index in range(long.ahead):
                    yield _Written(trace.rows([long.piece(index)])[0])
            yield _Written(opened.frame, opened=opened)


def require_ending(challenge: Challenge, ending: Ending | None) -> None:
    """Raise InputError unless there is an ending if the challenge asks for a public proof, and only then."""
    if (challenge.proof is None) != (ending is None):
        raise InputError(
            "this opens cells without public proofs, and a challenge says which of both it asks for"
        )


def check_challenge(
    statement: Statement, receipt: Receipt, challenge: Challenge, identity: NodeIdentity
) -> None:
    """Raise the errors of :func:`open_cells` that a challenge deserves, before anything is computed for it.

    ``statement`` is that of the receipt.
    """
    if challenge.receipt_digest != receipt.digest:
        raise MismatchError("the challenge is for another receipt")
    require_signer(receipt, identity)
    for cell in challenge.cells:
        statement.check_cell(cell)
    tables, hints = challenge.tables, challenge.hints
    require_openable(statement.program, statement.rows, challenge.cells, tables=tables, hints=hints)


def open_cells(
    model: Model,
    trace: StoredTrace,
    receipt: Receipt,
    challenge: Challenge,
    stream: BinaryIO,
    identity: NodeIdentity,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the opening of a challenge to ``stream``, frame by frame; the last frame signs it.

    ``identity`` is the key pair that signed the receipt. ``progress`` is called with the number of rows that
    each part opens. A node that opens more than once keeps an :class:`~proofcompute.prover.opener.Opener`.

    Raises MismatchError if the challenge is for another receipt or ``identity`` did not sign the receipt,
    FormatError or LimitError if the challenge names a cell that does not exist, and InputError if it names
    one that may take more than MAX_CELL_OPENING bytes. Nothing is written then.
    """
    check_challenge(trace.statement, receipt, challenge, identity)
    Openings(model, trace.kernels).write(trace, receipt, challenge, stream, identity, progress)


def _followed(
    frames: Iterator[_Written], progress: Callable[[int], None] | None, hearer: Hearer | None
) -> Iterator[Payload]:
    """Yield hashed frames, and report each cell once its last frame is written."""
    digests: list[bytes] = []
    for frame, roots, opened in frames:
        if isinstance(frame, Payload):
            payload = frame
        else:
            payload = Payload.of(*frame) if isinstance(frame, list) else Payload.of(frame)
        yield payload
        if roots is not None:
            if hearer is not None:
                hearer.roots(roots)
            continue
        digests.append(payload.digest)
        if opened is None:
            continue
        cell = opened.proved.cell
        if hearer is not None:
            hearer.cell(cell, digests, opened.products)
        digests = []
        if progress is not None:
            progress(cell.b - cell.a)


def _proved(trace: StoredTrace, challenge: Challenge) -> Iterator[_Proved]:
    """Yield each cell with what it needs and the range proof of each of its groups."""
    for first in range(0, len(challenge.cells), _BATCH):
        cells = challenge.cells[first : first + _BATCH]
        wanted = [needs(trace.statement, cell) for cell in cells]
        proofs = iter(trace.proofs([rows for need in wanted for rows in need.groups]))
        for cell, need in zip(cells, wanted, strict=True):
            yield _Proved(cell, need, [next(proofs) for _ in need.groups])
