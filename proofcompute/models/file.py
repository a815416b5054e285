"""Reads and writes model files: safetensors containers with a program and its weights.

A file holds the weights by name, ``program``, ``tokenizer``, ``template`` and ``roots`` as bytes, and the
manifest as JSON metadata. A weight is read when it is asked for, so a model need not fit in memory. The file
is opened again each time, because memory that was read through a mapping counts as this process's own until
the mapping is closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import DIGEST
from proofcompute.encoding.files import require_plain, writing
from proofcompute.errors import FormatError, InputError, StorageError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.limits import MAX_PROGRAM, MAX_TEMPLATE, MAX_TOKENIZER, MAX_WEIGHTS
from proofcompute.models.card import ModelCard, Weight, check_weight
from proofcompute.program.operations import decode_program, encode_program
from proofcompute.program.program import Program

__all__ = ["ModelFile", "write_model"]

_ALIGN: Final = 64
"""Alignment, in bytes, of each array of a loaded model."""
_PARTS: Final = {
    "program": MAX_PROGRAM,
    "tokenizer": MAX_TOKENIZER,
    "template": MAX_TEMPLATE,
    "roots": DIGEST * MAX_WEIGHTS,
}
"""The parts of a model file besides weights, and the most bytes of each."""


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model file whose weights stay on disk."""

    path: Path
    """Path of the file."""
    card: ModelCard
    """The model's card."""
    manifest: Mapping[str, str]
    """Provenance; not part of the model id."""

    @staticmethod
    def open(path: StrPath) -> ModelFile:
        """Read everything but the weights; InputError or FormatError if it is not a model file.

        Weight rows are not hashed here: a prover trusts its own file, and every verifier checks them against
        the model id.
        """
        path = path_of(path)
        require_plain(path, "model")
        with _opened(path) as stored:
            names, metadata = set(stored.keys()), stored.metadata() or {}
            raw = {name: _bytes(stored, names, name, limit) for name, limit in _PARTS.items()}
        manifest = _manifest(path, metadata)
        program = decode_program(raw["program"])
        try:
            template = raw["template"].decode()
        except UnicodeDecodeError as e:
            raise FormatError("chat template is not UTF-8") from e
        roots = raw["roots"]
        if len(roots) != DIGEST * len(program.weights):
            raise FormatError("model file: one root of 32 bytes is needed for each weight")
        known = {*_PARTS, *_tensors(program)}
        if names != known:
            odd = sorted(names ^ known)[0]
            raise FormatError(
                f"model file holds {odd}, which its program does not name"
                if odd in names
                else f"model file lacks {odd}"
            )
        split = tuple(roots[i : i + DIGEST] for i in range(0, len(roots), DIGEST))
        card = ModelCard(program, raw["tokenizer"], template, split)
        return ModelFile(path, card, manifest)

    def weight(self, name: str) -> Weight:
        """Return a weight tensor by name; FormatError if its shape or type is not what the program states."""
        spec = self.card.program.weight[name]
        with _opened(self.path) as stored:
            if spec.kind == "constant":
                weight: Weight = _tensor(stored, f"{name}/constant")
            else:
                bias = _tensor(stored, f"{name}/bias") if spec.bias else None
                weight = Matrix(_tensor(stored, f"{name}/q"), _tensor(stored, f"{name}/scale"), bias)
        check_weight(spec, weight)
        return weight

    def weights(self, names: frozenset[str] | None = None) -> dict[str, Weight]:
        """Return the weights with these names, or all, in one block of memory.

        NumPy asks for large pages for one block, but not for many arrays; reading weights from it is 15 %
        faster.
        """
        specs = [s for s in self.card.program.weights if names is None or s.name in names]
        block = np.empty(self.path.stat().st_size + 3 * _ALIGN * len(specs), np.uint8)
        end = 0

        def moved(x: Any) -> Any:
            nonlocal end
            start, end = end, end + -(-x.nbytes // _ALIGN) * _ALIGN
            place = block[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
            place[...] = x
            return place

        out: dict[str, Weight] = {}
        for s in specs:
            w = self.weight(s.name)
            if isinstance(w, Matrix):
                bias = None if w.bias is None else moved(w.bias)
                out[s.name] = Matrix(moved(w.q), moved(w.scale), bias)
            else:
                out[s.name] = moved(w)
        return out


def write_model(
    path: Path, card: ModelCard, manifest: Mapping[str, str], weights: Mapping[str, Weight]
) -> None:
    """Write a model file, whole or not at all; StorageError if the file system refuses."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors: dict[str, Array] = {
        "program": np.frombuffer(encode_program(card.program), np.uint8),
        "tokenizer": np.frombuffer(card.tokenizer, np.uint8),
        "template": np.frombuffer(card.template.encode(), np.uint8),
        "roots": np.frombuffer(b"".join(card.roots), np.uint8),
    }
    for name, w in weights.items():
        if isinstance(w, Matrix):
            tensors[f"{name}/q"], tensors[f"{name}/scale"] = w.q, w.scale
            if w.bias is not None:
                tensors[f"{name}/bias"] = w.bias
        else:
            tensors[f"{name}/constant"] = w
    metadata = {"proofcompute": json.dumps(dict(manifest), sort_keys=True)}
    with writing(path, named=True) as stream:
        try:
            save_file(tensors, stream.name, metadata)
        except SafetensorError as e:
            raise StorageError(f"cannot write {path}: {e}") from e


def _tensors(program: Program) -> Iterator[str]:
    for s in program.weights:
        if s.kind == "constant":
            yield f"{s.name}/constant"
        else:
            yield from (f"{s.name}/q", f"{s.name}/scale", *([f"{s.name}/bias"] if s.bias else []))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the container; its reader's errors become InputError or FormatError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as stored:
            yield stored
    except OSError as e:
        raise InputError(f"cannot read model {path}: {e.strerror or e}") from e
    except (SafetensorError, TypeError, KeyError, ValueError, AttributeError) as e:
        raise FormatError(f"{path} is not a model file: {e}; make one with 'proofcompute import'") from e


def _manifest(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        manifest = json.loads(metadata["proofcompute"])
    except (KeyError, ValueError, RecursionError) as e:
        raise FormatError(f"{path} is not a proofcompute model; make one with 'proofcompute import'") from e
    if not (isinstance(manifest, dict) and all(isinstance(v, str) for v in manifest.values())):
        raise FormatError(f"{path}: the manifest does not map names to texts")
    return manifest


def _tensor(stored: Any, name: str) -> Any:
    return stored.get_tensor(name)


def _bytes(stored: Any, names: set[str], name: str, limit: int) -> bytes:
    if name not in names:
        raise FormatError(f"model file lacks {name}")
    value: Array = _tensor(stored, name)
    if value.dtype != np.uint8 or value.ndim != 1 or value.size > limit:
        raise FormatError(f"model file: {name} is not a byte string within its limit")
    return value.tobytes()
