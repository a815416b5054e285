"""Hold what a client trusts: the model ids that it pinned, and the cards that hash to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from proofcompute.encoding.files import read_limited, write_atomic
from proofcompute.errors import InputError, VerificationError
from proofcompute.errors.arguments import StrPath, given, path_of
from proofcompute.limits import MAX_CARD
from proofcompute.models.card import ModelCard

if TYPE_CHECKING:
    from proofcompute.tokens import Prompter
    from proofcompute.tokens.embedding import Embedder

__all__ = ["Models", "Pins", "Served"]

Models = ModelCard | bytes | Mapping[str, ModelCard | bytes]
"""One model for every name that a body can ask for, or the model of each name; by card or by model id."""


class Served:
    """A card, and what derives requests from bodies for its model: a prompter or an embedder."""

    def __init__(self, card: ModelCard) -> None:
        from proofcompute.tokens.embedding import embeds

        if not (embeds(card) or (card.vocabulary is not None and card.program.feedback)):
            raise InputError("the pinned model is neither a language model nor gives embeddings of texts")
        self.card = card

    @cached_property
    def longest(self) -> int:
        """The most bytes that one token prints."""
        vocabulary = self.card.vocabulary
        return max(map(len, vocabulary.tokens)) if vocabulary is not None else 0

    @cached_property
    def prompter(self) -> Prompter:
        """The prompter, with its tokenizer and rendering process. Raises InputError if there is none."""
        from proofcompute.tokens import Prompter

        return Prompter(self.card)

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder, with its tokenizer. Raises InputError if the model gives no embeddings of texts."""
        from proofcompute.tokens.embedding import Embedder

        return Embedder(self.card)

    def ready(self) -> None:
        """Make what derives requests, so that no question waits for it."""
        from proofcompute.tokens.embedding import embeds

        if not embeds(self.card):
            self.prompter.ready()
        else:
            self.embedder.ready()

    def close(self) -> None:
        """End the rendering process, if one was started."""
        if "prompter" in self.__dict__:
            self.prompter.close()


class Pins:
    """The pinned models of one node, and their cards as they become known. Threads may share it.

    Args:
        models: what the caller pinned.
        directory: a directory in which fetched cards are kept between processes, or None.

    Raises InputError if a pinned value is neither a card nor a model id.
    """

    def __init__(self, models: Models, directory: StrPath | None = None) -> None:
        self._directory = None if directory is None else path_of(directory, "directory of cards")
        self._served: dict[bytes, Served] = {}
        self._lock, self._eager = Lock(), False
        if isinstance(models, Mapping):
            self._every = None
            self._names = {given(name, str, "a model's name"): self._pin(m) for name, m in models.items()}
        else:
            self._every, self._names = self._pin(models), {}

    def _pin(self, pinned: object) -> bytes:
        if isinstance(pinned, ModelCard):
            self._served[pinned.model_id] = Served(pinned)
            return pinned.model_id
        if isinstance(pinned, bytes) and len(pinned) == 32:
            return pinned
        raise InputError("a model is pinned by its card or by its model id of 32 bytes")

    def model_id(self, name: str) -> bytes:
        """Return the model id that is pinned for a model's name. Raises InputError if there is none."""
        found = self._every if self._every is not None else self._names.get(name)
        if found is None:
            raise InputError(f"no model id is pinned for the model {name[:80]!r}")
        return found

    @property
    def model_ids(self) -> set[bytes]:
        """The model ids of all pinned models."""
        return {*self._names.values(), *(() if self._every is None else (self._every,))}

    def served(self, model_id: bytes) -> Served | None:
        """Return what is known of a pinned model; None if its card must be fetched."""
        with self._lock:
            found = self._served.get(model_id)
            if found is None and (path := self._path(model_id)) is not None and path.is_file():
                try:
                    found = self._learn(model_id, read_limited(path, MAX_CARD, "model card"))
                except (VerificationError, InputError):  # a damaged file is fetched again
                    return None
            return found

    def known(self, model_id: bytes) -> Served | None:
        """Return what is in memory of a pinned model, at once; None: see :meth:`served`."""
        return self._served.get(model_id)

    def ready(self) -> None:
        """Make what derives requests for the models whose cards are known, and for the others when they are.

        A gateway calls this, so that none of its clients waits for it.
        """
        with self._lock:
            self._eager, found = True, list(self._served.values())
        for served in found:
            served.ready()

    def learn(self, model_id: bytes, data: bytes) -> Served:
        """Take a card that the node sent, and keep it.

        Raises VerificationError if it is not the card of the pinned model id (steps 1 and 3), and InputError
        if the pinned model takes no text.
        """
        with self._lock:
            found = self._learn(model_id, data)
            if (path := self._path(model_id)) is not None:  # a damaged file is replaced
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, data)
        if self._eager:
            found.ready()
        return found

    def _learn(self, model_id: bytes, data: bytes) -> Served:
        from proofcompute.verifier import check_card

        known = self._served.get(model_id)
        if known is None:
            known = self._served[model_id] = Served(check_card(data, model_id))
        return known

    def _path(self, model_id: bytes) -> Path | None:
        return None if self._directory is None else self._directory / f"{model_id.hex()}.card"

    def close(self) -> None:
        """End the rendering processes."""
        with self._lock:
            for served in self._served.values():
                served.close()
