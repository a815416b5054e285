"""Open answers and make public proofs by actors, each with a model on a device of its own.

An actor has the model's weights, the node's identity, which signs openings, and the public key with its codes
if proofs are to be made. What it makes is a function of these and of the work alone. So a proof that is made
again, because its worker died in the middle, has the same bytes, and which of two is kept does not matter.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.beacons import Beacon
from proofcompute.commitments.hashing import message_digest
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import wire
from proofcompute.errors import InputError
from proofcompute.models.model import Model
from proofcompute.protocol.messages import Challenge, Request
from proofcompute.protocol.samples import Sample
from proofcompute.prover import RunDirectory
from proofcompute.prover.node import Node
from proofcompute.prover.own_run import OwnRun
from proofcompute.public.holder import SECURITY, positions_for
from proofcompute.public.proof import ALL
from proofcompute.public.proving import OwnAnswer, prove
from proofcompute.public.publishing import Published, load_published
from proofcompute.public.reading import encoded_beacon
from proofcompute.scaling.executor import Executor, Failed, Make
from proofcompute.scaling.keeping import kept
from proofcompute.scaling.storage import Store

__all__ = ["OpeningWork", "ProofWork", "Proving", "ToProve", "prove_all"]

_NO_TRACE: Final = 1
"""Bytes of traces that a worker keeps besides the newest: a trace is more, so it keeps the newest only."""


@dataclass(frozen=True)
class ToProve:
    """An answer of the node."""

    request: bytes
    """The request, encoded."""
    receipt: bytes
    """The receipt, encoded."""
    run: str = ""
    """The run's directory, where every worker sees it: its trace is read; empty: it is computed again."""

    @staticmethod
    def of_run(path: str | Path) -> ToProve:
        """Return the answer of a finished run. Raises InputError or FormatError if it is none."""
        directory = RunDirectory(path)
        return ToProve(directory.request().encode(), directory.receipt().encode(), str(path))


@dataclass(frozen=True)
class OpeningWork:
    """Cells of an answer to open."""

    answer: ToProve
    challenge: bytes
    """The challenge, encoded."""

    @property
    def name(self) -> str:
        """The name under which the opening is kept: digests of the receipt's bytes and of the challenge."""
        receipt = message_digest("sha256", "receipt to open", self.answer.receipt)
        return f"{receipt.hex()}-{Challenge.decode(self.challenge).digest.hex()}"


@dataclass(frozen=True)
class ProofWork:
    """Answers to prove together, in one public proof."""

    answers: tuple[ToProve, ...]
    cells: int | Sample = ALL
    """The number of cells, or the runs, that are drawn of each answer; or ALL."""
    beacons: tuple[Beacon | None, ...] = ()
    """What they are drawn from, one for each answer; empty: the receipts' hashes."""
    security: float = SECURITY
    """-log2 of the most error that one attempt at the proof may have."""

    def __post_init__(self) -> None:
        """Raise InputError unless there are answers, and a beacon for each of them or none at all."""
        if not self.answers:
            raise InputError("a proof is of at least one answer")
        if len(self.beacons) not in (0, len(self.answers)):
            raise InputError(
                f"{len(self.beacons)} beacons are not one for each of {len(self.answers)} answers"
            )

    @property
    def name(self) -> str:
        """The name under which the proof is kept: the digest of all that decides what it shows."""
        drawn = astuple(self.cells) if isinstance(self.cells, Sample) else (self.cells,)
        shown = wire.encode(
            (
                tuple((one.request, one.receipt) for one in self.answers),
                drawn,
                tuple(encoded_beacon(beacon) for beacon in self.beacons),
                float(self.security).hex(),
            )
        )
        return message_digest("sha256", "proof to make", shown).hex()


@dataclass(frozen=True)
class Proving:
    """Makes a worker that opens answers of a node and proves them, on a device.

    Workers sign as the node: they belong on machines of the node's own, which all see these files.
    """

    model: str
    """Path of the model file."""
    identity: str = ""
    """Path of the node's key pair; empty: the one that a run's directory names."""
    public: str = ""
    """Path of the model's public key, with its codes beside it; empty: no proofs are made."""
    device: str | None = None
    """The device of workers that were given none; None: the CPU."""

    def __call__(self, place: str) -> _Prover:
        """Load the model on the device ``place``; a number stands for no device in particular."""
        return _Prover(self, (self.device or "cpu") if place.isdigit() else place)


class _Prover:
    """A worker that opens and proves."""

    def __init__(self, proving: Proving, device: str) -> None:
        self._kernels = kernels_for(device)
        self._published: Published | None = None
        if proving.public:
            self._published = load_published(proving.public, self._kernels)
        self._model = Model.load(proving.model)
        self._node = self._signing(NodeIdentity.load(proving.identity)) if proving.identity else None

    def _signing(self, identity: NodeIdentity) -> Node:
        return Node(self._model, identity, device=self._kernels, trace_bytes=_NO_TRACE)

    def _own(self, one: ToProve) -> OwnRun:
        """Return what opens an answer.

        Raises InputError if neither the worker nor the answer's run says who signed it.
        """
        directory, node = RunDirectory(one.run) if one.run else None, self._node
        if node is not None:
            return OwnRun(lambda: node, directory)
        if directory is None:
            raise InputError(
                "an answer without a run's directory takes the node's identity: give Proving its path"
            )
        return OwnRun(lambda: self._signing(directory.identity()), directory)

    def __call__(self, work: OpeningWork | ProofWork) -> bytes:
        """Make one opening or proof."""
        stream = io.BytesIO()
        if isinstance(work, OpeningWork):
            one, challenge = work.answer, Challenge.decode(work.challenge)
            self._own(one).open(Request.decode(one.request), one.receipt, challenge, stream)
            return stream.getvalue()
        if self._published is None:
            raise InputError("a proof takes the model's public key: give Proving its path")
        answered = [
            OwnAnswer(Request.decode(one.request), one.receipt, self._own(one), work.cells, beacon)
            for one, beacon in zip(work.answers, work.beacons or (None,) * len(work.answers), strict=True)
        ]
        prove(
            self._published,
            self._model,
            answered,
            stream,
            positions=positions_for(self._published.key.layout, work.security),
            kernels=self._kernels,
        )
        return stream.getvalue()


def prove_all(
    executor: Executor,
    proving: Make[OpeningWork | ProofWork, bytes],
    work: Sequence[OpeningWork | ProofWork],
    made: Store,
    *,
    devices: Sequence[str] = ("cpu",),
) -> Iterator[tuple[str, bool | Failed]]:
    """Make the openings and proofs that are not there yet, and keep each once.

    Args:
        executor: what runs the work.
        proving: makes a worker on a device, such as :class:`Proving`.
        work: what to open and to prove; of several with one name, one is made.
        made: where openings and proofs are kept, by the name of the work.
        devices: a worker for each, perhaps with cores of its own (``cuda:0``, ``cpu@0-3``).

    Yields the name of each piece of work that was done, with whether its result was new, or why there is
    none. Raises InputError for a device that is not written so.
    """
    yield from kept(executor, proving, {one.name: one for one in work}, made, _same, devices)


def _same(work: OpeningWork | ProofWork, found: bytes) -> bytes:
    return found
