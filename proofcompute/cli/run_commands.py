"""Commands of a client and of a node: ``request``, ``run``, ``open``."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.common import (
    Device,
    Force,
    Json,
    Out,
    Output,
    check_output,
    command_line,
    hex_bytes,
    kernels,
    load_card,
    load_model,
    progress,
    read_challenge,
    read_prompt,
    read_request,
    read_terms,
    size,
)
from proofcompute.cli.kinds import expect
from proofcompute.cli.outputs import Outputs, check_outputs, write_outputs
from proofcompute.errors import InputError

if TYPE_CHECKING:
    from proofcompute.card import HasCard
    from proofcompute.generation import Engine, Session
    from proofcompute.messages import Request, Terms
    from proofcompute.model import Model
    from proofcompute.prover import RunDirectory
    from proofcompute.signing import NodeIdentity
    from proofcompute.tokens import RequestOptions

__all__ = ["open_", "request", "run", "seed_bytes"]

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)]
MaxTokens = Annotated[int | None, typer.Option(help="Most tokens to generate (128 unless given).")]
Temperature = Annotated[float, typer.Option(help="Divides the logits; 0 is the likeliest token.")]
TopK = Annotated[int, typer.Option(help="Keep the K likeliest tokens; 0 keeps all.")]
TopP = Annotated[float, typer.Option(help="Keep the likeliest tokens with this share of the mass.")]
Penalty = Annotated[float, typer.Option(help="Weakens tokens that occurred before; 1 is off.")]
Seed = Annotated[str | None, typer.Option(help="Sampler's seed: an integer or hex; random unless given.")]
Stop = Annotated[list[str] | None, typer.Option(help="A text that ends the answer; may be repeated.")]
Nonce = Annotated[str | None, typer.Option(help="32 bytes in hex, never used before; random unless given.")]
Node = Annotated[str | None, typer.Option(metavar="PUBKEY", help="Public key (hex) of the node to ask.")]
System = Annotated[str | None, typer.Option(help="What the system message says.")]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompt-file", metavar="FILE", help="What to ask, from a file; - is standard input."),
]
Date = Annotated[
    datetime | None,
    typer.Option(
        metavar="DATE",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="What the chat template takes for now, as 2026-01-31 or 2026-01-31T12:00:00.",
    ),
]
MayOmit = Annotated[
    bool, typer.Option("--may-omit", help="The chat template may leave out messages and parts.")
]
Raw = Annotated[
    bool,
    typer.Option("--raw", help="No chat template; names of control tokens in the prompt are these."),
]
Suite = Annotated[str, typer.Option(help="Hash suite of the trace: sha256, keccak256 or blake3.")]
_OF_THE_PROMPT = (
    "prompt",
    "prompt_file",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "seed",
    "stop",
    "system",
    "raw",
    "suite",
)
"""Parameters that say what to ask; a request file holds them."""


def request(
    model: ModelFile,
    output: Out,
    prompt: Annotated[str | None, typer.Option(help="What to ask.")] = None,
    prompt_file: PromptFile = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    ignore_end: Annotated[
        bool, typer.Option("--ignore-end", help="Go on after tokens that end a text.")
    ] = False,
    choice: Annotated[int, typer.Option(help="Which of several answers to ask for, 0 to 127.")] = 0,
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
    """Write a request. Keep it: a receipt is checked against it."""
    check_output(output, keep=not force)
    from proofcompute.files import write_atomic

    what = read_prompt(prompt, prompt_file)
    if what is None:
        raise InputError("say what to ask: --prompt or --prompt-file (see: proofcompute request --help)")
    options = _options(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop, suite)
    options |= {"ignore_end": ignore_end, "choice": choice}
    if nonce is not None:
        options["nonce"] = hex_bytes(nonce, "the nonce")
    if node is not None:
        options["node"] = hex_bytes(node, "the node's public key")
    made = _build(load_card(model), what, system, raw, date, may_omit, options)
    write_atomic(output, made.encode())
    out, tokens = Output(json), len(made.inputs[0][1]) // 4
    out.say(f"{output}: {tokens} prompt tokens, digest {made.digest.hex()}")
    out.result(
        {
            "request": str(output),
            "digest": made.digest.hex(),
            "model_id": made.model_id.hex(),
            "prompt_tokens": tokens,
            "max_tokens": made.generation.max_tokens if made.generation else 0,
            "text": made.text,
            "nonce": made.nonce.hex(),
        }
    )


def run(
    context: typer.Context,
    model: ModelFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the run.", show_default=False)],
    request: Annotated[
        Path | None, typer.Argument(metavar="REQUEST", help="Request file.", show_default=False)
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What to ask, in place of REQUEST.")] = None,
    prompt_file: PromptFile = None,
    identity: Annotated[Path | None, typer.Option(help="The node's key pair; else a new one.")] = None,
    no_commit: Annotated[
        bool, typer.Option("--no-commit", help="Answer only; run again without this to commit.")
    ] = False,
    retention: Annotated[
        int | None,
        typer.Option(min=0, help="Seconds for which challenges are answered (a week unless given)."),
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(metavar="TERMS", help="Your signed terms, which the receipt is to name.")
    ] = None,
    outputs: Outputs = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.0,
    top_k: TopK = 0,
    top_p: TopP = 1.0,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    system: System = None,
    date: Date = None,
    may_omit: MayOmit = False,
    raw: Raw = False,
    suite: Suite = "sha256",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Answer a request and write RUN/receipt, or with --prompt write RUN/request too.

    An interrupted run goes on where it was when it is run again with the same request. The options from
    --max-tokens on belong to --prompt.
    """
    what = read_prompt(prompt, prompt_file)
    if (request is None) == (what is None):
        raise InputError("give either a request file or --prompt")
    check_outputs(outputs)
    from proofcompute.prover import RunDirectory
    from proofcompute.signing import NodeIdentity

    if identity is not None:
        expect(identity, "identity")
    promised = _promised(terms, retention)
    directory = RunDirectory(output)
    if identity is not None:
        node = NodeIdentity.load(identity)
    else:
        node = directory.own_identity() or NodeIdentity.new()
    if what is not None and (output / "request").exists():
        raise InputError(
            f"{output} holds a run already; to go on with it give its request: {output / 'request'}"
        )
    loaded, out = load_model(model), Output(json)
    if request is not None:
        asked = read_request(request)
    else:
        options = _options(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop, suite)
        asked = _build(loaded, what or "", system, raw, date, may_omit, options)
    if asked.node not in (b"", node.public) and not no_commit:
        raise InputError(f"the request is for node {asked.node.hex()}; give its key pair with --identity")
    try:
        signer = None if no_commit else (node, identity)
        _run(loaded, model, asked, directory, signer, promised, outputs, device, out)
    except KeyboardInterrupt:
        out.say()
        if (output / "request").exists():
            line = command_line(context, model, output / "request", leave_out=_OF_THE_PROMPT)
            out.say(f"interrupted; to go on: {line}")
        raise
    finally:
        directory.close()


def _run(
    model: Model,
    path: Path,
    asked: Request,
    directory: RunDirectory,
    signer: tuple[NodeIdentity, Path | None] | None,
    promised: tuple[int, Terms | None],
    outputs: Path | None,
    device: str,
    out: Output,
) -> None:
    """The run itself; ``signer`` is who signs and its file if it has one, None without a commitment."""
    from proofcompute.generation import Engine, answer_text
    from proofcompute.prover import make_receipt

    asked.check(model.program, model.model_id)  # before the directory is touched
    engine = Engine(model, kernels(device), node=signer[0].public if signer else asked.node)
    kept = directory.begin(asked)
    directory.remember_model(path)
    start = time.perf_counter()
    session = engine.add(asked, kept)
    _generate(engine, session, directory, out)
    seconds = time.perf_counter() - start
    write_outputs(outputs, session.statement().outputs)
    vocabulary, answer = engine.vocabulary, None
    if vocabulary is not None:
        answer = answer_text(vocabulary, asked.generation, session.answer, session.reason)
    fields: dict[str, object] = {
        "run": str(directory.path),
        "answer": answer,
        "tokens": session.answer,
        "stop_reason": session.reason,
        "seconds": seconds,
    }
    if signer is None:
        out.say(f"{len(session.answer)} tokens in {seconds:.1f} s; no commitment, no receipt")
        out.result({**fields, "receipt": None})
        return
    start = time.perf_counter()
    directory.remember_identity(*signer)
    retention, terms = promised
    receipt = make_receipt(model, session, engine.kernels, signer[0], retention=retention, terms=terms)
    directory.finish(session, receipt)
    committing = time.perf_counter() - start
    nbytes = directory.receipt_path.stat().st_size
    out.say(
        f"{len(session.answer)} tokens in {seconds:.1f} s, committed in {committing:.1f} s; "
        f"{directory.receipt_path}: {size(nbytes)}"
    )
    out.result(
        {
            **fields,
            "receipt": str(directory.receipt_path),
            "receipt_bytes": nbytes,
            "trace_root": receipt.trace_root.hex(),
            "node": receipt.node.hex(),
            "commit_seconds": committing,
        }
    )


def _promised(path: Path | None, retention: int | None) -> tuple[int, Terms | None]:
    """Retention and terms of the receipt: what was typed, what the terms say, a week."""
    from proofcompute.messages import Terms
    from proofcompute.prover import RETENTION

    if path is None:
        return RETENTION if retention is None else retention, None
    expect(path, "terms")
    terms = Terms.decode(read_terms(path))
    return terms.retention if retention is None else retention, terms


def _generate(engine: Engine, session: Session, directory: RunDirectory, out: Output) -> None:
    """Step until the session is done; text appears as it is made, and each token is kept at once."""
    from proofcompute.generation import AnswerText

    vocabulary = engine.vocabulary
    rule = session.request.generation
    decoder = AnswerText(vocabulary, rule.stops if rule else ()) if vocabulary else None
    shown = 0

    def show() -> None:
        nonlocal shown
        directory.log(session)
        if decoder is not None:
            out.say(decoder.push(*session.answer[shown:]), end="")
        shown = len(session.answer)

    with progress("prompt", session.known) as advance:
        while session.reason is None and session.done < session.known:
            before = session.done
            engine.step()
            advance(session.done - before)
            if session.emitted:
                break
    show()
    engine.run(session, lambda _: show())
    if decoder is not None:
        out.say(decoder.finish(session.reason))


def open_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.", show_default=False)],
    output: Out,
    challenge: Annotated[
        Path | None, typer.Argument(metavar="CHALLENGE", help="Challenge.", show_default=False)
    ] = None,
    public: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="In place of CHALLENGE: a public proof of N cells."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model file, if it is not where the run had it.")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The node's key pair, if it is not where the run had it.")
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Open the cells that a challenge names, or those of a public proof, which follow from the receipt.

    Whoever has the model file checks a public proof with verify-public, and needs no secret.
    """
    check_output(output)
    if (challenge is None) == (public is None):
        raise InputError("give either a challenge or --public")
    from proofcompute.files import writing
    from proofcompute.messages import Claim, public_challenge
    from proofcompute.prover import RunDirectory, open_cells
    from proofcompute.signing import NodeIdentity

    out, start = Output(json), time.perf_counter()
    directory = RunDirectory(run)
    if not run.is_dir():
        raise InputError(f"{run} is not the directory of a run")
    directory.receipt()  # whether the run is finished, before the model is read
    given = None if challenge is None else read_challenge(challenge)
    node = directory.identity() if identity is None else NodeIdentity.load(identity)
    path = directory.model_path() if model is None else model
    if model is None and not path.exists():
        raise InputError(f"the run's model {path} is gone; name the model file with --model")
    loaded = load_model(path)
    trace, receipt = directory.stored(loaded, kernels(device))
    asked = public_challenge(Claim(receipt, trace.statement), public or 0) if given is None else given
    rows = sum(c.b - c.a for c in asked.cells)
    with progress("open", rows) as advance, writing(output) as stream:
        open_cells(loaded, trace, receipt, asked, stream, node, advance)
    nbytes, seconds = output.stat().st_size, time.perf_counter() - start
    out.say(f"{output}: {rows} cells, {size(nbytes)}, {seconds:.1f} s")
    out.result({"opening": str(output), "cells": rows, "bytes": nbytes, "seconds": seconds})


def _options(
    max_tokens: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    repetition_penalty: float,
    seed: str | None,
    stop: list[str] | None,
    suite: str,
) -> RequestOptions:
    """What was typed."""
    from proofcompute.kernels import Sampling

    return {
        "max_tokens": max_tokens,
        "sampling": Sampling(temperature, top_k, top_p, repetition_penalty),
        "seed": None if seed is None else seed_bytes(seed),
        "stops": tuple(stop or ()),
        "suite": suite,
    }


def _build(
    model: HasCard,
    prompt: str,
    system: str | None,
    raw: bool,
    date: datetime | None,
    may_omit: bool,
    options: RequestOptions,
) -> Request:
    from proofcompute.tokens import Message, chat_request, text_request

    if raw:
        given = {"--system": system is not None, "--date": date is not None, "--may-omit": may_omit}
        if wrong := [name for name, there in given.items() if there]:
            raise InputError(f"{wrong[0]} belongs to the chat template, which --raw leaves out")
        return text_request(model, prompt, special=True, **options)
    if system is None:
        return chat_request(model, prompt, date=date, may_omit=may_omit, **options)
    if not prompt.strip():
        raise InputError("the prompt is empty; say something")
    talk = [Message("system", system), Message("user", prompt)]
    return chat_request(model, talk, date=date, may_omit=may_omit, **options)


def seed_bytes(text: str) -> bytes:
    """The sampler's 32 bytes from what a person typed: a decimal integer, or hex (with 0x to be sure)."""
    from proofcompute.hashing import Xof

    if re.fullmatch(r"-?[0-9]+", text):
        return Xof("sampler seed", b"integer", text.encode()).read(32)
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise InputError(f"the seed {text[:40]!r} is neither an integer nor bytes in hex") from None
    return Xof("sampler seed", b"bytes", data).read(32)
