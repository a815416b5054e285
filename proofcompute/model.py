"""Compiled models: a program, its quantised weights, and the id that binds them (design, section 5).

The **model id** is a digest over the program, the tokenizer, the chat template and the sealed Merkle root of
every weight tensor (a leaf of a matrix: the int8 limbs of a row, its scale, its bias), always in SHA-256. The
manifest (checkpoint digest, importer version) stands beside it and is not part of it: only recompiling the
checkpoint links the two.

A model file is a safetensors container: weights by name, ``program``, ``tokenizer``, ``template`` and
``roots`` as bytes, the manifest as JSON metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from proofcompute import hashing, merkle
from proofcompute.errors import FormatError, InputError, MismatchError, StorageError
from proofcompute.files import writing
from proofcompute.kernels import F32, I8, U8, Array, Matrix
from proofcompute.limits import MAX_TEMPLATE, MAX_TOKENIZER
from proofcompute.ops import decode_program, encode_program
from proofcompute.program import Program, WeightSpec
from proofcompute.vocabulary import Vocabulary

__all__ = ["MODEL_SUITE", "Identity", "Model", "Weight", "weight_leaf_rows", "weight_seal", "weight_tree"]

MODEL_SUITE = "sha256"
"""Hash suite of model ids: one id for one model."""

_ALIGN = 64
"""Bytes to a multiple of which each tensor of a loaded model is placed."""

Weight = Matrix | F32
HashRows = Callable[[str, bytes, U8], U8]


def weight_leaf_rows(spec: WeightSpec, weight: Weight, a: int, b: int) -> U8:
    """Leaf data of rows a..b of a weight tensor, [b - a, row_bytes]."""
    if not isinstance(weight, Matrix):
        return np.ascontiguousarray(weight, "<f4").view(np.uint8).reshape(1, -1)
    parts = [np.ascontiguousarray(limb[a:b]).view(np.uint8) for limb in weight.q]
    for column in (weight.scale, weight.bias):
        if column is not None:
            parts.append(np.ascontiguousarray(column[a:b], "<f4").view(np.uint8).reshape(b - a, 4))
    return np.concatenate(parts, axis=1)


def weight_tree(spec: WeightSpec, weight: Weight, hash_rows: HashRows) -> merkle.Tree:
    """Merkle tree over the rows of a weight tensor."""
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
    """The sealed root of a weight tensor."""
    return hashing.seal(MODEL_SUITE, "weight", spec.name, spec.rows, root)


@dataclass(frozen=True)
class Identity:
    """What a model id is made of."""

    program: Program
    tokenizer: bytes
    """Canonical vocabulary, empty if the program has none."""
    template_digest: bytes
    roots: tuple[bytes, ...]
    """Merkle root of each weight tensor, in program order."""

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The tokens, None if the program has none; FormatError if they are damaged."""
        return Vocabulary.decode(self.tokenizer) if self.tokenizer else None

    @cached_property
    def model_id(self) -> bytes:
        """The id, 32 bytes."""
        if len(self.roots) != len(self.program.weights):
            raise FormatError("a model has one root for each weight tensor")
        parts = [
            hashing.message_digest(MODEL_SUITE, "program", encode_program(self.program)),
            hashing.message_digest(MODEL_SUITE, "tokenizer", self.tokenizer),
            self.template_digest,
            *(weight_seal(s, r) for s, r in zip(self.program.weights, self.roots, strict=True)),
        ]
        return hashing.message_digest(MODEL_SUITE, "model", b"".join(parts))


@dataclass(frozen=True, eq=False)
class Model:
    """A compiled model with its weights in memory."""

    identity: Identity
    weights: Mapping[str, Weight]
    template: str = ""
    """Chat template (Jinja), empty if there is none."""
    manifest: Mapping[str, str] = field(default_factory=dict)
    """Provenance: checkpoint digest, importer version, name, licence. Not part of the model id."""
    _hashed: list[bool] = field(default_factory=list, repr=False)
    """Not empty once every weight row is known to lie under the model id."""

    @property
    def program(self) -> Program:
        """The program."""
        return self.identity.program

    @property
    def model_id(self) -> bytes:
        """The id, 32 bytes."""
        return self.identity.model_id

    def matrix(self, name: str) -> Matrix:
        """A weight matrix by name."""
        w = self.weights[name]
        if not isinstance(w, Matrix):
            raise FormatError(f"weight {name} is not a matrix")
        return w

    def vector(self, name: str) -> F32:
        """A weight vector by name (WeightRows)."""
        w = self.weights[name]
        if isinstance(w, Matrix):
            raise FormatError(f"weight {name} is not a vector")
        return w

    def rows(self, name: str, ids: Array) -> tuple[I8, F32]:
        """Rows of a one-limb matrix (WeightRows); FormatError if an index is outside it."""
        w = self.matrix(name)
        if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < w.scale.shape[0]):
            raise FormatError(f"an index is outside table {name}")
        return w.q[0, ids], w.scale[ids]

    @staticmethod
    def build(
        program: Program,
        weights: Mapping[str, Weight],
        hash_rows: HashRows = hashing.hash_rows,
        *,
        tokenizer: bytes = b"",
        template: str = "",
        manifest: Mapping[str, str] | None = None,
    ) -> Model:
        """Check weights against the program, hash them, and return the model.

        Raises FormatError if a weight is missing, superfluous, of the wrong shape or type, or not finite.
        """
        check_weights(program, weights)
        roots = tuple(weight_tree(s, weights[s.name], hash_rows).root for s in program.weights)
        identity = Identity(program, tokenizer, _template_digest(template), roots)
        return Model(identity, weights, template, dict(manifest or {}), [True])

    def check_roots(self, hash_rows: HashRows, progress: Callable[[int], None] | None = None) -> None:
        """MismatchError unless every weight row is under the model id. ``progress`` gets bytes hashed."""
        for spec, root in zip(self.program.weights, self.identity.roots, strict=True):
            if weight_tree(spec, self.weights[spec.name], hash_rows).root != root:
                raise MismatchError(
                    f"weight {spec.name} is not the one in the model id; import the model again"
                )
            if progress is not None:
                progress(spec.rows * spec.row_bytes)
        self._hashed.append(True)

    def require_roots(self, hash_rows: HashRows) -> None:
        """:meth:`check_roots`, unless this object is known to pass it."""
        if not self._hashed:
            self.check_roots(hash_rows)

    def save(self, path: Path) -> None:
        """Write the model file, whole or not at all."""
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        tensors: dict[str, Array] = {
            "program": np.frombuffer(encode_program(self.program), np.uint8),
            "tokenizer": np.frombuffer(self.identity.tokenizer, np.uint8),
            "template": np.frombuffer(self.template.encode(), np.uint8),
            "roots": np.frombuffer(b"".join(self.identity.roots), np.uint8),
        }
        for name, w in self.weights.items():
            if isinstance(w, Matrix):
                tensors[f"{name}/q"], tensors[f"{name}/scale"] = w.q, w.scale
                if w.bias is not None:
                    tensors[f"{name}/bias"] = w.bias
            else:
                tensors[f"{name}/vector"] = w
        metadata = {"proofcompute": json.dumps(dict(self.manifest), sort_keys=True)}
        with writing(path) as stream:
            try:
                save_file(tensors, stream.name, metadata)
            except SafetensorError as e:
                raise StorageError(f"cannot write {path}: {e}") from e

    @staticmethod
    def load(path: Path) -> Model:
        """Read a model file.

        Raises InputError or FormatError if it is not one. Weight rows are not hashed here: a prover trusts
        its own file, and every verifier calls :meth:`check_roots` or :meth:`require_roots`.
        """
        tensors, manifest = _read_container(path)
        program = decode_program(_take_bytes(tensors, "program", None))
        tokenizer = _take_bytes(tensors, "tokenizer", MAX_TOKENIZER)
        try:
            template = _take_bytes(tensors, "template", MAX_TEMPLATE).decode()
        except UnicodeDecodeError as e:
            raise FormatError("chat template is not UTF-8") from e
        roots = _take_bytes(tensors, "roots", 32 * len(program.weights))
        if len(roots) != 32 * len(program.weights):
            raise FormatError("model file: one root of 32 bytes is needed for each weight")
        weights: dict[str, Weight] = {}
        for s in program.weights:
            if s.kind == "vector":
                weights[s.name] = _take(tensors, f"{s.name}/vector")
            else:
                bias = _take(tensors, f"{s.name}/bias") if s.bias else None
                weights[s.name] = Matrix(
                    _take(tensors, f"{s.name}/q"), _take(tensors, f"{s.name}/scale"), bias
                )
        if tensors:
            raise FormatError(f"model file holds {next(iter(tensors))}, which its program does not name")
        check_weights(program, weights)
        split = tuple(roots[i : i + 32] for i in range(0, len(roots), 32))
        return Model(
            Identity(program, tokenizer, _template_digest(template), split), weights, template, manifest
        )


def check_weights(program: Program, weights: Mapping[str, Weight]) -> None:
    """FormatError unless exactly the program's weights are there, of the right types, and finite."""
    if set(weights) != set(program.weight):
        odd = sorted(set(weights) ^ set(program.weight))
        raise FormatError(f"weights and program differ in {', '.join(odd[:5])}")
    for s in program.weights:
        w = weights[s.name]
        if isinstance(w, Matrix):
            ok = (
                s.kind == "matrix"
                and w.q.dtype == np.int8
                and w.q.shape == (s.limbs, s.rows, s.width)
                and w.scale.dtype == np.float32
                and w.scale.shape == (s.rows,)
                and (w.bias is not None) == s.bias
                and (w.bias is None or (w.bias.dtype == np.float32 and w.bias.shape == (s.rows,)))
            )
            floats = [w.scale] + ([w.bias] if w.bias is not None else [])
        else:
            ok = s.kind == "vector" and w.dtype == np.float32 and w.shape == (s.width,)
            floats = [w]
        if not ok:
            raise FormatError(f"weight {s.name} has not the shape or type that the program states")
        if not all(np.isfinite(f).all() for f in floats):
            raise FormatError(f"weight {s.name} holds a number that is not finite")


def _template_digest(template: str) -> bytes:
    return hashing.message_digest(MODEL_SUITE, "template", template.encode())


def _read_container(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as f:
            tensors = _together(f, path.stat().st_size)
            metadata = f.metadata() or {}
    except OSError as e:
        raise InputError(f"cannot read model {path}: {e.strerror or e}") from e
    except (SafetensorError, TypeError, KeyError, ValueError, AttributeError) as e:
        raise FormatError(f"{path} is not a model file: {e}; make one with 'proofcompute import'") from e
    try:
        manifest = json.loads(metadata["proofcompute"])
    except (KeyError, ValueError, RecursionError) as e:
        raise FormatError(f"{path} is not a model file of ours; make one with 'proofcompute import'") from e
    if not (isinstance(manifest, dict) and all(isinstance(v, str) for v in manifest.values())):
        raise FormatError(f"{path}: the manifest is not a list of texts")
    return tensors, manifest


def _together(file: Any, size: int) -> dict[str, Any]:
    """All tensors of an open file of so many bytes, in one block of memory.

    NumPy asks for large pages for a block, not for many arrays: weights are read 15 % faster from it.
    """
    names = list(file.keys())
    block = np.empty(size + _ALIGN * len(names), np.uint8)
    tensors, at = {}, 0
    for name in names:
        tensor: Array = file.get_tensor(name)
        part = block[at : at + tensor.nbytes].view(tensor.dtype).reshape(tensor.shape)
        part[...] = tensor
        tensors[name] = part
        at += -(-tensor.nbytes // _ALIGN) * _ALIGN
    return tensors


def _take(tensors: dict[str, Any], name: str) -> Any:
    if name not in tensors:
        raise FormatError(f"model file lacks {name}")
    return tensors.pop(name)


def _take_bytes(tensors: dict[str, Any], name: str, limit: int | None) -> bytes:
    value: Array = _take(tensors, name)
    if value.dtype != np.uint8 or value.ndim != 1 or (limit is not None and value.size > limit):
        raise FormatError(f"model file: {name} is not a byte string within its limit")
    return value.tobytes()
