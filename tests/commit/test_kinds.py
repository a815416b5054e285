"""What a file is, by its first bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proofcompute.encoding.kinds import MESSAGES, kind_in, kind_of
from proofcompute.encoding.wire import encode
from proofcompute.errors import InputError


def test_files_of_other_formats() -> None:
    assert kind_in(b"GGUF\x03\0\0\0") == "gguf"
    assert kind_in((300).to_bytes(8, "little") + b'{"a":') == "model"
    for data in (b"", b"\0", b"GGU", b"text of a letter", bytes(64)):
        assert kind_in(data) is None


@pytest.mark.parametrize("text", MESSAGES)
def test_messages_begin_with_their_kind(text: str) -> None:
    assert kind_in(encode((text, 1))) == MESSAGES[text]
    assert kind_in(encode((text + "x", 1))) is None
    assert kind_in(encode(("something else", text, 1))) is None


def test_what_cannot_be_read_twice_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kind_of(tmp_path / "pipe") is None
    assert kind_of(Path("/dev/zero")) is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*/none: No such file"):
        kind_of(tmp_path / "none")
