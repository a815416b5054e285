"""Hold, encode and store verifier keys (docs/spec/freivalds.md#key-file).

A key holds everything that is needed to audit a model without its weights: program, tokenizer, weight scales
and biases, constants, the Merkle roots behind the model id, the secret seed of S, and V = W^T S for
every weight matrix (:mod:`.keymaking` makes them). **The whole file is secret**: W is public, so V gives S
away.

A key also counts how often it was used (:mod:`proofcompute.freivalds.attempts`). Its file consists of the
key, which never changes, and the log of its attempts, which only grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proofcompute.arrays import F32, U32, Array
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_private
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import FormatError, LimitError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.errors.sealed import sealed
from proofcompute.freivalds.attempts import RECORD, FileLog, Log, MemoryLog, read_records, write_records
from proofcompute.freivalds.columns import SecretColumns
from proofcompute.freivalds.field import P31
from proofcompute.freivalds.keyfiles import save_key
from proofcompute.limits import MAX_ATTEMPTS, MAX_COLUMNS, MAX_KEY
from proofcompute.models.card import ModelCard, as_constant, little_endian
from proofcompute.program.program import Program
from proofcompute.program.types import WeightSpec

__all__ = ["LARGEST", "Entry", "Key", "MatrixEntry", "decode_body", "decode_entry", "encode_entry"]

KIND = "proofcompute verifier key"
VERSION = 5
LARGEST = MAX_KEY + RECORD * MAX_ATTEMPTS
"""Most bytes of a key's file."""


@dataclass(frozen=True, eq=False)
class MatrixEntry:
    """The entry of a weight matrix in a key."""

    v: U32 = field(repr=False)
    """V = W^T S of each limb, uint32 [limbs, k, d], with groups [groups, limbs, k, d]; secret."""
    scale: F32
    """Scale of each output channel, float32 [m], with groups [groups, m]."""
    bias: F32 | None
    """Bias of each output channel, float32 [m], with groups [groups, m]."""
    largest: tuple[int, ...]
    """The largest sum of squares of a row, for each limb."""


Entry = MatrixEntry | Array
"""The entry of a weight in a key; that of a constant is the constant itself."""


@dataclass(eq=False)
class Key:
    """A private verifier key for one model, of which only the log changes."""

    card: ModelCard
    columns: SecretColumns
    scales: Mapping[str, tuple[F32, F32 | None]]
    """Scale and bias of each output channel of each weight matrix."""
    constants: Mapping[str, Array]
    log: Log = field(default_factory=MemoryLog)
    """Its attempts, kept in its file once it was read from one or saved to one."""

    @property
    def program(self) -> Program:
        """The model's program."""
        return self.card.program

    @property
    def model_id(self) -> bytes:
        """The id of the model that this key audits, 32 bytes."""
        return self.card.model_id

    @staticmethod
    def of(card: ModelCard, seed: bytes, k: int, entries: Sequence[Entry]) -> Key:
        """Return the key with k columns and one entry for each weight, in program order."""
        named = dict(zip((s.name for s in card.program.weights), entries, strict=True))
        matrices = {n: e for n, e in named.items() if isinstance(e, MatrixEntry)}
        return Key(
            card,
            SecretColumns(
                seed,
                card.model_id,
                k,
                {n: e.v for n, e in matrices.items()},
                {n: e.largest for n, e in matrices.items()},
            ),
            {n: (e.scale, e.bias) for n, e in matrices.items()},
            {n: e for n, e in named.items() if not isinstance(e, MatrixEntry)},
        )

    def _entry(self, spec: WeightSpec) -> Entry:
        if spec.kind == "constant":
            return self.constants[spec.name]
        columns, (scale, bias) = self.columns, self.scales[spec.name]
        return MatrixEntry(columns.projections[spec.name], scale, bias, columns.largest[spec.name])

    def encode(self) -> bytes:
        """Return the canonical bytes: the key, its checksum, and the log of its attempts."""
        body = self.body()
        return body + write_records(self.log.attempts, body[-DIGEST:])

    def body(self) -> bytes:
        """Return the canonical bytes without the log, which never change."""
        fields = (
            KIND,
            VERSION,
            self.card.value(),
            self.columns.seed,
            self.columns.k,
            tuple(encode_entry(self._entry(spec)) for spec in self.program.weights),
        )
        return wire.encode((*fields, hashing.message_digest("sha256", "key", wire.encode(fields))))

    @staticmethod
    @sealed
    def decode(data: bytes) -> Key:
        """Decode a key, with its log in memory. Raises FormatError or LimitError if it is damaged."""
        key, end = decode_body(data)
        if (len(data) - end) % RECORD:
            raise FormatError("the key's log of attempts ends inside a record")
        key.log = MemoryLog(read_records(data[end:], data[end - DIGEST : end]))
        return key

    @sealed
    def save(self, path: StrPath) -> None:
        """Write the key and its log, readable by its owner only (mode 0600).

        A key that was in memory only counts its attempts in this file from then on. A key that has a file
        already stays with that file; the file written here is a copy, which begins with the same count.
        Raises InputError if ``path`` holds this key already with a log of its own, which would be lost, and
        StorageError if the file system refuses.
        """
        self.log = save_key(path_of(path), self.body(), self.log)

    @staticmethod
    @sealed
    def load(path: StrPath) -> Key:
        """Read a key file, which may be read-only until the key is used.

        Raises InputError if others may read it, and FormatError or LimitError if it is damaged or a file of
        another kind.
        """
        path = path_of(path)
        found = kind_of(path)
        if found not in (None, "key"):
            raise FormatError(f"{path} is of kind {found}; a verifier's key is needed")
        data = read_private(path, LARGEST, "key")
        key, end = decode_body(data)
        anchor = data[end - DIGEST : end]
        key.log = FileLog(path, end, anchor, data[end:])
        return key


def decode_body(data: bytes) -> tuple[Key, int]:
    """Decode the key at the beginning of ``data``; return it without its log, and the log's offset.

    Raises FormatError or LimitError if it is damaged.
    """
    if len(data) > LARGEST:
        raise LimitError(f"the key is larger than {LARGEST} bytes")
    value, end = wire.decode_first(data, what="key")
    top = wire.as_list(value, "key")
    if top[:2] != (KIND, VERSION) or len(top) != 7:
        raise FormatError("this is not a verifier key of this version; make one with 'proofcompute keygen'")
    if hashing.message_digest("sha256", "key", wire.encode(top[:-1])) != top[-1]:
        raise FormatError("the key file is damaged: its checksum does not fit")
    card = ModelCard.from_value(top[2], "model card")
    weights = card.program.weights
    k = wire.as_int(top[4], "columns", 1, MAX_COLUMNS)
    values = wire.as_list(top[5], "weights", n=len(weights))
    entries = [decode_entry(s, v, k) for s, v in zip(weights, values, strict=True)]
    return Key.of(card, wire.as_bytes(top[3], "seed", 32), k, entries), end


def encode_entry(entry: Entry) -> tuple[wire.Value, ...]:
    """Return the entry of one weight as a value to encode."""
    if not isinstance(entry, MatrixEntry):
        return (little_endian(entry).tobytes(),)
    v = np.ascontiguousarray(entry.v, "<u4").tobytes()
    return v, _le(entry.scale), _le(entry.bias) if entry.bias is not None else b"", entry.largest


def decode_entry(spec: WeightSpec, value: wire.Value, k: int) -> Entry:
    """Invert :func:`encode_entry` for a key of k columns. Raises FormatError if it does not fit ``spec``."""
    if spec.kind == "constant":
        (raw,) = wire.as_list(value, spec.name, n=1)
        data = np.frombuffer(wire.as_bytes(raw, spec.name, spec.nbytes), np.uint8)
        return as_constant(spec, data)
    v, scale, bias, squares = wire.as_list(value, spec.name, n=4)
    largest = tuple(
        wire.as_int(x, f"largest squares of {spec.name}", 0, spec.width << 14)
        for x in wire.as_list(squares, spec.name, n=spec.limbs)
    )
    each = spec.shape[:-1]
    b = _floats(bias, spec.name, spec.rows).reshape(each) if spec.bias else None
    if b is None:
        wire.as_bytes(bias, spec.name, 0)
    scales = _floats(scale, spec.name, spec.rows).reshape(each)
    return MatrixEntry(_residues(v, spec, k), scales, b, largest)


def _le(values: F32) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _floats(value: wire.Value, name: str, count: int) -> F32:
    out = np.frombuffer(wire.as_bytes(value, name, 4 * count), "<f4")
    if not np.isfinite(out).all():
        raise FormatError(f"key: {name} holds a number that is not finite")
    return out


def _residues(value: wire.Value, spec: WeightSpec, k: int) -> U32:
    shape = (*spec.shape[:-2], spec.limbs, k, spec.width)
    out = np.frombuffer(wire.as_bytes(value, spec.name, 4 * math.prod(shape)), "<u4")
    if out.size and int(out.max()) >= P31:
        raise FormatError(f"key: {spec.name} holds a residue that is not canonical")
    return out.reshape(shape)
