"""Hold, encode and store public keys (docs/spec/public-proofs.md#public-key).

A public key holds everything that a verifier without weights needs, and no secret: the model's card, scales,
biases and largest squares of its matrices, its constants, and the roots of the codes of its weights. Its
digest is the **public id**. Whoever trusts a public id trusts that its publisher coded the weights of the
model id in it. Anybody who has the weights can check that (:mod:`.publishing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from proofcompute.arrays import F32, Array
from proofcompute.commitments import hashing
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.encoding.kinds import kind_of
from proofcompute.errors import FormatError, LimitError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_KEY
from proofcompute.models.card import ModelCard
from proofcompute.program.program import Program
from proofcompute.public.layout import Layout
from proofcompute.verifier.key import MatrixEntry, decode_entry, encode_entry

__all__ = ["MAX_RHO", "PublicKey"]

KIND = "proofcompute public key"
VERSION = 1
MAX_RHO: Final = 8
"""Words of the sparsest code agree in at most 2^-8 of their positions."""


@dataclass(frozen=True, eq=False)
class PublicKey:
    """A public key of one model."""

    card: ModelCard
    rho: int
    """Words of a code agree in at most 2^-rho of their positions."""
    roots: tuple[bytes, ...]
    """The root of each code."""
    matrices: Mapping[str, MatrixEntry]
    """Scales, biases and largest squares of the weight matrices; their projections are empty."""
    constants: Mapping[str, Array]

    @property
    def program(self) -> Program:
        """The model's program."""
        return self.card.program

    @cached_property
    def layout(self) -> Layout:
        """The codes of the weights. Raises LimitError if the program is too large for public proofs."""
        return Layout.of(self.program, self.rho)

    @cached_property
    def public_id(self) -> bytes:
        """The public id, 32 bytes."""
        return hashing.message_digest("sha256", "public key", self.encode())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        entries = tuple(
            encode_entry(self.constants[spec.name] if spec.kind == "constant" else self.matrices[spec.name])
            for spec in self.program.weights
        )
        return wire.encode((KIND, VERSION, self.card.value(), self.rho, self.roots, entries))

    @staticmethod
    def decode(data: bytes) -> PublicKey:
        """Decode a public key. Raises FormatError or LimitError if it is damaged."""
        top = wire.as_list(wire.decode(data, limit=MAX_KEY, what="public key"), "public key", n=6)
        wire.check_head(top, KIND, VERSION)
        card = ModelCard.from_value(top[2], "model card")
        rho = wire.as_int(top[3], "rate", 1, MAX_RHO)
        layout = Layout.of(card.program, rho)
        roots = wire.as_list(top[4], "code roots", n=len(layout.codes))
        weights = card.program.weights
        values = wire.as_list(top[5], "weights", n=len(weights))
        entries = {s.name: decode_entry(s, v, 0) for s, v in zip(weights, values, strict=True)}
        return PublicKey(
            card,
            rho,
            tuple(wire.as_bytes(root, "code root", DIGEST) for root in roots),
            {n: e for n, e in entries.items() if isinstance(e, MatrixEntry)},
            {n: e for n, e in entries.items() if not isinstance(e, MatrixEntry)},
        )

    def save(self, path: StrPath) -> None:
        """Write the file, whole or not at all. Raises LimitError if the key is too large."""
        data = self.encode()
        if len(data) > MAX_KEY:
            raise LimitError(f"the public key has {len(data)} bytes, more than {MAX_KEY}")
        write_atomic(path_of(path), data)

    @staticmethod
    def load(path: StrPath) -> PublicKey:
        """Read a public key's file. Raises InputError, FormatError or LimitError if it is none."""
        path = path_of(path)
        found = kind_of(path)
        if found not in (None, "public key"):
            raise FormatError(f"{path} is of kind {found}; a public key is needed")
        return PublicKey.decode(read_limited(path, MAX_KEY, "public key"))

    def scales(self, weight: str) -> tuple[F32, F32 | None]:
        """Return scales and biases of the output channels of a matrix."""
        entry = self.matrices[weight]
        return entry.scale, entry.bias
