"""Reads what comes behind the model in a tokenizer.json: the fields ``decoder`` and ``post_processor``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofcompute.errors import FormatError
from proofcompute.importers.huggingface.nodes import Node
from proofcompute.importers.huggingface.preparing import MAX_PARTS, read_pattern, read_scheme
from proofcompute.limits import MAX_VOCABULARY
from proofcompute.models.text_parts import SPACE
from proofcompute.models.writing import BYTES, CONTINUES, SPACES, WORDS

__all__ = ["Decoding", "read_decoder", "read_template"]


# -- decoders ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Decoding:
    """What a decoder does with tokens."""

    writing: str
    """How it takes tokens to be written."""
    strip: bool
    """Whether it leaves out the space with which a text begins."""
    byte_fallback: bool = False
    """Whether ``<0xNN>`` is a byte."""


def read_decoder(node: Node | None, path: str) -> Decoding:
    """Return what the decoder does. Raises UnsupportedError for one that does something else."""
    if node is None:
        raise FormatError(f"{path} is missing, so nothing says what tokens print")
    parts = node.children("decoders") if node.kind() == "Sequence" else [node]
    done: list[str] = []
    strip = False
    for part in parts:
        kind = part.kind()
        if kind in done:
            raise part.refuse(f"a second decoder {kind}")
        if kind == "ByteLevel":
            part.ignore("add_prefix_space", "trim_offsets", "use_regex")
        elif kind == "WordPiece":
            if part.text("prefix") != CONTINUES:
                raise part.refuse("another prefix than ##")
            part.ignore("cleanup")  # how a text is shown, which is nobody's answer: such models write none
            strip = True
        elif kind == "Metaspace":
            strip = read_scheme(part) != "never"
            part.ignore("split")
        elif kind == "Replace":
            if read_pattern(part) != (None, SPACE) or part.text("content") != " ":
                raise part.refuse("a replacement of anything but U+2581 by a space")
        elif kind == "Strip":
            numbers = [part.integer(key, 0, MAX_VOCABULARY) for key in ("start", "stop")]
            if "Fuse" not in done or part.text("content") != " " or numbers != [1, 0]:
                raise part.refuse("to strip anything but the first space of a text")
            strip = True
        elif kind not in ("ByteFallback", "Fuse"):
            raise part.refuse(f"the decoder {kind[:80]!r}")
        part.end()
        done.append(kind)
    node.end()
    writing = {"ByteLevel": BYTES, "WordPiece": WORDS, "Metaspace": SPACES, "Replace": SPACES}
    ways = {writing[kind] for kind in done if kind in writing}
    if len(ways) != 1 or (ways != {SPACES} and len(done) != 1):
        raise node.refuse(f"the sequence of decoders {', '.join(done)}")
    return Decoding(ways.pop(), strip, "ByteFallback" in done)


# -- post-processors ---------------------------------------------------------------------------------------
Around = tuple[list[tuple[str, int]], list[tuple[str, int]]]


def read_template(node: Node | None) -> Around:
    """Return names and ids of the tokens that are put before a text, and behind it.

    Raises UnsupportedError for a post-processor that does something else, FormatError for a wrong one.
    """
    found: list[Around] = []
    waiting = [] if node is None else [node]
    seen = 0
    while waiting:
        part = waiting.pop(0)
        seen += 1
        if seen > MAX_PARTS:
            raise part.refuse(f"more than {MAX_PARTS} parts")
        kind = part.kind()
        if kind == "Sequence":
            waiting = [*part.children("processors"), *waiting]
        elif kind == "ByteLevel":
            part.ignore("add_prefix_space", "trim_offsets", "use_regex")
        elif kind in ("BertProcessing", "RobertaProcessing"):
            part.ignore("trim_offsets", "add_prefix_space")
            found.append(([_named(part, "cls")], [_named(part, "sep")]))
        elif kind == "TemplateProcessing":
            found.append(_template(part))
        else:
            raise part.refuse(f"the post_processor {kind[:80]!r}")
        part.end()
    if len(found) > 1 and node is not None:
        raise node.refuse("more than one post-processor that adds tokens")
    return found[0] if found else ([], [])


def _named(node: Node, key: str) -> tuple[str, int]:
    value = node.array(key)
    if len(value) != 2 or type(value[0]) is not str or type(value[1]) is not int:
        raise FormatError(f"{node.path}.{key} is not a token's name and id")
    return value[0], value[1]


def _template(node: Node) -> Around:
    node.ignore("pair")
    special = Node(node.mapping("special_tokens"), f"{node.path}.special_tokens")
    around: Around = ([], [])
    texts = 0
    for piece in node.children("single"):
        token, text = piece.child("SpecialToken"), piece.child("Sequence")
        piece.end()
        if token is not None and text is None:
            around[texts > 0].extend(_special(special, token))
        elif text is not None and token is None:
            texts += 1
            if text.text("id") != "A":
                raise text.refuse("another text than the first")
            text.ignore("type_id")
            text.end()
        else:
            raise FormatError(f"{piece.path} is neither a special token nor a text")
    if texts != 1:
        raise node.refuse(f"a template with {texts} texts")
    return around


def _special(special: Node, token: Node) -> list[tuple[str, int]]:
    name = token.text("id")
    token.ignore("type_id")
    token.end()
    entry = special.child(name)
    if entry is None:
        raise FormatError(f"{token.path}.id {name[:80]!r} is not among special_tokens")
    entry.ignore("id")
    ids: list[Any] = entry.array("ids")
    names: list[Any] = entry.array("tokens")
    entry.end()
    if (
        len(ids) != len(names)
        or any(type(i) is not int for i in ids)
        or any(type(t) is not str for t in names)
    ):
        raise FormatError(f"{entry.path} has not a name for each id")
    return list(zip(names, ids, strict=True))
