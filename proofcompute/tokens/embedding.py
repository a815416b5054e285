"""Makes requests for the embedding of a text, of a model whose program pools the rows of its tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from threading import Lock
from typing import Final

import numpy as np

from proofcompute.errors import InputError, LimitError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_TEXT
from proofcompute.models.card import HasCard, ModelCard
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.program.types import Spec
from proofcompute.protocol.messages import Request
from proofcompute.protocol.requests import inputs_of
from proofcompute.tokens.prompt_text import PromptText
from proofcompute.tokens.tokenizer import Tokenizer

__all__ = ["Embedder", "embeds"]

_TOKEN: Final = Spec("i32", ())


def embeds(card: ModelCard) -> bool:
    """Return whether a card is that of a model that gives one vector for the tokens of a text."""
    program = card.program
    inputs = [name for name, spec in program.inputs if spec == _TOKEN]
    known = inputs == [name for name, _ in program.inputs] and inputs in (["tokens"], ["tokens", "types"])
    if not (known and program.pooled and card.vocabulary is not None and len(program.outputs) == 1):
        return False
    found = program.specs[program.outputs[0]]
    return found.dtype == "f32" and len(found.shape) == 1


class Embedder:
    """Makes requests for one model, and keeps its tokenizer between them. Threads may share it.

    Raises InputError if the model gives no embeddings of texts.
    """

    def __init__(self, model: HasCard) -> None:
        self.card = model.card
        """Card of the model that requests are made for."""
        vocabulary = self.card.vocabulary
        if vocabulary is None or not embeds(self.card):
            raise InputError("the model gives no embeddings of texts")
        self._vocabulary: Vocabulary = vocabulary
        self._most = min(MAX_TEXT, self.card.program.context * max(map(len, vocabulary.tokens)))
        self._lock = Lock()
        self._tokenizer: Tokenizer | None = None

    @property
    def width(self) -> int:
        """Elements of an embedding."""
        program = self.card.program
        return program.specs[program.outputs[0]].size

    def ready(self) -> Tokenizer:
        """Make the tokenizer, if no text came before, and return it."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = Tokenizer(self._vocabulary)
            return self._tokenizer

    def text(
        self, text: str, *, nonce: bytes | None = None, node: bytes = b"", suite: str = "sha256"
    ) -> Request:
        """Make a request for a text, whose names of control tokens are letters.

        The tokens that the vocabulary puts around a text are added; all are of type 0. The options are those
        of :class:`~proofcompute.protocol.messages.Request`. Raises InputError (FormatError, LimitError) if
        the text is empty or has no place in the context.
        """
        if not given(text, str, "the text"):
            raise InputError("the text is empty")
        if len(text) > self._most:
            raise LimitError(
                f"the text has {len(text)} characters, but the context of {self.card.program.context} tokens "
                f"holds at most {self._most}"
            )
        found = self.ready().encode_prompt([PromptText(text, trusted=False)])
        return self.tokens(found, nonce=nonce, node=node, suite=suite)

    def tokens(
        self,
        ids: Sequence[int],
        *,
        nonce: bytes | None = None,
        node: bytes = b"",
        suite: str = "sha256",
    ) -> Request:
        """Make a request for token ids, as they are. Raises as :meth:`text`."""
        found = [given(i, int, "a token id") for i in ids]
        if len(found) > self.card.program.context:
            raise LimitError(
                f"the text has {len(found)} tokens, but the context holds {self.card.program.context}"
            )
        if not all(0 <= i < 1 << 31 for i in found):
            raise InputError("a token id is outside 0..2^31 - 1")
        rows = {"tokens": np.array(found, "<i4"), "types": np.zeros(len(found), "<i4")}
        request = Request(
            model_id=self.card.model_id,
            inputs=tuple((name, rows[name].tobytes()) for name, _ in self.card.program.inputs),
            nonce=secrets.token_bytes(32) if nonce is None else nonce,
            node=node,
            suite=suite,
        )
        inputs_of(request, self.card.program, self.card.model_id)
        return request
