"""The packaged MiniLM: embeddings are those of float32, an audit accepts them, and a cheat is caught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import encoders
import proofcompute as pc
from proofcompute.errors import VerificationError
from proofcompute.importers import compile_decoder, open_checkpoint
from proofcompute.importers.float_model import FloatModel
from proofcompute.tokens import Tokenizer
from proofcompute.tokens.prompt_text import PromptText

TEXTS = (
    "The cat sat on the mat.",
    "A quick brown fox jumps over the lazy dog, doesn't it?",
    "Proofs of inference",
    "x",
    "Bonjour, je m'appelle Zo\u00eb; 12,345 \u00d7 6.",
    "Attention sees every row of a text. " * 12,
)


def test_embeddings_of_a_published_encoder(minilm_path: Path) -> None:
    checkpoint, kernels = open_checkpoint(minilm_path), pc.kernels_for("auto")
    model = compile_decoder(checkpoint, kernels)
    tokenizer = Tokenizer(checkpoint.vocabulary)
    tokens = [tokenizer.encode_prompt([PromptText(t, trusted=False)]) for t in TEXTS]
    assert tokens[0] == [101, 1996, 4937, 2938, 2006, 1996, 13523, 1012, 102]
    expected = FloatModel(checkpoint.arch, checkpoint.rows).embeddings(tokens)
    node, auditor = pc.Node(model), pc.Auditor(pc.keygen(model, kernels))
    found = []
    for text, wanted in zip(tokens, expected, strict=True):
        asked = encoders.request(model, tuple(text))
        answer = node.answer(asked)
        found.append((asked, answer))
        row = answer.outputs["embedding"][0]
        assert float(row @ wanted[0]) / np.linalg.norm(row) / np.linalg.norm(wanted) >= 0.9999
    for asked, answer in (found[1], found[-1]):
        verified = auditor.audit(asked, answer.receipt, lambda c: node.open(asked, answer.receipt, c), "all")  # noqa: B023
        assert verified.complete

    asked = encoders.request(model, tuple(tokens[2]))
    q = model.matrix("block.3.ffn.up").q.copy()
    q[0, 5, 7] ^= 1
    changed = {**model.weights, "block.3.ffn.up": replace(model.matrix("block.3.ffn.up"), q=q)}
    cheat = pc.Node(replace(model, weights=changed), identity=pc.NodeIdentity(bytes(32)))
    answer = cheat.answer(asked)
    with pytest.raises(VerificationError) as caught:
        auditor.audit(asked, answer.receipt, lambda c: cheat.open(asked, answer.receipt, c), "all")
    assert caught.value.step == 8
