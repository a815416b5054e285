"""Files that commands read and write."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from proofcompute.errors import InputError, LimitError, VerificationError, about

if TYPE_CHECKING:
    from proofcompute.models.card import ModelCard
    from proofcompute.models.model import Model
    from proofcompute.protocol.messages import Challenge, Request

__all__ = [
    "check_output",
    "load_card",
    "load_model",
    "read_card",
    "read_challenge",
    "read_prompt",
    "read_receipt",
    "read_received",
    "read_request",
    "read_terms",
]


def check_output(path: Path, *, force: bool, plain: bool = False) -> None:
    """Check, before any long work, that a file may be written at ``path``; InputError if not.

    Without ``force`` a file that exists is not replaced: it may be one that cannot be made again, such as an
    identity. With ``plain``, pipes and devices are refused. Standard output is always refused, because
    messages go there.
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
    if not force and not into and place.exists():
        raise InputError(f"{path} exists; choose another name, or pass --force to replace it")


def _is_standard_output(path: Path) -> bool:
    try:
        found, there = os.fstat(1), path.stat()
    except OSError:
        return False
    # /dev/null is allowed, whether or not standard output goes there too
    return os.path.samestat(found, there) and not (stat.S_ISCHR(found.st_mode) and not os.isatty(1))


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """Return the prompt that was typed, or that in a file, without the newline at its end.

    The file ``-`` is standard input. Returns None if neither is given. Raises InputError if both are given,
    or if the file cannot be read or is not UTF-8; LimitError if it is longer than MAX_TEXT bytes.
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


def load_model(path: Path) -> Model:
    """Load a model file; InputError if it is a file of another kind."""
    from proofcompute.cli.kinds import expect
    from proofcompute.models.model import Model

    expect(path, "model")
    return Model.load(path)


def load_card(path: Path) -> ModelCard:
    """Load the card from a model file (without its weights), a key or a card file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.encoding.kinds import kind_of
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
    """Read the bytes of a card that somebody sent; too many of them are the sender's fault (step 1)."""
    from proofcompute.limits import MAX_CARD

    return read_received(path, MAX_CARD, "model card")


def read_terms(path: Path) -> bytes:
    """Read the bytes of a node's terms; too many of them are the node's fault (step 1)."""
    from proofcompute.limits import MAX_TERMS

    return read_received(path, MAX_TERMS, "terms")


def read_request(path: Path) -> Request:
    """Read a request file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_REQUEST
    from proofcompute.protocol.messages import Request

    expect(path, "request")
    return Request.decode(read_limited(path, MAX_REQUEST, "request"))


def read_challenge(path: Path) -> Challenge:
    """Read a challenge file."""
    from proofcompute.cli.kinds import expect
    from proofcompute.encoding.files import read_limited
    from proofcompute.limits import MAX_CHALLENGE
    from proofcompute.protocol.messages import Challenge

    expect(path, "challenge")
    return Challenge.decode(read_limited(path, MAX_CHALLENGE, "challenge"))


def read_receipt(path: Path, request: Request) -> bytes:
    """Read the bytes of a node's receipt for a request; they are not decoded.

    Raises VerificationError (step 1) if they are too many, or are plainly a file of another kind: they come
    from the node, unless the user mixed up files, which the message mentions.
    """
    from proofcompute.encoding.kinds import kind_in
    from proofcompute.limits import MAX_RECEIPT

    with about(model_id=request.model_id, request_digest=request.digest):
        data = read_received(path, MAX_RECEIPT, "receipt")
        found = kind_in(data)
        if found not in (None, "receipt"):
            raise VerificationError(1, f"{path} is of kind {found}; if you mixed up files, give the receipt")
    return data


def read_received(path: Path, limit: int, what: str) -> bytes:
    """Read what somebody sent; more than ``limit`` bytes are the sender's fault (step 1)."""
    from proofcompute.encoding.files import read_limited

    try:
        return read_limited(path, limit, what)
    except LimitError as e:
        raise VerificationError(1, str(e)) from e
