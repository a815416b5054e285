"""Reads what prepares texts in a tokenizer.json: the fields ``normalizer`` and ``pre_tokenizer``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final

from proofcompute.errors import FormatError
from proofcompute.importers.huggingface.nodes import Node
from proofcompute.models.part_codec import MAX_CHARSMAP
from proofcompute.models.text_parts import SPACE, Part
from proofcompute.models.word_rules import rule_of

__all__ = ["MAX_PARTS", "read_normalisers", "read_pattern", "read_scheme", "read_splitters"]

_BEHAVIOURS: Final = {
    "Removed": "removed",
    "Isolated": "isolated",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
MAX_PARTS: Final = 64
"""The most parts of a sequence that are read, nested ones included."""


def read_normalisers(node: Node | None) -> tuple[Part, ...]:
    """Return the normalisers. Raises UnsupportedError for an unknown one, FormatError for a wrong one."""
    return _sequence(node, "normalizers", _normaliser)


def read_splitters(node: Node | None) -> tuple[Part, ...]:
    """Return the splitters. Raises as :func:`read_normalisers`."""
    return _sequence(node, "pretokenizers", _splitter)


def _sequence(node: Node | None, key: str, read: Callable[[Node, str], Part]) -> tuple[Part, ...]:
    parts: list[Part] = []
    waiting = [] if node is None else [node]
    seen = 0
    while waiting:
        part = waiting.pop(0)
        seen += 1
        if seen > MAX_PARTS:
            raise part.refuse(f"more than {MAX_PARTS} parts")
        kind = part.kind()
        if kind == "Sequence":
            waiting = [*part.children(key), *waiting]
        else:
            parts.append(read(part, kind))
        part.end()
    return tuple(parts)


# -- normalisers -------------------------------------------------------------------------------------------
def _normaliser(node: Node, kind: str) -> Part:
    read = _NORMALISERS.get(kind)
    if read is None:
        raise node.refuse(f"the normalizer {kind[:80]!r}")
    return read(node)


def _replace(node: Node) -> Part:
    rule, text = read_pattern(node)
    return Part("replace" if rule is None else "replace_rule", (rule or text, node.text("content")))


def _bert_normaliser(node: Node) -> Part:
    accents = int(node.flag("strip_accents")) if node.has("strip_accents") else 2
    node.ignore("strip_accents")
    flags = (int(node.flag(key, default=True)) for key in ("clean_text", "handle_chinese_chars"))
    return Part("bert", (*flags, accents, int(node.flag("lowercase", default=True))))


def _charsmap(node: Node) -> Part:
    text = node.text("precompiled_charsmap")
    if len(text) > 2 * MAX_CHARSMAP:
        raise node.refuse(f"a precompiled_charsmap of {len(text)} letters")
    try:
        return Part("charsmap", (base64.b64decode(text, validate=True),))
    except (binascii.Error, ValueError):
        raise FormatError(f"{node.path}.precompiled_charsmap is not base64") from None


_NORMALISERS: Final[Mapping[str, Callable[[Node], Part]]] = {
    **{name: (lambda _, name=name: Part(name.lower())) for name in ("NFC", "NFD", "NFKC", "NFKD")},  # type: ignore[misc]
    "Lowercase": lambda _: Part("lowercase"),
    "StripAccents": lambda _: Part("strip_accents"),
    "Strip": lambda node: Part("strip", (int(node.flag("strip_left")), int(node.flag("strip_right")))),
    "Prepend": lambda node: Part("prepend", (node.text("prepend"),)),
    "Replace": _replace,
    "BertNormalizer": _bert_normaliser,
    "Precompiled": _charsmap,
}


# -- splitters ---------------------------------------------------------------------------------------------
def _splitter(node: Node, kind: str) -> Part:
    read = _SPLITTERS.get(kind)
    if read is None:
        raise node.refuse(f"the pre_tokenizer {kind[:80]!r}")
    return read(node)


def _split(node: Node) -> Part:
    rule, text = read_pattern(node)
    rest = (_behaviour(node), int(node.flag("invert", default=False)))
    return Part("split_text" if rule is None else "split", (rule or text, *rest))


def read_pattern(node: Node) -> tuple[str | None, str]:
    """Return the name of a rule, or None and a literal text."""
    pattern = node.child("pattern")
    if pattern is None:
        raise FormatError(f"{node.path}.pattern is missing")
    if pattern.has("String"):
        text = pattern.text("String")
        pattern.end()
        return None, text
    expression = pattern.text("Regex")
    pattern.end()
    rule = rule_of(expression)
    if rule is None:
        raise node.refuse(f"the regular expression {expression[:200]!r}, which is none of a known model,")
    return rule, ""


def _behaviour(node: Node, default: str | None = None) -> str:
    name = node.text("behavior", default)
    if name not in _BEHAVIOURS:
        raise node.refuse(f"the behavior {name[:80]!r}")
    return _BEHAVIOURS[name]


def read_scheme(node: Node) -> str:
    """Return where a Metaspace puts a space in front; older files say only whether it does."""
    if node.text("replacement") != SPACE:
        raise node.refuse("a replacement of spaces by another letter than U+2581")
    scheme = node.text("prepend_scheme", "always")
    if scheme not in ("always", "first", "never"):
        raise node.refuse(f"the prepend_scheme {scheme[:80]!r}")
    if not node.flag("add_prefix_space", default=True):
        if node.has("prepend_scheme") and scheme != "never":
            raise FormatError(f"{node.path}.add_prefix_space contradicts its prepend_scheme")
        scheme = "never"
    node.ignore("str_rep")
    return scheme


def _byte_level(node: Node) -> Part:
    node.ignore("trim_offsets")
    space, rule = node.flag("add_prefix_space"), node.flag("use_regex", default=True)
    return Part("bytes", (int(space), int(rule)))


_SPLITTERS: Final[Mapping[str, Callable[[Node], Part]]] = {
    "Split": _split,
    "Digits": lambda node: Part("digits", (int(node.flag("individual_digits")),)),
    "Punctuation": lambda node: Part("punctuation", (_behaviour(node, "Isolated"),)),
    "Whitespace": lambda _: Part("whitespace"),
    "WhitespaceSplit": lambda _: Part("whitespace_split"),
    "BertPreTokenizer": lambda _: Part("bert"),
    "Metaspace": lambda node: Part("metaspace", (read_scheme(node), int(node.flag("split", default=True)))),
    "ByteLevel": _byte_level,
}
