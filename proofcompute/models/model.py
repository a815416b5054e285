"""Holds a compiled model in memory: a program, its quantised weights, and the id that binds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from proofcompute.arithmetic.kernels import Matrix
from proofcompute.arrays import F32, I8, Array
from proofcompute.commitments import hashing
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.arguments import StrPath, path_of
from proofcompute.models.card import HashRows, ModelCard, Weight, check_weight, weight_tree
from proofcompute.models.file import ModelFile, write_model
from proofcompute.program.placement import weight_names
from proofcompute.program.program import Program

__all__ = ["Model"]


@dataclass(frozen=True, eq=False)
class Model:
    """A compiled model with its weights in memory."""

    card: ModelCard
    """All of the model except its weights."""
    weights: Mapping[str, Weight]
    """Weight tensors by name."""
    manifest: Mapping[str, str] = field(default_factory=dict)
    """Provenance: checkpoint digest, importer version, name, licence. Not part of the model id."""
    _hashed: list[bool] = field(default_factory=list, repr=False)
    """Not empty once every weight row has been checked against the model id."""

    @property
    def program(self) -> Program:
        """The program."""
        return self.card.program

    @property
    def template(self) -> str:
        """Chat template (Jinja); empty if there is none."""
        return self.card.template

    @property
    def model_id(self) -> bytes:
        """The model id, 32 bytes."""
        return self.card.model_id

    def weight(self, name: str) -> Weight:
        """Return a weight tensor by name (WeightReader)."""
        return self.weights[name]

    def matrix(self, name: str) -> Matrix:
        """Return a weight matrix by name; FormatError if it is a constant."""
        w = self.weights[name]
        if not isinstance(w, Matrix):
            raise FormatError(f"weight {name} is not a matrix")
        return w

    def constant(self, name: str) -> Array:
        """Return a constant by name (WeightRows); FormatError if it is a matrix."""
        w = self.weights[name]
        if isinstance(w, Matrix):
            raise FormatError(f"weight {name} is not a constant")
        return w

    def rows(self, name: str, ids: Array) -> tuple[Sequence[I8], F32]:
        """Return rows of a matrix (WeightRows); FormatError if an index is out of range."""
        w = self.matrix(name)
        if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < w.scale.shape[0]):
            raise FormatError(f"an index is outside table {name}")
        return [limb[ids] for limb in w.q], w.scale[ids]

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

        Raises FormatError if a weight is missing, superfluous, not finite, or has the wrong shape or type.
        """
        check_weights(program, weights)
        roots = tuple(weight_tree(s, weights[s.name], hash_rows).root for s in program.weights)
        card = ModelCard(program, tokenizer, template, roots)
        return Model(card, weights, dict(manifest or {}), [True])

    def check_roots(self, hash_rows: HashRows, progress: Callable[[int], None] | None = None) -> None:
        """Raise MismatchError unless every weight row is under the model id.

        ``progress`` is called with the number of bytes hashed since the last call.
        """
        for spec in self.program.weights:
            self.card.check_root(spec, self.weights[spec.name], hash_rows)
            if progress is not None:
                progress(spec.rows * spec.row_bytes)
        self._hashed.append(True)

    def require_roots(self, hash_rows: HashRows, progress: Callable[[int], None] | None = None) -> None:
        """Call :meth:`check_roots`, unless this object has passed it before."""
        if not self._hashed:
            self.check_roots(hash_rows, progress)

    def save(self, path: StrPath) -> None:
        """Write the model file, whole or not at all."""
        write_model(path_of(path), self.card, self.manifest, self.weights)

    def part(self, segments: range) -> Model:
        """Return the model with the weights of some of its segments only, for a node that runs no others."""
        names = part_names(self.program, segments)
        return Model(self.card, {name: self.weights[name] for name in names}, self.manifest)

    @staticmethod
    def load(path: StrPath, segments: range | None = None) -> Model:
        """Read a whole model file, or of a part of its segments only the weights that these use.

        Raises InputError or FormatError if it is not one. Weight rows are not hashed here: a prover trusts
        its own file, and every verifier calls :meth:`check_roots` or :meth:`require_roots`.
        """
        file = ModelFile.open(path)
        names = None if segments is None else part_names(file.card.program, segments)
        return Model(file.card, file.weights(names), file.manifest)


def part_names(program: Program, segments: range) -> frozenset[str]:
    """Return the weights that some segments of a program use.

    Raises InputError unless the program has these segments.
    """
    if not 0 <= segments.start < segments.stop <= len(program.segments):
        raise InputError(f"segments {segments.start}..{segments.stop} of {len(program.segments)}")
    return frozenset().union(*(weight_names(program.segments[i]) for i in segments))


def check_weights(program: Program, weights: Mapping[str, Weight]) -> None:
    """Raise FormatError unless exactly the program's weights are there, finite and of the right types."""
    if set(weights) != set(program.weight):
        odd = sorted(set(weights) ^ set(program.weight))
        raise FormatError(f"weights and program differ in {', '.join(odd[:5])}")
    for s in program.weights:
        check_weight(s, weights[s.name])
