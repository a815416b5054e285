"""Keep a record of an audit in a file to which lines are only added, so that an interruption loses nothing.

Each line is one JSON object: an answer that was checked, or a verdict about one. The file holds the
questions, so only its owner may read it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from proofcompute.client.exchange import Checked
from proofcompute.errors import FormatError, InputError, StorageError, VerificationError
from proofcompute.models.card import ModelCard
from proofcompute.protocol.messages import Request
from proofcompute.verifier import check_receipt

__all__ = ["Record"]

_MOST_LINE: Final = 1 << 28
"""The most bytes of one line."""


class Record:
    """A record file. Use it in a ``with`` statement.

    What an earlier run wrote is read first; a last line that it did not finish is taken as not written.
    Raises InputError if the file is no record, and StorageError if the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.verdicts: list[dict[str, Any]] = []
        """The verdicts so far, in their order."""
        self._answers: dict[int, dict[str, Any]] = {}
        self._next = 0
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as e:
            raise StorageError(f"cannot open the record {path}: {e.strerror or e}") from e
        try:
            self._load()
        except BaseException:
            os.close(self._fd)
            raise

    def _load(self) -> None:
        whole = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(_MOST_LINE), b""), 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError) as e:
                    raise InputError(f"{self.path}: line {number} is no line of a record") from e
                whole += len(line)
        os.truncate(self._fd, whole)

    def _take(self, entry: dict[str, Any]) -> None:
        number = int(entry["id"])
        if entry["event"] == "answer":
            self._answers[number] = entry
        elif entry["event"] == "verdict":
            self.verdicts.append(entry)
            self._answers.pop(number, None)
        else:
            raise ValueError(entry["event"])
        self._next = max(self._next, number + 1)

    def answer(self, checked: Checked) -> int:
        """Write an answer that is going to be audited, and return its number."""
        number = self._next
        self._write(
            {
                "event": "answer",
                "id": number,
                "when": checked.when,
                "nonce_by": checked.nonce_by,
                "request": _base64(checked.request.encode()),
                "receipt": _base64(checked.receipt),
                "terms": None if checked.terms is None else _base64(checked.terms),
            }
        )
        return number

    def verdict(self, fields: Mapping[str, object], number: int | None = None) -> None:
        """Write a verdict about answer ``number``, or about a question that got no answer."""
        self._write({"event": "verdict", "id": self._next if number is None else number, **fields})

    def pending(self, card: ModelCard) -> dict[int, Checked]:
        """Return the answers by number that have no verdict yet, because an earlier run was interrupted.

        Raises InputError if they are not answers of the card's model.
        """
        found = {}
        for number, entry in self._answers.items():
            try:
                request = Request.decode(_bytes(entry["request"]))
                receipt = _bytes(entry["receipt"])
                claim = check_receipt(card, request, receipt)
            except (FormatError, VerificationError, KeyError) as e:
                raise InputError(f"{self.path}: answer {number} cannot be audited: {e}") from e
            terms = None if entry["terms"] is None else _bytes(entry["terms"])
            found[number] = Checked(request, receipt, claim, entry["nonce_by"], terms, float(entry["when"]))
        return found

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                raise StorageError(f"the record {self.path} could not be written whole")
            os.fsync(self._fd)
        except OSError as e:
            raise StorageError(f"cannot write the record {self.path}: {e.strerror or e}") from e
        self._take(entry)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
