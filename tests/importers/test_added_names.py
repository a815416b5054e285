"""Names of tokens that take white space or are normalised: found as the library finds them, or refused."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import pytest
import tokenizers

from importers.tokenizer_files import FAMILIES, file
from proofcompute.errors import InputError, UnsupportedError
from proofcompute.importers.huggingface.tokenizer import read_vocabulary
from proofcompute.tokens import Tokenizer

FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")
LOWER: Final[dict[str, Any]] = {"type": "Lowercase"}
STRIP: Final[dict[str, Any]] = {"type": "Strip", "strip_left": True, "strip_right": True}


def tokenizer_with(family: str, names: dict[str, str], normalizer: Any = ...) -> dict[str, Any]:
    """The family's file with further names; the letters after each are those with which its flags begin."""
    found: dict[str, Any] = json.loads(file(family))
    vocab = found["model"]["vocab"]
    ids = vocab if isinstance(vocab, dict) else {name: i for i, (name, _) in enumerate(vocab)}
    top = 1 + max([*ids.values(), *(token["id"] for token in found["added_tokens"])])
    for name, flags in names.items():
        entry = {flag: flag[:2] in flags.split() for flag in FLAGS}
        found["added_tokens"].append({"id": ids.get(name, top), "content": name, **entry})
        top += name not in ids
    if normalizer is not ...:
        found["normalizer"] = normalizer
    return found


def both(file: dict[str, Any], text: str) -> tuple[list[int], list[int]]:
    """What the package gives and what the library gives."""
    library = tokenizers.Tokenizer.from_str(json.dumps(file))
    ids: list[int] = library.encode(text, add_special_tokens=False).ids
    return Tokenizer(read_vocabulary(file)).encode(text, special=True), ids


@pytest.mark.parametrize("family", ["llama 2", "qwen 2"])
@pytest.mark.parametrize("text", ["x        y", "    ", "        ", "x    ", " x     x ", "x x  x   x    "])
@pytest.mark.parametrize("order", [False, True])
def test_a_name_within_the_space_that_another_took(family: str, text: str, order: bool) -> None:
    """It begins where the other ended, and is dropped if nothing is left of it."""
    for normalised in ("", " no"):
        names = {"x": "rs" + normalised, "    ": "ls rs" + normalised}
        names = dict(reversed(names.items())) if order else names
        mine, expected = both(tokenizer_with(family, names), text)
        assert mine == expected


@pytest.mark.parametrize("normalizer", [None, LOWER])
@pytest.mark.parametrize("flags", ["", " no"])
def test_a_name_of_which_nothing_is_left_is_a_typed_error(normalizer: Any, flags: str) -> None:
    """The library panics, with an exception that is no Exception."""
    file = tokenizer_with("llama 2", {"x": "rs" + flags, " ": "ls" + flags}, normalizer)
    tokenizer = Tokenizer(read_vocabulary(file))
    with pytest.raises(UnsupportedError):
        tokenizer.encode("x   y", special=True)
    mine, expected = both(file, "x y xy")
    assert mine == expected


@pytest.mark.parametrize("name", [" ", "  ", "\u3000"])
def test_a_name_that_is_normalised_to_nothing_is_refused(name: str) -> None:
    """The library would find it everywhere, take gigabytes, and end the process."""
    vocabulary = read_vocabulary(tokenizer_with("llama 2", {name: "rs no"}, STRIP))
    with pytest.raises(UnsupportedError, match="is normalised to nothing"):
        Tokenizer(vocabulary)


PIECES: Final = [*" aAéx\n日bcﬁ", "  ", "e\u0301", "<x>", "\u00a0", "\u2581", "\u3000", "\u0301"]
NORMALISERS: Final[list[dict[str, Any]]] = [
    STRIP,
    {**STRIP, "strip_left": False},
    LOWER,
    {"type": "NFKC"},
    {"type": "NFD"},
    {"type": "StripAccents"},
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    {"type": "Replace", "pattern": {"String": "a"}, "content": ""},
]


@pytest.mark.parametrize("seed", range(40))
def test_any_names_are_found_as_the_library_finds_them_or_refused(seed: int) -> None:
    draw = random.Random(seed)

    def word(most: int) -> str:
        return "".join(draw.choice(PIECES) for _ in range(draw.randint(1, most)))

    names = {
        word(3): " ".join(f[:2] for f in FLAGS if draw.random() < 0.5) for _ in range(draw.randint(1, 4))
    }
    some = [draw.choice(NORMALISERS) for _ in range(draw.randint(0, 3))]
    file = tokenizer_with(
        draw.choice(sorted(FAMILIES)), names, {"type": "Sequence", "normalizers": some} if some else None
    )
    try:
        tokenizer = Tokenizer(read_vocabulary(file))
    except InputError:
        return
    library = tokenizers.Tokenizer.from_str(json.dumps(file))
    for _ in range(10):
        text = "".join(draw.choice([word(4), *names]) for _ in range(draw.randint(1, 5)))
        try:
            mine = tokenizer.encode(text, special=True)
        except UnsupportedError:
            continue
        assert mine == library.encode(text, add_special_tokens=False).ids, text
