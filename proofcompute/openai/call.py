"""Derive requests from the body of a call (docs/spec/openai.md#from-a-body-to-requests).

One pure function does it for node, gateway, client and auditor: the node to know what to compute, all others
to know what had to be computed. Nothing but the arguments matters: no option of a server, no clock, no
randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date as Date  # "date" is an argument's name here
from typing import Any, Final

from proofcompute.arithmetic.sampling import Sampling
from proofcompute.commitments.hashing import Xof
from proofcompute.encoding.strict_json import Json
from proofcompute.errors import InputError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_ROWS
from proofcompute.openai.errors import ParameterError, UnsupportedParameterError
from proofcompute.openai.messages import messages_of
from proofcompute.openai.parameters import Endpoint, as_int, used
from proofcompute.protocol.messages import Generation, Request
from proofcompute.tokens import Message, Prompter, RequestOptions

__all__ = ["COMPLETION_TOKENS", "Call", "call_of", "request_of"]

COMPLETION_TOKENS: Final = 16
"""The most tokens of a text completion that does not say how many."""
_NONCE: Final = 32
_MAX_TOKEN: Final = 2**31 - 1
_TOKEN: Final = 4
"""Bytes of a token in a request's input."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a body asks for: ``n`` answers to one prompt, and the form of the response."""

    endpoint: Endpoint
    model: str
    """Name of the model. It is not in the request; whoever reads the body chooses the model by it."""
    prompt: tuple[Message, ...] | str | tuple[int, ...]
    """A conversation; of a text completion a text, or token ids."""
    n: int
    """Number of choices."""
    sampling: Sampling
    seed: int | None
    """The client's seed; None: it follows from the nonce."""
    max_tokens: int | None
    """Most tokens of each choice; None: see :meth:`requests`."""
    stops: tuple[str, ...]
    ignore_end: bool
    stream: bool
    """Whether the response is a stream of chunks."""
    include_usage: bool
    """Whether the stream ends with a chunk that has the usage and no choice."""
    continuous_usage: bool
    """Whether each chunk has the usage so far."""

    def requests(
        self, prompter: Prompter, *, nonce: bytes, date: Date, node: bytes = b""
    ) -> tuple[Request, ...]:
        """Return the requests of all choices, which differ in nothing but the choice.

        Args:
            prompter: that of the model.
            nonce: 32 bytes, of the client's header or drawn by the node.
            date: the day that the chat template sees as today. A node takes the current day in UTC.
            node: public key of the node that answers.

        Without a seed, the seed is hashed from the nonce; a seed that is given does not depend on it. Without
        ``max_tokens``, an answer to a conversation may fill the context, and a text completion has up to
        COMPLETION_TOKENS. Raises InputError (FormatError, LimitError) if the prompt is empty or has no place
        in the context, or if the template refuses the conversation or would leave out a part of it.
        """
        if type(date) is not Date:  # a datetime would show the template a time of day
            raise InputError(f"the date must be a datetime.date, not {type(date).__name__}")
        if len(given(nonce, bytes, "the nonce")) != _NONCE:
            raise InputError(f"a nonce has {_NONCE} bytes, not {len(nonce)}")
        options: RequestOptions = {
            "max_tokens": 1 if self.max_tokens is None else self.max_tokens,
            "sampling": self.sampling,
            "seed": _seed(self.seed, nonce),
            "stops": self.stops,
            "ignore_end": self.ignore_end,
            "nonce": nonce,
            "node": node,
        }
        request = self._prompted(prompter, date, options)
        if self.max_tokens is None and request.generation is not None:
            most = prompter.card.program.context - len(request.inputs[0][1]) // _TOKEN + 1
            if self.endpoint == "completions":
                most = min(COMPLETION_TOKENS, most)
            request = replace(request, generation=replace(request.generation, max_tokens=most))
        return tuple(replace(request, choice=i) for i in range(self.n))

    def _prompted(self, prompter: Prompter, date: Date, options: RequestOptions) -> Request:
        if isinstance(self.prompt, str):
            return prompter.text(self.prompt, **options)
        if self.endpoint == "completions":
            return prompter.tokens([t for t in self.prompt if isinstance(t, int)], **options)
        messages = [m for m in self.prompt if isinstance(m, Message)]
        return prompter.chat(messages, date=date, may_omit=False, **options)


def _seed(seed: int | None, nonce: bytes) -> bytes:
    if seed is None:
        return Xof("openai nonce as seed", nonce).read(32)
    return Xof("openai seed", seed.to_bytes(8, "little", signed=True)).read(32)


def call_of(body: Mapping[str, Json], *, endpoint: Endpoint) -> Call:
    """Read a body, which :func:`.read_json` returned.

    Raises UnsupportedParameterError for a parameter that is unknown or asks for what this version does not
    do, and ParameterError for one that is missing, of the wrong type or outside its range.
    """
    if endpoint not in ("chat", "completions"):
        raise InputError(f"the endpoint must be chat or completions, not {endpoint!r}")
    found: dict[str, Any] = used(body, endpoint)
    if not found.get("model"):
        raise ParameterError("model", "is missing")
    n = found.get("n", 1)
    if found.get("best_of", n) != n:
        raise UnsupportedParameterError("best_of", "must be n, since every choice is returned")
    options = found.get("stream_options")
    stream = found.get("stream", False)
    if options is not None and not stream:
        raise ParameterError("stream_options", "is for streams only")
    options = options or {}
    return Call(
        endpoint=endpoint,
        model=found["model"],
        prompt=messages_of(found.get("messages")) if endpoint == "chat" else _prompt(found.get("prompt")),
        n=n,
        sampling=_sampling(found),
        seed=found.get("seed"),
        max_tokens=_max_tokens(found),
        stops=found.get("stop", ()),
        ignore_end=found.get("ignore_eos", False),
        stream=stream,
        include_usage=options.get("include_usage", False),
        continuous_usage=options.get("continuous_usage_stats", False),
    )


def _sampling(found: Mapping[str, Any]) -> Sampling:
    """The settings of the sampler, each checked alone, so that an error names its parameter."""
    defaults: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
    for name in defaults:
        if name in found:
            try:
                Generation(1, Sampling(**{name: found[name]}))
            except InputError as e:
                raise ParameterError(name, str(e)) from None
    return Sampling(**{name: found.get(name, value) for name, value in defaults.items()})


def _max_tokens(found: Mapping[str, Any]) -> int | None:
    older, newer = found.get("max_tokens"), found.get("max_completion_tokens")
    if None not in (older, newer) and older != newer:
        raise ParameterError("max_completion_tokens", f"is {newer}, but max_tokens is {older}")
    most: int | None = newer if older is None else older
    return most


def _prompt(value: Json) -> str | tuple[int, ...]:
    """One prompt: a text, token ids, or an array of one of them."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str | list):
        (value,) = value
    if isinstance(value, str):
        return value
    if value is None:
        raise ParameterError("prompt", "is missing")
    if not isinstance(value, list):
        raise ParameterError("prompt", "must be a text or an array of token ids")
    if any(isinstance(v, str | list) for v in value):
        raise UnsupportedParameterError("prompt", "more than one prompt in a body is not supported")
    if len(value) > MAX_ROWS:
        raise ParameterError("prompt", f"has {len(value)} tokens, the limit is {MAX_ROWS}")
    return tuple(as_int(v, f"prompt[{i}]", 0, _MAX_TOKEN) for i, v in enumerate(value))


def request_of(
    body: Mapping[str, Json],
    prompter: Prompter,
    *,
    endpoint: Endpoint,
    nonce: bytes,
    date: Date,
    node: bytes = b"",
    choice: int = 0,
) -> Request:
    """Return the request of one choice of a body: :func:`call_of`, then :meth:`Call.requests`.

    Raises InputError if there is no such choice, and what these raise.
    """
    call = call_of(body, endpoint=endpoint)
    if not 0 <= given(choice, int, "the choice") < call.n:
        raise InputError(f"the body asks for {call.n} choices, so there is no choice {choice}")
    return call.requests(prompter, nonce=nonce, date=date, node=node)[choice]
