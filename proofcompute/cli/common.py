"""What all commands share: options, output for people and for programs, progress, files."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import sys
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from proofcompute.errors import InputError, LimitError, VerificationError, about

if TYPE_CHECKING:
    from rich.progress import Progress

    from proofcompute.arithmetic.kernels import Kernels
    from proofcompute.models.card import ModelCard
    from proofcompute.models.model import Model
    from proofcompute.protocol.messages import Challenge, Request

__all__ = [
    "Advance",
    "Device",
    "Force",
    "Json",
    "Out",
    "Output",
    "check_output",
    "command_line",
    "complain",
    "hex_bytes",
    "kernels",
    "load_card",
    "load_model",
    "printable",
    "progress",
    "read_card",
    "read_challenge",
    "read_prompt",
    "read_receipt",
    "read_request",
    "read_terms",
    "rejection",
    "size",
    "tell_of_compilation",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output file.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="File to write.", show_default=False)]
Device = Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu, cuda or numpy (slow).")]


_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """``text`` with what commands a terminal, and does not belong to a text, shown as U+FFFD.

    What a model or a file says must not move the cursor or change colours (escapes and other control
    characters except tab and newline), reorder what stands around it (embeddings, overrides and isolates of
    direction), look like several lines (line and paragraph separators), or be no character (surrogates).
    Everything else stays: spaces, joiners and marks that scripts and emoji need.
    """
    return _COMMANDS.sub("\N{REPLACEMENT CHARACTER}", text)


def complain(text: str) -> None:
    """One message on standard error."""
    print(f"proofcompute: {printable(text)}", file=sys.stderr, flush=True)


class Output:
    """Words for people, or one JSON object for programs."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str = "", end: str = "\n") -> None:
        """A text for people; with ``--json`` it is left out."""
        if not self.as_json:
            # what standard output cannot encode is replaced, not an error
            coding = sys.stdout.encoding or "utf-8"
            print(printable(text).encode(coding, "replace").decode(coding), end=end, flush=True)

    def facts(self, facts: dict[str, object]) -> None:
        """Names and values, aligned; with ``--json`` they are left out."""
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            # a value of several lines must not look like several facts
            self.say(f"{name:<{width}}  " + str(value).replace("\n", "\n" + " " * (width + 2)))

    def result(self, fields: Mapping[str, object]) -> None:
        """What a program wants to know; without ``--json`` it is left out."""
        if self.as_json:
            print(json.dumps(dict(fields)), flush=True)


class Advance(Protocol):
    """What moves a progress bar."""

    def __call__(self, steps: int, total: int | None = None) -> None:
        """``steps`` more are done; ``total``, once it is known, is how many there are."""
        ...


def _nothing(steps: int, total: int | None = None) -> None:
    """No terminal, no bar."""


_bars: list[Progress] = []
"""The bar that is on the terminal, if there is one: another one beside it would garble both."""


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Advance]:
    """A progress bar, only on a terminal."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        if not _bars:
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            _bars.append(stack.enter_context(bar))
            stack.callback(_bars.clear)
        bar = _bars[0]
        task = bar.add_task(title, total=total)
        stack.callback(bar.remove_task, task)

        def advance(steps: int, total: int | None = None) -> None:
            bar.update(task, advance=steps, total=total)

        yield advance


@contextmanager
def tell_of_compilation() -> Iterator[None]:
    """Say what is compiled while a command runs: a bar on a terminal, else one line, once."""
    from proofcompute.arithmetic.compiling import watching

    told = False

    @contextmanager
    def watch(name: str, left: int) -> Iterator[None]:
        nonlocal told
        if not told and not sys.stderr.isatty():
            complain(f"compiling kernels for this machine, at most {left}; this takes a minute or two, once")
        told = True
        with progress(f"compiling {name}, at most {left} left"):
            yield

    with watching(watch):
        yield


def check_output(path: Path, *, keep: bool = False, plain: bool = False) -> None:
    """InputError unless a file may be written at ``path``; called before any long work.

    With ``keep`` a file that is there already stays: an identity, once lost, cannot be made again. With
    ``plain`` there is no writing into pipes and devices. None may be standard output, which is for messages.
    """
    from proofcompute.encoding.files import destination

    try:
        place, into = destination(path)
    except OSError as e:
        raise InputError(f"cannot write {path}: {e.strerror or e}") from e
    if not place.parent.is_dir():
        raise InputError(f"{place.parent} is not a directory; make it first")
    if into and plain:
        raise InputError(f"{path} is a pipe or a device; name a plain file")
    if into and _is_standard_output(place):
        raise InputError(f"{path} is standard output, which is for messages; name a file, or another pipe")
    if keep and not into and place.exists():
        raise InputError(f"{path} exists; choose another name, or pass --force to replace it")


def _is_standard_output(path: Path) -> bool:
    try:
        found, there = os.fstat(1), path.stat()
    except OSError:
        return False
    # the device that swallows everything is everybody's
    return os.path.samestat(found, there) and not (stat.S_ISCHR(found.st_mode) and not os.isatty(1))


def command_line(context: typer.Context, *words: object, leave_out: Container[str] = ()) -> str:
    """What to type to run the command again: ``words``, and the options that were typed, for a shell.

    ``leave_out``: parameters whose options belong to the first time only.
    """
    line = [*context.command_path.split(), *map(str, words)]
    for option in context.command.params:
        name, value = str(option.name), context.params.get(str(option.name))
        source = context.get_parameter_source(name)
        if option.param_type_name != "option" or name in leave_out or source is None:
            continue
        if source.name != "COMMANDLINE":
            continue
        if isinstance(value, bool):
            line.append(option.opts[-1])
        else:
            for each in value if isinstance(value, tuple | list) else (value,):
                line += [option.opts[0], str(each)]
    return shlex.join(line)


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """What to ask: as it was typed, or from a file (``-``: standard input), without the newline at its end.

    InputError for both, or for what is not UTF-8; LimitError for too much; None if neither was given.
    """
    if file is None:
        return prompt
    if prompt is not None:
        raise InputError("give either --prompt or --prompt-file")
    from proofcompute.limits import MAX_TEXT

    standard = str(file) == "-"
    try:
        with open(0 if standard else file, "rb", closefd=not standard) as stream:
            data = stream.read(MAX_TEXT + 1)
    except OSError as e:
        raise InputError(f"cannot read the prompt {file}: {e.strerror or e}") from e
    if len(data) > MAX_TEXT:
        raise LimitError(f"the prompt {file} is larger than {MAX_TEXT} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        raise InputError(f"the prompt in {file} is not UTF-8: {e}") from e
    return text.removesuffix("\n").removesuffix("\r")


def hex_bytes(text: str, what: str, length: int = 32) -> bytes:
    """Bytes from hexadecimal digits; InputError if they are not ``length`` bytes."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise InputError(f"{what} is not hexadecimal") from None
    if len(data) != length:
        raise InputError(f"{what} has {len(data)} bytes where {length} are needed ({2 * length} digits)")
    return data


def kernels(device: str) -> Kernels:
    """The backend of a device; InputError or DeviceError if there is none."""
    from proofcompute.arithmetic.devices import kernels_for

    return kernels_for(device)


def load_model(path: Path) -> Model:
    """A model file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.models.model import Model

    expect(path, "model")
    return Model.load(path)


def load_card(path: Path) -> ModelCard:
    """The card in a model file, a key or a card file, without weights."""
    from proofcompute.cli.kinds import expect, kind_of
    from proofcompute.models.card import ModelCard

    kind = kind_of(path)
    if kind == "model":
        from proofcompute.models.file import ModelFile

        return ModelFile.open(path).card
    if kind == "key":
        from proofcompute.verifier import Key

        return Key.load(path).card
    expect(path, "card")
    return ModelCard.load(path)


def read_card(path: Path) -> bytes:
    """The bytes of a card that somebody sent; that they are too many is their fault (step 1)."""
    from proofcompute.limits import MAX_CARD

    return _received(path, MAX_CARD, "model card")


def read_terms(path: Path) -> bytes:
    """The bytes of a node's terms; that they are too many is the node's fault (step 1)."""
    from proofcompute.limits import MAX_TERMS

    return _received(path, MAX_TERMS, "terms")


def read_request(path: Path) -> Request:
    """A request file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_REQUEST
    from proofcompute.protocol.messages import Request

    expect(path, "request")
    return Request.decode(read_limited(path, MAX_REQUEST, "request"))


def read_challenge(path: Path) -> Challenge:
    """A challenge file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_CHALLENGE
    from proofcompute.protocol.messages import Challenge

    expect(path, "challenge")
    return Challenge.decode(read_limited(path, MAX_CHALLENGE, "challenge"))


def read_receipt(path: Path, request: Request) -> bytes:
    """The bytes of a node's receipt to a request, whatever they are.

    That they are too many, or plainly another of our files, is a rejection (step 1): they come from the node,
    unless somebody mixed up files, which the text says.
    """
    from proofcompute.cli.kinds import kind_in
    from proofcompute.limits import MAX_RECEIPT

    with about(model_id=request.model_id, request_digest=request.digest):
        data = _received(path, MAX_RECEIPT, "receipt")
        found = kind_in(data)
        if found not in (None, "receipt"):
            raise VerificationError(1, f"{path} is of kind {found}; if you mixed up files, give the receipt")
    return data


def _received(path: Path, limit: int, what: str) -> bytes:
    from proofcompute.encoding.files import read_limited

    try:
        return read_limited(path, limit, what)
    except LimitError as e:
        raise VerificationError(1, str(e)) from e


def rejection(error: VerificationError) -> dict[str, object]:
    """What a program wants to know of a rejection; the error holds nothing that is secret."""
    named = {
        "node": error.node,
        "model_id": error.model_id,
        "request_digest": error.request_digest,
        "receipt_digest": error.receipt_digest,
    }
    return {
        "verified": False,
        "step": error.step,
        "error": str(error),
        "cell": None if error.cell is None else list(error.cell),
        "operation": error.operation,
        "attributable": error.attributable,
        **{name: None if data is None else data.hex() for name, data in named.items()},
    }


def size(nbytes: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "bytes" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"
