"""Weights that are stored quantised: int8 rows and their scales bit for bit, blocks of MXFP4 exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from importers import families
from proofcompute.errors import FormatError, InputError, UnsupportedError
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.float_model import FloatModel
from proofcompute.importers.huggingface import open_huggingface

Array = npt.NDArray[Any]
Weights = dict[str, tuple[str, Array]]


def _scheme(**changes: Any) -> dict[str, Any]:
    return {
        "actorder": None,
        "block_structure": None,
        "dynamic": False,
        "group_size": None,
        "num_bits": 8,
        "observer": "minmax",
        "observer_kwargs": {},
        "strategy": "channel",
        "symmetric": True,
        "type": "int",
        **changes,
    }


def _settings(**group: Any) -> dict[str, Any]:
    """A quantization_config, as llm-compressor writes it for W8A8."""
    return {
        "config_groups": {
            "group_0": {
                "input_activations": _scheme(dynamic=True, strategy="token", observer=None),
                "output_activations": None,
                "targets": ["Linear"],
                "weights": _scheme(),
                **group,
            }
        },
        "format": "int-quantized",
        "global_compression_ratio": 1.5,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }


def _int8(case: str, dtype: str = "BF16") -> tuple[Weights, Weights]:
    """The weights of a case with int8 projections, and the float32 weights that these stand for."""
    quantised: Weights = {}
    floats: Weights = {}
    for name, (kind, array) in families.weights(case).items():
        if array.ndim != 2 or "embed" in name or "lm_head" in name:
            quantised[name] = floats[name] = (kind, array)
            continue
        _, scale = families.stored(name + "_scale", (len(array), 1), dtype)
        wide = _wide(dtype, scale)
        q = np.clip(np.rint(array / np.abs(array).max(axis=1, keepdims=True) * 127.5), -128, 127).astype("i1")
        quantised[name] = ("I8", q)
        quantised[name.replace(".weight", ".weight_scale")] = (dtype, _narrow(dtype, np.abs(wide)))
        floats[name] = ("F32", q.astype(np.float32) * np.abs(wide))
    return quantised, floats


def _wide(dtype: str, array: Array) -> Array:
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else array.astype(np.float32)


def _narrow(dtype: str, array: Array) -> Array:
    return (array.view(np.uint32) >> 16).astype("<u2") if dtype == "BF16" else array


def _write(case: str, path: Path, found: Weights, **changes: Any) -> Checkpoint:
    families.write(path, {**families.config(case), **changes}, found, 1)
    return open_huggingface(path, families.vocabulary(case))


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
@pytest.mark.parametrize("case", ["llama-2", "phi3", "mixtral", "gpt_neox"])
def test_int8_rows_and_scales_are_kept_bit_for_bit(case: str, dtype: str, tmp_path: Path) -> None:
    quantised, floats = _int8(case, dtype)
    found = _write(case, tmp_path / "q", quantised, quantization_config=_settings())
    plain = _write(case, tmp_path / "f", floats)
    kept = 0
    assert any(kind == "I8" for kind, _ in quantised.values())
    for name, shape in found.shapes.items():
        assert found.tensor(name).tobytes() == plain.tensor(name).tobytes()
        pair = found.quantised(name, 0, shape[0])
        assert plain.quantised(name, 0, shape[0]) is None
        if pair is None:
            continue
        q, scale = pair
        kept += q.size
        assert (q.astype(np.float32) * scale[:, None]).tobytes() == found.tensor(name).tobytes()
        part = found.quantised(name, shape[0] // 3, shape[0] // 2)
        assert part is not None
        assert part[0].tobytes() == q[shape[0] // 3 : shape[0] // 2].tobytes()
        assert part[1].tobytes() == scale[shape[0] // 3 : shape[0] // 2].tobytes()
        empty = found.quantised(name, 1, 1)
        assert empty is not None
        assert empty[0].shape == (0, *shape[1:])
    assert kept == sum(a.size for kind, a in quantised.values() if kind == "I8")
    tokens = families.tokens(case)
    logits = [FloatModel(c.arch, c.rows).logits(tokens) for c in (found, plain)]
    assert logits[0].tobytes() == logits[1].tobytes()


def test_minus_128_is_kept(tmp_path: Path) -> None:
    quantised, _ = _int8("llama-2")
    q = quantised["model.layers.0.mlp.up_proj.weight"][1]
    q[0, 0] = -128
    found = _write("llama-2", tmp_path, quantised, quantization_config=_settings())
    pair = found.quantised("layers.0.ffn.up", 0, 1)
    assert pair is not None
    assert pair[0][0, 0] == -128


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "asymmetric": (_settings(weights=_scheme(symmetric=False)), "weights.symmetric is False"),
    "groups": (_settings(weights=_scheme(strategy="group", group_size=128)), "weights.strategy is 'group'"),
    "a group size": (_settings(weights=_scheme(group_size=128)), "weights.group_size is 128"),
    "floats of eight bits": (_settings(weights=_scheme(type="float")), "weights.type is 'float'"),
    "four bits": (_settings(weights=_scheme(num_bits=4)), "weights.num_bits is 4, not 8"),
    "a scale for all": (_settings(weights=_scheme(strategy="tensor")), "weights.strategy is 'tensor'"),
    "static activations": (
        _settings(input_activations=_scheme(strategy="token")),
        "input_activations.dynamic is False",
    ),
    "activations as floats": (_settings(input_activations=None), "input_activations.num_bits is missing"),
    "some modules": (_settings(targets=["re:.*q_proj"]), "targets is"),
    "other formats": ({**_settings(), "format": "pack-quantized"}, "format is 'pack-quantized'"),
    "sparsity": (
        {**_settings(), "sparsity_config": {"format": "sparse-24-bitmask"}},
        "sparsity_config.format is 'sparse-24-bitmask'",
    ),
    "quantised keys": ({**_settings(), "kv_cache_scheme": _scheme()}, "kv_cache_scheme is"),
    "something new": ({**_settings(), "rotation": "hadamard"}, "rotation is not supported"),
    "FP8": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "quant_method is 'fp8'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_schemes_are_refused_by_name(name: str, tmp_path: Path) -> None:
    settings, text = REFUSED[name]
    quantised, _ = _int8("llama-2")
    with pytest.raises(InputError) as raised:
        _write("llama-2", tmp_path, quantised, quantization_config=settings)
    assert "config.json: quantization_config." in str(raised.value)
    assert text in str(raised.value)
    assert isinstance(raised.value, (UnsupportedError, FormatError))


def test_int8_needs_a_configuration_and_scales(tmp_path: Path) -> None:
    quantised, _ = _int8("llama-2")
    name = "model.layers.0.self_attn.q_proj.weight"
    with pytest.raises(UnsupportedError, match=r"is stored as I8, but config\.json"):
        _write("llama-2", tmp_path / "a", quantised)
    scale = quantised.pop(name + "_scale")
    with pytest.raises(FormatError, match=r"q_proj\.weight_scale' is missing"):
        _write("llama-2", tmp_path / "b", quantised, quantization_config=_settings())
    quantised[name + "_scale"] = (scale[0], scale[1][:-1])
    with pytest.raises(FormatError, match=r"q_proj.weight_scale' has the shape \(29, 1\)"):
        _write("llama-2", tmp_path / "c", quantised, quantization_config=_settings())
    quantised[name + "_scale"] = ("I16", scale[1].view("<i2"))
    with pytest.raises(UnsupportedError, match="is stored as I16"):
        _write("llama-2", tmp_path / "d", quantised, quantization_config=_settings())
    quantised[name + "_scale"] = ("F32", -np.ones((30, 1), np.float32))
    found = _write("llama-2", tmp_path / "e", quantised, quantization_config=_settings())
    for read in (found.rows, found.quantised):
        with pytest.raises(FormatError, match=r"q_proj\.weight_scale': a scale is negative"):
            read("layers.0.attention.q", 0, 3)


def test_zero_points_are_refused(tmp_path: Path) -> None:
    quantised, _ = _int8("llama-2")
    quantised["model.layers.0.self_attn.q_proj.weight_zero_point"] = ("I8", np.zeros((30, 1), "i1"))
    with pytest.raises(UnsupportedError, match="weight_zero_point' is not part of"):
        _write("llama-2", tmp_path, quantised, quantization_config=_settings())


# -- MXFP4 ----------------------------------------------------------------------------------------------
LEVELS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def _oss() -> dict[str, Any]:
    """A configuration of gpt-oss whose rows are whole blocks."""
    return {**families.config("gpt_oss"), "hidden_size": 64, "intermediate_size": 32, "head_dim": 8}


def _blocks(rng: np.random.Generator, rows: int, width: int) -> tuple[Array, Array, Array]:
    """Blocks and scales of a stack of five matrices, and the rows that they stand for, one by one."""
    blocks = rng.integers(0, 256, (5, rows, width // 32, 16), np.uint8)
    scales = rng.integers(118, 128, (5, rows, width // 32), np.uint8)
    values = np.empty((5, rows, width), np.float32)
    for e, row, column in np.ndindex(values.shape):
        byte = int(blocks[e, row, column // 32, column % 32 // 2])
        four = byte >> 4 if column % 2 else byte & 15
        sign = -1.0 if four >= 8 else 1.0
        values[e, row, column] = sign * LEVELS[four & 7] * 2.0 ** (int(scales[e, row, column // 32]) - 127)
    return blocks, scales, values


def _oss_weights(*, blocks: bool) -> Weights:
    """The weights of such a model, with experts in blocks or as the floats that these stand for."""
    rng = np.random.default_rng(3)
    found: Weights = {}
    sizes = {30: 64, 17: 32, 34: 64}
    for name, shape in families.tensors("gpt_oss").items():
        if name.endswith(("gate_up_proj", "down_proj")):
            packed, scales, rows = _blocks(rng, 64, 64 if "gate_up" in name else 32)
            if blocks:
                found |= {name + "_blocks": ("U8", packed), name + "_scales": ("U8", scales)}
            else:
                found[name] = ("F32", np.ascontiguousarray(rows.transpose(0, 2, 1)))
            continue
        heads = {60: 48, 20: 16}  # rows of queries, keys and values
        new = tuple(heads.get(n, sizes.get(n, n)) if "attn" in name else sizes.get(n, n) for n in shape)
        found[name] = families.stored(name, new, "F32")
    return found


def test_blocks_are_widened_exactly(tmp_path: Path) -> None:
    mxfp4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    folders = []
    for name, packed in (("blocks", True), ("floats", False)):
        settings = _oss() | ({"quantization_config": mxfp4} if packed else {})
        families.write(tmp_path / name, settings, _oss_weights(blocks=packed), 2)
        folders.append(open_huggingface(tmp_path / name, families.vocabulary("gpt_oss")))
    first, second = folders
    assert first.arch == second.arch
    for name, shape in first.shapes.items():
        assert first.tensor(name).tobytes() == second.tensor(name).tobytes(), name
        a, b = shape[0] // 3, shape[0] // 2 + 1
        assert first.rows(name, a, b).tobytes() == second.rows(name, a, b).tobytes()
        assert first.rows(name, 1, 1).shape == (0, *shape[1:])
    text = families.tokens("gpt_oss")
    logits = [FloatModel(c.arch, c.rows).logits(text) for c in folders]
    assert logits[0].tobytes() == logits[1].tobytes()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("gate_up_proj_scales", None), "gate_up_proj_scales' is missing"),
        (("gate_up_proj_scales", ("U8", (5, 64, 3))), r"gate_up_proj_scales' has the shape \(5, 64, 3\)"),
        (("down_proj_blocks", ("U8", (5, 64, 1, 8))), r"down_proj_blocks' has the shape \(5, 64, 1, 8\)"),
        (("down_proj_scales", ("I8", (5, 64, 1))), "down_proj_scales' is stored as I8, not U8"),
    ],
)
def test_bad_blocks_are_refused(change: tuple[str, Any], text: str, tmp_path: Path) -> None:
    found = _oss_weights(blocks=True)
    key = f"model.layers.0.mlp.experts.{change[0]}"
    if change[1] is None:
        del found[key]
    else:
        dtype, shape = change[1]
        found[key] = (dtype, np.zeros(shape, np.uint8))
    settings = _oss() | {"quantization_config": {"quant_method": "mxfp4"}}
    families.write(tmp_path, settings, found, 1)
    with pytest.raises((FormatError, UnsupportedError), match=text):
        open_huggingface(tmp_path, families.vocabulary("gpt_oss"))


def test_a_scale_beyond_binary32_is_refused_when_it_is_read(tmp_path: Path) -> None:
    found = _oss_weights(blocks=True)
    found["model.layers.0.mlp.experts.down_proj_scales"][1][2, 1, 0] = 255
    found["model.layers.0.mlp.experts.down_proj_blocks"][1][2, 1, 0, 0] = 0x77
    families.write(tmp_path, _oss() | {"quantization_config": {"quant_method": "mxfp4"}}, found, 1)
    checkpoint = open_huggingface(tmp_path, families.vocabulary("gpt_oss"))
    checkpoint.rows("layers.0.ffn.experts.down", 0, 64)
    with pytest.raises(FormatError, match="down_proj_blocks': a value is NaN or infinite"):
        checkpoint.tensor("layers.0.ffn.experts.down")


def test_blocks_without_a_configuration_are_refused(tmp_path: Path) -> None:
    families.write(tmp_path, _oss(), _oss_weights(blocks=True), 1)
    with pytest.raises(FormatError, match=r"experts\.gate_up_proj' is missing"):
        open_huggingface(tmp_path, families.vocabulary("gpt_oss"))
    assert json.loads((tmp_path / "config.json").read_text())["hidden_size"] == 64
