"""From a prompt or a conversation to a :class:`Request`, in one place.

``Request.text`` is either the exact text behind the tokens or empty. It is kept only where a rule that needs
no template gives the request's tokens back from it: tokenise the whole text, names of control tokens counting
as control tokens, bos first if the vocabulary wants one (:func:`check_text`). A prompt that contains the name
of a control token as mere letters has no such text, so its request carries the tokens alone.

Model files are strangers'. What a template may give and what is tokenised is bounded first: a token stands
for no more bytes than the longest one has, so a longer text cannot fit the context.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import date as Date  # "date" is an argument's name here
from threading import Lock
from types import TracebackType
from typing import TypedDict, Unpack

import numpy as np

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.errors import InputError, LimitError, MismatchError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_TEXT
from proofcompute.models.card import HasCard, ModelCard
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol.messages import Generation, Request
from proofcompute.protocol.requests import inputs_of
from proofcompute.templates.process import TemplateLimitError
from proofcompute.tokens.segments import Segment
from proofcompute.tokens.template import ChatTemplate, Message
from proofcompute.tokens.tokenizer import Tokenizer

__all__ = ["MAX_TOKENS", "Prompter", "RequestOptions", "chat_request", "check_text", "text_request"]

MAX_TOKENS = 128
"""Most tokens to generate unless told otherwise; fewer where the context ends before."""


class RequestOptions(TypedDict, total=False):
    """What a request says besides its prompt; everything may be left out."""

    max_tokens: int | None
    """Most tokens to generate; None: MAX_TOKENS, or as many as the context has room for."""
    sampling: Sampling
    """How tokens are chosen; greedily unless told otherwise."""
    seed: bytes | None
    """The sampler's 32 bytes; None: from the operating system."""
    stops: str | Sequence[str]
    """Strings that end the answer, or one such string."""
    ignore_end: bool
    """Whether tokens that end a text end the answer no more than others."""
    choice: int
    """Which of several answers to one question this asks for, 0 to 127."""
    nonce: bytes | None
    """32 bytes never used before; None: from the operating system."""
    node: bytes
    """Public key of the node that must answer; empty for any."""
    suite: str
    """Hash suite of the trace."""


class Prompter:
    """Makes requests for one model: its tokenizer and its template's process are kept from one to the next.

    Use it in a ``with`` statement or call :meth:`close`; threads may share it. Raises InputError if the model
    is no language model.
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
        """A request whose prompt is a conversation in the model's chat template.

        Args:
            conversation: messages, the last usually the user's; or what the user says, as one text.
            date: what the template takes for today, or for now if it has a time; None: now.
            may_omit: the template may leave out messages and parts of them, which is an error otherwise.
            options: see :class:`RequestOptions`.

        Contents of messages never become control tokens. Raises InputError (FormatError, LimitError) if there
        is nothing to say, if the model has no template or refuses the conversation, if something of a message
        is not in the prompt, or if the context is too short.
        """
        if isinstance(conversation, str):
            if not conversation.strip():
                raise InputError("the prompt is empty; say something")
            conversation = [Message("user", conversation)]
        conversation = _messages(conversation)
        with self._lock:
            if self._chat is None:
                v = self._vocabulary
                bos, eos = (
                    "" if token is None else v.tokens[token].decode("utf-8", "replace")
                    for token in (v.bos, v.eos)
                )
                self._chat = ChatTemplate(self._card.template, bos=bos, eos=eos)
        try:
            segments = self._chat.render(conversation, date=date, may_omit=may_omit, max_output=self._most)
        except TemplateLimitError:
            self._require_fits(sum(len(m.content) for m in conversation))
            raise
        return self._request(segments, options)

    def text(self, text: str, *, special: bool = False, **options: Unpack[RequestOptions]) -> Request:
        """A request whose prompt is a text as it stands, without a chat template.

        With ``special``, names of control tokens in the text become these tokens: for text written by whoever
        makes the request, never for text from outside. Raises InputError (FormatError, LimitError) if the
        text is empty or the context too short.
        """
        if not given(text, str, "the prompt"):
            raise InputError("the prompt is empty; say something")
        return self._request([Segment(text, special)], options)

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

    def _tokenizer_for(self, text: str) -> Tokenizer:
        """The first prompt has a tokenizer of its own, ready ten times as soon; all others share one."""
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
                f"a prompt of {count} characters, where the context of {self._card.program.context} tokens "
                f"holds at most {self._most}: shorten the prompt"
            )

    def _request(self, segments: Sequence[Segment], options: RequestOptions) -> Request:
        if unknown := sorted(options.keys() - RequestOptions.__annotations__.keys()):
            raise InputError(f"a request has no option {unknown[0]}")
        card, program = self._card, self._card.program
        text = "".join(s.text for s in segments)
        self._require_fits(len(text))
        tokenizer = self._tokenizer_for(text)
        tokens = tokenizer.encode_prompt(segments)
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
            text=text if _retokenised(tokenizer, text) == tokens else "",
            node=options.get("node", b""),
            suite=options.get("suite", "sha256"),
            choice=options.get("choice", 0),
        )
        inputs_of(request, program, card.model_id)
        return request


def _messages(value: object) -> list[Message]:
    """The messages; InputError for other libraries' ways to write them, whose meanings are not all ours."""
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
    """One request by :meth:`Prompter.chat`, for the model asked, or its card, or a key for it."""
    with Prompter(model) as prompter:
        return prompter.chat(conversation, date=date, may_omit=may_omit, **options)


def text_request(
    model: HasCard, text: str, *, special: bool = False, **options: Unpack[RequestOptions]
) -> Request:
    """One request by :meth:`Prompter.text`, for the model asked, or its card, or a key for it."""
    with Prompter(model) as prompter:
        return prompter.text(text, special=special, **options)


def check_text(model: HasCard, request: Request) -> None:
    """MismatchError unless a request's text, if it has one, is what its tokens say."""
    if not request.text:
        return
    tokenizer = Tokenizer(_vocabulary(model.card), only=request.text)
    if _bytes(_retokenised(tokenizer, request.text)) != dict(request.inputs)[model.card.program.inputs[0][0]]:
        raise MismatchError(
            "the request's text is not what its tokens say, so the answer would not be to this text; "
            "make the request again"
        )


def _vocabulary(card: ModelCard) -> Vocabulary:
    if card.vocabulary is None or not card.program.feedback:
        raise InputError("the model is not a language model: it takes numbers, not text")
    return card.vocabulary


def _retokenised(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_prompt([Segment(text, trusted=True)])


def _stops(stops: str | Sequence[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """Stop strings as a tuple. InputError for one with a control token's name in it: it would not match."""
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
