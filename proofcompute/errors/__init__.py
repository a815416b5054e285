"""Define every error that proofcompute raises, in one tree.

::

    ProofcomputeError
    |- InputError              what the caller gave cannot be used; the text says what to do
    |  |- FormatError          bytes that are not a canonical encoding of what they claim to be
    |  |- LimitError           larger than a stated limit; raised before anything is allocated
    |  |  `- ChallengeLimitError  more challenges of one receipt than its node answers
    |  |- UnsupportedError     well formed, but not something this version can do
    |  `- MismatchError        two things that do not belong together (key and model, run and request)
    |- ExecutionError          the canonical arithmetic has no result
    |  |- NonFiniteError       a NaN or an infinity where a finite number is required
    |  `- EmptyRowError        a softmax row with no allowed position
    |- StorageError            the file system refused (full disk, permissions); files are as before
    |- DeviceError             a compute device is missing or cannot be used
    |  `- DeviceMemoryError    a device has too little memory for one thing (also a MemoryError)
    |- BusyError               a node takes no more work now; it says when to ask again
    |- StoppedError            work was given up before its end, by its caller or by the node
    |- ServiceError            a node cannot be reached, or answers with an error
    |- VerificationError       an untrusted message failed a numbered step of the verification
    |- EvidenceError           a bundle of evidence is malformed, or not what its auditor signed
    |- BeaconError             a round of a beacon, or the statement made before it, does not hold
    |- VerdictError            a quorum verdict does not hold; it says which rule it breaks
    |- LedgerError             a ledger, its log or an export does not hold
    |  `- EquivocationError    an auditor signed two different verdicts about the same
    `- EnvelopeError           a file in the form of another system is malformed, or not what it says

Nothing raw (``struct.error``, ``UnicodeDecodeError``, ``KeyError``) escapes from decoding a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple, TypeVar

__all__ = [
    "BeaconError",
    "BusyError",
    "Cell",
    "ChallengeLimitError",
    "DeviceError",
    "DeviceMemoryError",
    "EmptyRowError",
    "EnvelopeError",
    "EquivocationError",
    "EvidenceError",
    "ExecutionError",
    "FormatError",
    "InputError",
    "LedgerError",
    "LimitError",
    "MismatchError",
    "NonFiniteError",
    "ProofcomputeError",
    "ServiceError",
    "StoppedError",
    "StorageError",
    "UnsupportedError",
    "VerdictError",
    "VerdictFault",
    "VerificationError",
    "about",
    "bare",
]


class Cell(NamedTuple):
    """The unit of an audit: rows ``a`` (inclusive) to ``b`` (exclusive) of one segment."""

    segment: int
    a: int
    b: int

    def __str__(self) -> str:
        return f"segment {self.segment}, rows {self.a}..{self.b - 1}"


class ProofcomputeError(Exception):
    """The root of the tree: catching it catches everything that the library raises on purpose."""


class InputError(ProofcomputeError):
    """An argument cannot be used; the text says what is wrong with it and what to do."""


class FormatError(InputError):
    """Some bytes are not the canonical encoding of what they claim to be."""


class LimitError(InputError):
    """Something is larger than a stated limit."""


class ChallengeLimitError(LimitError):
    """A receipt was challenged as often as its node answers; an earlier challenge may still be repeated."""


class UnsupportedError(InputError):
    """The input is well formed, but this version cannot handle it; the text names what is missing."""


class MismatchError(InputError):
    """Two arguments do not belong together, such as a key and another model."""


class ExecutionError(ProofcomputeError):
    """The canonical arithmetic has no result for these values (docs/spec/arithmetic.md)."""

    named = False
    """Whether the text begins with the segment and the operation, as that of an error that is found later."""


class NonFiniteError(ExecutionError):
    """A NaN or an infinity appeared where a finite number is required."""


class EmptyRowError(ExecutionError):
    """A row of a softmax has no allowed position."""


class StorageError(ProofcomputeError):
    """The file system refused an operation; nothing is left under the final name."""


class DeviceError(ProofcomputeError):
    """A compute device is missing or cannot be used; the text says what to do."""


class DeviceMemoryError(DeviceError, MemoryError):
    """A device has too little memory for something; it may be used as before for what takes less."""


class BusyError(ProofcomputeError):
    """A node takes no more work now; the text says of what there is too much."""

    def __init__(self, reason: str, retry_after: float) -> None:
        self.retry_after = retry_after
        """Estimated seconds until the node takes work again."""
        super().__init__(reason)


class StoppedError(ProofcomputeError):
    """Work was given up before its end; the text says by whom."""


class ServiceError(ProofcomputeError):
    """A node cannot be reached or answers with an error, which proves nothing; the text says what it said."""


class VerificationError(ProofcomputeError):
    """An untrusted message failed a step of the verification (docs/spec/verification.md#the-ten-steps).

    A failed product check carries the step, the cell and the operation and nothing else: no value, no
    residual, no column, since those would reveal the secret vectors (docs/spec/freivalds.md#secrecy).
    """

    def __init__(
        self,
        step: int,
        reason: str,
        *,
        cell: Cell | None = None,
        operation: str | None = None,
        expected: object = None,
        found: object = None,
        attributable: bool = False,
    ) -> None:
        self.step = step
        """Number of the failed step, 1 to 10."""
        self.reason = reason
        """What failed, in words."""
        self.cell = cell
        """The cell that was being checked, if any."""
        self.operation = operation
        """The operation that was being checked, if any."""
        self.expected = expected
        """The value that would have passed, where it is not secret."""
        self.found = found
        """The value found, where it is not secret."""
        self.attributable = attributable
        """Whether the node signed the rejected opening as it was read, so that nobody else made it."""
        self.node: bytes | None = None
        """Public key of the node that the receipt names, once it is known."""
        self.model_id: bytes | None = None
        """The model that was asked for, once it is known."""
        self.request_digest: bytes | None = None
        """Digest of the request that was asked, once it is known."""
        self.receipt_digest: bytes | None = None
        """Digest of the receipt that was judged, once it is known."""
        where = f" [{cell}]" if cell is not None else ""
        what = f" {operation}:" if operation is not None else ""
        seen = f" (expected {expected}, found {found})" if expected is not None else ""
        super().__init__(f"step {step}{where}:{what} {reason}{seen}")

    def __reduce__(self) -> tuple[Callable[..., VerificationError], tuple[object, ...]]:
        """Let errors be copied: one that is raised a second time loses what it was raised for before."""
        return _restored, (self.args, dict(vars(self)))


def _restored(args: tuple[object, ...], fields: dict[str, object]) -> VerificationError:
    made = VerificationError.__new__(VerificationError, *args)
    vars(made).update(fields)
    return made


class EvidenceError(ProofcomputeError):
    """A bundle of evidence says nothing about anybody (docs/spec/evidence.md#verifying-a-bundle).

    It cannot be decoded, its auditor did not sign it, or it holds things that do not belong together, of
    which each was the auditor's to choose. Nothing follows from it about the node.
    """


class BeaconError(ProofcomputeError):
    """A beacon's round does not hold, or nobody who is trusted attested the receipt before it."""


class VerdictFault(Enum):
    """What is wrong with a quorum verdict (docs/spec/verdicts.md#verifying-a-quorum-verdict)."""

    MALFORMED = "malformed"
    """It does not decode."""
    POLICY = "policy"
    """It is under another policy than the verifier's, or lasts longer than the policy allows."""
    SIGNER = "signer"
    """A signer is not in the policy, or is named twice."""
    POSSESSION = "possession"
    """A signer's key has no valid proof of possession."""
    THRESHOLD = "threshold"
    """Fewer have signed than the policy asks for."""
    MIXED = "mixed"
    """Signatures are of different statements."""
    SIGNATURE = "signature"
    """A signature does not hold."""
    SUBJECT = "subject"
    """It is about another receipt or request."""
    TIME = "time"
    """It is not valid yet, or no longer."""
    REPLAYED = "replayed"
    """A verdict of this kind about this receipt was used before."""


class VerdictError(ProofcomputeError):
    """A quorum verdict, or a signature that was to become a part of one, does not hold."""

    def __init__(self, fault: VerdictFault, reason: str) -> None:
        self.fault = fault
        """Which rule it breaks."""
        super().__init__(reason)

    def __reduce__(self) -> tuple[type[VerdictError], tuple[VerdictFault, str]]:
        """Let errors be copied, with the fault."""
        return VerdictError, (self.fault, str(self))


class LedgerError(ProofcomputeError):
    """A ledger, its log, a head or an export is not what it says, or not what it was."""


class EquivocationError(LedgerError):
    """An auditor signed two different verdicts about the same; the ledger keeps both."""


class EnvelopeError(ProofcomputeError):
    """A file or an envelope in the form of another system is malformed, or does not hold what it says."""


@contextmanager
def about(
    *,
    node: bytes | None = None,
    model_id: bytes | None = None,
    request_digest: bytes | None = None,
    receipt_digest: bytes | None = None,
) -> Iterator[None]:
    """Add to a VerificationError raised inside the block what it is about; attributes already set stay."""
    try:
        yield
    except VerificationError as e:
        e.node = e.node or node
        e.model_id = e.model_id or model_id
        e.request_digest = e.request_digest or request_digest
        e.receipt_digest = e.receipt_digest or receipt_digest
        raise


_E = TypeVar("_E", bound=BaseException)


def bare(error: _E) -> _E:
    """Return an error that is kept, without the frames of where it was raised: they hold arrays."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error
