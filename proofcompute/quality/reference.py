"""Opens what a compiled model is compared with: its checkpoint, run in float32.

Two programs can run it: :class:`FloatReference`, which is this package's and covers all that it imports, and
:mod:`.transformers_reference` (extra ``quality``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from proofcompute.arrays import F32, I64
from proofcompute.engine.logits import PIECE
from proofcompute.errors import InputError
from proofcompute.importers.architecture import Moe
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.float_model import FloatModel
from proofcompute.importers.load import open_checkpoint
from proofcompute.models.vocabulary import Vocabulary

__all__ = ["REFERENCES", "FloatReference", "Progress", "Reference", "open_reference"]

Progress = Callable[[int, int], None]
"""Called with the work done since the last call, and all work; the unit is the caller's business."""

REFERENCES: Final = ("float32", "transformers")
"""Names of what can run a reference."""


class Reference(Protocol):
    """A model whose logits are taken to be right."""

    def logits(
        self, texts: Sequence[Sequence[int] | I64], progress: Progress = lambda done, total: None
    ) -> Iterator[F32]:
        """Yield the logits after each token of each text, [n, v], in pieces as :func:`all_logits` does."""
        ...


class FloatReference:
    """A checkpoint that this package's float32 forward pass runs."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def logits(
        self, texts: Sequence[Sequence[int] | I64], progress: Progress = lambda done, total: None
    ) -> Iterator[F32]:
        """See Reference. Every block is read once for all texts. Raises the errors of the checkpoint."""
        checkpoint = self._checkpoint
        rows = sum(map(len, texts))
        total = rows * _elements(checkpoint)

        def product(name: str, a: int, b: int, x: F32) -> F32:
            progress(len(x) * x.shape[1] * (b - a), total)
            return model.multiply(name, a, b, x)

        model = FloatModel(checkpoint.arch, checkpoint.rows, product)
        # the head's rows are read for every piece, so they are kept
        head = FloatModel(checkpoint.arch, _kept(checkpoint), product)
        for hidden in model.hidden(texts):
            for a in range(0, len(hidden), PIECE):
                yield head.head(hidden[a : a + PIECE])


def _kept(checkpoint: Checkpoint) -> Callable[[str, int, int], F32]:
    """Return a reader of rows that remembers them."""
    known: dict[tuple[str, int, int], F32] = {}

    def rows(name: str, a: int, b: int) -> F32:
        if (name, a, b) not in known:
            known[name, a, b] = checkpoint.rows(name, a, b)
        return known[name, a, b]

    return rows


def _elements(checkpoint: Checkpoint) -> int:
    """Return the products that a row takes: the elements of all matrices, of experts those that are used."""
    total = 0
    for name, shape in checkpoint.shapes.items():
        if len(shape) != 2 or name == "positions" or (name == "embedding" and not checkpoint.arch.tied):
            continue
        count = shape[0] * shape[1]
        if ".experts." in name:
            moe = checkpoint.arch.blocks[int(name.split(".")[1])].ffn
            if isinstance(moe, Moe):
                count = count * moe.top_k // moe.experts
        total += count
    return total


def open_reference(
    path: Path, vocabulary: Vocabulary, kind: str = "float32", *, context: int | None = None
) -> tuple[Reference, bytes]:
    """Open a checkpoint, and return it with its digest (SHA-256; empty if it is not known).

    Args:
        path: a GGUF file, or a folder in the layout of Hugging Face.
        vocabulary: the tokens of the model that is compared.
        kind: what runs it, one of :data:`REFERENCES`.
        context: the most positions that are wanted, as of :func:`open_checkpoint`.

    Raises InputError for an unknown kind, and for a checkpoint with other tokens; UnsupportedError if
    ``transformers`` is not installed; and the errors of opening a checkpoint.
    """
    if kind not in REFERENCES:
        raise InputError(f"the reference {kind!r} is none of {', '.join(REFERENCES)}")
    if kind == "transformers":
        from proofcompute.quality.transformers_reference import TransformersReference

        return TransformersReference(path), b""
    checkpoint = open_checkpoint(path, context=context)
    if checkpoint.vocabulary.tokens != vocabulary.tokens:
        raise InputError(f"{path} has other tokens than the model, so it is not what the model was made of")
    return FloatReference(checkpoint), checkpoint.digest
