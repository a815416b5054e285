"""Publish the codes of a model, and check what somebody else published
(docs/spec/public-proofs.md#publishing).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import numpy as np

from proofcompute.arithmetic.ieee import require_ieee
from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arrays import I8, U8, U32
from proofcompute.codes.circle import draw_positions
from proofcompute.commitments import merkle
from proofcompute.commitments.hashing import Xof
from proofcompute.errors import InputError, MismatchError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.freivalds.sets import largest_squares
from proofcompute.models.card import ModelCard, Weight, WeightReader
from proofcompute.program.program import Program
from proofcompute.program.types import WeightSpec
from proofcompute.public.coding import SUITE, Coder, digests_of
from proofcompute.public.key import MAX_RHO, PublicKey
from proofcompute.public.layout import Layout, Plane
from proofcompute.public.store import Coded, codes_path
from proofcompute.verifier.key import Entry, MatrixEntry

__all__ = [
    "RHO",
    "Published",
    "check_leaves",
    "code_digests",
    "code_weights",
    "joined",
    "load_published",
    "publish",
    "write_published",
]

RHO: Final = 4
"""The rate of codes unless another is asked for: words agree in at most 2^-4 of their positions."""
_SAVED_EACH: Final = 20.0
"""The least time between two savings, in times of what a saving took, so that saving costs at most 5 %."""


@dataclass(frozen=True, eq=False)
class Published:
    """A public key and the trees over the codes, which a prover needs."""

    key: PublicKey
    trees: Sequence[merkle.Tree]


def publish(
    model: WeightReader,
    kernels: Kernels,
    *,
    rho: int = RHO,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Code the weights of a model in memory, and return its public key with the trees over the codes.

    Args:
        model: a model, a model file, or anything that yields weights by name; each is read once.
        kernels: the backend.
        rho: words of a code agree in at most 2^-rho of their positions; 1 to 8.
        progress: is called with the bytes of each weight processed; they add up to those of all weight rows.

    Raises MismatchError if a weight is not the one in the model id, InputError for a rate out of range, and
    LimitError if the model is too large.
    """
    work = _Publishing(model, kernels, rho)
    for spec in model.card.program.weights:
        work.add(spec)
        if progress is not None:
            progress(spec.rows * spec.row_bytes)
    return work.published()


def write_published(
    model: WeightReader,
    kernels: Kernels,
    path: StrPath,
    *,
    rho: int = RHO,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Publish a model: write its public key to ``path`` and the digests of its codes to ``PATH.codes``.

    An interrupted call leaves ``PATH.codes`` with the weights that are coded; the next call goes on after
    them, and makes the same key. The public key appears only when it is complete.

    Arguments and errors are those of :func:`publish`; ``progress`` is also called for the weights that were
    coded before. Besides, raises FormatError if ``PATH.codes`` is damaged, InputError if it is of another
    model or rate, and StorageError if the file system refuses.
    """
    path, card = path_of(path), model.card
    work, codes = _Publishing(model, kernels, rho), codes_path(path)
    if codes.exists():
        work.resume(Coded.load(codes, card), codes)
    took, last = 0.0, monotonic()
    try:
        for number, spec in enumerate(card.program.weights):
            if number >= len(work.entries):
                work.add(spec)
            if monotonic() - last > _SAVED_EACH * took:
                start = monotonic()
                work.coded().save(codes)
                last = monotonic()
                took = last - start
            if progress is not None:
                progress(spec.rows * spec.row_bytes)
    finally:
        work.coded().save(codes)
    made = work.published()
    made.key.save(path)
    return made


def code_weights(program: Program, rho: int = RHO) -> list[tuple[str, ...]]:
    """Return, for each code of a program, the names of the weights that it holds, in the program's order."""
    layout = Layout.of(program, rho)
    of = [(spec.name, {plane.code for plane in layout.of_weight(spec.name)}) for spec in program.weights]
    return [tuple(name for name, codes in of if code in codes) for code in range(len(layout.codes))]


def code_digests(model: WeightReader, kernels: Kernels, code: int, *, rho: int = RHO) -> U8:
    """Return the digests of all positions of one code, uint8 [positions, 32], a part of :func:`publish`."""
    work = _Publishing(model, kernels, rho)
    for name in code_weights(model.card.program, rho)[code]:
        work.add(model.card.program.weight[name], code)
    return work.coded().digests[code]


def joined(model: WeightReader, kernels: Kernels, digests: Sequence[U8], *, rho: int = RHO) -> Published:
    """Return what :func:`publish` returns, from the digests of all codes, which are believed."""
    work = _Publishing(model, kernels, rho)
    work.join(digests)
    return work.published()


def load_published(path: StrPath, kernels: Kernels) -> Published:
    """Read a public key with its digests, as :func:`write_published` wrote them.

    Raises the errors of :meth:`PublicKey.load` and :meth:`Coded.load`, and MismatchError if the digests are
    not those of the key.
    """
    path = path_of(path)
    key = PublicKey.load(path)
    coded = Coded.load(codes_path(path), key.card)
    trees = [merkle.Tree(SUITE, digests, kernels.hash_rows) for digests in coded.digests]
    if coded.rho != key.rho or tuple(tree.root for tree in trees) != key.roots:
        raise MismatchError(f"{codes_path(path)} is not of the public key {path}")
    return Published(key, trees)


def check_leaves(
    published: Published, model: WeightReader, kernels: Kernels, count: int, *, seed: bytes | None = None
) -> None:
    """Compute ``count`` random positions of each code again from the weights.

    A publisher whose codes differ from those of the weights in a share f of the positions is found with
    probability 1 - (1 - f)^count; each plane that was coded wrongly changes nearly all. ``seed`` is for tests
    only; None: the operating system's randomness.

    Raises MismatchError if a position is not that of the weights, or a weight not the one in the model id,
    and InputError if ``count`` is less than 1.
    """
    if type(count) is not int or count < 1:
        raise InputError(f"at least one position is checked, not {count!r}")
    layout, card = published.key.layout, published.key.card
    if model.card.model_id != card.model_id:
        raise MismatchError("the public key is of another model")
    xof = Xof("spot check", secrets.token_bytes(32) if seed is None else seed)
    places = [draw_positions(xof, code.circle.size, count) for code in layout.codes]
    basis = [code.circle.basis(at) for code, at in zip(layout.codes, places, strict=True)]
    words = [np.empty((len(at), code.rows), np.uint32) for code, at in zip(layout.codes, places, strict=True)]
    for spec in card.program.weights:
        weight = model.weight(spec.name)
        card.check_root(spec, weight, kernels.hash_rows)
        _require_entry(published.key, spec, weight, kernels)
        for plane, matrix in _planes(layout, spec, weight):
            messages = layout.messages(plane, matrix, 0, plane.rows)
            columns = slice(plane.first, plane.first + plane.rows)
            words[plane.code][:, columns] = kernels.host(kernels.project(messages, basis[plane.code])).T
    for number, (at, found) in enumerate(zip(places, words, strict=True)):
        made = digests_of(found, layout, number, kernels)
        for place, digest in zip(at, made, strict=True):
            if published.trees[number].leaf(place) != digest.tobytes():
                raise MismatchError(f"position {place} of code {number} is not that of the weights")


def _require_entry(key: PublicKey, spec: WeightSpec, weight: Weight, kernels: Kernels) -> None:
    """Raise MismatchError unless a public key holds what follows from a weight."""
    made = _entry(spec, weight, kernels)
    if isinstance(made, MatrixEntry):
        held = key.matrices[spec.name]
        pairs = [(held.scale, made.scale), (held.bias, made.bias)]
        same = held.largest == made.largest and all(_bytes(a) == _bytes(b) for a, b in pairs)
    else:
        same = _bytes(key.constants[spec.name]) == _bytes(made)
    if not same:
        raise MismatchError(f"the public key holds other values for {spec.name} than its weights give")


def _bytes(x: object) -> bytes | None:
    return None if x is None else np.ascontiguousarray(x).tobytes()


def _entry(spec: WeightSpec, weight: Weight, kernels: Kernels) -> Entry:
    if not isinstance(weight, Matrix):
        return weight
    nothing: U32 = np.zeros((*spec.shape[:-2], spec.limbs, 0, spec.width), np.uint32)
    return MatrixEntry(nothing, weight.scale, weight.bias, largest_squares(weight.q, kernels))


def _planes(layout: Layout, spec: WeightSpec, weight: Weight) -> list[tuple[Plane, I8]]:
    """Return the planes of a weight, with the matrix of each."""
    if not isinstance(weight, Matrix):
        return []
    return [(plane, plane.matrix(weight)) for plane in layout.of_weight(spec.name)]


class _Publishing:
    """The codes and entries of the first weights of a model."""

    def __init__(self, model: WeightReader, kernels: Kernels, rho: int) -> None:
        require_ieee()
        if type(rho) is not int or not 1 <= rho <= MAX_RHO:
            raise InputError(f"the rate is 1 to {MAX_RHO}, not {rho!r}")
        self.entries: list[Entry] = []
        self._model, self._kernels, self._rho = model, kernels, rho
        self._card: ModelCard = model.card
        self._coder = Coder(Layout.of(self._card.program, rho), kernels)

    def resume(self, coded: Coded, path: Path) -> None:
        """Go on after the weights that are coded already."""
        if coded.rho != self._rho:
            raise InputError(f"{path} is of rate {coded.rho}, not {self._rho}; remove it to begin anew")
        self.entries = list(coded.entries)
        self._coder.digests[:] = list(coded.digests)

    def join(self, digests: Sequence[U8]) -> None:
        """Take the digests of all codes, and make the entries of all weights."""
        for spec in self._card.program.weights:
            weight = self._model.weight(spec.name)
            self._card.check_root(spec, weight, self._kernels.hash_rows)
            self.entries.append(_entry(spec, weight, self._kernels))
        self._coder.digests[:] = list(digests)

    def add(self, spec: WeightSpec, only: int | None = None) -> None:
        """Code the next weight, or what one code holds of it."""
        weight = self._model.weight(spec.name)
        self._card.check_root(spec, weight, self._kernels.hash_rows)
        planes = _planes(self._coder.layout, spec, weight)
        if only is not None:
            planes = [(plane, matrix) for plane, matrix in planes if plane.code == only]
        before = {plane.code: self._coder.digests[plane.code].copy() for plane, _ in planes}
        done = False
        try:
            for plane, matrix in planes:
                self._coder.add(plane, matrix)
            self.entries.append(_entry(spec, weight, self._kernels))
            done = True
        finally:
            if not done:  # what is saved then holds whole weights only
                for code, digests in before.items():
                    self._coder.digests[code] = digests

    def coded(self) -> Coded:
        """Return what is coded so far."""
        return Coded(self._card.model_id, self._rho, self.entries, self._coder.digests)

    def published(self) -> Published:
        """Return the public key once all weights are coded."""
        named, trees = self.coded().named(self._card), self._coder.trees()
        return Published(
            PublicKey(
                self._card,
                self._rho,
                tuple(tree.root for tree in trees),
                {n: e for n, e in named.items() if isinstance(e, MatrixEntry)},
                {n: e for n, e in named.items() if not isinstance(e, MatrixEntry)},
            ),
            trees,
        )
