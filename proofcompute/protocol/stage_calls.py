"""Encode what a client and the node of a stage send each other (docs/spec/pipelines.md#calls).

Each call and each result is one array of canonical CBOR. Sizes are compared with limits before anything is
decoded, and with what the call must hold by whoever carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.errors import FormatError
from proofcompute.limits import MAX_ITEMS, MAX_RECEIPT, MAX_REQUEST, MAX_ROWS, MIB
from proofcompute.protocol.boundaries import Handed
from proofcompute.protocol.messages import MAX_BOUNDARY, MAX_STAGES

__all__ = [
    "MAX_CALL",
    "AgainCall",
    "FinishCall",
    "GiveCall",
    "RowsCall",
    "SignCall",
    "StepCall",
    "StepResult",
    "decode_handle",
    "decode_roots",
    "decode_rows",
    "encode_handle",
    "encode_roots",
    "encode_rows",
]

MAX_CALL: Final = 256 * MIB
"""Most bytes of a call or a result."""
_MAX_TOKENS: Final = 1 << 16
"""Most answer tokens that one step is given."""


class StepCall(NamedTuple):
    """Rows that a stage is to compute."""

    digest: bytes
    """Digest of the request."""
    end: int
    """The row after the last one."""
    tokens: tuple[int, ...]
    """Answer tokens that follow those given before."""
    handed: tuple[Handed, ...]
    """What each earlier stage hands to this one, in order."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        handed = [(one.boundary, one.rows) for one in self.handed]
        return wire.encode((self.digest, self.end, self.tokens, handed))

    @staticmethod
    def decode(data: bytes) -> StepCall:
        """Decode a call. Raises FormatError or LimitError if ``data`` encodes none."""
        digest, end, tokens, handed = wire.as_list(
            wire.decode(data, limit=MAX_CALL, what="step"), "step", n=4
        )
        found = []
        for item in wire.as_list(handed, "handed rows", max_n=MAX_STAGES):
            boundary, rows = wire.as_list(item, "handed rows", n=2)
            found.append(
                Handed(
                    wire.as_bytes(boundary, "boundary", max_size=MAX_BOUNDARY),
                    _rows(rows),
                )
            )
        return StepCall(
            wire.as_bytes(digest, "request digest", DIGEST),
            wire.as_int(end, "end row", 1, MAX_ROWS),
            tuple(
                wire.as_int(t, "token", 0, 2**31 - 1)
                for t in wire.as_list(tokens, "tokens", max_n=_MAX_TOKENS)
            ),
            tuple(found),
        )


class StepResult(NamedTuple):
    """What a stage computed."""

    boundary: bytes
    handed: Mapping[int, bytes]
    """Leaf data of the step's rows of each group that the stage hands on."""
    emitted: Mapping[str, bytes]
    """Rows of public outputs, little-endian, by name."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        handed, emitted = sorted(self.handed.items()), sorted(self.emitted.items())
        return wire.encode((self.boundary, handed, emitted))

    @staticmethod
    def decode(data: bytes) -> StepResult:
        """Decode a result. Raises FormatError or LimitError if ``data`` encodes none."""
        boundary, handed, emitted = wire.as_list(
            wire.decode(data, limit=MAX_CALL, what="result of a step"), "result of a step", n=3
        )
        rows: dict[int, bytes] = {}
        groups = wire.as_list(handed, "handed rows", max_n=MAX_ITEMS)
        for item in groups:
            group, part = wire.as_list(item, "handed rows", n=2)
            rows[wire.as_int(group, "group", 0, MAX_ITEMS)] = wire.as_bytes(part, "rows", max_size=MAX_CALL)
        outputs = _named(emitted)
        if len(rows) != len(groups) or list(rows) != sorted(rows) or list(outputs) != sorted(outputs):
            raise FormatError("groups or outputs are not in ascending order, each once")
        return StepResult(wire.as_bytes(boundary, "boundary", max_size=MAX_BOUNDARY), rows, outputs)


class FinishCall(NamedTuple):
    """The whole answer to a request."""

    digest: bytes
    outputs: Mapping[str, bytes]
    """Rows of each public output, little-endian, in the program's order."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((self.digest, tuple(self.outputs.items())))

    @staticmethod
    def decode(data: bytes) -> FinishCall:
        """Decode a call. Raises FormatError or LimitError if ``data`` encodes none."""
        digest, outputs = wire.as_list(wire.decode(data, limit=MAX_CALL, what="answer"), "answer", n=2)
        return FinishCall(wire.as_bytes(digest, "request digest", DIGEST), _named(outputs))


class SignCall(NamedTuple):
    """The roots of all groups, for a stage to sign."""

    digest: bytes
    roots: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((self.digest, self.roots))

    @staticmethod
    def decode(data: bytes) -> SignCall:
        """Decode a call. Raises FormatError or LimitError if ``data`` encodes none."""
        digest, roots = wire.as_list(wire.decode(data, limit=MAX_CALL, what="roots"), "roots", n=2)
        return SignCall(wire.as_bytes(digest, "request digest", DIGEST), _roots(roots))


class AgainCall(NamedTuple):
    """A receipt whose trace a stage is to compute again."""

    request: bytes
    """The request, encoded."""
    receipt: bytes
    """The stage's receipt, encoded."""
    roots: tuple[bytes, ...]
    """The root of each committed group, in program order."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((self.request, self.receipt, self.roots))

    @staticmethod
    def decode(data: bytes) -> AgainCall:
        """Decode a call. Raises FormatError or LimitError if ``data`` encodes none."""
        request, receipt, roots = wire.as_list(wire.decode(data, limit=MAX_CALL, what="receipt"), "call", n=3)
        return AgainCall(
            wire.as_bytes(request, "request", max_size=MAX_REQUEST),
            wire.as_bytes(receipt, "receipt", max_size=MAX_RECEIPT),
            _roots(roots),
        )


class GiveCall(NamedTuple):
    """Rows from which a trace is computed again."""

    handle: bytes
    end: int
    """The row after the last one."""
    rows: tuple[bytes, ...]
    """Leaf data of the next rows of each group that the stage reads, in program order."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((self.handle, self.end, self.rows))

    @staticmethod
    def decode(data: bytes) -> GiveCall:
        """Decode a call. Raises FormatError or LimitError if ``data`` encodes none."""
        handle, end, rows = wire.as_list(wire.decode(data, limit=MAX_CALL, what="rows"), "call", n=3)
        return GiveCall(
            wire.as_bytes(handle, "handle", DIGEST), wire.as_int(end, "end row", 1, MAX_ROWS), _rows(rows)
        )


class RowsCall(NamedTuple):
    """Rows that a stage is to hand on again."""

    request: bytes
    """The request, encoded."""
    receipt: bytes
    """The stage's receipt, encoded."""
    a: int
    b: int
    """Rows a..b of each group that it hands on."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode(tuple(self))

    @staticmethod
    def decode(data: bytes) -> RowsCall:
        """Decode a call. Raises FormatError or LimitError if ``data`` encodes none."""
        request, receipt, a, b = wire.as_list(wire.decode(data, limit=MAX_CALL, what="rows"), "call", n=4)
        return RowsCall(
            wire.as_bytes(request, "request", max_size=MAX_REQUEST),
            wire.as_bytes(receipt, "receipt", max_size=MAX_RECEIPT),
            wire.as_int(a, "first row", 0, MAX_ROWS),
            wire.as_int(b, "end row", 1, MAX_ROWS),
        )


def encode_handle(handle: bytes) -> bytes:
    """Return the canonical bytes of the handle of a trace that is computed again."""
    return wire.encode(handle)


def decode_handle(data: bytes) -> bytes:
    """Decode a handle. Raises FormatError or LimitError if ``data`` encodes none."""
    return wire.as_bytes(wire.decode(data, limit=2 * DIGEST, what="handle"), "handle", DIGEST)


def encode_rows(rows: Sequence[bytes]) -> bytes:
    """Return the canonical bytes of leaf data of groups."""
    return wire.encode(tuple(rows))


def decode_rows(data: bytes) -> tuple[bytes, ...]:
    """Decode leaf data of groups. Raises FormatError or LimitError if ``data`` encodes none."""
    return _rows(wire.decode(data, limit=MAX_CALL, what="rows"))


def encode_roots(roots: Sequence[bytes]) -> bytes:
    """Return the canonical bytes of a list of roots."""
    return wire.encode(tuple(roots))


def decode_roots(data: bytes) -> tuple[bytes, ...]:
    """Decode a list of roots. Raises FormatError or LimitError if ``data`` encodes none."""
    return _roots(wire.decode(data, limit=MAX_CALL, what="roots"))


def _roots(value: wire.Value) -> tuple[bytes, ...]:
    return tuple(wire.as_bytes(r, "root", DIGEST) for r in wire.as_list(value, "roots", max_n=MAX_ITEMS))


def _rows(value: wire.Value) -> tuple[bytes, ...]:
    groups = wire.as_list(value, "groups", max_n=MAX_ITEMS)
    return tuple(wire.as_bytes(part, "rows", max_size=MAX_CALL) for part in groups)


def _named(value: wire.Value) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in wire.as_list(value, "outputs", max_n=64):
        name, data = wire.as_list(item, "output", n=2)
        key = wire.as_str(name, "name of an output", 256)
        if key in found:
            raise FormatError(f"two outputs are named {key}")
        found[key] = wire.as_bytes(data, "output", max_size=MAX_RECEIPT)
    return found
