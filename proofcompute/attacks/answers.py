"""Nodes that answer other tokens than the model gives: sampling, seeds, edits, ends and other prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import Array
from proofcompute.attacks.attack import Cheat, Where
from proofcompute.attacks.target import ANSWER, FIRST, PROMPT, SAMPLED, Target
from proofcompute.errors import Cell
from proofcompute.protocol.messages import Generation
from proofcompute.testing.forging import Forgery, generation_of

__all__ = ["ANSWERS"]

_SEEDS: Final = 12
"""Seeds of the client that are tried until another sampler gives another answer."""


# -- sampling ----------------------------------------------------------------------------------------------
def _sampled(**changes: Any) -> Callable[[Target], Forgery]:
    """Return a build in which the client samples, and the node draws with other settings."""

    def build(t: Target) -> Forgery:
        def tried(number: int) -> Forgery:
            asked = t.request(sampling=SAMPLED, seed=bytes([5 + number] * 32))
            return t.forge(asked, settings=replace(generation_of(asked), **changes))

        return t.effective(map(tried, range(_SEEDS)))

    return build


def _sampled_though_greedy(t: Target) -> Forgery:
    return t.effective(
        t.forge(settings=Generation(ANSWER, SAMPLED, bytes([1 + n] * 32))) for n in range(_SEEDS)
    )


def _other_settings(**changes: Any) -> dict[str, Any]:
    return {"sampling": replace(SAMPLED, **changes)}


def _first_choice(t: Target) -> Forgery:
    """The second choice is asked for; the node draws what the first one would."""

    def tried(number: int) -> Forgery:
        asked = t.request(sampling=SAMPLED, seed=bytes([1 + number] * 32), choice=1)
        return t.forge(asked, settings=asked.generation)

    return t.effective(map(tried, range(_SEEDS)))


def _best_of(t: Target) -> Forgery:
    """The node draws several answers and gives the one that it likes best: here, the least first token."""

    def tried(number: int) -> Forgery:
        asked = t.request(sampling=SAMPLED, seed=bytes([40 + number] * 32))
        rule = generation_of(asked)
        drawn = [t.forge(asked, settings=replace(rule, seed=bytes([60 + n] * 32))) for n in range(3)]
        return min(drawn, key=t.answer)

    return t.effective(map(tried, range(_SEEDS)))


# -- edits -------------------------------------------------------------------------------------------------
def _edited(number: int) -> Callable[[Target], Forgery]:
    """Return a build in which one token is replaced after decoding, and the run goes on from it."""
    return lambda t: t.forge(choose=lambda n, token: t.another(token) if n == number else token)


def _edited_over_the_old_trace(number: int) -> Callable[[Target], Forgery]:
    """Return a build in which one token is replaced, and the trace stays that of the old answer."""

    def build(t: Target) -> Forgery:
        answer = t.answer(t.honest())
        answer[number] = t.another(answer[number])
        return _answered(t, t.honest(), answer)

    return build


def _answered(t: Target, trace: Forgery, answer: list[int]) -> Forgery:
    """Return the committed rows of one run under the answer of another."""
    ((name, old),) = trace.statement.inputs.items()
    tokens = np.concatenate([old[:PROMPT], np.array(answer[:-1], np.int32)])
    (output,) = trace.statement.outputs
    outputs = {output: np.array(answer, np.int32)}
    statement = replace(trace.statement, inputs={name: tokens}, outputs=outputs)
    stored = replace(trace.stored, statement=statement)
    changed = replace(trace, statement=statement, stored=stored)
    return changed.signed(outputs=((output, outputs[output].tobytes()),))


def _of_another_run(t: Target) -> Forgery:
    """The trace of the greedy run under the answer of a sampled one."""
    return _answered(t, t.honest(), t.answer(_sampled_though_greedy(t)))


def _suffix(t: Target) -> Forgery:
    """The last tokens of the answer are replaced by words that the node wants to be there."""
    wanted = t.ordinary[:: max(1, len(t.ordinary) // 7)][:ANSWER]

    def choose(number: int, token: int) -> int:
        word = int(wanted[number])
        return (word if word != token else t.another(token)) if number >= ANSWER - 3 else token

    return t.forge(choose=choose)


def _moved_back(t: Target) -> Forgery:
    """A token is replaced, and with it the hidden state that explains it: the head agrees with the answer."""
    stream, row = t.entry(t.head), FIRST + 2

    def turned(factor: float) -> Forgery:
        def turn(name: str, first: int, rows: Array) -> Array:
            return rows * np.float32(factor) + np.float32(0) if name == stream and first == row else rows

        return t.forge(write_as=turn)

    return t.effective(map(turned, (-64, -1, -8, -0.5)))


def _another_prompt(t: Target) -> Forgery:
    """Another prompt ran; its rows and its answer stand under the prompt that was asked."""
    return t.forge(prompt=[t.another(token) for token in t.prompt])


def _instruction(t: Target) -> Forgery:
    """The first tokens of the prompt are others: an instruction that the node puts in their place."""
    return t.forge(prompt=[t.another(token) if i < 4 else token for i, token in enumerate(t.prompt)])


def _end_forced(t: Target) -> Forgery:
    """The end token in place of the third token saves the rest of the answer."""
    end = t.need_end()
    return t.forge(choose=lambda number, token: end if number == 2 else token)


# -- where -------------------------------------------------------------------------------------------------
def _in_head(t: Target, cell: Cell) -> bool:
    return cell.segment == t.head


def _head_of(*numbers: int) -> Where:
    return lambda t, cell: cell.segment == t.head and cell.a - FIRST in numbers


def _replaced(number: int) -> Where:
    """The head's cell, and the embedding of the token in the next row."""
    row = FIRST + number + 1
    return lambda t, c: _head_of(number)(t, c) or c == Cell(t.embedding, row, row + 1)


def _embedded_or_answered(t: Target, cell: Cell) -> bool:
    return cell.segment in (t.embedding, t.head)


def _embedded(t: Target, cell: Cell) -> bool:
    return cell.segment == t.embedding


def _before_the_head(t: Target, cell: Cell) -> bool:
    return cell == Cell(t.blocks[-1], FIRST + 2, FIRST + 3)


ANSWERS: Final[Mapping[str, Cheat]] = {
    "another seed": Cheat("draws with a seed of its own", "seed", _sampled(seed=bytes([6] * 32)), _in_head),
    "the best of several draws": Cheat(
        "draws several answers and gives the one that it likes", "seed", _best_of, _in_head
    ),
    "the draws of another choice": Cheat("gives one answer for two choices", "seed", _first_choice, _in_head),
    "greedy in place of sampling": Cheat(
        "takes the likeliest token, which can be cached", "sampler", _sampled(sampling=Sampling()), _in_head
    ),
    "another temperature": Cheat(
        "samples at twice the temperature", "sampler", _sampled(**_other_settings(temperature=1.5)), _in_head
    ),
    "top-p changed": Cheat(
        "cuts the nucleus smaller", "sampler", _sampled(**_other_settings(top_p=0.125)), _in_head
    ),
    "top-k left out": Cheat(
        "samples from all tokens", "sampler", _sampled(**_other_settings(top_k=0, top_p=1.0)), _in_head
    ),
    "repetition penalty left out": Cheat(
        "does not count tokens so far",
        "sampler",
        _sampled(**_other_settings(repetition_penalty=1.0)),
        _in_head,
    ),
    "sampling in place of greedy": Cheat(
        "samples though the client asked for the likeliest token", "sampler", _sampled_though_greedy, _in_head
    ),
    "first answer token edited": Cheat(
        "replaces the first token, and goes on honestly", "edited answer", _edited(0), _head_of(0)
    ),
    "last answer token edited": Cheat("replaces the last token", "edited answer", _edited(5), _head_of(5)),
    "a suffix of the node's": Cheat(
        "ends the answer with words of its own", "edited answer", _suffix, _head_of(3, 4, 5)
    ),
    "answer edited over the old trace": Cheat(
        "replaces a token, and commits the trace of the old answer",
        "edited answer",
        _edited_over_the_old_trace(2),
        _replaced(2),
    ),
    "answer of another run": Cheat(
        "puts the answer of one run over the trace of another",
        "edited answer",
        _of_another_run,
        _embedded_or_answered,
    ),
    "edit moved back": Cheat(
        "replaces a token, and the hidden state that explains it",
        "rows moved",
        _moved_back,
        _before_the_head,
    ),
    "trace of another prompt": Cheat(
        "runs another prompt than was asked", "stale receipt", _another_prompt, _embedded
    ),
    "an instruction put before the prompt": Cheat(
        "runs the prompt with other first tokens", "edited answer", _instruction, _embedded
    ),
    "end token forced": Cheat(
        "answers the end token to save the rest", "early stop", _end_forced, _head_of(2)
    ),
}
"""Cheats that answer other tokens than the model gives."""
