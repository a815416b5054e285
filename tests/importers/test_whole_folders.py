"""Folders with tokenizers become models, with a token for each row of the embedding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from importers import families
from importers.tokenizer_files import file
from proofcompute.arithmetic.definition.reference import NumpyKernels
from proofcompute.errors import FormatError, UnsupportedError
from proofcompute.importers import import_checkpoint, open_checkpoint
from proofcompute.importers.huggingface.tokenizer import read_vocabulary
from proofcompute.models.vocabulary import CONTROL, UNUSED, USER_DEFINED, Vocabulary
from proofcompute.tokens import Tokenizer

TEXT = "The quick brown fox <|im_end|> 10"


def _folder(path: Path, tokenizer: str, rows: int, changes: Mapping[str, Any] | None = None) -> Path:
    """A Llama with as many rows as it is said to have, and a tokenizer."""
    shapes = {k: tuple(rows if n == 61 else n for n in s) for k, s in families.tensors("llama-3").items()}
    found = {name: families.stored(name, shape, "F32") for name, shape in shapes.items()}
    settings = {**families.config("llama-3"), "vocab_size": rows, **(changes or {})}
    families.write(path, settings, found, 1)
    (path / "tokenizer.json").write_text(file(tokenizer), "utf-8")
    return path


def _size(tokenizer: str) -> int:
    return len(read_vocabulary(json.loads(file(tokenizer))).tokens)


@pytest.mark.parametrize("tokenizer", ["llama 3", "gemma", "t5"])
@pytest.mark.parametrize("more", [0, 7])
def test_a_padded_embedding_has_unused_tokens(tokenizer: str, more: int, tmp_path: Path) -> None:
    size = _size(tokenizer)
    checkpoint = open_checkpoint(_folder(tmp_path, tokenizer, size + more))
    vocabulary = checkpoint.vocabulary
    assert len(vocabulary.tokens) == checkpoint.arch.vocabulary == size + more
    assert vocabulary.types[size:] == bytes([UNUSED]) * more
    assert vocabulary.text_bytes(range(size, size + more)) == b""
    known = Tokenizer(read_vocabulary(json.loads(file(tokenizer))))
    assert Tokenizer(vocabulary).encode(TEXT, special=True) == known.encode(TEXT, special=True)
    assert Vocabulary.decode(vocabulary.encode()) == vocabulary


def test_added_tokens_without_a_row_are_left_out(tmp_path: Path) -> None:
    """As the token of images in the smallest Gemma 3."""
    size = _size("llama 3")
    folder = _folder(tmp_path, "llama 3", size)
    plain = open_checkpoint(folder).vocabulary
    settings = json.loads(file("llama 3"))
    image = {**settings["added_tokens"][-1], "id": size, "content": "<image>", "special": True}
    settings["added_tokens"].append(image)
    (folder / "tokenizer.json").write_text(json.dumps(settings), "utf-8")
    checkpoint = open_checkpoint(folder)
    assert any("1 of the tokenizer's added tokens" in n and "'<image>'" in n for n in checkpoint.notes)
    assert checkpoint.vocabulary == plain
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [size]}))
    with pytest.raises(FormatError, match=f"has {size + 1} tokens, and needs token {size}"):
        open_checkpoint(folder)


def test_text_without_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"vocab_size is 100, but the tokenizer has \d+ tokens, and needs"):
        open_checkpoint(_folder(tmp_path, "gpt-2", 100))


def test_a_folder_becomes_a_model(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "llama 3", _size("llama 3") + 3)
    (folder / "generation_config.json").write_text('{"eos_token_id": 260}')
    with pytest.warns(UserWarning, match="merges that make special tokens out of letters are left out"):
        model = import_checkpoint(folder, NumpyKernels(), "w16a16")
    vocabulary = model.card.vocabulary
    assert vocabulary is not None
    assert len(vocabulary.tokens) == _size("llama 3") + 3
    checkpoint = open_checkpoint(folder)
    assert vocabulary == checkpoint.vocabulary
    assert model.manifest["checkpoint_sha256"] == checkpoint.digest.hex()


def test_an_end_that_texts_need_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "llama 3", _size("llama 3"))
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    with pytest.raises(UnsupportedError, match="is 2, a byte that texts need"):
        open_checkpoint(folder)


@pytest.mark.parametrize("key", ["additional_special_tokens", "pad_token"])
def test_special_tokens_of_the_configuration_are_no_text(tmp_path: Path, key: str) -> None:
    """transformers finds them in prompts, so that messages may not hold them as tokens."""
    folder = _folder(tmp_path, "qwen 2", _size("qwen 2"))
    name = "<tool_call>"
    plain = open_checkpoint(folder).vocabulary
    number = plain.tokens.index(name.encode())
    assert plain.types[number] == USER_DEFINED
    (folder / "tokenizer_config.json").write_text(json.dumps({key: [name] if key.endswith("s") else name}))
    assert open_checkpoint(folder).vocabulary.types[number] == CONTROL
    (folder / "tokenizer_config.json").write_text(
        json.dumps({key: ["<none>"] if key.endswith("s") else "<none>"})
    )
    with pytest.raises(FormatError, match="'<none>', which is no token"):
        open_checkpoint(folder)
