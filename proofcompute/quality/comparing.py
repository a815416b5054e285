"""Compares the logits of two models for the same text.

With p and q the distributions of the next token after each token of a text, as the reference and the compiled
model have them:

- perplexity of each: exp of the mean of -log p(next token), or of -log q;
- KL(p || q) = sum p (log p - log q), in nats, mean and maximum over the tokens;
- top-1 agreement: the share of tokens after which both find the same next token most likely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32
from proofcompute.engine.logits import all_logits
from proofcompute.errors import InputError
from proofcompute.models.model import Model
from proofcompute.quality.reference import Progress, Reference

__all__ = ["Quality", "Sums", "compare_texts", "text", "windows"]

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """How far a compiled model is from its reference over one text."""

    tokens: int
    """Number of predicted tokens."""
    perplexity_reference: float
    perplexity: float
    """Perplexity of the compiled model."""
    kl_mean: float
    """Mean KL(reference || model), in nats."""
    kl_max: float
    """The largest KL(reference || model) after one token, in nats."""
    top1_agreement: float
    """Share of tokens after which both have the same most likely token."""

    @property
    def relative(self) -> float:
        """The model's perplexity divided by the reference's, minus one."""
        return self.perplexity / self.perplexity_reference - 1


class Sums:
    """The figures of a comparison while its pieces come in."""

    def __init__(self) -> None:
        self._tokens = self._same = 0
        self._reference = self._model = self._divergence = self._largest = 0.0

    def add(self, reference: F32, logits: F32, following: Sequence[int] | npt.NDArray[np.int64]) -> None:
        """Add rows [n, v] of logits of both models, and the tokens that follow in the text.

        Raises InputError if the models do not have the same tokens.
        """
        if reference.shape != logits.shape:
            raise InputError(
                f"the reference has {reference.shape[-1]} logits a token, and the model {logits.shape[-1]}: "
                "they are not of the same model"
            )
        p, q = _log_softmax(reference), _log_softmax(logits)
        rows = np.arange(len(p))
        divergence = (np.exp(p) * (p - q)).sum(axis=1)
        self._tokens += len(p)
        self._reference -= float(p[rows, following].sum())
        self._model -= float(q[rows, following].sum())
        self._divergence += float(divergence.sum())
        self._largest = max(self._largest, float(divergence.max(initial=0.0)))
        self._same += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())

    def quality(self) -> Quality:
        """Return the figures; InputError if there are none."""
        n = self._tokens
        if not n:
            raise InputError("the text has fewer than two tokens; one is needed to predict the next")
        return Quality(
            n,
            _exp(self._reference / n),
            _exp(self._model / n),
            self._divergence / n,
            self._largest,
            self._same / n,
        )


def _log_softmax(logits: F32) -> F64:
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    out: F64 = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return out


def text() -> str:
    """Return the text that models are compared on unless another is given: English prose, not calibrated on.

    It is the first chapter, and the opening of the second, of *Alice's Adventures in Wonderland* (Lewis
    Carroll, 1865), then the Gettysburg Address (Abraham Lincoln, 1863) and the opening of the Declaration of
    Independence of the United States (1776); spelling and punctuation follow common printings.
    """
    return resources.files("proofcompute.quality").joinpath("english.txt").read_text(encoding="utf-8")


def windows(tokens: Sequence[int], context: int) -> list[Sequence[int]]:
    """Cut a text into pieces that a model's context holds; each begins at position 0."""
    return [tokens[a : a + context] for a in range(0, len(tokens), context)]


def compare_texts(
    model: Model,
    reference: Reference,
    texts: Sequence[Sequence[int]],
    kernels: Kernels,
    *,
    model_progress: Progress = lambda done, total: None,
    reference_progress: Progress = lambda done, total: None,
) -> Quality:
    """Return the figures for texts, each of at most as many tokens as the model's context.

    Raises InputError if there is nothing to predict or the models differ in their tokens, and the errors of
    running both.
    """
    rows = 2 * sum(map(len, texts))
    sums = Sums()
    theirs = reference.logits(texts, reference_progress)
    mine = all_logits(model, kernels, texts, progress=_of(model_progress, rows))
    for tokens in texts:
        done = 0
        while done < len(tokens):
            p, q = next(theirs), next(mine)
            following = np.asarray(tokens[done + 1 : done + 1 + len(p)], np.int64)
            sums.add(p[: len(following)], q[: len(following)], following)
            done += len(p)
    return sums.quality()


def _of(progress: Progress, total: int) -> Callable[[int], None]:
    return lambda done: progress(done, total)


def _exp(loss: float) -> float:
    """Return a perplexity; infinity where it is beyond binary64."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
