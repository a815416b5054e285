"""Compares the greedy answers of a compiled model and of its reference to short questions.

A reference without a cache of keys and values would run a whole text for every token. So the compiled model
drafts: it continues all answers, the reference runs all drafted texts at once, and of each draft the tokens
are taken that the reference finds most likely too, and its own token at the first other place; the rest is
drafted again from there. What results is the reference's greedy answer, token for token, whatever the drafts
were, and the compiled model's own answer is its first draft (Leviathan et al. 2022, arXiv:2211.17192).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources

import numpy as np

from proofcompute.arithmetic.kernels import Kernels
from proofcompute.arrays import F32
from proofcompute.engine import Engine, Keep
from proofcompute.errors import InputError
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation, Request
from proofcompute.quality.reference import Reference
from proofcompute.tokens import Prompter

__all__ = ["Answers", "compare_answers", "prompts_of", "questions", "shown"]


@dataclass(frozen=True)
class Answers:
    """Two greedy answers to one question."""

    question: str
    reference: tuple[int, ...]
    """The reference's answer in tokens, with the one that ends it."""
    model: tuple[int, ...]
    """The compiled model's answer."""
    differs_at: int | None
    """The first place, from 0, at which they differ; None if they are equal."""
    gap: float | None
    """By how much the reference prefers its own token there: the difference of the logits; None if equal."""
    nearest: float
    """The least difference between the reference's first and second logit over its whole answer."""


def questions() -> list[str]:
    """Return the short questions of this package, of which most have one answer."""
    text = resources.files("proofcompute.quality").joinpath("questions.txt").read_text(encoding="utf-8")
    return text.splitlines()


def prompts_of(model: Model, asked: Sequence[str]) -> list[list[int]]:
    """Return the tokens of questions in the model's chat template, or as they stand if there is none.

    Raises InputError if the model is no language model with a vocabulary.
    """
    with Prompter(model) as prompter:
        ask = prompter.chat if model.template else prompter.text
        return [np.frombuffer(ask(q).inputs[0][1], "<i4").tolist() for q in asked]


@dataclass
class _Draft:
    """An answer of the reference while it is made."""

    prompt: list[int]
    accepted: list[int] = field(default_factory=list)
    drafts: list[list[int]] = field(default_factory=list)
    """What the model drafted: at first its own answer."""
    finished: bool = False
    differs_at: int | None = None
    gap: float | None = None
    nearest: float = float("inf")

    def text(self) -> list[int]:
        """Return the tokens after which the reference's logits are needed."""
        return [*self.prompt, *self.accepted, *self.drafts[-1][:-1]]

    def take(self, logits: Callable[[], F32], ends: Sequence[int], most: int) -> None:
        """Take the reference's tokens along the draft; ``logits`` returns the next row of its logits."""
        for drafted in self.drafts[-1]:
            row = logits()
            second, first = np.argsort(row, kind="stable")[-2:]
            best = int(row.argmax())
            self.nearest = min(self.nearest, float(row[first]) - float(row[second]))
            if best != drafted and self.differs_at is None:
                self.differs_at = len(self.accepted)
                self.gap = float(row[best]) - float(row[drafted])
            self.accepted.append(best)
            self.finished = best in ends or len(self.accepted) == most
            if self.finished or best != drafted:
                return


def compare_answers(
    model: Model,
    reference: Reference,
    asked: Sequence[str],
    kernels: Kernels,
    *,
    tokens: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answers]:
    """Return the greedy answers of both to questions, of at most ``tokens`` tokens each.

    ``progress`` is called with the tokens of the reference's answers that are known since the last call, and
    the most that there can be. Raises InputError if the model has no vocabulary or a question does not fit
    its context, and the errors of running both.
    """
    vocabulary = model.card.vocabulary
    if vocabulary is None:
        raise InputError("the model has no vocabulary, so it cannot be asked anything")
    drafts = [_Draft(prompt) for prompt in prompts_of(model, asked)]
    total = tokens * len(drafts)
    engine = Engine(model, kernels, keep=Keep.NOTHING)
    while left := [d for d in drafts if not d.finished]:
        continued = _continued(engine, [(d.prompt + d.accepted, tokens - len(d.accepted)) for d in left])
        for d, draft in zip(left, continued, strict=True):
            d.drafts.append(draft)
        pieces = reference.logits([d.text() for d in left])
        for d in left:
            before = len(d.accepted)
            rows = _rows(pieces, len(d.text()))
            for _ in range(len(d.prompt) + before - 1):
                next(rows)
            d.take(rows.__next__, vocabulary.end_ids, tokens)
            for _ in rows:  # the rest of the text's rows, after a token of the reference's own
                pass
            progress(tokens - before if d.finished else len(d.accepted) - before, total)
    return [
        Answers(q, tuple(d.accepted), tuple(d.drafts[0]), d.differs_at, d.gap, d.nearest)
        for q, d in zip(asked, drafts, strict=True)
    ]


def _continued(engine: Engine, texts: Sequence[tuple[list[int], int]]) -> list[list[int]]:
    """Return the greedy continuation of each text, of at most as many tokens as are said."""
    model = engine.model
    name = model.program.inputs[0][0]
    sessions = [
        engine.add(
            Request(model.model_id, ((name, np.array(ids, "<i4").tobytes()),), bytes(32), Generation(most))
        )
        for ids, most in texts
    ]
    while any(s.running for s in sessions):
        engine.step()
    for s in sessions:
        if s.error is not None:
            raise s.error
    return [list(s.answer) for s in sessions]


def _rows(pieces: Iterator[F32], count: int) -> Iterator[F32]:
    """Yield ``count`` rows out of pieces, of which none goes beyond them."""
    done = 0
    while done < count:
        piece = next(pieces)
        done += len(piece)
        yield from piece


def shown(vocabulary: Vocabulary, ids: Sequence[int]) -> str:
    """Return what an answer prints."""
    return vocabulary.text_bytes(ids).decode("utf-8", "replace")
