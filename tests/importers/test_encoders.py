"""Encoders from folders: hidden states are those of transformers, pooling is what the folder says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import encoders
import proofcompute as pc
import synthetic
from importers import families
from proofcompute.arrays import F32
from proofcompute.errors import FormatError, InputError, ProofcomputeError, UnsupportedError
from proofcompute.importers import compile_decoder
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.float_model import FloatModel
from proofcompute.importers.huggingface import open_huggingface, read_config
from proofcompute.importers.huggingface.families import ENCODERS
from proofcompute.models.vocabulary import NORMAL, Vocabulary
from proofcompute.protocol.messages import Request

K = synthetic.KERNELS
VECTORS = Path(__file__).parent.parent / "vectors" / "encoders.json"
CASES: dict[str, Any] = json.loads(VECTORS.read_text("utf-8"))["cases"]
TEXTS = [case for case in CASES if not case.startswith("vit")]
PICTURES = [case for case in CASES if case.startswith("vit")]
TEXT = families.text(61)
POOLED = {"pooling_mode_mean_tokens": True, "word_embedding_dimension": 30, "pooling_mode_cls_token": False}
MODULES = ["Transformer", "Pooling", "Normalize"]


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary(
        "bpe", tuple(b"%c%c" % (97 + i // 26, 97 + i % 26) for i in range(61)), bytes([NORMAL]) * 61
    )


def write(case: str, path: Path, modules: list[str] | None = None, pooling: Any = POOLED) -> Path:
    """The folder of a case, and what sentence-transformers puts beside it."""
    record = CASES[case]
    found = {n: families.stored(n, tuple(shape), "F32") for n, shape in record["tensors"].items()}
    families.write(path, record["config"], found, 1)
    if modules is not None:
        listed = [
            {"type": f"sentence_transformers.models.{kind}", "path": f"{i}_{kind}" if i else ""}
            for i, kind in enumerate(modules)
        ]
        (path / "modules.json").write_text(json.dumps(listed))
        (path / "1_Pooling").mkdir()
        (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return path


def opened(case: str, path: Path, **how: Any) -> Checkpoint:
    return open_huggingface(write(case, path / case, **how), vocabulary())


def expected(case: str) -> F32:
    width = CASES[case]["config"].get("hidden_size") or CASES[case]["config"]["dim"]
    return np.frombuffer(base64.b64decode(CASES[case]["hidden"]), "<f4").reshape(-1, width)


def patches(case: str) -> F32:
    """The picture of a case: its patches [channels, size, size], row by row, behind a row of anything."""
    c = CASES[case]["config"]
    n, size = c["image_size"] // c["patch_size"], c["patch_size"]
    _, picture = families.stored("a.picture", (c["num_channels"], n * size, n * size), "F32")
    cut = picture.reshape(c["num_channels"], n, size, n, size).transpose(1, 3, 0, 2, 4)
    rows = cut.reshape(n * n, c["num_channels"], size, size)
    return np.concatenate([np.full((1, *rows.shape[1:]), 7, np.float32), rows])


def request(m: pc.Model, case: str) -> Request:
    asked = encoders.request(m, tuple(TEXT), tuple(CASES[case]["types"]))
    names = [name for name, _ in m.program.inputs]
    return Request(m.model_id, tuple(x for x in asked.inputs if x[0] in names), asked.nonce)


def test_each_family_has_a_case() -> None:
    assert {record["config"]["model_type"] for record in CASES.values()} == set(ENCODERS)


@pytest.mark.parametrize("case", TEXTS)
def test_hidden_states_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    checkpoint = opened(case, tmp_path)
    types = [CASES[case]["types"]] if CASES[case]["types"] else None
    (found,) = FloatModel(checkpoint.arch, checkpoint.rows).embeddings([TEXT], types)
    assert np.abs(found - expected(case)).max() <= 1e-5 * np.abs(expected(case)).max()
    stored = sum(int(np.prod(shape)) for shape in CASES[case]["tensors"].values())
    assert sum(int(np.prod(shape)) for shape in checkpoint.shapes.values()) == stored


@pytest.mark.parametrize("case", TEXTS)
def test_a_compiled_encoder_gives_them_and_is_audited(case: str, tmp_path: Path) -> None:
    model = compile_decoder(opened(case, tmp_path), K)
    node, asked = pc.Node(model, device="cpu"), request(model, case)
    answer = node.answer(asked)
    found, wanted = answer.outputs["embedding"], expected(case)
    assert np.linalg.norm(found - wanted) <= 1e-3 * np.linalg.norm(wanted)
    auditor = pc.Auditor(pc.keygen(model, K))
    verified = auditor.audit(asked, answer.receipt, lambda c: node.open(asked, answer.receipt, c), "all")
    assert verified.complete


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_is_its_patches(case: str, tmp_path: Path) -> None:
    checkpoint = open_huggingface(write(case, tmp_path / case))
    assert checkpoint.words is None
    found = FloatModel(checkpoint.arch, checkpoint.rows).hidden([patches(case)])[0]  # type: ignore[list-item]
    assert np.abs(found - expected(case)).max() <= 1e-5 * np.abs(expected(case)).max()
    model = compile_decoder(checkpoint, K)
    asked = pc.array_request(model, patches(case), node=synthetic.NODE.public)
    node = pc.Node(model, identity=synthetic.NODE, device="cpu")
    answer = node.answer(asked)
    first = expected(case)[0]
    assert np.linalg.norm(answer.outputs["embedding"][0] - first) <= 1e-3 * np.linalg.norm(first)
    auditor = pc.Auditor(pc.keygen(model, K))
    verified = auditor.audit(asked, answer.receipt, lambda c: node.open(asked, answer.receipt, c), "all")
    assert verified.complete
    with pytest.raises(UnsupportedError, match="no tokens"):
        _ = checkpoint.vocabulary


def test_less_precision_is_less_precise(tmp_path: Path) -> None:
    checkpoint, errors = opened("bert", tmp_path), []
    for precision in ("auto", "w8a16", "w8a8"):
        model = compile_decoder(checkpoint, K, precision)
        found = pc.Node(model, device="numpy").answer(request(model, "bert")).outputs["embedding"]
        errors.append(np.linalg.norm(found - expected("bert")) / np.linalg.norm(expected("bert")))
    assert errors[0] < 1e-3 < errors[1] < errors[2] < 0.2


@pytest.mark.parametrize(
    ("key", "pool"), [("mean_tokens", "mean"), ("cls_token", "first"), ("max_tokens", "max")]
)
def test_pooling_is_that_of_the_folder(key: str, pool: str, tmp_path: Path) -> None:
    pooling = {**POOLED, "pooling_mode_mean_tokens": False, f"pooling_mode_{key}": True}
    checkpoint = opened("roberta", tmp_path, modules=MODULES, pooling=pooling)
    model = compile_decoder(checkpoint, K)
    found = pc.Node(model, device="numpy").answer(request(model, "roberta")).outputs["embedding"]
    hidden = expected("roberta")
    row = {"mean": hidden.mean(0), "first": hidden[0], "max": hidden.max(0)}[pool]
    np.testing.assert_allclose(found[0], row / np.linalg.norm(row), atol=5e-4)
    (own,) = FloatModel(checkpoint.arch, checkpoint.rows).embeddings([TEXT])
    np.testing.assert_allclose(own, found, atol=5e-4)


def test_without_a_normalisation_the_row_keeps_its_length(tmp_path: Path) -> None:
    model = compile_decoder(opened("distilbert", tmp_path, modules=MODULES[:2]), K)
    found = pc.Node(model, device="numpy").answer(request(model, "distilbert")).outputs["embedding"]
    mean = expected("distilbert").mean(0)
    assert np.linalg.norm(found[0] - mean) < 1e-3 * np.linalg.norm(mean)


BAD: dict[str, tuple[Callable[[Path], Any], type[ProofcomputeError], str]] = {
    "dense": (lambda p: write("bert", p, ["Transformer", "Pooling", "Dense"]), UnsupportedError, "Dense"),
    "weighted": (
        lambda p: write("bert", p, MODULES, {**POOLED, "pooling_mode_weightedmean_tokens": True}),
        UnsupportedError,
        "weightedmean",
    ),
    "two ways": (
        lambda p: write("bert", p, MODULES, {**POOLED, "pooling_mode_cls_token": True}),
        UnsupportedError,
        "2 ways",
    ),
    "no way": (lambda p: write("bert", p, MODULES, {}), UnsupportedError, "0 ways"),
    "new key": (
        lambda p: write("bert", p, MODULES, {**POOLED, "pooling_mode_new": 1}),
        UnsupportedError,
        "pooling_mode_new",
    ),
    "other width": (
        lambda p: write("bert", p, MODULES, {**POOLED, "word_embedding_dimension": 31}),
        UnsupportedError,
        "31",
    ),
    "outside": (
        lambda p: (write("bert", p, MODULES) / "modules.json").write_text(
            '[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "../x"}]'
        ),
        UnsupportedError,
        "no name of a folder",
    ),
    "no list": (lambda p: (write("bert", p) / "modules.json").write_text("{}"), FormatError, "no list"),
    "no JSON": (lambda p: (write("bert", p) / "modules.json").write_text("["), FormatError, "not JSON"),
    "no pooling": (
        lambda p: (write("bert", p, MODULES) / "1_Pooling" / "config.json").unlink(),
        InputError,
        "no config.json",
    ),
    "lower case": (
        lambda p: (write("bert", p, MODULES) / "sentence_bert_config.json").write_text(
            '{"do_lower_case": true}'
        ),
        UnsupportedError,
        "do_lower_case",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_other_ways_to_one_row_are_refused(name: str, tmp_path: Path) -> None:
    make, error, text = BAD[name]
    make(tmp_path / "x")
    with pytest.raises(error, match=text):
        open_huggingface(tmp_path / "x", vocabulary())


@pytest.mark.parametrize(
    ("case", "changes", "text"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"a_new_key": 1}, "a_new_key"),
        ("bert", {"add_cross_attention": True}, "add_cross_attention"),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"is_encoder_decoder": True}, "an encoder with a decoder"),
        ("bert", {"hidden_act": "tanh"}, "hidden_act"),
        ("bert", {"num_attention_heads": 7}, "heads"),
        ("roberta", {"pad_token_id": 40}, "max_position_embeddings"),
        ("distilbert", {"sinusoidal_pos_embds": True}, "sinusoidal"),
        ("modernbert", {"rope_parameters": {"x": {}}}, "rope_parameters"),
        ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type"),
        ("modernbert", {"layer_types": ["x"] * 4}, "layer_types"),
    ],
)
def test_configurations_that_mean_something_else_are_refused(case: str, changes: Any, text: str) -> None:
    with pytest.raises((UnsupportedError, FormatError), match=text):
        read_config({**CASES[case]["config"], **changes})


@pytest.mark.parametrize("kind", ["whisper", "t5", "bart", "marian"])
def test_encoders_with_decoders_are_refused_by_name(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=kind):
        read_config({"model_type": kind, "is_encoder_decoder": True})
    with pytest.raises(UnsupportedError, match=kind):
        read_config({"model_type": kind})


def test_older_spellings_of_the_same_encoder(tmp_path: Path) -> None:
    """Prefixes and names of tensors as older checkpoints have them, and heads that are not used."""
    record = CASES["bert"]
    found = {n: families.stored(n, tuple(shape), "F32") for n, shape in record["tensors"].items()}
    older = {}
    for name, tensor in found.items():
        if "LayerNorm" in name:
            name = name.replace(".weight", ".gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        older[f"bert.{name}"] = tensor
    older["cls.predictions.bias"] = families.stored("x.bias", (61,), "F32")
    older["bert.pooler.dense.bias"] = families.stored("y.bias", (30,), "F32")
    families.write(tmp_path / "old", record["config"], older, 1)
    checkpoint, other = open_huggingface(tmp_path / "old", vocabulary()), opened("bert", tmp_path)
    for name in other.shapes:
        assert checkpoint.tensor(name).tobytes() == other.tensor(name).tobytes()
