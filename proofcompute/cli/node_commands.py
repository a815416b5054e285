"""Commands of a node: ``run``, ``open``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proofcompute.cli.console import Output, size
from proofcompute.cli.files import (
    check_output,
    load_model,
    read_challenge,
    read_prompt,
    read_request,
    read_terms,
)
from proofcompute.cli.inputs import Inputs, Resize
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import Device, Force, Json, Out, command_line, kernels
from proofcompute.cli.outputs import Outputs, check_outputs, described, values_of, write_outputs
from proofcompute.cli.progress import progress
from proofcompute.cli.request_command import (
    IN_A_REQUEST,
    Asked,
    Date,
    MaxTokens,
    MayOmit,
    Penalty,
    PromptFile,
    Raw,
    Seed,
    Stop,
    Suite,
    System,
    Temperature,
    TopK,
    TopP,
    options_of,
)
from proofcompute.errors import InputError, MismatchError

if TYPE_CHECKING:
    from proofcompute.engine import Session
    from proofcompute.protocol.messages import Receipt, Request, Terms
    from proofcompute.prover import RunDirectory
    from proofcompute.prover.node import Node

__all__ = ["open_", "run"]


def run(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the run.", show_default=False)],
    request: Annotated[
        Path | None, typer.Argument(metavar="REQUEST", help="Request file.", show_default=False)
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="A prompt, instead of REQUEST.")] = None,
    prompt_file: PromptFile = None,
    inputs: Inputs = None,
    resize: Resize = None,
    identity: Annotated[
        Path | None, typer.Option(help="The node's key pair; a new one unless given.")
    ] = None,
    no_commit: Annotated[
        bool, typer.Option("--no-commit", help="Only answer; run again without this to commit.")
    ] = False,
    retention: Annotated[
        int | None,
        typer.Option(min=0, help="Seconds for which challenges are answered; a week unless given."),
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(metavar="TERMS", help="Your signed terms, for the receipt to name.")
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
    """Answer a request and write RUN/receipt; with --prompt or --input, write RUN/request too.

    An interrupted run continues where it was when it is run again with the same request. The options from
    --max-tokens on belong to --prompt.
    """
    question = Asked(read_prompt(prompt, prompt_file), inputs or (), resize, system, date, may_omit, raw)
    new = question.prompt is not None or bool(inputs)
    if (request is None) != new:
        raise InputError("give either a request file, or --prompt, or --input")
    if new or resize is not None:
        question.check(context)
    check_outputs(outputs)
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.protocol.requests import inputs_of
    from proofcompute.prover import RunDirectory
    from proofcompute.prover.node import Node

    if identity is not None:
        expect(identity, "identity")
    promised = None if terms is None else _terms(terms)
    directory = RunDirectory(output)
    if identity is not None:
        signer = NodeIdentity.load(identity)
    else:
        signer = directory.own_identity() or NodeIdentity.new()
    if new and (output / "request").exists():
        raise InputError(
            f"{output} holds a run already; to continue it, give its request: {output / 'request'}"
        )
    loaded, out = load_model(model), Output(json)
    check_outputs(outputs, loaded.program)
    if request is not None:
        asked = read_request(request)
    else:
        options = options_of(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop, suite)
        asked = question.request(loaded, options)
    if asked.node not in (b"", signer.public):
        raise InputError(f"the request is for node {asked.node.hex()}; give its key pair with --identity")
    inputs_of(asked, loaded.program, loaded.model_id)  # before anything is written to the directory
    # the directory keeps the trace, so the node need not
    node = Node(loaded, signer, device=kernels(device), retention=retention, terms=promised, trace_bytes=0)
    try:
        kept = directory.begin(asked)
        directory.remember_model(model)
        fields, session = _compute(node, asked, kept, directory, outputs, out)
        if no_commit:
            out.say("nothing was committed, so there is no receipt")
            out.result({**fields, "receipt": None})
            return
        directory.remember_identity(signer, identity)
        out.result({**fields, **_commit(node, session, directory, out)})
    except KeyboardInterrupt:
        out.say()
        if (output / "request").exists():
            line = command_line(context, model, output / "request", leave_out=IN_A_REQUEST)
            out.say(f"interrupted; to continue: {line}")
        raise
    finally:
        directory.close()


def _terms(path: Path) -> Terms:
    """Read the node's own terms."""
    from proofcompute.protocol.messages import Terms

    expect(path, "terms")
    return Terms.decode(read_terms(path))


def _compute(
    node: Node,
    asked: Request,
    kept: Sequence[int],
    directory: RunDirectory,
    outputs: Path | None,
    out: Output,
) -> tuple[dict[str, object], Session]:
    """Run a request; text appears as it is generated, and each token is stored at once."""
    from proofcompute.protocol.answer import AnswerText, answer_text

    vocabulary, rule = node.card.vocabulary, asked.generation
    text = AnswerText(vocabulary, rule.stops if rule else ()) if vocabulary else None
    start, done, shown = time.perf_counter(), 0, 0

    with progress("prompt" if rule else "rows") as advance:

        def show(session: Session) -> None:
            nonlocal done, shown
            if not session.emitted:  # the bar shows the prompt; after that, the text shows progress
                advance(session.done - done, session.prompt)
                done = session.done
            directory.log(session)
            if text is not None:
                out.say(text.push(*session.answer[shown:]), end="")
            shown = len(session.answer)

        session = node.run(asked, known=kept, on_step=show)
    seconds = time.perf_counter() - start
    fields: dict[str, object] = {
        "run": str(directory.path),
        "stop_reason": session.reason,
        "seconds": seconds,
    }
    made = session.statement().outputs
    if rule is None:
        out.facts(values_of(made))
        out.say(f"{session.prompt} rows in {seconds:.1f} s")
        fields |= {"rows": session.prompt, "outputs": described(made)}
    else:
        if text is not None:
            out.say(text.finish(session.reason))
        out.say(f"{len(session.answer)} tokens in {seconds:.1f} s")
        answer = answer_text(vocabulary, rule, session.answer, session.reason) if vocabulary else None
        fields |= {"answer": answer, "tokens": session.answer}
    write_outputs(outputs, made)
    return fields, session


def _commit(node: Node, session: Session, directory: RunDirectory, out: Output) -> dict[str, object]:
    """Sign the receipt of a run, and store receipt and trace in the directory."""
    start = time.perf_counter()
    receipt = node.commit(session)
    directory.finish(session, receipt)
    seconds, nbytes = time.perf_counter() - start, directory.receipt_path.stat().st_size
    out.say(f"committed in {seconds:.1f} s; {directory.receipt_path}: {size(nbytes)}")
    return {
        "receipt": str(directory.receipt_path),
        "receipt_bytes": nbytes,
        "trace_root": receipt.trace_root.hex(),
        "node": receipt.node.hex(),
        "commit_seconds": seconds,
    }


def open_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.", show_default=False)],
    output: Out,
    challenge: Annotated[
        Path | None, typer.Argument(metavar="CHALLENGE", help="The challenge.", show_default=False)
    ] = None,
    public: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Make a public proof of N cells, instead of CHALLENGE."),
    ] = None,
    beacon: Annotated[
        Path | None, typer.Option(metavar="BEACON", help="With --public: draw the cells from this beacon.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Model file, if it has moved since the run.")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The node's key pair, if it has moved since the run.")
    ] = None,
    force: Force = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Open the cells that a challenge names, or those of a public proof, which follow from the receipt.

    Anybody with the model file can check a public proof with verify-public; it takes no secret. If the trace
    was removed from the directory to save space, it is computed again.
    """
    check_output(output, force=force)
    if (challenge is None) == (public is None):
        raise InputError("give either a challenge or --public")
    if beacon is not None and public is None:
        raise InputError("--beacon draws the cells of a public proof; give --public with it")
    from proofcompute.commitments.signing import NodeIdentity
    from proofcompute.encoding.files import writing
    from proofcompute.protocol.cells import public_challenge
    from proofcompute.protocol.claim import Claim
    from proofcompute.prover import RunDirectory
    from proofcompute.prover.node import Node

    out, start = Output(json), time.perf_counter()
    directory = RunDirectory(run)
    if not run.is_dir():
        raise InputError(f"{run} is not the directory of a run")
    seed = _seed(beacon, directory.receipt())  # raises if the run is not finished, before the model is read
    given = None if challenge is None else read_challenge(challenge)
    signer = directory.identity() if identity is None else NodeIdentity.load(identity)
    path = directory.model_path() if model is None else model
    if model is None and not path.exists():
        raise InputError(f"the run's model {path} is gone; name the model file with --model")
    loaded = load_model(path)
    node = Node(loaded, signer, device=kernels(device))
    if directory.has_trace:
        trace, receipt = directory.stored(loaded, node.kernels)
        node.remember(receipt, trace)
    else:
        out.say("the run's trace is gone; computing it again")
        receipt = directory.receipt()
        trace = node.trace(directory.request(), receipt)
    claim = Claim(receipt, trace.statement)
    asked = public_challenge(claim, public or 0, seed) if given is None else given
    rows = sum(c.b - c.a for c in asked.cells)
    with progress("open", rows) as advance, writing(output) as stream:
        node.open(directory.request(), receipt.encode(), asked, stream, progress=advance)
    nbytes, seconds = output.stat().st_size, time.perf_counter() - start
    out.say(f"{output}: {rows} cells, {size(nbytes)}, {seconds:.1f} s")
    out.result({"opening": str(output), "cells": rows, "bytes": nbytes, "seconds": seconds})


def _seed(path: Path | None, receipt: Receipt) -> bytes:
    """Return what draws the cells of a public proof: a beacon of this receipt, or its hash alone."""
    from proofcompute.beacons import Beacon

    if path is None:
        return b"public"
    expect(path, "beacon")
    beacon = Beacon.load(path)
    if beacon.receipt_digest != receipt.digest:
        raise MismatchError(f"the beacon {path} is about another receipt")
    return beacon.seed
