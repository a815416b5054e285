"""Read expressions of PromQL, as far as a fleet's alerts and dashboard use the language.

It refuses what Prometheus' own linter would: unknown functions, a rate of an instant, ranges where there
should be none, unbalanced brackets. Beyond that it knows which series there are: a name or a label that no
service exports is an error, and so is grouping by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"(?:[^\"\\]|\\.)*\")|(?P<duration>\d+[smhdw])|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z_:][\w:]*)|(?P<mark>=~|!~|!=|==|>=|<=|[-+*/%^><=(){}\[\],]))"
)
_RANGES = {"rate", "increase", "irate", "delta", "changes", "resets", "max_over_time", "min_over_time"}
_GROUPS = {"sum", "min", "max", "avg", "count"}
_BINARY = {"+", "-", "*", "/", "%", "^", ">", "<", ">=", "<=", "==", "!=", "and", "or", "unless"}


class PromqlError(ValueError):
    """An expression that is none, or that names what is not there."""


class Value(NamedTuple):
    """What an expression gives."""

    kind: str
    """``scalar``, ``instant`` or ``range``."""
    labels: frozenset[str]


def labels_of(text: str, series: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The labels of the result of an expression over these series, by name."""
    reader = _Reader(text, series)
    found = reader.binary()
    if reader.at < len(reader.tokens):
        raise PromqlError(f"{text}: goes on with {reader.tokens[reader.at]}")
    if found.kind == "range":
        raise PromqlError(f"{text}: gives a range")
    return found.labels


class _Reader:
    def __init__(self, text: str, series: Mapping[str, frozenset[str]]) -> None:
        self.text, self.series, self.at = text, series, 0
        self.tokens: list[tuple[str, str]] = []
        end = 0
        while text[end:].strip():
            found = _TOKEN.match(text, end)
            if found is None or found.lastgroup is None:
                raise PromqlError(f"{text}: cannot read {text[end:]!r}")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            end = found.end()

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self, wanted: str = "", kind: str = "") -> str:
        if self.at >= len(self.tokens):
            raise PromqlError(f"{self.text}: ends where {wanted or kind} should be")
        found_kind, found = self.tokens[self.at]
        if (wanted and found != wanted) or (kind and found_kind != kind):
            raise PromqlError(f"{self.text}: {found} where {wanted or kind} should be")
        self.at += 1
        return found

    def binary(self) -> Value:
        left = self.primary()
        while self.peek() in _BINARY:
            operator = self.take()
            right = self.primary()
            if "range" in (left.kind, right.kind):
                raise PromqlError(f"{self.text}: {operator} of a range")
            instants = [v.labels for v in (left, right) if v.kind == "instant"]
            if operator == "or":
                labels = instants[0] & instants[1]
            elif operator in ("and", "unless") or len(instants) < 2:
                labels = instants[0] if instants else frozenset()
            elif instants[0] != instants[1]:
                raise PromqlError(f"{self.text}: {operator} of other labels never matches")
            else:
                labels = instants[0]
            left = Value("instant" if instants else "scalar", labels)
        return left

    def primary(self) -> Value:
        if self.peek() == "(":
            self.take("(")
            found = self.binary()
            self.take(")")
            return found
        kind, _ = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        if kind == "number":
            self.take()
            return Value("scalar", frozenset())
        name = self.take(kind="word")
        if name in _GROUPS:
            return self.grouped()
        if self.peek() == "(":
            return self.call(name)
        return self.selector(name)

    def grouped(self) -> Value:
        by = self.by()
        self.take("(")
        found = self.binary()
        self.take(")")
        by = self.by() if by is None else by
        if found.kind != "instant":
            raise PromqlError(f"{self.text}: groups what is no vector")
        if by is not None and not by <= found.labels:
            raise PromqlError(f"{self.text}: groups by {sorted(by - found.labels)}, which is not there")
        return Value("instant", by or frozenset())

    def by(self) -> frozenset[str] | None:
        if self.peek() != "by":
            return None
        self.take("by")
        self.take("(")
        names = [self.take(kind="word")]
        while self.peek() == ",":
            self.take(",")
            names.append(self.take(kind="word"))
        self.take(")")
        return frozenset(names)

    def call(self, name: str) -> Value:
        self.take("(")
        arguments = [self.binary()]
        while self.peek() == ",":
            self.take(",")
            arguments.append(self.binary())
        self.take(")")
        kinds = [a.kind for a in arguments]
        if name in _RANGES and kinds == ["range"]:
            return Value("instant", arguments[0].labels)
        if name == "vector" and kinds == ["scalar"]:
            return Value("instant", frozenset())
        if name == "histogram_quantile" and kinds == ["scalar", "instant"] and "le" in arguments[1].labels:
            return Value("instant", arguments[1].labels - {"le"})
        raise PromqlError(f"{self.text}: {name} of {kinds}")

    def selector(self, name: str) -> Value:
        if name not in self.series:
            raise PromqlError(f"{self.text}: no service exports {name}")
        labels = self.series[name]
        if self.peek() == "{":
            self.take("{")
            while self.peek() != "}":
                label = self.take(kind="word")
                if label not in labels:
                    raise PromqlError(f"{self.text}: {name} has no label {label}")
                if self.take(kind="mark") not in ("=", "!=", "=~", "!~"):
                    raise PromqlError(f"{self.text}: {label} is compared otherwise")
                self.take(kind="string")
                if self.peek() == ",":
                    self.take(",")
            self.take("}")
        if self.peek() == "[":
            self.take("[")
            self.take(kind="duration")
            self.take("]")
            return Value("range", labels)
        return Value("instant", labels)
