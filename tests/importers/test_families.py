"""Every family, from its folder: the float32 logits are those of transformers, and weights come by rows."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest

from importers import families
from oracle.random_decoders import FAMILIES as DRAWN
from oracle.random_decoders import draw
from proofcompute.arrays import F32
from proofcompute.errors import InputError
from proofcompute.importers.float_model import FloatModel
from proofcompute.importers.huggingface import open_huggingface, read_config
from proofcompute.importers.huggingface.families import FAMILIES

CLOSE = 1e-5
"""Of the largest logit; measured: at most 4e-6."""


def test_each_family_has_two_cases() -> None:
    kinds = [families.config(case)["model_type"] for case in families.FAMILIES]
    alike = {"gemma3": "gemma3_text"}  # the same decoder with another name
    assert {alike.get(kind, kind) for kind in kinds} == {alike.get(kind, kind) for kind in FAMILIES}
    assert all(kinds.count(kind) >= 2 for kind in FAMILIES if kind not in alike)


@pytest.mark.parametrize("case", families.FAMILIES)
def test_logits_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    checkpoint = families.opened(case, tmp_path)
    found = FloatModel(checkpoint.arch, checkpoint.rows).logits(families.tokens(case))
    expected = families.logits(case)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= CLOSE * np.abs(expected).max()


@pytest.mark.parametrize("case", families.FAMILIES)
def test_rows_are_those_of_the_whole_tensor(case: str, tmp_path: Path) -> None:
    checkpoint = families.opened(case, tmp_path)
    for name, shape in checkpoint.shapes.items():
        whole = checkpoint.tensor(name)
        assert whole.shape == shape
        assert whole.flags.c_contiguous
        n = shape[0]
        for a, b in ((0, 1), (n - 1, n), (n // 3, n // 2 + 1), (n, n)):
            rows = checkpoint.rows(name, a, b)
            assert rows.flags.c_contiguous
            assert rows.tobytes() == whole[a:b].tobytes()
            assert checkpoint.quantised(name, a, b) is None


def test_all_weights_are_used(tmp_path: Path) -> None:
    """The tensors of a case hold as many elements as the decoder's description, so none is read twice."""
    for case in families.FAMILIES:
        checkpoint = families.opened(case, tmp_path / case)
        stored = sum(int(np.prod(shape)) for shape in families.tensors(case).values())
        assert sum(int(np.prod(shape)) for shape in checkpoint.shapes.values()) == stored, case


def test_a_product_can_be_observed_and_replaced(tmp_path: Path) -> None:
    checkpoint = families.opened("mixtral", tmp_path)
    seen: dict[str, int] = {}

    def product(name: str, a: int, b: int, x: F32) -> F32:
        assert x.shape[1] == checkpoint.shapes[name][1]
        seen[name] = seen.get(name, 0) + len(x) * (b - a)
        return 2 * plain.multiply(name, a, b, x) if name == "head" else plain.multiply(name, a, b, x)

    plain = FloatModel(checkpoint.arch, checkpoint.rows)
    doubled = FloatModel(checkpoint.arch, checkpoint.rows, product).logits(families.tokens("mixtral"))
    assert doubled.tobytes() == (2 * plain.logits(families.tokens("mixtral"))).tobytes()
    matrices = {name for name, shape in checkpoint.shapes.items() if len(shape) == 2} - {"embedding"}
    assert set(seen) == matrices
    rows, chosen = len(families.tokens("mixtral")), checkpoint.arch.blocks[0].ffn.top_k
    width = checkpoint.arch.blocks[0].ffn.expert.width
    assert seen["layers.0.ffn.experts.gate"] == rows * chosen * width  # each row's chosen experts only


@pytest.mark.parametrize("case", ["gemma3", "deepseek_v3", "gpt2", "gpt_oss"])
def test_texts_together_are_as_each_alone_and_read_weights_once(case: str, tmp_path: Path) -> None:
    checkpoint = families.opened(case, tmp_path)
    read: dict[tuple[str, int], int] = {}

    def rows(name: str, a: int, b: int) -> F32:
        read[name, a] = read.get((name, a), 0) + 1
        found: F32 = checkpoint.rows(name, a, b)
        return found

    texts = [families.tokens(case)[:n] for n in (1, 7, 0, 19)]
    together = FloatModel(checkpoint.arch, rows).hidden(texts)
    assert max(n for (name, _), n in read.items() if name.startswith("layers.")) == 1
    for text, hidden in zip(texts, together, strict=True):
        (alone,) = FloatModel(checkpoint.arch, checkpoint.rows).hidden([text])
        assert hidden.shape == alone.shape == (len(text), checkpoint.arch.width)
        assert np.abs(hidden - alone).max(initial=0) <= 1e-5 * np.abs(together[-1]).max()
    assert FloatModel(checkpoint.arch, rows).hidden([]) == []


@pytest.mark.parametrize("tokens", [[61], [-1], [[1, 2]], [0] * 41])
def test_tokens_out_of_range_are_refused(tokens: list[int], tmp_path: Path) -> None:
    checkpoint = families.opened("gpt2", tmp_path)  # 61 tokens and 40 positions
    with pytest.raises(InputError, match=r"a text (is a row of tokens from 0 to 60|of 41 tokens)"):
        FloatModel(checkpoint.arch, checkpoint.rows).logits(tokens)


def test_long_texts_take_the_long_factors_if_they_are_asked_for(tmp_path: Path) -> None:
    folder = families.write_folder("llama-longrope", tmp_path)
    vocabulary = families.vocabulary("llama-longrope")
    usual = open_huggingface(folder, vocabulary)
    short = open_huggingface(folder, vocabulary, context=32)
    long = open_huggingface(folder, vocabulary, context=33)
    assert [c.arch.context for c in (usual, short, long)] == [32, 32, 33]
    assert usual.arch == short.arch
    assert usual.notes
    assert not short.notes
    assert not long.notes
    assert usual.arch.blocks[0].attention.rope != long.arch.blocks[0].attention.rope


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers and torch")
def test_random_configurations_are_those_of_transformers() -> None:
    from oracle.random_decoders import differences

    for difference, config in differences(len(DRAWN), 1):
        assert difference < 1e-4, config  # narrow ones lose digits, in transformers too


@pytest.mark.parametrize("seed", range(3))
def test_random_configurations_are_read(seed: int) -> None:
    r = random.Random(seed)
    for family in DRAWN:
        for _ in range(5):
            assert read_config(draw(family, r))[0].blocks


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers and torch")
@pytest.mark.parametrize("case", ["llama-3", "deepseek_v3", "gemma2-bf16"])
def test_the_vectors_can_be_made_again(case: str) -> None:
    from oracle.make_decoder_vectors import make

    known = json.loads(families.VECTORS.read_text("utf-8"))["cases"][case]
    made = make(case)
    assert {k: v for k, v in made.items() if k != "logits"} == {
        k: v for k, v in known.items() if k != "logits"
    }
    assert len(made["logits"]) == len(known["logits"])
