"""What the commands share that ask a node: its address, credentials, model and pinned card."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from proofcompute.cli.files import load_card
from proofcompute.cli.kinds import expect
from proofcompute.cli.options import hex_bytes
from proofcompute.errors import InputError, ServiceError

if TYPE_CHECKING:
    from proofcompute.models.card import ModelCard
    from proofcompute.models.model import Model
    from proofcompute.public.openings import ByPublicProof
    from proofcompute.verifier import Key

__all__ = [
    "KEY_VARIABLE",
    "ApiKeyFile",
    "Name",
    "NodeKey",
    "Pin",
    "Service",
    "Url",
    "pinned_model",
    "service",
]

KEY_VARIABLE = "PROOFCOMPUTE_API_KEY"
"""The environment variable that may hold the API key, which no command line shows."""
_MOST_KEY = 4096
_MOST_LIST = 1 << 20
_SECONDS = 30.0

Url = Annotated[
    str,
    typer.Argument(metavar="URL", help="Address of the node, such as http://host:8000.", show_default=False),
]
Name = Annotated[
    str | None, typer.Option("--name", help="The model's name at the node, if it serves several.")
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=f"File with the API key; otherwise {KEY_VARIABLE} may hold it."),
]
NodeKey = Annotated[
    str | None, typer.Option("--node", metavar="HEX", help="Public key of the node that must sign.")
]


@dataclass(frozen=True)
class Service:
    """A node's interface, as a command reaches it."""

    url: str
    """Base URL of OpenAI's interface."""
    name: str
    """The model's name there."""
    key: str | None
    """The API key, if one was given."""
    library: ModuleType
    """httpx2 or httpx."""
    wire: Any
    """A transport of the library, made once: it reads the certificates that this machine trusts."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key}"}

    def published_card(self) -> ModelCard:
        """Return the card that the node itself publishes under the model's name: nobody vouches for it.

        Raises VerificationError (step 1) if it is no card.
        """
        from proofcompute.limits import MAX_CARD
        from proofcompute.models.card import ModelCard
        from proofcompute.protocol.receipts import decoded

        data = _got(self, f"/proofs/card/{self.name}", MAX_CARD)
        return decoded(ModelCard.decode, data, "model card")


def service(url: str, name: str | None, key_file: Path | None) -> Service:
    """Return the interface at an address; the node is asked for its models if none is named.

    Raises InputError for an address or a key that cannot be used, or if the node serves several models, and
    ServiceError if it does not answer.
    """
    from proofcompute.client import libraries

    library, base = libraries.load(), _base(url)
    key = _key(key_file)
    made = Service(base, name or "", key, library, library.HTTPTransport())
    return replace(made, name=_only_model(made)) if name is None else made


@dataclass(frozen=True)
class Pin:
    """What a person holds of the model that must answer."""

    models: ModelCard | bytes | None
    """Its card or its id; None if nothing is pinned."""
    holds: Key | Model | ByPublicProof | None
    """What cells are checked with, if anything."""


def pinned_model(
    card: Path | None,
    key: Path | None,
    model: Path | None,
    model_id: str | None,
    public: Path | None = None,
) -> Pin:
    """Return what is pinned. Raises InputError unless at most one of the arguments is given."""
    if sum(given is not None for given in (card, key, model, model_id, public)) > 1:
        raise InputError("give one file or id that pins the model: each of these options pins it")
    if public is not None:
        from proofcompute.cli.verifying import held_public

        proved = held_public(public)
        return Pin(_of_language(proved.card, public), proved)
    if model_id is not None:
        return Pin(hex_bytes(model_id, "the model id"), None)
    if card is not None:
        return Pin(_of_language(load_card(card), card), None)
    path = key if key is not None else model
    if path is None:
        return Pin(None, None)
    from proofcompute.cli.verifying import held

    expect(path, "key" if key is not None else "model")
    holds = held(path)
    return Pin(_of_language(holds.card, path), holds)


def _of_language(card: ModelCard, path: Path) -> ModelCard:
    """Return the card. Raises InputError unless it is that of a language model, which text is sent to."""
    if card.vocabulary is not None and card.program.feedback:
        return card
    takes = "arrays" if card.vocabulary is None else "texts and answers no question"
    raise InputError(
        f"{path} is of a model that takes {takes}: this command is for language models; use files (request, "
        "run, challenge, open, verify)"
    )


def _base(url: str) -> str:
    try:
        found = urlsplit(url)
    except ValueError as e:
        raise InputError(f"the node's address cannot be read: {e}") from None
    if found.scheme not in ("http", "https") or not found.hostname:
        raise InputError(f"{url!r} is no address of a node; one is like http://host:8000")
    return url.rstrip("/") if found.path.rstrip("/") else url.rstrip("/") + "/v1"


def _key(file: Path | None) -> str | None:
    if file is None:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    else:
        from proofcompute.encoding.files import read_limited

        key = read_limited(file, _MOST_KEY, "API key").decode("ascii", "replace").strip()
    if not key:
        return None
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError("an API key is one word of ASCII letters, digits and signs")
    return key


def _only_model(at: Service) -> str:
    from proofcompute.errors import FormatError, LimitError
    from proofcompute.openai import read_json

    try:
        listed: Any = read_json(_got(at, "/models", _MOST_LIST), _MOST_LIST)
        names = [entry["id"] for entry in listed["data"]]
    except (FormatError, LimitError, KeyError, TypeError) as e:
        raise ServiceError(f"{at.url}/models is no list of models: {type(e).__name__}") from e
    if len(names) != 1 or type(names[0]) is not str or not names[0]:
        shown = ", ".join(str(n)[:60] for n in names[:10])
        raise InputError(f"the node serves {len(names)} models ({shown}): choose one with --name")
    return names[0]


def _got(at: Service, path: str, limit: int) -> bytes:
    """Return what a node answers to GET. Raises ServiceError if it does not answer, or with too much."""
    url, library = at.url + path, at.library
    try:
        request = library.Request(
            "GET",
            url,
            headers={"accept-encoding": "identity", "connection": "close", **at.headers},
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), _SECONDS)},
        )
        response = at.wire.handle_request(request)
        try:
            data = b""
            for piece in response.stream:
                data += piece
                if len(data) > limit:
                    raise ServiceError(f"{url} answers with more than {limit} bytes")
        finally:
            response.close()
    except (library.TransportError, library.InvalidURL) as e:
        raise ServiceError(f"{url} does not answer: {type(e).__name__}: {e}") from e
    if response.status_code != 200:
        raise ServiceError(f"{url} answers with status {response.status_code}: {_said(data)}")
    return data


def _said(data: bytes) -> str:
    return data[:300].decode("utf-8", "replace")
