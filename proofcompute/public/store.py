"""Keep the digests of a model's codes in a file beside its public key
(docs/spec/public-proofs.md#files-of-a-publisher).

A prover needs the digests of all positions for the paths in its proofs: 32 bytes a position, 25 MB for a
model of 135 million weights. They are no secret: whoever has the weights can make them again. An interrupted
publisher leaves the same file with the digests so far, and with how many weights they hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from proofcompute.arrays import U8
from proofcompute.commitments.hashing import DIGEST, large_digest
from proofcompute.encoding import wire
from proofcompute.encoding.files import writing
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import FormatError, InputError
from proofcompute.limits import MAX_CODE_POSITIONS, MAX_KEY, MAX_WEIGHTS
from proofcompute.models.card import ModelCard
from proofcompute.public.key import MAX_RHO
from proofcompute.public.layout import Layout
from proofcompute.verifier.key import Entry, decode_entry, encode_entry

__all__ = ["Coded", "codes_head", "codes_path"]

KIND = "proofcompute code digests"
VERSION = 1
_WHAT = "code digests"
_HEAD = 256
"""The most bytes of the first frame."""


def codes_path(key: Path) -> Path:
    """Return the path of the digests that belong to a public key's path."""
    return key.with_name(f"{key.name}.codes")


@dataclass(frozen=True, eq=False)
class Coded:
    """The digests of the codes of a model's first weights, or of all."""

    model_id: bytes
    rho: int
    entries: Sequence[Entry]
    """The entries of the weights that are coded, in program order; their projections are empty."""
    digests: Sequence[U8]
    """The digests of all positions of each code, uint8 [positions, 32]."""

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with writing(path) as stream:
            write_frame(stream, wire.encode((KIND, VERSION, self.model_id, self.rho, len(self.entries))))
            for entry in self.entries:
                write_frame(stream, wire.encode(encode_entry(entry)))
            for digests in self.digests:
                write_frame(stream, digests.tobytes())
            write_frame(stream, self._checksum())

    def _checksum(self) -> bytes:
        """Return the digest of all that the file holds, by which damage is found before it is used."""
        fields = (self.model_id, self.rho, tuple(encode_entry(entry) for entry in self.entries))
        return large_digest(_WHAT, wire.encode(fields), *(d.tobytes() for d in self.digests))

    @staticmethod
    def load(path: Path, card: ModelCard) -> Coded:
        """Read the digests of a model's codes.

        Raises FormatError or LimitError if the file is damaged, and InputError if it cannot be read or is
        of another model.
        """
        weights = card.program.weights
        try:
            with path.open("rb") as stream:
                model_id, rho, count = _head(stream)
                if model_id != card.model_id:
                    raise InputError(f"{path} is of model {model_id.hex()}, not {card.model_id.hex()}")
                if count > len(weights):
                    raise FormatError(f"{path} holds more weights than the model has")
                entries = [
                    decode_entry(spec, wire.decode(_frame(stream, MAX_KEY), limit=MAX_KEY, what=_WHAT), 0)
                    for spec in weights[:count]
                ]
                digests = []
                for code in Layout.of(card.program, rho).codes:
                    data = _frame(stream, DIGEST * MAX_CODE_POSITIONS)
                    if len(data) != DIGEST * code.circle.size:
                        raise FormatError(f"{path}: {len(data)} bytes of digests of a code")
                    digests.append(np.frombuffer(data, np.uint8).reshape(-1, DIGEST).copy())
                checksum = _frame(stream, DIGEST)
                if stream.read(1):
                    raise FormatError(f"{path} holds more than digests")
        except OSError as e:
            raise InputError(f"cannot read {path}: {e.strerror or e}") from e
        found = Coded(model_id, rho, entries, digests)
        if found._checksum() != checksum:
            raise FormatError(f"{path} is damaged; remove it, and publish again")
        return found

    def named(self, card: ModelCard) -> Mapping[str, Entry]:
        """Return the entries by the names of their weights."""
        return {s.name: e for s, e in zip(card.program.weights, self.entries, strict=False)}


def codes_head(path: Path) -> tuple[bytes, int, int]:
    """Return model id, rate and the number of coded weights of a file of digests.

    Raises FormatError if it is damaged, and InputError if it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return _head(stream)
    except OSError as e:
        raise InputError(f"cannot read {path}: {e.strerror or e}") from e


def _head(stream: BinaryIO) -> tuple[bytes, int, int]:
    top = wire.as_list(wire.decode(_frame(stream, _HEAD), limit=_HEAD, what=_WHAT), _WHAT, n=5)
    wire.check_head(top, KIND, VERSION)
    return (
        wire.as_bytes(top[2], "model id", DIGEST),
        wire.as_int(top[3], "rate", 1, MAX_RHO),
        wire.as_int(top[4], "weights", 0, MAX_WEIGHTS),
    )


def _frame(stream: BinaryIO, limit: int) -> bytes:
    found = read_frame(stream, limit=limit, what=_WHAT)
    if found is None:
        raise FormatError("the code digests end too early")
    return found
