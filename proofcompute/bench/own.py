"""Holds a model and a prompt of the caller's own, which replace random ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import I32
from proofcompute.errors import InputError
from proofcompute.importers import import_checkpoint
from proofcompute.importers.compiling import PRECISIONS
from proofcompute.models.file import ModelFile
from proofcompute.models.model import Model
from proofcompute.program.program import Program
from proofcompute.tokens import Tokenizer

__all__ = ["Own"]


@dataclass(frozen=True)
class Own:
    """The caller's own model and prompt; both are optional."""

    file: Path | None = None
    """A model file, or a checkpoint (GGUF) that is compiled at each precision asked for."""
    prompt: str | None = None
    """A text that is tokenised as it stands, without a chat template and without control tokens."""

    def __post_init__(self) -> None:
        if self.prompt == "":
            raise InputError("the prompt is empty")

    @cached_property
    def model_digest(self) -> str:
        """The start of a checkpoint's digest or of a model file's id; empty without a model.

        Raises InputError or FormatError unless the file is one of the two and generates tokens.
        """
        if self.file is None:
            return ""
        if self._is_checkpoint:
            with self._file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        card = self._stored.card
        if not card.program.feedback:
            raise InputError(f"{self.file}: the program generates no tokens; bench needs one that does")
        return card.model_id.hex()[:16]

    @cached_property
    def prompt_digest(self) -> str:
        """The start of the prompt's digest; empty without one."""
        text = (self.prompt or "").encode("utf-8", "surrogatepass")
        return hashlib.sha256(text).hexdigest()[:16] if text else ""

    @property
    def fixed_precision(self) -> str:
        """The precision at which a model file was compiled; empty if it can be chosen."""
        if self.file is None or self._is_checkpoint:
            return ""
        return _precision(self._stored.card.program)

    def model(self, precision: str, kernels: Kernels) -> Model:
        """Return the model at a precision; a model file has only its own."""
        return (
            import_checkpoint(self._file, kernels, precision)
            if self._is_checkpoint
            else Model.load(self._file)
        )

    def tokens(self, model: Model, count: int) -> I32:
        """Return the first ``count`` tokens of the prompt.

        Raises InputError if it has fewer, or if the model has no tokenizer.
        """
        vocabulary = model.card.vocabulary
        if self.prompt is None or vocabulary is None:
            raise InputError("a prompt in words needs a model with a tokenizer")
        ids = Tokenizer(vocabulary, only=self.prompt).encode(self.prompt, special=False)
        if len(ids) < count:
            raise InputError(f"the prompt has {len(ids)} tokens, fewer than the {count} of the lengths")
        return np.array(ids[:count], np.int32)

    @cached_property
    def _is_checkpoint(self) -> bool:
        try:
            with self._file.open("rb") as stream:
                return stream.read(4) == b"GGUF"
        except OSError as e:
            raise InputError(f"cannot read {self.file}: {e.strerror or e}") from e

    @cached_property
    def _stored(self) -> ModelFile:
        return ModelFile.open(self._file)

    @property
    def _file(self) -> Path:
        if self.file is None:
            raise InputError("no model was given")
        return self.file


def _precision(program: Program) -> str:
    """Return the precision by the limbs of the first product after segment 0, which is in the first block."""
    sites = [site for plan in program.plans[1:] for site in plan.sites]
    if not sites:
        raise InputError("the model has no products to check")
    limbs = sites[0].w_limbs, sites[0].x_limbs
    found = next((p.name for p in PRECISIONS.values() if (p.w_limbs, p.x_limbs) == limbs), None)
    if found is None:
        raise InputError(f"no precision has {limbs[0]} limbs of weights and {limbs[1]} of activations")
    return found
