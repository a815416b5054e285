"""Special tokens that a chat template uses by name have the values that transformers gives."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from importers.gguf_writer import GgufFile
from importers.tiny import tiny_file
from importers.tokenizer_files import file
from oracle.transformers_templates import apply_chat_template
from proofcompute.errors import FormatError, LimitError, UnsupportedError
from proofcompute.importers import open_gguf
from proofcompute.importers.huggingface.tokenizer import read_tokenizer
from proofcompute.importers.template_tokens import assigned
from proofcompute.limits import MAX_TEMPLATE
from proofcompute.models.vocabulary import CONTROL
from proofcompute.tokens.template import Message, render_chat

NOW = datetime(2024, 7, 26, 12, 30)
USES = "{{ pad_token }}{% if unk_token is defined %}{{ unk_token }}{% endif %}{{ image_token }}"
STARTS = [
    "",
    "\n",
    "\n\n",
    "   ",
    "  {% if true %}\n  {% endif %}\n",
    "{# a note #}\n x",
    "\t{%- set a = 1 %}\n",
]
"""How a template may begin; blocks strip white space around them, also at the beginning of the first line."""


def shown(template: str | None) -> str:
    """What a template makes of one message, and whether all but the message is its own text."""
    texts = render_chat(template, [Message("user", "Hi")], date=NOW)
    assert [t.text for t in texts if not t.trusted] == ["Hi"]
    return "".join(t.text for t in texts)


def folder(path: Path, template: str, config: dict[str, Any], special: dict[str, Any] | None = None) -> Path:
    (path / "tokenizer.json").write_text(file("qwen 2"), "utf-8")
    (path / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}), "utf-8")
    (path / "special_tokens_map.json").write_text(json.dumps(special or {}), "utf-8")
    return path


@pytest.mark.parametrize("start", STARTS)
def test_a_folder_gives_them_as_transformers_does(start: str, tmp_path: Path) -> None:
    template = start + USES + "{{ messages[0].content }}"
    pad = {"content": "<|endoftext|>", "lstrip": False, "__type": "AddedToken"}
    special = {"pad_token": "ignored", "image_token": "<|im_start|>"}
    found = read_tokenizer(folder(tmp_path, template, {"pad_token": pad}, special))
    expected = apply_chat_template(
        template, [("user", "Hi")], now=NOW, pad_token="<|endoftext|>", image_token="<|im_start|>"
    )
    assert shown(found.chat_template) == expected


def test_names_in_an_object_of_extra_tokens_count(tmp_path: Path) -> None:
    config = {"extra_special_tokens": {"image_token": "</tool_call>"}}
    found = read_tokenizer(folder(tmp_path, "{{ image_token }}{{ messages[0].content }}", config))
    assert shown(found.chat_template) == "</tool_call>Hi"
    token = found.vocabulary.tokens.index(b"</tool_call>")
    assert found.vocabulary.types[token] == CONTROL


def test_a_template_that_uses_none_stays_as_it_is(tmp_path: Path) -> None:
    template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    assert read_tokenizer(folder(tmp_path, template, config)).chat_template == template


@pytest.mark.parametrize("name", ["additional_special_tokens", "extra_special_tokens"])
def test_lists_of_tokens_are_refused_by_name(name: str, tmp_path: Path) -> None:
    template = f"{{{{ {name}[0] }}}}{{{{ messages[0].content }}}}"
    with pytest.raises(UnsupportedError, match=f"the chat template uses {name}"):
        read_tokenizer(folder(tmp_path, template, {name: ["<|im_start|>"]}))


def test_a_name_that_is_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="image_token is '<no>', which is no token"):
        read_tokenizer(folder(tmp_path, "{{ image_token }}", {"image_token": "<no>"}))


def gguf(path: Path, template: str, **more: Any) -> Path:
    whole = tiny_file()
    metadata = {**dict(whole.metadata), "tokenizer.chat_template": template, **more}
    path.write_bytes(GgufFile(metadata, whole.tensors).build())
    return path


def test_a_gguf_file_gives_them(tmp_path: Path) -> None:
    template = "\n {{ pad_token }}{{ sep_token }}{{ messages[0].content }}"
    keys = {"tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.seperator_token_id": 2}
    found = open_gguf(gguf(tmp_path / "x.gguf", template, **keys)).chat_template
    expected = apply_chat_template(
        template, [("user", "Hi")], now=NOW, pad_token="<|endoftext|>", sep_token="<|im_end|>"
    )
    assert shown(found) == expected
    with pytest.raises(UnsupportedError, match=r"uses pad_token, but the file has no .*padding_token_id"):
        open_gguf(gguf(tmp_path / "y.gguf", template, **dict(list(keys.items())[1:])))


def test_any_text_of_a_token_is_only_text() -> None:
    text = "a\"}}{% raw %}\\n\n{{ x }}'é😀\x00"
    template = assigned("{{ a_token }}{{ messages[0].content }}", {"a_token": text})
    assert shown(template) == text + "Hi"
    with pytest.raises(LimitError, match="with its special tokens"):
        assigned("x" * MAX_TEMPLATE, {"pad_token": "x"})
