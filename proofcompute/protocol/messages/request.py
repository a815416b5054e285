"""Define the request, which says what a node is to compute (docs/spec/messages.md#request)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from proofcompute.arithmetic.sampling import Sampling, check_sampling
from proofcompute.commitments.hashing import Xof, message_digest
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_CHOICES, MAX_NAME, MAX_REQUEST, MAX_ROWS, MAX_STOP, MAX_STOPS, MAX_TEXT
from proofcompute.protocol.messages.signed import decode_suite

__all__ = ["Generation", "Request"]

KIND = "proofcompute request"
VERSION = 2
MAX_TOP_K = 2**31 - 1
"""Greatest top-k that a request can state."""
MAX_PENALTY = 64.0
"""Greatest repetition penalty that a request can state; the least is its inverse.

Beyond these, logits of usual size would overflow, and the arithmetic would have no result.
"""
NO_GENERATION: tuple[wire.Value, ...] = ()


@dataclass(frozen=True)
class Generation:
    """How an autoregressive program chooses tokens, and when it stops."""

    max_tokens: int
    """Most tokens to generate."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: bytes = bytes(32)
    """The client's 32 random bytes, from which the draw of each row follows."""
    stops: tuple[str, ...] = ()
    """Strings that end the answer as soon as its text holds one."""
    ignore_end: bool = False
    """Whether only length and stop strings end the answer, and end tokens do not."""

    def __post_init__(self) -> None:
        check_sampling(given(self.sampling, Sampling, "sampling"))
        given(self.max_tokens, int, "max tokens")
        given(self.seed, bytes, "the sampling seed")
        given(self.ignore_end, bool, "ignore_end")
        for stop in given(self.stops, tuple, "the stop strings"):  # of a text, each letter would be one
            given(stop, str, "a stop string")
        if self.sampling.top_k > MAX_TOP_K:
            raise InputError(f"top_k {self.sampling.top_k} is greater than {MAX_TOP_K}; 0 keeps all tokens")
        penalty = self.sampling.repetition_penalty
        if not 1 / MAX_PENALTY <= penalty <= MAX_PENALTY:
            raise InputError(f"repetition_penalty {penalty} is outside {1 / MAX_PENALTY}..{MAX_PENALTY}")
        if not 1 <= self.max_tokens <= MAX_ROWS:
            raise InputError(f"max tokens {self.max_tokens} is outside 1..{MAX_ROWS}")
        if len(self.seed) != 32:
            raise FormatError("the sampling seed has 32 bytes")
        if len(self.stops) > MAX_STOPS:
            raise LimitError(f"{len(self.stops)} stop strings, more than {MAX_STOPS}")
        for stop in self.stops:
            if not 1 <= len(stop.encode("utf-8", "surrogatepass")) <= MAX_STOP:
                raise InputError(f"a stop string is empty or longer than {MAX_STOP} bytes")


@dataclass(frozen=True)
class Request:
    """What a client asks a node to compute; the client keeps it, and receipts name its digest."""

    model_id: bytes
    """The model to run, 32 bytes."""
    inputs: tuple[tuple[str, bytes], ...]
    """Rows of each public input of the program, little-endian; for a language model the prompt's tokens."""
    nonce: bytes
    """32 bytes that the client never used before, so that no receipt can be replayed."""
    generation: Generation | None = None
    """How to choose tokens; None for programs that do not generate."""
    text: str = ""
    """The prompt as text, for people and for whoever holds the tokenizer."""
    node: bytes = b""
    """Ed25519 public key of the addressed node, or empty for any node."""
    suite: str = "sha256"
    """Hash suite of the trace."""
    choice: int = 0
    """Number of this answer among several to one question, 0 to 127.

    n choices are n requests that differ in nothing else, and each draws its own tokens.
    """

    def __post_init__(self) -> None:
        if type(self.choice) is not int or not 0 <= self.choice < MAX_CHOICES:
            raise InputError(f"choice {self.choice!r} is outside 0..{MAX_CHOICES - 1}")
        given(self.text, str, "the text")
        for name, value, sizes in (
            ("model id", self.model_id, (32,)),
            ("nonce", self.nonce, (32,)),
            ("node key", self.node, (0, 32)),
        ):
            if len(given(value, bytes, f"the {name}")) not in sizes:
                raise FormatError(f"{name} has {len(value)} bytes")
        decode_suite(self.suite)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        g = self.generation
        generation = NO_GENERATION
        if g is not None:
            s = g.sampling
            generation = (
                g.max_tokens,
                wire.f32_bits(s.temperature),
                s.top_k,
                wire.f32_bits(s.top_p),
                wire.f32_bits(s.repetition_penalty),
                g.seed,
                g.stops,
                int(g.ignore_end),
            )
        return wire.encode(
            (
                KIND,
                VERSION,
                self.suite,
                self.model_id,
                self.inputs,
                generation,
                self.text,
                self.nonce,
                self.node,
                self.choice,
            )
        )

    @staticmethod
    def decode(data: bytes) -> Request:
        """Decode a request. Raises FormatError, InputError or LimitError if ``data`` encodes none."""
        top = wire.as_list(wire.decode(data, limit=MAX_REQUEST, what="request"), "request", n=10)
        wire.check_head(top, KIND, VERSION)
        inputs = tuple(named_bytes(v, "input") for v in wire.as_list(top[4], "inputs", max_n=64))
        request = Request(
            model_id=wire.as_bytes(top[3], "model id", 32),
            inputs=inputs,
            nonce=wire.as_bytes(top[7], "nonce", 32),
            generation=_generation(top[5]),
            text=wire.as_str(top[6], "text", MAX_TEXT),
            node=wire.as_bytes(top[8], "node key", max_size=32),
            suite=decode_suite(top[2]),
            choice=wire.as_int(top[9], "choice", 0, MAX_CHOICES - 1),
        )
        if request.encode() != data:
            raise FormatError("request is not canonical")
        return request

    @cached_property
    def digest(self) -> bytes:
        """Digest by which a receipt names this request, 32 bytes."""
        return message_digest(self.suite, "request", self.encode())

    @cached_property
    def question(self) -> bytes:
        """Digest of this request with choice 0, 32 bytes: answers to one question share it and a nonce."""
        return self.digest if self.choice == 0 else replace(self, choice=0).digest

    @cached_property
    def draw_seed(self) -> bytes:
        """Seed of this choice's draws, 32 bytes.

        It is the client's seed for choice 0, and hashed from that seed and the choice for others, so two
        choices of one request never share a draw.
        """
        seed = self.generation.seed if self.generation else bytes(32)
        return Xof("choice", seed, self.choice.to_bytes(8, "little")).read(32) if self.choice else seed


def _generation(value: wire.Value) -> Generation | None:
    fields = wire.as_list(value, "generation")
    if not fields:
        return None
    top = wire.as_list(value, "generation", n=8)
    t, p, r = (float(wire.f32_from_bits(wire.as_int(top[i], "setting", 0, 2**32 - 1))) for i in (1, 3, 4))
    stops = wire.as_list(top[6], "stop strings", max_n=MAX_STOPS)
    return Generation(
        max_tokens=wire.as_int(top[0], "max tokens", 1, MAX_ROWS),
        sampling=Sampling(t, wire.as_int(top[2], "top-k", 0, MAX_TOP_K), p, r),
        seed=wire.as_bytes(top[5], "seed", 32),
        stops=tuple(wire.as_str(s, "stop string", MAX_STOP) for s in stops),
        ignore_end=bool(wire.as_int(top[7], "ignore end", 0, 1)),
    )


def named_bytes(value: wire.Value, what: str) -> tuple[str, bytes]:
    """Decode a pair of name and bytes. Raises FormatError or LimitError if ``value`` is none."""
    name, data = wire.as_list(value, what, n=2)
    return wire.as_str(name, what, MAX_NAME), wire.as_bytes(data, what)
