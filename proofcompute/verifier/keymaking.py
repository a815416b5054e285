"""Make verifier keys: check every weight row against the model id and compute V = W^T S
(docs/spec/freivalds.md#key-file).

Weights are read one at a time and dropped, so the memory needed is that of the largest weight, whatever the
size of the model. :func:`write_key` keeps finished weights in a file beside the key, ``KEY.partial``, and
continues from there when it is called again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.errors import InputError, LimitError, MismatchError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.errors.sealed import Secret, sealed
from proofcompute.freivalds.columns import derive, project_weight
from proofcompute.freivalds.sets import largest_squares
from proofcompute.limits import MAX_COLUMNS, MAX_KEY
from proofcompute.models.card import WeightReader
from proofcompute.program.program import Program
from proofcompute.program.types import WeightSpec
from proofcompute.verifier.key import Entry, Key, MatrixEntry
from proofcompute.verifier.partial import SEED, PartialKey

__all__ = ["check_columns", "entry_of", "key_size", "keygen", "write_key"]


def keygen(
    model: WeightReader,
    kernels: Kernels,
    *,
    columns: int = 2,
    seed: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Key:
    """Make a private key in memory.

    Args:
        model: a :class:`~proofcompute.models.model.Model`, a :class:`~proofcompute.models.file.ModelFile`, or
            anything that yields weights by name.
        kernels: the backend.
        columns: k, the number of Freivalds columns; the soundness error of one product row is p^-k.
        seed: 32 secret bytes, for tests only; None: the operating system's randomness.
        progress: is called with the bytes of each weight processed; they add up to those of all weight rows.

    Raises MismatchError if a weight is not the one in the model id, FormatError if it does not have the type
    that the program states, InputError for a number of ``columns`` out of range, and
    LimitError if the key would be too large.
    """
    _check(columns, seed)
    _check_size(model, columns)
    secret = Secret(secrets.token_bytes(SEED) if seed is None else seed)
    entries = []
    for spec in model.card.program.weights:
        entries.append(_entry(model, spec, secret, columns, kernels))
        if progress is not None:
            progress(spec.rows * spec.row_bytes)
    return Key.of(model.card, secret.value, columns, entries)


def write_key(
    model: WeightReader,
    kernels: Kernels,
    path: StrPath,
    *,
    columns: int = 2,
    seed: bytes | None = None,
    progress: Callable[[int], None] | None = None,
) -> Key:
    """Make a private key and write it to ``path``, readable by its owner only.

    An interrupted call leaves ``PATH.partial``, which is as secret as the key. The next call continues after
    the last weight in it, and makes the key that the first call would have written. The key appears at
    ``path`` only when it is complete.

    Arguments and errors are those of :func:`keygen`; ``progress`` is also called for the weights that were
    finished before. Besides, raises MismatchError if the partial file belongs to another model, number of
    columns or seed, FormatError if it is damaged, InputError if others may read it or another process uses
    it, and StorageError if the file system refuses; finished weights are kept then.
    """
    _check(columns, seed)
    _check_size(model, columns)
    path, card = path_of(path), model.card
    with PartialKey.begin(path, card, columns, seed) as partial:
        for i, spec in enumerate(card.program.weights):
            if i == len(partial.entries):
                partial.append(_entry(model, spec, Secret(partial.seed), columns, kernels))
            if progress is not None:
                progress(spec.rows * spec.row_bytes)
        key = Key.of(card, partial.seed, columns, partial.entries)
        key.save(path)
        partial.discard()
    return key


def _check(columns: int, seed: bytes | None) -> None:
    require_ieee()
    if not 1 <= columns <= MAX_COLUMNS:
        raise InputError(f"columns {columns} is outside 1..{MAX_COLUMNS}")
    if seed is not None and len(seed) != SEED:
        raise MismatchError(f"a key's seed has {SEED} bytes")


def key_size(program: Program, columns: int = 2) -> int:
    """Return the bytes of a program's key, apart from the card, which it holds too."""
    return sum(
        spec.nbytes
        if spec.kind == "constant"
        else 4 * (spec.groups * spec.limbs * columns * spec.width + spec.rows * (1 + spec.bias))
        for spec in program.weights
    )


def _check_size(model: WeightReader, columns: int) -> None:
    """Raise LimitError, before anything is computed, if the key would be larger than one may be."""
    size = key_size(model.card.program, columns)
    if size > MAX_KEY:
        raise LimitError(f"a key of {columns} columns for this model has {size} bytes, more than {MAX_KEY}")


def check_columns(model: WeightReader, columns: int, seed: bytes | None) -> None:
    """Raise what :func:`keygen` raises for its arguments, before anything is computed."""
    _check(columns, seed)
    _check_size(model, columns)


def entry_of(model: WeightReader, spec: WeightSpec, seed: bytes, columns: int, kernels: Kernels) -> Entry:
    """Make the entry of one weight of the key that :func:`keygen` makes with ``seed``."""
    require_ieee()
    return _entry(model, spec, Secret(seed), columns, kernels)


@sealed
def _entry(model: WeightReader, spec: WeightSpec, secret: Secret, columns: int, kernels: Kernels) -> Entry:
    weight = model.weight(spec.name)
    model.card.check_root(spec, weight, kernels.hash_rows)
    if not isinstance(weight, Matrix):
        return weight
    s = derive(secret.value, model.card.model_id, spec.name, spec.m, columns)
    v = project_weight(weight.q, s, kernels)
    return MatrixEntry(v, weight.scale, weight.bias, largest_squares(weight.q, kernels))
