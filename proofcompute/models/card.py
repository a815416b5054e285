"""Defines model cards: all that a model id binds but the weights (docs/spec/commitments.md#model-card).

The **model id** is a digest over the program, the tokenizer, the chat template and the sealed Merkle root of
every weight tensor (a leaf of a matrix holds the int8 limbs of a row, its scale and its bias), always in
SHA-256. The manifest (checkpoint digest, importer version) is not part of it: only recompiling the checkpoint
links the two.

A card is all that a client needs to make requests and to check receipts: 0.8 MB for a vocabulary of 50,000
tokens. It may come from anybody, since it hashes to the model id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arithmetic.primitives import ELEMENTS
from proofcompute.arrays import U8, Array
from proofcompute.commitments import hashing, merkle
from proofcompute.encoding import wire
from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import FormatError, MismatchError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_CARD, MAX_PROGRAM, MAX_TEMPLATE, MAX_TOKENIZER
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.program.program import Program
from proofcompute.program.types import WeightSpec

__all__ = [
    "MODEL_SUITE",
    "HasCard",
    "HashRows",
    "ModelCard",
    "Weight",
    "WeightReader",
    "as_constant",
    "check_weight",
    "little_endian",
    "weight_leaf_rows",
    "weight_seal",
    "weight_tree",
]

KIND = "proofcompute model card"
VERSION = 1
MODEL_SUITE = "sha256"
"""Hash suite of model ids; it is fixed, so that a model has one id."""

Weight = Matrix | Array
HashRows = Callable[[str, bytes, U8], U8]


def weight_leaf_rows(spec: WeightSpec, weight: Weight, a: int, b: int) -> U8:
    """Return the leaf data of rows a..b of a weight tensor, uint8 [b - a, row_bytes]."""
    if not isinstance(weight, Matrix):
        data = little_endian(weight).reshape(-1).view(np.uint8)[a * spec.row_bytes : b * spec.row_bytes]
        leaves = np.zeros((b - a, spec.row_bytes), np.uint8)
        leaves.reshape(-1)[: data.size] = data
        return leaves
    if weight.q.ndim == 4:
        return np.concatenate(
            [
                weight_leaf_rows(spec, weight.group(g), max(a - first, 0), min(b - first, weight.m))
                for g in range(a // weight.m, -(-b // weight.m))
                for first in (g * weight.m,)
            ]
        )
    parts = [np.ascontiguousarray(limb[a:b]).view(np.uint8) for limb in weight.q]
    for column in (weight.scale, weight.bias):
        if column is not None:
            parts.append(np.ascontiguousarray(column[a:b], "<f4").view(np.uint8).reshape(b - a, 4))
    return np.concatenate(parts, axis=1)


def little_endian(x: Array) -> Array:
    """Return an array as the encodings of its elements are, C-contiguous."""
    return np.ascontiguousarray(x, x.dtype.newbyteorder("<"))


def as_constant(spec: WeightSpec, data: U8) -> Array:
    """Return the constant with the encoding ``data``. Raises FormatError if an element is not one."""
    value = data.view(ELEMENTS[spec.dtype]).reshape(spec.shape)
    check_weight(spec, value)
    return value


def weight_tree(spec: WeightSpec, weight: Weight, hash_rows: HashRows) -> merkle.Tree:
    """Return the Merkle tree over the rows of a weight tensor."""
    tag = hashing.tag(MODEL_SUITE, "weight", spec.name)
    step = max(1, (1 << 24) // spec.row_bytes)
    leaves = [
        merkle.leaves(
            MODEL_SUITE, tag, weight_leaf_rows(spec, weight, a, min(a + step, spec.rows)), hash_rows
        )
        for a in range(0, spec.rows, step)
    ]
    return merkle.Tree(MODEL_SUITE, np.concatenate(leaves), hash_rows)


def weight_seal(spec: WeightSpec, root: bytes) -> bytes:
    """Return the sealed root of a weight tensor, 32 bytes."""
    return hashing.seal(MODEL_SUITE, "weight", spec.name, spec.rows, root)


@dataclass(frozen=True)
class ModelCard:
    """All of a model except its weights; the model id is the digest of a card."""

    program: Program
    """The program."""
    tokenizer: bytes
    """Canonical vocabulary; empty if the program has none."""
    template: str
    """Chat template (Jinja); empty if there is none."""
    roots: tuple[bytes, ...]
    """Merkle root of each weight tensor, in program order."""

    @property
    def card(self) -> ModelCard:
        """The card itself, so that models, keys and cards have the same attribute (:class:`HasCard`)."""
        return self

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary; None if the program has none, FormatError if it is damaged."""
        return Vocabulary.decode(self.tokenizer) if self.tokenizer else None

    @cached_property
    def model_id(self) -> bytes:
        """The model id, 32 bytes."""
        if len(self.roots) != len(self.program.weights):
            raise FormatError("a model has one root for each weight tensor")
        parts = [
            hashing.message_digest(MODEL_SUITE, "program", encode_program(self.program)),
            hashing.message_digest(MODEL_SUITE, "tokenizer", self.tokenizer),
            hashing.message_digest(MODEL_SUITE, "template", self.template.encode()),
            *(weight_seal(s, r) for s, r in zip(self.program.weights, self.roots, strict=True)),
        ]
        return hashing.message_digest(MODEL_SUITE, "model", b"".join(parts))

    def value(self) -> tuple[wire.Value, ...]:
        """Return the four fields as other messages contain them."""
        return (encode_program(self.program), self.tokenizer, self.template, self.roots)

    @staticmethod
    def from_value(value: wire.Value, what: str) -> ModelCard:
        """Invert :meth:`value`; FormatError, LimitError or UnsupportedError if ``value`` is malformed."""
        fields = wire.as_list(value, what, n=4)
        program = decode_program(wire.as_bytes(fields[0], "program", max_size=MAX_PROGRAM))
        roots = wire.as_list(fields[3], "roots", n=len(program.weights))
        return ModelCard(
            program,
            wire.as_bytes(fields[1], "tokenizer", max_size=MAX_TOKENIZER),
            wire.as_str(fields[2], "template", MAX_TEMPLATE),
            tuple(wire.as_bytes(r, "root", 32) for r in roots),
        )

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return wire.encode((KIND, VERSION, self.value()))

    @staticmethod
    def decode(data: bytes) -> ModelCard:
        """Return the card that ``data`` encodes, with its vocabulary decoded.

        Raises FormatError, LimitError or UnsupportedError if it is malformed. A card that somebody sent
        proves nothing until :func:`proofcompute.verifier.check_card` has compared it with a trusted model id.
        """
        top = wire.as_list(wire.decode(data, limit=MAX_CARD, what="model card"), "model card", n=3)
        wire.check_head(top, KIND, VERSION)
        card = ModelCard.from_value(top[2], "model card")
        if card.encode() != data:
            raise FormatError("model card is not canonical")
        _ = card.vocabulary
        return card

    def save(self, path: StrPath) -> None:
        """Write the card; StorageError if the file system refuses."""
        write_atomic(path_of(path), self.encode())

    @staticmethod
    def load(path: StrPath) -> ModelCard:
        """Read a card file of your own; InputError if it cannot be read. Raises as :meth:`decode`."""
        return ModelCard.decode(read_limited(path_of(path), MAX_CARD, "model card"))

    def check_root(self, spec: WeightSpec, weight: Weight, hash_rows: HashRows) -> None:
        """Raise MismatchError unless every row of the weight tensor ``spec`` is under the model id.

        Raises FormatError if it does not have the stated shape and type, because the bytes that are used must
        be those that are hashed here.
        """
        check_weight(spec, weight)
        if weight_tree(spec, weight, hash_rows).root != self.root_of[spec.name]:
            raise MismatchError(f"weight {spec.name} is not the one in the model id; import the model again")

    @cached_property
    def root_of(self) -> dict[str, bytes]:
        """Merkle root of each weight tensor, by name."""
        return {s.name: r for s, r in zip(self.program.weights, self.roots, strict=True)}


class HasCard(Protocol):
    """An object with a model's card: a model, its file, a verifier's key, or the card itself."""

    @property
    def card(self) -> ModelCard:
        """The card."""
        ...


class WeightReader(Protocol):
    """A model whose weights are read one at a time, from memory, from a file, or from a generator."""

    @property
    def card(self) -> ModelCard:
        """The card that the weights belong to."""
        ...

    def weight(self, name: str) -> Weight:
        """Return a weight tensor by name, with the shape and type that the program states."""
        ...


def check_weight(s: WeightSpec, w: Weight) -> None:
    """Raise FormatError unless a weight tensor is finite and has the shape and type the program states."""
    if isinstance(w, Matrix):
        ok = (
            s.kind == "matrix"
            and w.q.dtype == np.int8
            and w.q.shape == (*s.shape[:-2], s.limbs, *s.shape[-2:])
            and w.scale.dtype == np.float32
            and w.scale.shape == s.shape[:-1]
            and (w.bias is not None) == s.bias
            and (w.bias is None or (w.bias.dtype == np.float32 and w.bias.shape == s.shape[:-1]))
        )
        floats = [w.scale] + ([w.bias] if w.bias is not None else [])
    else:
        ok = s.kind == "constant" and w.dtype == ELEMENTS[s.dtype] and w.shape == s.shape
        if ok and s.dtype == "bool" and w.size and int(w.view(np.uint8).max()) > 1:
            raise FormatError(f"weight {s.name} holds a byte that is no bool")
        floats = [w] if s.dtype == "f32" else []
    if not ok:
        raise FormatError(f"weight {s.name} does not have the shape and type that the program states")
    if not all(np.isfinite(f).all() for f in floats):
        raise FormatError(f"weight {s.name} holds a number that is not finite")
