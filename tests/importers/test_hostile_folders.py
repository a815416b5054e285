"""Folders that lie are refused by a typed error that names file and tensor, before anything large happens."""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from adversary.mutation import Edit, apply
from importers import families
from importers.hostile_folders import CASE, FIRST, HOSTILE, good_folder
from proofcompute.errors import FormatError, InputError, MismatchError, ProofcomputeError, StorageError
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.huggingface import open_huggingface
from proofcompute.importers.huggingface.folder import end_tokens, licence, model_name
from proofcompute.models.vocabulary import Vocabulary

HERE: Final = "importers.huggingface."


def _open(folder: Path) -> Checkpoint:
    return open_huggingface(folder, families.vocabulary(CASE))


def test_the_good_folder_is_read(tmp_path: Path) -> None:
    assert _open(good_folder(tmp_path)).arch.family == "llama"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_lie_is_refused(name: str, tmp_path: Path) -> None:
    hostile = HOSTILE[name]
    folder = good_folder(tmp_path / "model")
    hostile.change(folder)
    before = sorted(p.name for p in folder.iterdir())
    tracemalloc.start()
    try:
        with pytest.raises(hostile.error) as raised:
            _open(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert hostile.says in str(raised.value)
    assert peak < 16 << 20  # the longest file of these has 1 MB
    assert sorted(p.name for p in folder.iterdir()) == before


MUTANTS: Final[dict[str, tuple[Edit, str]]] = {
    "links": (
        Edit(
            HERE + "folder",
            "if not any(target.parent == place for place in allowed):",
            "if False:",
        ),
        "a link out of the folder",
    ),
    "names of shards": (
        Edit(
            HERE + "folder",
            "if not isinstance(name, str) or not re.fullmatch(",
            "if not isinstance(name, str) or not re.search(",
        ),
        "a hidden name",
    ),
    "index and tensors": (
        Edit(
            HERE + "folder",
            "if where is not None and where.get(tensor.name) != name:",
            "if False:",
        ),
        "a tensor that the index omits",
    ),
    "index and shards": (
        Edit(
            HERE + "folder",
            "if where is not None and (lost := [name for name in where if name not in tensors]):",
            "if lost := []:",
        ),
        "a tensor that no shard has",
    ),
    "a tensor twice": (
        Edit(
            HERE + "folder",
            "if tensor.name in tensors:",
            "if False:",
        ),
        "a tensor in two shards",
    ),
    "number of shards": (
        Edit(
            HERE + "folder",
            "if len(names) > MAX_SHARDS:",
            "if False:",
        ),
        "too many shards",
    ),
    "one or many": (
        Edit(
            HERE + "folder",
            "    if single:",
            "    if False:",
        ),
        "an index and a single file",
    ),
    "length of the header": (
        Edit(
            HERE + "safetensors_header",
            "if length > MAX_HEADER:",
            "if False:",
        ),
        "a header of 2^60 bytes",
    ),
    "overlap": (
        Edit(
            HERE + "safetensors_header",
            "if first != end:",
            "if False:",
        ),
        "overlapping tensors",
    ),
    "the end": (
        Edit(
            HERE + "safetensors_header",
            "if end != size - start:",
            "if False:",
        ),
        "bytes after the tensors",
    ),
    "range": (
        Edit(
            HERE + "safetensors_header",
            "if not first <= last <= room:",
            "if False:",
        ),
        "offsets beyond the file",
    ),
    "size": (
        Edit(
            HERE + "safetensors_header",
            "if last - first != math.prod(shape) * SIZES[dtype]:",
            "if False:",
        ),
        "a shape that does not fit the bytes",
    ),
    "keys twice": (
        Edit(
            HERE + "json_file",
            "if len(found) != len(pairs):",
            "if False:",
        ),
        "a key twice",
    ),
    "depth": (
        Edit(
            HERE + "json_file",
            "if deepest > MAX_JSON_DEPTH:",
            "if False:",
        ),
        "a deep config",
    ),
    "length": (
        Edit(
            HERE + "json_file",
            "if len(data) > limit:",
            "if False:",
        ),
        "a long config",
    ),
    "shapes": (
        Edit(
            HERE + "matching",
            "if stored.tensor.shape != shape:",
            "if False:",
        ),
        "another vocabulary",
    ),
    "layers": (
        Edit(
            HERE + "matching",
            "if len(arch.blocks) > len(stored):",
            "if False:",
        ),
        "more layers than tensors",
    ),
    "others": (
        Edit(
            HERE + "matching",
            "    matching.refuse_others(len(arch.blocks))",
            "    pass",
        ),
        "a tensor too many",
    ),
    "types": (
        Edit(
            HERE + "matching",
            "if stored.tensor.dtype in FLOATS:",
            "if True:",
        ),
        "integers for weights",
    ),
}
"""Name -> a check that is taken out, and a folder that is then no longer refused in the same way."""


@pytest.mark.parametrize("name", MUTANTS)
def test_without_its_check_a_lie_is_not_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, lie = MUTANTS[name]
    hostile = HOSTILE[lie]
    folder = good_folder(tmp_path / "model")
    hostile.change(folder)
    apply(monkeypatch, [edit])
    try:
        _open(folder)
    except (ProofcomputeError, MemoryError, RecursionError, OverflowError) as e:
        assert not isinstance(e, hostile.error) or hostile.says not in str(e)  # noqa: PT017  # or no error


# -- values ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_value_that_is_not_finite_is_refused_when_it_is_read(
    dtype: str, value: float, tmp_path: Path
) -> None:
    name = "model.layers.1.mlp.down_proj.weight"
    found = {k: families.stored(k, v, dtype) for k, v in families.tensors(CASE).items()}
    bits = np.array([value], np.float32)
    narrow = {"F32": bits, "F16": bits.astype("<f2"), "BF16": (bits.view(np.uint32) >> 16).astype("<u2")}
    found[name][1][7, 3] = narrow[dtype][0]
    families.write(tmp_path, families.config(CASE), found, 2)
    checkpoint = _open(tmp_path)
    assert checkpoint.rows("layers.1.ffn.down", 0, 7).shape == (7, 43)
    with pytest.raises(
        FormatError, match=r"model-0000\d-of-00002.safetensors: tensor .*down_proj.*NaN or inf"
    ):
        checkpoint.rows("layers.1.ffn.down", 7, 8)


def test_a_file_that_changes_after_opening_is_refused(tmp_path: Path) -> None:
    checkpoint = _open(good_folder(tmp_path))
    path = tmp_path / FIRST
    assert checkpoint.tensor("head").size
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(MismatchError, match=FIRST):
        checkpoint.tensor("head")
    path.write_bytes(raw[:-100])
    with pytest.raises(MismatchError, match=FIRST):
        checkpoint.tensor("head")
    path.unlink()
    with pytest.raises(StorageError, match=FIRST):
        checkpoint.tensor("head")


def test_any_flipped_bytes_are_read_or_refused(tmp_path: Path) -> None:
    """In headers and index; what is read has the shapes of the configuration."""
    folder = good_folder(tmp_path)
    draw = random.Random(1)
    files = [FIRST, "model.safetensors.index.json", "config.json"]
    originals = {name: (folder / name).read_bytes() for name in files}
    read = 0
    for _ in range(150):
        name = draw.choice(files)
        raw = bytearray(originals[name])
        end = 8 + struct.unpack("<Q", raw[:8])[0] if name == FIRST else len(raw)
        for _ in range(draw.randint(1, 3)):
            raw[draw.randrange(end)] = draw.choice(b'0123456789",:{}[]ae \x00\xff')
        (folder / name).write_bytes(raw)
        try:
            checkpoint = _open(folder)
        except InputError:
            pass
        else:
            read += 1
            assert checkpoint.shapes["embedding"][1] == checkpoint.arch.width
        (folder / name).write_bytes(originals[name])
    assert read < 150


# -- what is allowed -------------------------------------------------------------------------------------
def test_a_cache_of_links_is_read(tmp_path: Path) -> None:
    """huggingface_hub keeps files in ``blobs`` and links to them in ``snapshots``."""
    root = tmp_path / "models--some--model"
    snapshot = root / "snapshots" / "0123abcd"
    good_folder(snapshot)
    (root / "blobs").mkdir()
    for path in list(snapshot.iterdir()):
        path.rename(root / "blobs" / path.name)
        path.symlink_to(Path("../../blobs") / path.name)
    checkpoint = _open(snapshot)
    assert checkpoint.name == "some/model"
    assert checkpoint.tensor("norm").shape == (30,)
    outside = tmp_path / "outside.json"
    (root / "blobs" / "config.json").rename(outside)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(outside)
    with pytest.raises(InputError, match=r"config\.json is a link out of"):
        _open(snapshot)


def test_a_shape_names_the_keys_of_the_family(tmp_path: Path) -> None:
    families.write_folder("gpt2", tmp_path / "a", {"n_inner": 7})
    with pytest.raises(FormatError, match=r"h\.0\.mlp\.c_fc.*asks for \(30, 7\) \(n_embd, n_inner\)"):
        open_huggingface(tmp_path / "a", families.vocabulary("gpt2"))
    families.write_folder("deepseek_v2", tmp_path / "b", {"kv_lora_rank": 15})
    with pytest.raises(FormatError, match=r"kv_a_proj_with_mqa.*\(kv_lora_rank, qk_rope_head_dim\)"):
        open_huggingface(tmp_path / "b", families.vocabulary("deepseek_v2"))


def test_tensors_that_transformers_ignores_too_change_nothing(tmp_path: Path) -> None:
    more = {
        "llama-2": "model.layers.0.self_attn.rotary_emb.inv_freq",
        "gpt2": "transformer.h.1.attn.bias",
        "gpt_neox": "gpt_neox.layers.0.attention.masked_bias",
        "deepseek_v3": "model.layers.3.mlp.gate.weight",
    }
    for case, name in more.items():
        found = families.weights(case)
        found[name] = ("BOOL", np.ones((1, 2), "u1"))
        families.write(tmp_path / case, families.config(case), found, 2)
        checkpoint = open_huggingface(tmp_path / case, families.vocabulary(case))
        assert checkpoint.shapes


def test_other_names_of_the_same_tensors_are_read(tmp_path: Path) -> None:
    for case, old, new in (
        ("gpt2", "transformer.", ""),
        ("mixtral", ".block_sparse_moe.", ".mlp."),
        ("gpt_neox", "embed_out.", "lm_head."),
        ("gemma3-image", "language_model.model.", "model.language_model."),
    ):
        found = {name.replace(old, new): value for name, value in families.weights(case).items()}
        assert set(found) != set(families.weights(case))
        families.write(tmp_path / case, families.config(case), found, 1)
        again = open_huggingface(tmp_path / case, families.vocabulary(case))
        known = families.opened(case, tmp_path / f"{case} as it was")
        assert again.tensor("norm").tobytes() == known.tensor("norm").tobytes()
    found = families.weights("gpt_neox")
    found["lm_head.weight"] = found["embed_out.weight"]
    families.write(tmp_path / "both", families.config("gpt_neox"), found, 1)
    with pytest.raises(FormatError, match="have the same meaning"):
        open_huggingface(tmp_path / "both", families.vocabulary("gpt_neox"))


@pytest.mark.parametrize("same", [True, False])
def test_a_head_beside_a_tied_embedding(same: bool, tmp_path: Path) -> None:
    """transformers uses both where it finds both; equal ones are one."""
    found = families.weights("llama-3")
    head = found["model.embed_tokens.weight"][1].copy()
    head[60, 29] += 0.0 if same else 0.5
    found["lm_head.weight"] = ("F32", head)
    families.write(tmp_path, families.config("llama-3"), found, 2)
    checkpoint = open_huggingface(tmp_path, families.vocabulary("llama-3"))
    assert checkpoint.arch.tied is same
    assert bool(checkpoint.notes) is not same
    if not same:
        assert checkpoint.tensor("head").tobytes() == head.tobytes()


def test_factors_on_embeddings_are_rounded_as_they_are_stored(tmp_path: Path) -> None:
    """Gemma's sqrt(30) = 5.477... in the type of the embedding."""
    scales = {}
    for dtype in ("F32", "F16", "BF16"):
        found = {k: families.stored(k, v, dtype) for k, v in families.tensors("gemma").items()}
        families.write(tmp_path / dtype, families.config("gemma"), found, 1)
        scales[dtype] = open_huggingface(tmp_path / dtype, families.vocabulary("gemma")).arch.embed_scale
    assert scales == {"F32": float(np.float32(30**0.5)), "F16": float(np.float16(30**0.5)), "BF16": 5.46875}


def test_what_else_a_folder_says(tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "some model")
    assert (model_name(folder), licence(folder), end_tokens(folder)) == ("some model", "", ())
    (folder / "README.md").write_text(
        "---\ntags:\n- x\nlicense: apache-2.0\n---\n# A model\nlicense: other\n"
    )
    assert licence(folder) == "apache-2.0"
    (folder / "README.md").write_text("license: apache-2.0\n")
    assert licence(folder) == ""
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "eos_token_id": 2}))
    assert end_tokens(folder) == (2,)
    (folder / "generation_config.json").write_text('{"eos_token_id": [9, 7, 9]}')
    assert end_tokens(folder) == (7, 9)
    for wrong in ("true", "-1", '"</s>"', "[[1]]", "1e3", str(1 << 30)):
        (folder / "generation_config.json").write_text(f'{{"eos_token_id": {wrong}}}')
        with pytest.raises(FormatError, match=r"generation_config\.json: eos_token_id"):
            end_tokens(folder)


def test_arguments(tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "model")
    with pytest.raises(InputError, match="is not a folder"):
        _open(folder / "config.json")
    with pytest.raises(InputError, match="is not a folder"):
        _open(tmp_path / "nothing")
    for context in (0, -1, 1 << 30):
        with pytest.raises(InputError, match="positions"):
            open_huggingface(folder, families.vocabulary(CASE), context=context)
    known = families.vocabulary(CASE)
    wider = Vocabulary("bpe", (*known.tokens, b"zz"), known.types + b"\1")
    with pytest.raises(
        FormatError, match="vocab_size is 61, but the tokenizer has 62 tokens, and needs token 61"
    ):
        open_huggingface(folder, wider)
    assert open_huggingface(os.fspath(folder), families.vocabulary(CASE), context=7).arch.context == 7
