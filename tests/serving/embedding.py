"""A small BERT with a tokenizer and a pooling, which a service can serve."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from importers import test_encoders
from proofcompute.importers.compiling import compile_decoder
from proofcompute.importers.huggingface import open_huggingface
from proofcompute.importers.huggingface.tokenizer import read_vocabulary
from proofcompute.models.model import Model
from synthetic import KERNELS

__all__ = ["TEXTS", "embedder"]

TEXTS = ["abc de", "A fox!", "x"]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _tokenizer() -> dict[str, Any]:
    words = [*_SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), "!", ".", ",", "?", "fox"]
    ids = {word: i for i, word in enumerate(words)}
    special = {w: {"id": w, "ids": [ids[w]], "tokens": [w]} for w in ("[CLS]", "[SEP]")}
    around = [{"SpecialToken": {"id": w, "type_id": 0}} for w in ("[CLS]", "[SEP]")]
    single = [around[0], {"Sequence": {"id": "A", "type_id": 0}}, around[1]]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "added_tokens": [{"id": ids[w], "content": w, **flags} for w in _SPECIAL],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [],
            "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


@cache
def embedder() -> Model:
    """The model, with 40 positions and vectors of 30 numbers."""
    with tempfile.TemporaryDirectory() as folder:
        path = test_encoders.write("bert", Path(folder) / "bert", test_encoders.MODULES)
        return compile_decoder(open_huggingface(path, read_vocabulary(_tokenizer())), KERNELS)
