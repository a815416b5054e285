"""Define what the record of an audit says: one entry for each thing that happened, in its order.

Entries are JSON objects. A canary has a number. It is *asked*, then come its *answers*, one for each choice.
An answer may be *challenged*, and gets a *verdict*. The canary as a whole has one too if an answer is missing
or the response contradicts itself.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from proofcompute.errors import FormatError
from proofcompute.openai.proof import NonceBy

__all__ = [
    "FAILED",
    "STATES",
    "Answer",
    "Asked",
    "Begun",
    "Challenged",
    "Entry",
    "Published",
    "State",
    "Verdict",
    "entry_of",
    "fields_of",
]

State = Literal["contradicted", "silent", "refused", "unopened", "unanswered", "receipted", "verified"]
STATES: Final[tuple[State, ...]] = get_args(State)
"""What a canary can come to, the worst first.

============ ===========================================================================================
contradicted something that the node sent is false
silent       no valid opening came by the deadline of the node's terms
refused      the node says that it does not open
unopened     nothing came, but the node was not late by its terms: the auditor gave up before, or came later
             than the node promises to answer
unanswered   no answer came, for a reason that proves nothing
receipted    the receipt was checked, and no cell
verified     the cells that were asked for, or the whole answer, were checked and hold
============ ===========================================================================================
"""
Chance = float
"""A probability, 0 to 1."""
FAILED: Final[frozenset[State]] = frozenset(("contradicted", "silent", "refused"))
"""What counts against the node."""


@dataclass(frozen=True)
class Begun:
    """The first entry: what is audited."""

    url: str
    model_id: str
    version: int = 1


@dataclass(frozen=True)
class Asked:
    """A canary, written before it is sent."""

    id: int
    name: str
    """SHA-256 digest of the body."""
    nonce_by: NonceBy
    when: float
    """Seconds since 1970."""
    prompt: int
    """Tokens of the prompt."""
    most: int
    """Most tokens of all choices together."""
    choices: int


@dataclass(frozen=True)
class Answer:
    """An answer whose receipt was checked, written before anything else is done with it."""

    id: int
    choice: int
    when: float
    request: bytes
    receipt: bytes
    terms: bytes | None
    tokens: int
    """Tokens of the answer."""
    lost: int
    """Attempts before, which gave no answer."""


@dataclass(frozen=True)
class Challenged:
    """A challenge, written before it is sent: the node knows its auditor from then on.

    A node opens few different challenges of one answer. So whoever continues after an interruption sends this
    one again, and draws no other.
    """

    id: int
    choice: int
    when: float
    challenge: bytes


@dataclass(frozen=True)
class Verdict:
    """What an answer came to, or a canary as a whole."""

    id: int
    choice: int | None
    state: State
    when: float
    error: str = ""
    cells: int = 0
    detects_one: Chance = 0.0
    """Probability that one altered cell would have been found."""
    detects_shares: Mapping[str, Chance] = field(default_factory=dict)
    """The same for shares of altered cells."""
    lost: int = 0
    """Attempts that gave no answer, for a canary without answers."""
    unpublished: bool = False
    """Whether the receipt names terms that the node does not publish, so that no deadline binds it."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else is known: digests, step, cell, bytes, the question and the response if they disagree."""


@dataclass(frozen=True)
class Published:
    """Terms that the node published, which later answers may name too."""

    when: float
    terms: bytes


Entry = Begun | Asked | Answer | Challenged | Verdict | Published
_KINDS: Final = {
    "audit": Begun,
    "asked": Asked,
    "answer": Answer,
    "challenge": Challenged,
    "verdict": Verdict,
    "terms": Published,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def fields_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as a JSON object; bytes are in base64."""
    made: dict[str, Any] = {"event": _NAMES[type(entry)]}
    for name, value in asdict(entry).items():
        made[name] = base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
    return made


def entry_of(value: object) -> Entry:
    """Read a JSON object. Raises FormatError if it is no entry."""
    if not isinstance(value, dict) or not isinstance(value.get("event"), str) or value["event"] not in _KINDS:
        raise FormatError("it is no entry of a record")
    kind = _KINDS[value["event"]]
    types = kind.__annotations__
    if value.keys() - {"event"} != types.keys():
        raise FormatError(f"the fields of {value['event']!r} are {', '.join(types)}")
    made: Entry = kind(**{name: _READ[wanted](name, value[name]) for name, wanted in types.items()})
    return made


def _whole(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise FormatError(f"{name} is a number of 0 or more")
    return value


def _real(name: str, value: object) -> float:
    if type(value) not in (int, float) or not 0 <= float(value) < math.inf:  # type: ignore[arg-type]
        raise FormatError(f"{name} is a finite number of 0 or more")
    return float(value)  # type: ignore[arg-type]


def _text(name: str, value: object) -> str:
    if type(value) is not str:
        raise FormatError(f"{name} is a text")
    return value


def _data(name: str, value: object) -> bytes:
    try:
        return base64.b64decode(_text(name, value), validate=True)
    except (binascii.Error, ValueError) as e:
        raise FormatError(f"{name} is not base64") from e


def _state(name: str, value: object) -> str:
    if type(value) is not str or value not in STATES:
        raise FormatError(f"{name} is one of {', '.join(STATES)}")
    return _text(name, value)


def _flag(name: str, value: object) -> bool:
    if type(value) is not bool:
        raise FormatError(f"{name} is true or false")
    return value


def _object(name: str, value: object) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise FormatError(f"{name} is an object")
    return value


def _chances(name: str, value: object) -> Mapping[str, float]:
    return {key: _chance(name, chance) for key, chance in _object(name, value).items()}


def _chance(name: str, value: object) -> float:
    found = _real(name, value)
    if found > 1:
        raise FormatError(f"{name} is a probability")
    return found


def _side(name: str, value: object) -> str:
    if type(value) is not str or value not in ("client", "node"):
        raise FormatError(f"{name} is client or node")
    return _text(name, value)


_READ: Final[Mapping[str, Any]] = {
    "int": _whole,
    "int | None": lambda name, value: None if value is None else _whole(name, value),
    "float": _real,
    "str": _text,
    "bytes": _data,
    "bytes | None": lambda name, value: None if value is None else _data(name, value),
    "State": _state,
    "NonceBy": _side,
    "bool": _flag,
    "Chance": _chance,
    "Mapping[str, Chance]": _chances,
    "Mapping[str, Any]": _object,
}
"""What reads a field, by its annotation."""
