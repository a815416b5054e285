"""From a prompt or a conversation to a :class:`Request`, in one place.

``Request.text`` is either the exact text behind the tokens or empty. It is kept only where a rule that needs
no template gives the request's tokens back from it: tokenise the whole text, names of control tokens counting
as control tokens, bos first if the vocabulary wants one (:func:`check_text`). A prompt that contains the name
of a control token as mere letters has no such text, so its request carries the tokens alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import TypedDict, Unpack

import numpy as np

from proofcompute.card import HasCard, ModelCard
from proofcompute.errors import InputError, MismatchError
from proofcompute.kernels import Sampling
from proofcompute.messages import Generation, Request
from proofcompute.tokens.segments import Segment
from proofcompute.tokens.template import Message, render_chat
from proofcompute.tokens.tokenizer import Tokenizer
from proofcompute.vocabulary import Vocabulary

__all__ = ["MAX_TOKENS", "RequestOptions", "chat_request", "check_text", "text_request"]

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
    stops: tuple[str, ...]
    """Strings that end the answer."""
    nonce: bytes | None
    """32 bytes never used before; None: from the operating system."""
    node: bytes
    """Public key of the node that must answer; empty for any."""
    suite: str
    """Hash suite of the trace."""


def chat_request(
    model: HasCard, conversation: str | Sequence[Message], **options: Unpack[RequestOptions]
) -> Request:
    """A request whose prompt is a conversation in the model's chat template.

    Args:
        model: the model asked, or its card, or a key for it.
        conversation: messages, the last usually the user's; or what the user says, as one text.
        options: see :class:`RequestOptions`.

    Contents of messages never become control tokens. Raises InputError (FormatError, LimitError) if there is
    nothing to say, if the model has no template or refuses the conversation, or if the context is too short.
    """
    if isinstance(conversation, str):
        if not conversation.strip():
            raise InputError("the prompt is empty; say something")
        conversation = [Message("user", conversation)]
    vocabulary = _vocabulary(model.card)
    segments = render_chat(
        model.card.template,
        conversation,
        bos=_name(vocabulary, vocabulary.bos),
        eos=_name(vocabulary, vocabulary.eos),
    )
    return _request(model.card, segments, options)


def text_request(
    model: HasCard, text: str, *, special: bool = False, **options: Unpack[RequestOptions]
) -> Request:
    """A request whose prompt is a text as it stands, without a chat template.

    With ``special``, names of control tokens in the text become these tokens: for text written by whoever
    makes the request, never for text from outside. Raises InputError (FormatError, LimitError) if the text is
    empty or the context too short.
    """
    if not text:
        raise InputError("the prompt is empty; say something")
    return _request(model.card, [Segment(text, special)], options)


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


def _request(card: ModelCard, segments: Sequence[Segment], options: RequestOptions) -> Request:
    text = "".join(s.text for s in segments)
    tokenizer = Tokenizer(_vocabulary(card), only=text)
    tokens = tokenizer.encode_prompt(segments)
    program, most = card.program, options.get("max_tokens")
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
            stops=options.get("stops", ()),
        ),
        text=text if _retokenised(tokenizer, text) == tokens else "",
        node=options.get("node", b""),
        suite=options.get("suite", "sha256"),
    )
    request.check(program, card.model_id)
    return request


def _vocabulary(card: ModelCard) -> Vocabulary:
    if card.vocabulary is None or not card.program.feedback:
        raise InputError("the model is not a language model: it takes numbers, not text")
    return card.vocabulary


def _retokenised(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode_prompt([Segment(text, trusted=True)])


def _name(vocabulary: Vocabulary, token: int | None) -> str:
    return "" if token is None else vocabulary.tokens[token].decode("utf-8", "replace")


def _bytes(tokens: Iterable[int]) -> bytes:
    return np.array(list(tokens), "<i4").tobytes()
