"""Verifier keys (design, section 6).

A key holds everything that auditing a model takes without its weights: program, tokenizer, weight scales and
biases, weight vectors, the Merkle roots behind the model id, the secret seed of S, and V = W^T S for every
weight matrix. **The whole file is secret**: W is public, so V gives S away.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proofcompute import hashing, wire
from proofcompute.errors import FormatError, InputError, MismatchError
from proofcompute.field import P31
from proofcompute.files import check_private, read_limited, write_atomic
from proofcompute.freivalds import SecretColumns, derive, largest_squares, project_weight
from proofcompute.kernels import F32, U32, Kernels, Matrix
from proofcompute.limits import MAX_COLUMNS, MAX_KEY, MAX_TOKENIZER
from proofcompute.model import Identity, Model
from proofcompute.ops import decode_program, encode_program
from proofcompute.program import Program, WeightSpec

__all__ = ["Key", "keygen"]

KIND = "proofcompute verifier key"
VERSION = 2


@dataclass(frozen=True, eq=False)
class Key:
    """A private verifier key for one model."""

    identity: Identity
    columns: SecretColumns
    scales: Mapping[str, tuple[F32, F32 | None]]
    """Scale and bias of each output channel of each weight matrix."""
    vectors: Mapping[str, F32]

    @property
    def program(self) -> Program:
        """The program."""
        return self.identity.program

    @property
    def model_id(self) -> bytes:
        """The model that this key audits, 32 bytes."""
        return self.identity.model_id

    def encode(self) -> bytes:
        """Canonical bytes, a checksum last."""
        weights: list[wire.Value] = []
        for spec in self.program.weights:
            if spec.kind == "vector":
                weights.append((_le(self.vectors[spec.name]),))
            else:
                scale, bias = self.scales[spec.name]
                v = np.ascontiguousarray(self.columns.projections[spec.name], "<u4").tobytes()
                largest = self.columns.largest[spec.name]
                weights.append((v, _le(scale), _le(bias) if bias is not None else b"", largest))
        fields = (
            KIND,
            VERSION,
            self.model_id,
            encode_program(self.program),
            self.identity.tokenizer,
            self.identity.template_digest,
            self.identity.roots,
            self.columns.seed,
            self.columns.k,
            tuple(weights),
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
        identity = Identity(
            program,
            wire.as_bytes(top[4], "tokenizer", max_size=MAX_TOKENIZER),
            wire.as_bytes(top[5], "template digest", 32),
            tuple(wire.as_bytes(r, "root", 32) for r in roots),
        )
        if identity.model_id != wire.as_bytes(top[2], "model id", 32):
            raise FormatError("the key's model id is not that of its program and roots")
        k = wire.as_int(top[8], "columns", 1, MAX_COLUMNS)
        projections: dict[str, U32] = {}
        scales: dict[str, tuple[F32, F32 | None]] = {}
        vectors: dict[str, F32] = {}
        largest: dict[str, tuple[int, ...]] = {}
        weights = wire.as_list(top[9], "weights", n=len(program.weights))
        for spec, value in zip(program.weights, weights, strict=True):
            if spec.kind == "vector":
                (raw,) = wire.as_list(value, spec.name, n=1)
                vectors[spec.name] = _floats(raw, spec.name, spec.width)
            else:
                v, scale, bias, squares = wire.as_list(value, spec.name, n=4)
                largest[spec.name] = tuple(
                    wire.as_int(x, f"largest squares of {spec.name}", 0, spec.width << 14)
                    for x in wire.as_list(squares, spec.name, n=spec.limbs)
                )
                projections[spec.name] = _residues(v, spec, k)
                b = _floats(bias, spec.name, spec.rows if spec.bias else 0)
                scales[spec.name] = (_floats(scale, spec.name, spec.rows), b if spec.bias else None)
        return Key(
            identity,
            SecretColumns(wire.as_bytes(top[7], "seed", 32), k, projections, largest),
            scales,
            vectors,
        )

    def save(self, path: Path) -> None:
        """Write the key, readable by its owner only (mode 0600)."""
        write_atomic(path, self.encode(), 0o600)

    @staticmethod
    def load(path: Path) -> Key:
        """Read a key file; InputError if others may read it, FormatError if it is damaged."""
        check_private(path, "key")
        return Key.decode(read_limited(path, MAX_KEY, "key"))


def keygen(
    model: Model,
    kernels: Kernels,
    *,
    columns: int = 2,
    seed: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Key:
    """Make a private key: check every weight row against the model id, then one pass V = W^T S.

    Args:
        model: the model, weights included.
        kernels: backend.
        columns: k, Freivalds columns; the soundness error of one product row is p^-k.
        seed: 32 secret bytes; the operating system's randomness unless a test says otherwise.
        progress: gets bytes of weights processed (each weight counts once for hashing, once for V).

    Raises MismatchError if a weight is not the one in the model id, InputError for a bad ``columns``.
    """
    if not 1 <= columns <= MAX_COLUMNS:
        raise InputError(f"columns {columns} is outside 1..{MAX_COLUMNS}")
    model.check_roots(kernels.hash_rows, progress)
    secret = secrets.token_bytes(32) if seed is None else seed
    if len(secret) != 32:
        raise MismatchError("a key's seed has 32 bytes")
    projections: dict[str, U32] = {}
    scales: dict[str, tuple[F32, F32 | None]] = {}
    vectors: dict[str, F32] = {}
    largest: dict[str, tuple[int, ...]] = {}
    for spec in model.program.weights:
        w = model.weights[spec.name]
        if isinstance(w, Matrix):
            projections[spec.name] = project_weight(w, derive(secret, spec, columns), kernels)
            largest[spec.name] = largest_squares(w, kernels)
            scales[spec.name] = (w.scale, w.bias)
        else:
            vectors[spec.name] = w
        if progress is not None:
            progress(spec.rows * spec.row_bytes)
    return Key(model.identity, SecretColumns(secret, columns, projections, largest), scales, vectors)


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
