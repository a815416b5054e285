"""The model that is attacked: its parts by role, its key, and honest and forged answers of it.

Every attack is about one request of :data:`PROMPT` tokens that :data:`ANSWER` tokens answer, so that rows
have the same numbers in all models. What an attack needs of a program (a block, a window, experts) is looked
up here by what operations do and not by names, which are the importer's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np

from proofcompute.arithmetic.kernels import Kernels, Matrix
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.arrays import I64
from proofcompute.attacks.identities import NODE
from proofcompute.errors import ExecutionError, InputError, UnsupportedError
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.models.model import Model
from proofcompute.models.token_types import NORMAL
from proofcompute.program.operations import Attention
from proofcompute.program.plans import SegmentPlan
from proofcompute.program.types import Reads
from proofcompute.protocol.messages import Generation, Request
from proofcompute.testing.forging import Choose, Forgery, Rewrite, forge, unchanged
from proofcompute.verifier import Key, keygen

__all__ = ["ANSWER", "FIRST", "PROMPT", "ROWS", "SAMPLED", "NotApplicable", "Target", "suitable"]

PROMPT: Final = 12
"""Tokens of the prompt."""
ANSWER: Final = 6
"""Tokens of the answer."""
ROWS: Final = PROMPT + ANSWER - 1
"""Rows of the trace."""
FIRST: Final = PROMPT - 1
"""The first row that gives a token."""
SAMPLED: Final = Sampling(temperature=0.75, top_k=40, top_p=float(np.float32(0.9)), repetition_penalty=1.25)
"""What requests ask for that are about sampling."""

_TRIES: Final = 16
"""Prompts and seeds that are tried until an answer is long enough, or a lie has an effect."""

_T = TypeVar("_T")


class NotApplicable(UnsupportedError):
    """The model lacks what an attack is about, or the attack changes nothing of this answer.

    It is no error: whoever runs attacks counts it apart from attacks that were stopped.
    """


@dataclass(eq=False)
class Target:
    """A language model that is attacked, with everything that attacks on it share."""

    model: Model
    kernels: Kernels
    """A backend of which the arrays are NumPy's."""
    prompt: tuple[int, ...]
    """PROMPT tokens, of which the greedy answer has ANSWER tokens."""
    other: Model | None = None
    """A model of the same shape that a node may run instead; None: these weights, moved by a row."""
    secret: int = 7
    """The byte of which the auditor's seed consists, so that results can be repeated."""
    _keys: dict[int, Key] = field(default_factory=dict, repr=False)
    _honest: dict[bytes, Forgery] = field(default_factory=dict, repr=False)
    _made: dict[str, Forgery] = field(default_factory=dict, repr=False)

    # -- roles ---------------------------------------------------------------------------------------------
    @property
    def plans(self) -> tuple[SegmentPlan, ...]:
        """The plans of all segments."""
        return self.model.program.plans

    @cached_property
    def embedding(self) -> int:
        """The segment that looks tokens up in a table."""
        return _one([p.index for p in self.plans if p.tables], "a table of tokens")

    @cached_property
    def head(self) -> int:
        """The segment that gives tokens."""
        return _one([p.index for p in self.plans if p.emits], "a head")

    @cached_property
    def blocks(self) -> tuple[int, ...]:
        """Segments with attention."""
        found = [
            i
            for i, s in enumerate(self.model.program.segments)
            if any(isinstance(n.op, Attention) for n in s.nodes) and i not in (self.embedding, self.head)
        ]
        if not found:
            raise NotApplicable("no segment with attention")
        return tuple(found)

    @property
    def first(self) -> int:
        """The first block."""
        return self.blocks[0]

    @property
    def middle(self) -> int:
        """A block in the middle of the network, and not the first if there are several."""
        return self.blocks[len(self.blocks) // 2]

    @property
    def two_blocks(self) -> tuple[int, int]:
        """Return the first block and another one of the same kind."""
        first = self.shapes(self.first)
        for block in (self.middle, *self.blocks[1:]):
            if block != self.first and self.shapes(block) == first:
                return self.first, block
        raise NotApplicable("no two blocks of one shape")

    def shapes(self, segment: int) -> list[tuple[int, ...]]:
        """Return the shapes of the matrices that a segment multiplies with."""
        return [self.model.matrix(name).q.shape for name in self.products(segment)]

    def products(self, segment: int) -> list[str]:
        """Return the weights that a segment multiplies with, in the order of its products."""
        return list(dict.fromkeys(site.weight for site in self.plans[segment].sites))

    def weights(self, segment: int) -> list[str]:
        """Return all weights that a segment uses, in the order of its operations."""
        nodes = self.model.program.segments[segment].nodes
        return list(dict.fromkeys(name for node in nodes for name in node.op.weights()))

    def entry(self, segment: int) -> str:
        """Return the committed tensor of which a segment reads its own row only: the residual stream."""
        return _one([n for n, how in self.plans[segment].reads if how is Reads.SAME], "a stream")

    def exit(self, segment: int) -> str:
        """Return the committed tensor that the next segment reads."""
        after = {n for p in self.plans if p.index != segment for n, how in p.reads if how is Reads.SAME}
        return _one([n for n in self.plans[segment].writes if n in after], "a stream")

    def kept(self, segment: int) -> list[str]:
        """Return the tensors of which later rows read a prefix: keys, values and their scales."""
        return [n for n, how in self.plans[segment].reads if how is Reads.PREFIX]

    @cached_property
    def tables(self) -> frozenset[str]:
        """Weights that are read as tables."""
        return frozenset(weight for plan in self.plans for weight, _ in plan.tables)

    @cached_property
    def logits(self) -> int:
        """The number of tokens that the head can give."""
        return self.model.program.weight[self.products(self.head)[-1]].shape[-2]

    @cached_property
    def end(self) -> int | None:
        """A token that ends an answer."""
        vocabulary = self.model.card.vocabulary
        return next(iter(sorted(vocabulary.end_ids)), None) if vocabulary else None

    @cached_property
    def ordinary(self) -> I64:
        """Tokens [n], ascending, that a prompt and an answer may hold: no control tokens."""
        return ordinary(self.model)

    def need_end(self) -> int:
        """Return :attr:`end`. Raises NotApplicable if there is none."""
        if self.end is None:
            raise NotApplicable("no token ends an answer")
        return self.end

    def another(self, token: int) -> int:
        """Return another token than ``token`` that does not end an answer."""
        usable = self.ordinary
        at = int(np.searchsorted(usable, token, "right"))
        return int(usable[at % len(usable)])

    @property
    def card(self) -> Any:
        """The model's card."""
        return self.model.card

    @cached_property
    def another_model(self) -> Model:
        """A model of the same shape and another id in all but its name."""
        if self.other is not None:
            return self.other

        def moved(w: Any) -> Any:
            if not isinstance(w, Matrix) or w.q.shape[-2] == 1:
                return w
            return replace(w, q=np.roll(w.q, 1, axis=-2))

        weights = {name: moved(w) for name, w in self.model.weights.items()}
        return Model.build(
            self.model.program,
            weights,
            self.kernels.hash_rows,
            tokenizer=self.model.card.tokenizer,
            template=self.model.template,
        )

    # -- requests, keys and answers --------------------------------------------------------------------------
    def request(self, prompt: Sequence[int] | None = None, **changes: Any) -> Request:
        """Return the greedy request, with settings of the generation and fields changed by name."""
        settings = {k: changes.pop(k) for k in ("sampling", "seed", "stops", "ignore_end") if k in changes}
        generation = Generation(changes.pop("max_tokens", ANSWER), **settings)
        tokens = np.array(self.prompt if prompt is None else prompt, "<i4").tobytes()
        name = next(n for n, spec in self.model.program.inputs)
        fields: dict[str, Any] = {"nonce": bytes([9] * 32), "generation": generation, **changes}
        return Request(self.model.model_id, ((name, tokens),), **fields)

    def key(self, secret: int | None = None) -> Key:
        """Return an auditor's key, made once for each secret, with a new count of attempts."""
        byte = self.secret if secret is None else secret
        if byte not in self._keys:
            self._keys[byte] = keygen(self.model, self.kernels, seed=bytes([byte] * 32))
        return replace(self._keys[byte], log=MemoryLog())  # all requests have one nonce

    def honest(self, asked: Request | None = None) -> Forgery:
        """Return the honest answer to a request, made once for each: a forgery without a lie."""
        asked = asked or self.request()
        if asked.digest not in self._honest:
            self._honest[asked.digest] = self.forge(asked)
        return self._honest[asked.digest]

    def once(self, name: str, make: Callable[[Target], Forgery]) -> Forgery:
        """Return what ``make`` gives, which is made once for each name."""
        if name not in self._made:
            self._made[name] = make(self)
        return self._made[name]

    @staticmethod
    def answer(forgery: Forgery) -> list[int]:
        """Return the tokens that a forgery answers."""
        (tokens,) = forgery.statement.outputs.values()
        return [int(t) for t in tokens]

    def effective(self, tried: Iterable[Forgery]) -> Forgery:
        """Return the first forgery whose answer is not the honest one. NotApplicable if none is."""
        for forgery in itertools.islice(tried, _TRIES):
            if self.answer(forgery) != self.answer(self.honest(forgery.request)):
                return forgery
        raise NotApplicable(f"none of {_TRIES} tries changes the answer")

    def forge(
        self,
        asked: Request | None = None,
        *,
        runs: Model | None = None,
        settings: Generation | None = None,
        write_as: Rewrite = unchanged,
        see_as: Rewrite = unchanged,
        choose: Choose = lambda number, token: token,
        stop: Callable[[list[int]], str | None] | None = None,
        prompt: Sequence[int] | None = None,
        kernels: Kernels | None = None,
    ) -> Forgery:
        """Call :func:`proofcompute.testing.forge` on this model, by default for :meth:`request`."""
        return forge(
            self.model,
            asked or self.request(),
            kernels or self.kernels,
            NODE,
            runs=runs,
            settings=settings,
            write_as=write_as,
            see_as=see_as,
            choose=choose,
            stop=stop,
            prompt=prompt,
        )


def _one(found: Sequence[_T], what: str) -> _T:
    if len(found) != 1:
        raise NotApplicable(f"the program has {len(found)} candidates for {what}, and not one")
    return found[0]


def ordinary(model: Model) -> I64:
    """Return the tokens [n], ascending, that the table has and the head can give, without control tokens."""
    (embedding,) = (p for p in model.program.plans if p.tables)
    (head,) = (p for p in model.program.plans if p.emits)
    count = model.program.weight[embedding.tables[0][0]].rows
    if head.sites:
        count = min(count, model.program.weight[head.sites[-1].weight].shape[-2])
    tokens = np.arange(count)
    if vocabulary := model.card.vocabulary:
        kinds = np.frombuffer(vocabulary.types, np.uint8)[:count]
        tokens = np.flatnonzero(kinds == NORMAL)
        tokens = tokens[~np.isin(tokens, list(vocabulary.end_ids))]
    return tokens.astype(np.int64)


def prompts(model: Model, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield prompts of random tokens that are no control tokens."""
    rng, usable = np.random.default_rng(seed), ordinary(model)
    for _ in range(_TRIES):
        yield tuple(int(t) for t in rng.choice(usable, PROMPT))


def suitable(model: Model, kernels: Kernels, seed: int = 0) -> Target:
    """Return a target with a prompt that the model answers in full. Raises InputError if there is none."""
    program = model.program
    if not program.feedback or len(program.inputs) != 1:
        raise InputError("attacks are made on language models: programs that take tokens and give them")
    if program.context < PROMPT + 2 * ANSWER:
        raise InputError(f"the model's context of {program.context} rows is too short for attacks")
    for prompt in prompts(model, seed):
        target = Target(model, kernels, prompt)
        try:
            answer = target.honest().statement.outputs
        except ExecutionError:
            continue
        if all(len(tokens) == ANSWER for tokens in answer.values()):
            return target
    raise InputError(f"none of {_TRIES} prompts has an answer of {ANSWER} tokens")
