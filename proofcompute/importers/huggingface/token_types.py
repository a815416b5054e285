"""Settles the types of the tokens of a tokenizer.json, and what they print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers.huggingface.nodes import Node, require_text
from proofcompute.importers.huggingface.token_models import BYTE_NAME, AddedToken, TokenModel, finding_of
from proofcompute.importers.marks import correct_marks, few
from proofcompute.limits import MAX_VOCABULARY
from proofcompute.models.vocabulary import BYTE, CONTROL, FOUND, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from proofcompute.models.writing import SPACES, printed

__all__ = ["CONFIG", "FILE", "Tokens"]

FILE: Final = "tokenizer.json"
CONFIG: Final = "tokenizer_config.json"


class Tokens:
    """The tokens of a file while their types are settled. Raises LimitError if they are too many."""

    def __init__(
        self, model: TokenModel, added: Sequence[AddedToken], writing: str, notes: list[str]
    ) -> None:
        self._model, self._writing, self._notes = model, writing, notes
        self._added = {token.token: token for token in added}
        n = 1 + max([-1, *model.ids.values(), *self._added])
        if n > MAX_VOCABULARY:
            raise LimitError(f"{FILE}: {n} tokens, the limit is {MAX_VOCABULARY}")
        require_text("".join(model.ids), f"{FILE}.model.vocab")
        self.names = [""] * n
        """Each token as the file writes it; empty for an id that no token has."""
        self.kinds = [UNUSED] * n
        """The type of each token."""
        self.finding = bytearray(n)
        """How each token is found."""
        odd = []
        for name, i in model.ids.items():
            self.names[i], self.kinds[i] = name, NORMAL
            if model.byte_fallback and writing == SPACES and BYTE_NAME.fullmatch(name):
                self.kinds[i] = BYTE
            elif i not in self._added and i != model.unknown and not self._prints(name):
                self.kinds[i] = UNUSED
                odd.append(name)
        for token in added:
            i = token.token
            self.names[i], self.finding[i] = token.name, token.finding
            if token.special:
                self.kinds[i] = CONTROL
            elif self.kinds[i] != NORMAL or not self._prints(token.name):
                self.kinds[i] = USER_DEFINED
        if model.unknown is not None and self.kinds[model.unknown] != CONTROL:
            self.kinds[model.unknown] = UNKNOWN
        if odd:
            notes.append("tokens that no text can become, and that print nothing: " + few(odd))
        self._ids = {name: i for i, name in enumerate(self.names) if name}

    def _prints(self, name: str) -> bool:
        try:
            return bool(printed(self._writing, name))
        except FormatError:
            return False

    def compare(self, config: Mapping[str, Any]) -> None:
        """Compare the added tokens that the configuration lists; those special there are control tokens.

        Raises FormatError or UnsupportedError for a token that is not so in the file.
        """
        listed = config.get("added_tokens_decoder") or {}
        if not isinstance(listed, dict):
            raise FormatError(f"{CONFIG}: added_tokens_decoder is not an object")
        other = []
        for key, value in listed.items():
            node = Node(value, f"{CONFIG}.added_tokens_decoder.{key[:20]}")
            name, i = node.text("content"), int(key) if key.isdecimal() and len(key) < 8 else -1
            if i not in self._added:
                raise UnsupportedError(f"{node.path}: {name[:80]!r} is no added token of {FILE}")
            if self.names[i] != name:
                raise FormatError(f"{node.path}: {name[:80]!r} has another name in {FILE}")
            if node.flag("special", default=False):
                self.kinds[i] = CONTROL
            if finding_of(node) != self.finding[i]:
                other.append(name)
        if other:
            self._notes.append(f"{CONFIG} finds tokens otherwise than {FILE}, which counts: " + few(other))

    def named(self, config: Mapping[str, Any], special: Mapping[str, Any], key: str) -> int | None:
        """Return the token that the configuration names, a control token then; None if it names none."""
        for file, found in ((CONFIG, config.get(key)), ("special_tokens_map.json", special.get(key))):
            name = found.get("content") if isinstance(found, dict) else found
            if name is None:
                continue
            if type(name) is not str or name not in self._ids:
                raise FormatError(f"{file}: {key} is {str(name)[:80]!r}, which is no token")
            return self._special(name)
        return None

    def more(self, config: Mapping[str, Any], special: Mapping[str, Any]) -> None:
        """Make control tokens of the further special tokens that the configuration lists.

        Raises FormatError if one is no token.
        """
        for file, found in ((CONFIG, config), ("special_tokens_map.json", special)):
            for key in ("additional_special_tokens", "extra_special_tokens"):
                listed = found.get(key)
                names = list(listed.values()) if isinstance(listed, dict) else listed
                for entry in names if isinstance(names, list) else ():
                    name = entry.get("content") if isinstance(entry, dict) else entry
                    if type(name) is not str or name not in self._ids:
                        raise FormatError(f"{file}: {key} has {str(name)[:80]!r}, which is no token")
                    self._special(name)

    def _special(self, name: str) -> int:
        """Make a control token of one, which is found in texts as transformers finds it."""
        i = self._ids[name]
        if self.kinds[i] in (NORMAL, USER_DEFINED):
            self.kinds[i] = CONTROL
            if i not in self._added:
                self.finding[i] = FOUND
        return i

    def correct(self, bos: int | None) -> None:
        """Make control tokens of added tokens that are chat markers."""
        kinds = [kind if i in self._added else UNUSED for i, kind in enumerate(self.kinds)]
        before = list(kinds)
        correct_marks(
            self.names,
            kinds,
            lambda: {left + right for left, right in self._model.merges},
            bos,
            self._notes,
        )
        for i, kind in enumerate(kinds):
            if kind != before[i]:
                self.kinds[i] = kind

    def around(self, pairs: Sequence[tuple[str, int]]) -> list[int]:
        """Return ids of tokens around a text. Raises FormatError if one has another name."""
        for name, i in pairs:
            if not 0 <= i < len(self.names) or self.names[i] != name:
                raise FormatError(f"{FILE}.post_processor: token {i} is not {name[:80]!r}")
        return [i for _, i in pairs]

    def printed(self) -> tuple[bytes, ...]:
        """Return the bytes of all tokens."""
        found = []
        for name, kind in zip(self.names, self.kinds, strict=True):
            if kind == BYTE:
                found.append(bytes.fromhex(name[3:5]))
            else:
                found.append(printed(self._writing, name) if kind == NORMAL else name.encode())
        return tuple(found)

    def merges(self) -> tuple[tuple[int, int], ...]:
        """Return the merges of normal tokens; those of control tokens are left out, with a note."""
        ids, kinds = self._model.ids, self.kinds
        pairs, left_out = [], []
        for rank, (left, right) in enumerate(self._model.merges):
            a, b, both = (ids.get(name) for name in (left, right, left + right))
            if a is None or b is None or both is None:
                raise FormatError(f"{FILE}.model.merges[{rank}] names a token that does not exist")
            if all(kinds[i] == NORMAL for i in (a, b, both)):
                pairs.append((a, b))
            else:
                left_out.append(left + right)
        if left_out:
            self._notes.append(
                "merges that make special tokens out of letters are left out: " + few(left_out)
            )
        return tuple(pairs)

    def scores(self) -> tuple[int, ...]:
        """Return the scores, the smallest for tokens that are not the model's."""
        scores = self._model.scores
        if self._model.kind != "unigram":
            return ()
        least = min(scores.values(), default=0.0)
        every = [scores.get(i, least) for i in range(len(self.names))]
        bits: list[int] = np.array(every, np.float64).view(np.uint64).tolist()
        return tuple(bits)
