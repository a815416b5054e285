"""The command ``request``, and the options and functions that make requests for other commands too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output
from proofcompute.cli.files import check_output, load_card, read_prompt
from proofcompute.cli.inputs import Inputs, Resize, read_inputs, shown
from proofcompute.cli.options import Force, Json, Out, hex_bytes, typed
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.models.card import HasCard
    from proofcompute.protocol.messages import Request
    from proofcompute.tokens import RequestOptions

__all__ = [
    "IN_A_REQUEST",
    "Asked",
    "Date",
    "MaxTokens",
    "MayOmit",
    "ModelFile",
    "Penalty",
    "PromptFile",
    "Raw",
    "Seed",
    "Stop",
    "Suite",
    "System",
    "Temperature",
    "TopK",
    "TopP",
    "options_of",
    "request",
    "seed_bytes",
]

ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model file, card or key.", show_default=False)
]
MaxTokens = Annotated[int | None, typer.Option(help="The most tokens to generate; 128 unless given.")]
Temperature = Annotated[float, typer.Option(help="Divides the logits; 0 takes the likeliest token.")]
TopK = Annotated[int, typer.Option(help="Keep the K likeliest tokens; 0 keeps all.")]
TopP = Annotated[float, typer.Option(help="Keep the likeliest tokens that have this probability together.")]
Penalty = Annotated[float, typer.Option(help="Makes tokens that occurred before less likely; 1 is off.")]
Seed = Annotated[
    str | None, typer.Option(help="Seed of the sampler: an integer or hex; random unless given.")
]
Stop = Annotated[list[str] | None, typer.Option(help="A text that ends the answer; may be repeated.")]
Nonce = Annotated[
    str | None, typer.Option(help="32 bytes in hex that were never used before; random unless given.")
]
Node = Annotated[str | None, typer.Option(metavar="PUBKEY", help="Public key (hex) of the node to ask.")]
System = Annotated[str | None, typer.Option(help="Text of the system message.")]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompt-file", metavar="FILE", help="A file that holds the prompt; - is standard input."),
]
Date = Annotated[
    datetime | None,
    typer.Option(
        metavar="DATE",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="Date for the chat template, as 2026-01-31 or 2026-01-31T12:00:00.",
    ),
]
MayOmit = Annotated[
    bool, typer.Option("--may-omit", help="Let the chat template leave out messages and parts.")
]
Raw = Annotated[
    bool,
    typer.Option("--raw", help="Use no chat template; the prompt may name control tokens."),
]
Suite = Annotated[str, typer.Option(help="Hash suite of the trace: sha256, keccak256 or blake3.")]
_OF_A_PROMPT = (
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "seed",
    "stop",
    "ignore_end",
    "choice",
    "system",
    "date",
    "may_omit",
    "raw",
)
"""Parameters that only a request with a prompt has."""
IN_A_REQUEST = ("prompt", "prompt_file", "inputs", "resize", *_OF_A_PROMPT, "suite")
"""Parameters that a request file holds; they are not repeated when a run continues from its request."""


def request(
    context: typer.Context,
    model: ModelFile,
    output: Out,
    prompt: Annotated[str | None, typer.Option(help="The prompt.")] = None,
    prompt_file: PromptFile = None,
    inputs: Inputs = None,
    resize: Resize = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    ignore_end: Annotated[
        bool, typer.Option("--ignore-end", help="Continue after tokens that end an answer.")
    ] = False,
    choice: Annotated[
        int, typer.Option(help="Which of several answers to one prompt to ask for, 0 to 127.")
    ] = 0,
    nonce: Nonce = None,
    node: Node = None,
    system: System = None,
    date: Date = None,
    may_omit: MayOmit = False,
    raw: Raw = False,
    suite: Suite = "sha256",
    force: Force = False,
    json: Json = False,
) -> None:
    """Write a request. Keep it: the receipt is checked against it.

    A language model takes a prompt, an encoder of texts the text as --prompt, and any other model rows of its
    inputs (--input; see proofcompute inspect).
    """
    check_output(output, force=force)
    from proofcompute.encoding.files import write_atomic

    asked = Asked(read_prompt(prompt, prompt_file), inputs or (), resize, system, date, may_omit, raw)
    asked.check(context)
    options = options_of(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop, suite)
    options |= {"ignore_end": ignore_end, "choice": choice}
    if nonce is not None:
        options["nonce"] = hex_bytes(nonce, "the nonce")
    if node is not None:
        options["node"] = hex_bytes(node, "the node's public key")
    card = load_card(model)
    made = asked.request(card, options)
    write_atomic(output, made.encode())
    out = Output(json)
    fields: dict[str, object] = {
        "request": str(output),
        "digest": made.digest.hex(),
        "model_id": made.model_id.hex(),
        "nonce": made.nonce.hex(),
    }
    if made.generation is not None:
        tokens = len(made.inputs[0][1]) // 4
        out.say(f"{output}: {tokens} prompt tokens, digest {made.digest.hex()}")
        most = made.generation.max_tokens
        fields |= {"prompt_tokens": tokens, "max_tokens": most, "text": made.text}
    else:
        rows = len(made.inputs[0][1]) // card.program.inputs[0][1].nbytes
        out.say(f"{output}: {rows} rows, digest {made.digest.hex()}")
        fields |= {"rows": rows, "input_bytes": {name: len(data) for name, data in made.inputs}}
    out.result(fields)


@dataclass(frozen=True)
class Asked:
    """What a request asks: a prompt, or files with rows of a model's inputs."""

    prompt: str | None
    inputs: Sequence[str]
    resize: str | None
    system: str | None
    date: datetime | None
    may_omit: bool
    raw: bool

    def check(self, context: typer.Context) -> None:
        """Raise InputError, before a model is read, if the options do not go together."""
        if self.resize is not None and not self.inputs:
            raise InputError("--resize is about pictures that --input gives")
        if not self.inputs and self.prompt is None:
            raise InputError(
                "give --prompt or --prompt-file, or --input for a model that takes no prompt "
                f"(see: {context.command_path} --help)"
            )
        if self.inputs and self.prompt is not None:
            raise InputError("give either a prompt or --input")
        if self.inputs and (wrong := typed(context, _OF_A_PROMPT)):
            raise InputError(f"{wrong[0]} belongs to a prompt, and not to --input")
        if self.raw and (wrong := typed(context, ("system", "date", "may_omit"))):
            raise InputError(f"{wrong[0]} belongs to the chat template, which --raw leaves out")

    def request(self, model: HasCard, options: RequestOptions) -> Request:
        """Make the request; a prompt is put into the chat template unless it is ``raw``."""
        program, prompt = model.card.program, self.prompt
        if prompt is None:
            from proofcompute.protocol.requests import array_request

            return array_request(
                model,
                read_inputs(program, self.inputs, self.resize),
                nonce=options.get("nonce"),
                node=options.get("node", b""),
                suite=options.get("suite", "sha256"),
            )
        if not program.feedback:
            return self._embedding(model, prompt, options)
        from proofcompute.tokens import Message, chat_request, text_request

        if self.raw:
            return text_request(model, prompt, special=True, **options)
        talk: str | list[Message] = prompt
        if self.system is not None:
            if not prompt.strip():
                raise InputError("the prompt is empty")
            talk = [Message("system", self.system), Message("user", prompt)]
        return chat_request(model, talk, date=self.date, may_omit=self.may_omit, **options)

    def _embedding(self, model: HasCard, text: str, options: RequestOptions) -> Request:
        """Make a request for the embedding of a text, which the prompt is."""
        from proofcompute.arithmetic.sampling import Sampling
        from proofcompute.tokens.embedding import Embedder, embeds

        if not embeds(model.card):
            program = model.card.program
            raise InputError(f"the model takes no prompt; give --input: {shown(program)}")
        generates = [options.get(key) for key in ("max_tokens", "seed", "stops", "ignore_end", "choice")]
        if any(generates) or options.get("sampling", Sampling()) != Sampling():
            raise InputError("the model gives embeddings of texts, and generates none: leave its options out")
        if self.system is not None or self.date is not None or self.may_omit or self.raw:
            raise InputError("the model gives embeddings of texts as they are, without a chat template")
        return Embedder(model).text(
            text,
            nonce=options.get("nonce"),
            node=options.get("node", b""),
            suite=options.get("suite", "sha256"),
        )


def options_of(
    max_tokens: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    repetition_penalty: float,
    seed: str | None,
    stop: list[str] | None,
    suite: str,
) -> RequestOptions:
    """Return the options of a request from the values of the command's options."""
    from proofcompute.arithmetic.sampling import Sampling

    return {
        "max_tokens": max_tokens,
        "sampling": Sampling(temperature, top_k, top_p, repetition_penalty),
        "seed": None if seed is None else seed_bytes(seed),
        "stops": tuple(stop or ()),
        "suite": suite,
    }


def seed_bytes(text: str) -> bytes:
    """Derive the sampler's seed, 32 bytes, from a decimal integer or from hex, which 0x may introduce."""
    from proofcompute.commitments.hashing import Xof

    if re.fullmatch(r"-?[0-9]+", text):
        return Xof("sampler seed", b"integer", text.encode()).read(32)
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise InputError(f"the seed {text[:40]!r} is neither an integer nor bytes in hex") from None
    return Xof("sampler seed", b"bytes", data).read(32)
