"""Request: what a client asks a node to compute (docs/spec/messages.md#request)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from proofcompute.arithmetic.sampling import Sampling, check_sampling
from proofcompute.arrays import Array
from proofcompute.commitments.hashing import Xof, message_digest
from proofcompute.encoding import wire
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError
from proofcompute.errors.arguments import given
from proofcompute.limits import MAX_CHOICES, MAX_NAME, MAX_REQUEST, MAX_ROWS, MAX_STOP, MAX_STOPS, MAX_TEXT
from proofcompute.program.program import Program
from proofcompute.protocol.messages.signed import decode_suite
from proofcompute.protocol.statement import Statement, rows_from_bytes

__all__ = ["Generation", "Request"]

KIND = "proofcompute request"
VERSION = 2
MAX_TOP_K = 2**31 - 1
"""Greatest top-k that a request can state."""
MAX_PENALTY = 64.0
"""Greatest repetition penalty that a request can state, and its inverse the least: beyond, logits of usual
size would overflow, and the arithmetic have no result."""
NO_GENERATION: tuple[wire.Value, ...] = ()


@dataclass(frozen=True)
class Generation:
    """How an autoregressive program chooses tokens, and when it stops."""

    max_tokens: int
    """Most tokens to generate."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: bytes = bytes(32)
    """The client's 32 random bytes; the draw of each row follows from them."""
    stops: tuple[str, ...] = ()
    """Strings that end the answer as soon as its text holds one."""
    ignore_end: bool = False
    """Whether end tokens are tokens like others, so that only length and stop strings end the answer."""

    def __post_init__(self) -> None:
        check_sampling(given(self.sampling, Sampling, "sampling"))
        given(self.max_tokens, int, "max tokens")
        given(self.seed, bytes, "the sampling seed")
        given(self.ignore_end, bool, "ignore_end")
        for stop in given(self.stops, tuple, "the stop strings"):  # each letter of a text would be one
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
    """What a client asks for. The client keeps it; its digest binds the receipt."""

    model_id: bytes
    """The model to run, 32 bytes."""
    inputs: tuple[tuple[str, bytes], ...]
    """Rows of each public input of the program, little-endian; for a language model the prompt's tokens."""
    nonce: bytes
    """32 bytes that the client never used before: no receipt can be replayed."""
    generation: Generation | None = None
    """For autoregressive programs."""
    text: str = ""
    """The prompt as text, for people and for whoever holds the tokenizer."""
    node: bytes = b""
    """Ed25519 public key of the node addressed, or empty for any node."""
    suite: str = "sha256"
    """Hash suite of the trace."""
    choice: int = 0
    """Which of several answers to one question this asks for, 0 to 127: n choices are n requests that differ
    in nothing else, and each draws tokens of its own."""

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
        """Canonical bytes."""
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
        """The request that ``data`` encodes; FormatError, InputError or LimitError otherwise."""
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
        """What a receipt refers to this request by, 32 bytes."""
        return message_digest(self.suite, "request", self.encode())

    @cached_property
    def draw_seed(self) -> bytes:
        """The seed of this choice's draws, 32 bytes: of choice 0 the client's, of others one hashed from it.

        So two choices of one request never share a draw.
        """
        seed = self.generation.seed if self.generation else bytes(32)
        return Xof("choice", seed, self.choice.to_bytes(8, "little")).read(32) if self.choice else seed

    def check(self, program: Program, model_id: bytes) -> dict[str, Array]:
        """The input rows by name, once they fit the program.

        Raises MismatchError for another model, InputError for anything that the program cannot run.
        """
        if self.model_id != model_id:
            raise MismatchError(
                f"the request is for model {self.model_id.hex()}, not {model_id.hex()}: "
                "make one for this model"
            )
        if [n for n, _ in self.inputs] != [n for n, _ in program.inputs]:
            raise InputError(f"the program's inputs are {', '.join(n for n, _ in program.inputs)}")
        arrays = {
            name: rows_from_bytes(spec, data, f"input {name}")
            for (name, spec), (_, data) in zip(program.inputs, self.inputs, strict=True)
        }
        rows = {a.shape[0] for a in arrays.values()}
        if rows == {0}:
            raise InputError("the prompt is empty; give at least one token or row")
        if len(rows) != 1:
            raise InputError("the inputs have different numbers of rows")
        (prompt,) = rows
        if program.feedback != (self.generation is not None):
            raise InputError("generation settings belong to language models, and only to them")
        longest = prompt + (self.generation.max_tokens - 1 if self.generation else 0)
        if longest > program.context:
            raise InputError(
                f"{prompt} prompt rows and the answer need {longest} rows, "
                f"but the context holds {program.context}: "
                "shorten the prompt or ask for fewer tokens"
            )
        _check_indices(program, arrays)
        return arrays

    def statement(
        self, program: Program, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> Statement:
        """Request and answer as one statement. ``inputs`` come from :meth:`check`.

        Raises FormatError if an output row count is impossible.
        """
        prompt = next(iter(inputs.values())).shape[0]
        full = dict(inputs)
        rows = prompt
        if program.feedback:
            (name, _), answer = program.inputs[0], outputs[program.outputs[0]]
            if answer.shape[0] < 1:
                raise FormatError("the answer is empty")
            rows = prompt + answer.shape[0] - 1
            _check_indices(program, {name: answer})  # the last one too, though no row reads it
            full[name] = np.concatenate([inputs[name], answer[:-1]])
        elif any(o.shape[0] != prompt for o in outputs.values()):
            raise FormatError("an output has another number of rows than the input")
        g = self.generation or Generation(1)
        return Statement(program, prompt, rows, full, outputs, g.sampling, self.draw_seed)


def _check_indices(program: Program, arrays: Mapping[str, Array]) -> None:
    for name, ids in arrays.items():
        size = program.index_limits.get(name)
        if size is None:
            continue
        if ids.size and not (0 <= int(ids.min()) and int(ids.max()) < size):
            raise InputError(f"{name} holds an index outside 0..{size - 1}")


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
    name, data = wire.as_list(value, what, n=2)
    return wire.as_str(name, what, MAX_NAME), wire.as_bytes(data, what)
