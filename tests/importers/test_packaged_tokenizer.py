"""The packaged model's tokenizer against its published pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

from proofcompute import quality
from proofcompute.errors import UnsupportedError
from proofcompute.importers import open_gguf
from proofcompute.models.text_parts import Part
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.models.writing import byte_alphabet
from proofcompute.tokens import Tokenizer

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> Tokenizer:
    return Tokenizer(open_gguf(smollm2_path).vocabulary)


@pytest.mark.model
def test_smollm2_vocabulary(smollm2: Tokenizer) -> None:
    v = smollm2.vocabulary
    assert (v.kind, len(v.tokens), len(v.merges)) == ("bpe", 49152, 48900)
    assert v.splitters == (Part("digits", (1,)), Part("bytes", (0, 1)))
    assert (v.bos, v.eos, v.unknown, v.before) == (1, 2, None, ())
    assert [v.tokens[i] for i in v.end_ids] == [b"<|endoftext|>", b"<|im_end|>"]
    data = v.encode()
    assert len(data) < 1_000_000
    assert Vocabulary.decode(data) == v


@pytest.mark.model
def test_smollm2_encodes_as_its_published_pipeline(smollm2: Tokenizer) -> None:
    """Its tokenizer.json: single digits, then GPT-2's byte level, with the vocabulary's own merges."""
    letters, v = byte_alphabet(), smollm2.vocabulary
    written = {i: "".join(letters[b] for b in t) for t, i in v.text_ids.items()}
    pairs = [(written[a], written[b]) for a, b in v.merges]
    oracle = tokenizers.Tokenizer(BPE(vocab={w: i for i, w in written.items()}, merges=pairs))
    split = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    oracle.pre_tokenizer = Sequence(split)
    for text in (
        "Hello, my name is",
        quality.text(),
        "def f(x):\n\treturn x**2  # 1234567890\r\n\r\n",
        "日本語 ñandú Ωμέγα 🎉👩‍👩‍👧 ½ ² ٣",
        "   leading, trailing   \n\n\n",
    ):
        ids = smollm2.encode(text, special=False)
        assert ids == oracle.encode(text, add_special_tokens=False).ids
        assert smollm2.decode(ids) == text
    assert smollm2.encode("Hello, my name is", special=False) == [19556, 28, 957, 1462, 314]
    assert smollm2.encode("<|im_start|>user\n", special=True) == [1, 4093, 198]


@pytest.mark.model
@given(text=TEXT)
def test_smollm2_round_trip(smollm2: Tokenizer, text: str) -> None:
    absent = [b for b in range(256) if bytes([b]) not in smollm2.vocabulary.text_ids]
    if set(absent) & set(text.encode()):
        with pytest.raises(UnsupportedError, match="no token for the byte"):
            smollm2.encode(text, special=False)
        return
    ids = smollm2.encode(text, special=False)
    assert smollm2.decode(ids) == text
    assert not set(ids) & smollm2.vocabulary.special_ids


@pytest.mark.model
@pytest.mark.parametrize("start", range(0, 9000, 1500))
@pytest.mark.parametrize("size", [1, 40, 2000, 6000])
def test_a_tokenizer_for_one_text_gives_the_same_tokens(smollm2: Tokenizer, start: int, size: int) -> None:
    english = quality.text()
    text = "<|im_start|>user\n" + english[start : start + size] + " 日本 🎉 12<|im_end|>"
    for special in (True, False):
        only = Tokenizer(smollm2.vocabulary, only=text)
        assert only.encode(text, special) == smollm2.encode(text, special)
