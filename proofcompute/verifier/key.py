"""Verifier keys (design, section 6).

A key holds everything that auditing a model takes without its weights: program, tokenizer, weight scales and
biases, weight vectors, the Merkle roots behind the model id, the secret seed of S, and V = W^T S for every
weight matrix (:mod:`.keymaking` makes them). **The whole file is secret**: W is public, so V gives S away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from proofcompute import hashing, wire
from proofcompute.card import ModelCard
from proofcompute.errors import FormatError
from proofcompute.field import P31
from proofcompute.files import check_private, read_limited, write_atomic
from proofcompute.freivalds import SecretColumns
from proofcompute.kernels import F32, U32
from proofcompute.limits import MAX_COLUMNS, MAX_KEY, MAX_TEMPLATE, MAX_TOKENIZER
from proofcompute.ops import decode_program, encode_program
from proofcompute.program import Program, WeightSpec

__all__ = ["Entry", "Key", "MatrixEntry", "decode_entry", "encode_entry"]

KIND = "proofcompute verifier key"
VERSION = 4


@dataclass(frozen=True, eq=False)
class MatrixEntry:
    """What a key holds of a weight matrix."""

    v: U32 = field(repr=False)
    """V = W^T S of each limb, [limbs, k, d]; secret."""
    scale: F32
    """Scale of each output channel."""
    bias: F32 | None
    largest: tuple[int, ...]
    """The largest sum of squares of a row, for each limb."""


Entry = MatrixEntry | F32
"""What a key holds of a weight: of a vector, all of it."""


@dataclass(frozen=True, eq=False)
class Key:
    """A private verifier key for one model."""

    card: ModelCard
    columns: SecretColumns
    scales: Mapping[str, tuple[F32, F32 | None]]
    """Scale and bias of each output channel of each weight matrix."""
    vectors: Mapping[str, F32]

    @property
    def program(self) -> Program:
        """The program."""
        return self.card.program

    @property
    def model_id(self) -> bytes:
        """The model that this key audits, 32 bytes."""
        return self.card.model_id

    @staticmethod
    def of(card: ModelCard, seed: bytes, k: int, entries: Sequence[Entry]) -> Key:
        """The key with one entry for each weight, in program order."""
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
        if spec.kind == "vector":
            return self.vectors[spec.name]
        columns, (scale, bias) = self.columns, self.scales[spec.name]
        return MatrixEntry(columns.projections[spec.name], scale, bias, columns.largest[spec.name])

    def encode(self) -> bytes:
        """Canonical bytes, a checksum last."""
        fields = (
            KIND,
            VERSION,
            self.model_id,
            encode_program(self.program),
            self.card.tokenizer,
            self.card.template,
            self.card.roots,
            self.columns.seed,
            self.columns.k,
            tuple(encode_entry(self._entry(spec)) for spec in self.program.weights),
        )
        return wire.encode((*fields, hashing.message_digest("sha256", "key", wire.encode(fields))))

    @staticmethod
    def decode(data: bytes) -> Key:
        """The key that ``data`` encodes; FormatError or LimitError if it is damaged."""
        top = wire.as_list(wire.decode(data, limit=MAX_KEY, what="key"), "key", n=11)
        if top[0] != KIND or top[1] != VERSION:
            raise FormatError(
                "this is not a verifier key of this version; make one with 'proofcompute keygen'"
            )
        if hashing.message_digest("sha256", "key", wire.encode(top[:-1])) != top[-1]:
            raise FormatError("the key file is damaged: its checksum does not fit")
        program = decode_program(wire.as_bytes(top[3], "program"))
        roots = wire.as_list(top[6], "roots", n=len(program.weights))
        card = ModelCard(
            program,
            wire.as_bytes(top[4], "tokenizer", max_size=MAX_TOKENIZER),
            wire.as_str(top[5], "template", MAX_TEMPLATE),
            tuple(wire.as_bytes(r, "root", 32) for r in roots),
        )
        if card.model_id != wire.as_bytes(top[2], "model id", 32):
            raise FormatError("the key's model id is not that of its program and roots")
        k = wire.as_int(top[8], "columns", 1, MAX_COLUMNS)
        weights = wire.as_list(top[9], "weights", n=len(program.weights))
        entries = [decode_entry(s, v, k) for s, v in zip(program.weights, weights, strict=True)]
        return Key.of(card, wire.as_bytes(top[7], "seed", 32), k, entries)

    def save(self, path: Path) -> None:
        """Write the key, readable by its owner only (mode 0600)."""
        write_atomic(path, self.encode(), 0o600)

    @staticmethod
    def load(path: Path) -> Key:
        """Read a key file; InputError if others may read it, FormatError if it is damaged."""
        check_private(path, "key")
        return Key.decode(read_limited(path, MAX_KEY, "key"))


def encode_entry(entry: Entry) -> tuple[wire.Value, ...]:
    """What a key holds of one weight, to be encoded."""
    if not isinstance(entry, MatrixEntry):
        return (_le(entry),)
    v = np.ascontiguousarray(entry.v, "<u4").tobytes()
    return v, _le(entry.scale), _le(entry.bias) if entry.bias is not None else b"", entry.largest


def decode_entry(spec: WeightSpec, value: wire.Value, k: int) -> Entry:
    """The inverse of :func:`encode_entry` for a key of k columns; FormatError if it does not fit ``spec``."""
    if spec.kind == "vector":
        (raw,) = wire.as_list(value, spec.name, n=1)
        return _floats(raw, spec.name, spec.width)
    v, scale, bias, squares = wire.as_list(value, spec.name, n=4)
    largest = tuple(
        wire.as_int(x, f"largest squares of {spec.name}", 0, spec.width << 14)
        for x in wire.as_list(squares, spec.name, n=spec.limbs)
    )
    b = _floats(bias, spec.name, spec.rows if spec.bias else 0)
    scales = _floats(scale, spec.name, spec.rows)
    return MatrixEntry(_residues(v, spec, k), scales, b if spec.bias else None, largest)


def _le(values: F32) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _floats(value: wire.Value, name: str, count: int) -> F32:
    out = np.frombuffer(wire.as_bytes(value, name, 4 * count), "<f4")
    if not np.isfinite(out).all():
        raise FormatError(f"key: {name} holds a number that is not finite")
    return out


def _residues(value: wire.Value, spec: WeightSpec, k: int) -> U32:
    out = np.frombuffer(wire.as_bytes(value, spec.name, 4 * spec.limbs * k * spec.width), "<u4")
    if out.size and int(out.max()) >= P31:
        raise FormatError(f"key: {spec.name} holds a residue that is not canonical")
    return out.reshape(spec.limbs, k, spec.width)
