"""Makes a :class:`Request` from a prompt or a conversation.

``Request.text`` is either the exact text behind the tokens or empty. It is set only if a rule that needs no
template turns it back into the request's tokens: tokenise the whole text, with names of control tokens as
control tokens, and bos first if the vocabulary asks for it (:func:`check_text`). A prompt that contains the
name of a control token as mere letters has no such text, so its request carries the tokens alone.

Model files come from strangers, so the length of a template's output and of a text is bounded before it is
tokenised: no token has more bytes than the longest one, so a longer text cannot fit the context.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date as Date  # "date" is an argument's name here
from threading import Lock
from types import TracebackType
from typing import TypedDict, Unpack

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, UnsupportedError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_TEXT
from proofcompute.models.card import HasCard, ModelCard
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.requests import inputs_of
from proofcompute.templates.process import TemplateLimitError
from proofcompute.tokens.prompt_text import PromptText
from proofcompute.tokens.template import ChatTemplate, Message
from proofcompute.tokens.tokenizer import Tokenizer

__all__ = ["MAX_TOKENS", "Prompter", "RequestOptions", "chat_request", "check_text", "text_request"]

MAX_TOKENS = 128
"""The default of the most tokens to generate; fewer if the context ends before."""


class RequestOptions(TypedDict, total=False):
    """The fields of a request besides its prompt; all are optional."""

    max_tokens: int | None
    """The most tokens to generate; None: MAX_TOKENS, or as many as the context has room for."""
    sampling: Sampling
    """How tokens are chosen; greedily by default."""
    seed: bytes | None
    """The sampler's seed, 32 bytes; None: from the operating system."""
    stops: str | Sequence[str]
    """Strings that end the answer, or one such string."""
    ignore_end: bool
    """Whether the answer continues after tokens that end an answer."""
    choice: int
    """Which of several answers to one prompt is asked for, 0 to 127."""
    nonce: bytes | None
    """32 bytes that were never used before; None: from the operating system."""
    node: bytes
    """Public key of the node that must answer; empty for any."""
    suite: str
    """Hash suite of the trace."""


class Prompter:
    """Makes requests for one model, and keeps the tokenizer and the template's process between them.

    Use it in a ``with`` statement or call :meth:`close`; threads may share it. Raises InputError if the model
    is not a language model.
    """

    def __init__(self, model: HasCard) -> None:
        self._card = model.card
        vocabulary = self._vocabulary = _vocabulary(model.card)
        longest = max(map(len, vocabulary.tokens))
        self._most = min(MAX_TEXT, self._card.program.context * longest)
        self._lock = Lock()
        self._tokenizer: Tokenizer | None = None
        self._prompts = 0
        self._chat: ChatTemplate | None = None

    def chat(
        self,
        conversation: str | Sequence[Message],
        *,
        date: Date | None = None,
        may_omit: bool = False,
        **options: Unpack[RequestOptions],
    ) -> Request:
        """Make a request whose prompt is a conversation in the model's chat template.

        Args:
            conversation: messages, the last usually the user's; or the user's only message, as a text.
            date: the date that the template sees as today, or as now if it has a time; None: now.
            may_omit: whether the template may leave out messages and parts of them; otherwise that is an
                error.
            options: see :class:`RequestOptions`.

        Contents of messages never become control tokens. Raises InputError (FormatError, LimitError) if the
        prompt is empty, if the model has no template or the template refuses the conversation, if a part of a
        message is not in the prompt, or if the context is too short.
        """
        if isinstance(conversation, str):
            if not conversation.strip():
                raise InputError("the prompt is empty")
            conversation = [Message("user", conversation)]
        conversation = _messages(conversation)
        template = self._template()
        try:
            texts = template.render(conversation, date=date, may_omit=may_omit, max_output=self._most)
        except TemplateLimitError:
            self._require_fits(sum(len(m.content) for m in conversation))
            raise
        return self._request(texts, options)

    def text(self, text: str, *, special: bool = False, **options: Unpack[RequestOptions]) -> Request:
        """Make a request whose prompt is a text as it stands, without a chat template.

        With ``special``, names of control tokens in the text become these tokens; use this for text of your
        own, never for text from outside. Raises InputError (FormatError, LimitError) if the text is empty or
        the context is too short.
        """
        if not given(text, str, "the prompt"):
            raise InputError("the prompt is empty")
        return self._request([PromptText(text, special)], options)

    def tokens(self, ids: Sequence[int], **options: Unpack[RequestOptions]) -> Request:
        """Make a request whose prompt is token ids, as they are: bos is not put in front of them.

        Raises InputError (FormatError, LimitError) if there are none, an id is not a token of the model, or
        the context is too short.
        """
        found = [given(i, int, "a token id") for i in ids]
        if len(found) > self._card.program.context:
            raise LimitError(
                f"the prompt has {len(found)} tokens, but the context holds {self._card.program.context}"
            )
        if not all(0 <= i < 1 << 31 for i in found):
            raise InputError("a token id is outside 0..2^31 - 1")
        return self._request_of(found, "", self._tokenizer_for(""), options)

    @property
    def card(self) -> ModelCard:
        """Card of the model that requests are made for."""
        return self._card

    def ready(self) -> None:
        """Make the tokenizer for all prompts and start the template's process, before the first prompt.

        A service calls this, so that none of its clients waits for them. A template that cannot be used is
        left to :meth:`chat`, which says why: the model may be asked by texts and tokens.
        """
        with self._lock:
            self._prompts = max(self._prompts, 1)
        self._tokenizer_for("")
        if self._card.template:
            with suppress(FormatError, UnsupportedError, LimitError):
                self._template().start()

    def close(self) -> None:
        """End the template's process."""
        if self._chat is not None:
            self._chat.close()

    def __enter__(self) -> Prompter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _template(self) -> ChatTemplate:
        with self._lock:
            if self._chat is None:
                v = self._vocabulary
                bos, eos = (
                    "" if token is None else v.tokens[token].decode("utf-8", "replace")
                    for token in (v.bos, v.eos)
                )
                self._chat = ChatTemplate(self._card.template, bos=bos, eos=eos)
            return self._chat

    def _tokenizer_for(self, text: str) -> Tokenizer:
        """Return a tokenizer for ``text``.

        The first prompt gets one for this text alone, which is made ten times faster; all others share one.
        """
        with self._lock:
            self._prompts += 1
            if self._prompts == 1:
                return Tokenizer(self._vocabulary, only=text)
            if self._tokenizer is None:
                self._tokenizer = Tokenizer(self._vocabulary)
            return self._tokenizer

    def _require_fits(self, count: int) -> None:
        if count > self._most:
            raise LimitError(
                f"the prompt has {count} characters, but the context of {self._card.program.context} tokens "
                f"holds at most {self._most}; shorten the prompt"
            )

    def _request(self, texts: Sequence[PromptText], options: RequestOptions) -> Request:
        text = "".join(t.text for t in texts)
        self._require_fits(len(text))
        tokenizer = self._tokenizer_for(text)
        tokens = tokenizer.encode_prompt(texts)
        return self._request_of(
            tokens, text if _retokenised(tokenizer, text) == tokens else "", tokenizer, options
        )

    def _request_of(
        self, tokens: Sequence[int], text: str, tokenizer: Tokenizer, options: RequestOptions
    ) -> Request:
        if unknown := sorted(options.keys() - RequestOptions.__annotations__.keys()):
            raise InputError(f"a request has no option {unknown[0]}")
        card, program = self._card, self._card.program
        most = options.get("max_tokens")
        if most is None:
            most = max(1, min(MAX_TOKENS, program.context - len(tokens) + 1))
        seed, nonce = options.get("seed"), options.get("nonce")
        request = Request(
            model_id=card.model_id,
            inputs=((program.inputs[0][0], _bytes(tokens)),),
            nonce=secrets.token_bytes(32) if nonce is None else nonce,
            generation=Generation(
                max_tokens=most,
                sampling=options.get("sampling", Sampling()),
                seed=secrets.token_bytes(32) if seed is None else seed,
                stops=_stops(options.get("stops", ()), tokenizer),
                ignore_end=options.get("ignore_end", False),
            ),
            text=text,
            node=options.get("node", b""),
            suite=options.get("suite", "sha256"),
            choice=options.get("choice", 0),
        )
        inputs_of(request, program, card.model_id)
        return request


def _messages(value: object) -> list[Message]:
    """Return the messages; InputError for other libraries' message types, whose meanings differ."""
    if isinstance(value, Message) or not isinstance(value, Sequence):
        raise InputError(f"a conversation must be text or a list of Message, not {type(value).__name__}")
    messages = [given(m, Message, "each message of a conversation") for m in value]
    for m in messages:
        given(m.role, str, "a message's role")
        given(m.content, str, "a message's content")
    return messages


def chat_request(
    model: HasCard,
    conversation: str | Sequence[Message],
    *,
    date: Date | None = None,
    may_omit: bool = False,
    **options: Unpack[RequestOptions],
) -> Request:
    """Make one request with :meth:`Prompter.chat`; ``model`` may also be its card, or a key for it."""
    with Prompter(model) as prompter:
        return prompter.chat(conversation, date=date, may_omit=may_omit, **options)


def text_request(
    model: HasCard, text: str, *, special: bool = False, **options: Unpack[RequestOptions]
) -> Request:
    """Make one request with :meth:`Prompter.text`; ``model`` may also be its card, or a key for it."""
    with Prompter(model) as prompter:
        return prompter.text(text, special=special, **options)


def check_text(model: HasCard, request: Request) -> None:
    """Raise MismatchError if a request has a text that does not become its tokens."""
    if not request.text:
        return
    tokenizer = Tokenizer(_vocabulary(model.card), only=request.text)
    if _bytes(_retokenised(tokenizer, request.text)) != dict(request.inputs)[model.card.program.inputs[0][0]]:
        raise MismatchError(
            "the request's text does not become its tokens, so the answer would not be to this text; "
            "make the request again"
        )


def _vocabulary(card: ModelCard) -> Vocabulary:
    if card.vocabulary is None or not card.program.feedback:
        raise InputError("the model is not a language model: it takes numbers, not text")
    return card.vocabulary


def _retokenised(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_prompt([PromptText(text, trusted=True)])


def _stops(stops: str | Sequence[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return stop strings as a tuple; InputError for one that names a control token and so never matches."""
    found = (stops,) if isinstance(stops, str) else tuple(stops)
    for stop in found:
        for name in tokenizer.control_names(stop):
            raise InputError(
                f"the stop string {stop!r} names the control token {name}, which prints nothing and so "
                "completes no stop string; leave it out (tokens that end a turn end the answer anyway)"
            )
    return found


def _bytes(tokens: Iterable[int]) -> bytes:
    return np.array(list(tokens), "<i4").tobytes()
