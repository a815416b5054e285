"""Configurations: every key is read, listed as harmless, or refused by name."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from importers import families
from importers.published import PUBLISHED
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.importers.architecture import Arch, tensor_shapes
from proofcompute.importers.huggingface import read_config
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.families import FAMILIES
from proofcompute.importers.huggingface.harmless import HARMLESS
from proofcompute.importers.rope_scaling import plain

DEFAULTS: dict[str, dict[str, Any]] = json.loads(families.VECTORS.read_text("utf-8"))["defaults"]
NOT_FIELDS = {"sliding_window_pattern", "rope_local_base_freq", "rope_parameters", "no_rope_layer_interval"}
"""Defaults that transformers has in other places than the fields of its classes."""
NOT_READ = {
    "chunk_size_feed_forward",
    "is_encoder_decoder",
    "is_decoder",
    "initializer_range",
    "num_mtp_layers",  # of layers that guess further tokens
    "add_cross_attention",
    "default_theta",
}


@pytest.mark.parametrize("kind", sorted(set(DEFAULTS) - {"gemma3"}))
def test_defaults_are_those_of_transformers(kind: str) -> None:
    family, known = FAMILIES[kind], DEFAULTS[kind]
    for key, value in family.defaults.items():
        if key not in NOT_FIELDS and value is not None:
            assert known[key] == value, key
    missing = {k for k, v in known.items() if k not in family.defaults and v not in (None, False)}
    if kind == "gemma":
        missing -= {"hidden_act"}  # one value is meant, whatever is said
    assert missing <= set(HARMLESS) | NOT_READ


@pytest.mark.parametrize("kind", sorted(set(DEFAULTS) - {"gemma3", "gpt2"}))
def test_the_default_base_is_that_of_transformers(kind: str) -> None:
    theta = DEFAULTS[kind]["default_theta"]
    values: dict[str, Any] = {"model_type": kind, "num_experts_per_tok": 2}
    if "num_experts_per_tok" not in DEFAULTS[kind] and kind != "deepseek_v2":
        del values["num_experts_per_tok"]
    arch = read_config(values)[0]
    for block in arch.blocks:
        rope = block.attention.rope
        if rope is None or kind == "gpt_oss":  # has YaRN by default
            continue
        base = theta if isinstance(theta, float) else theta["local" if block.attention.window else "global"]
        assert rope.freqs == plain(base, 2 * len(rope.freqs))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read(name: str) -> None:
    values, weights = PUBLISHED[name]
    arch = read_config(values)[0]
    count = 0
    for shape in tensor_shapes(arch).values():
        size = 1
        for n in shape:
            size *= n
        count += size
    assert count == weights


@pytest.mark.parametrize("case", families.FAMILIES)
def test_a_key_that_nobody_reads_is_refused_by_name(case: str) -> None:
    values = families.config(case)
    inner = values.get("text_config", values)
    inner["use_something_new"] = True
    with pytest.raises(UnsupportedError, match="use_something_new"):
        read_config(values)
    inner["use_something_new"] = None  # says nothing
    read_config(values)


@pytest.mark.parametrize("case", families.FAMILIES)
def test_every_key_is_read(case: str) -> None:
    """A value that no key can have is refused wherever it stands, and the refusal names the key."""
    for path in _paths(families.config(case)):
        values = families.config(case)
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = {"no": "such value"} if path[-1] != "rope_scaling" else [1]
        if path[-1] in ("pad_token_id", "boi_token_index"):  # of other parts
            read_config(values)
            continue
        with pytest.raises(InputError, match=path[-1]):
            read_config(values)


def _paths(values: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in values.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += _paths(value, (*before, key))
    return found


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    3,
    7,
    1 << 40,
    10**30,
    0.0,
    0.5,
    1.5,
    -2.0,
    1e29,
    1e-29,
    1e300,
    float("inf"),
    "",
    "silu",
    "yarn",
    "longrope",
    "default",
    "sliding_attention",
    [],
    [1, 2, 3],
    [1.0, 2.0, 3.0, 4.0, 5.0],
    ["full_attention", "sliding_attention", "full_attention"],
    {},
    {"rope_type": "yarn", "factor": 2.0},
    {"rope_type": "llama3"},
]


@pytest.mark.parametrize("case", families.FAMILIES)
def test_any_values_give_a_decoder_or_a_refusal(case: str) -> None:
    draw = random.Random(case)
    paths = _paths(families.config(case))
    for _ in range(150):
        values = families.config(case)
        for path in draw.sample(paths, draw.randint(1, 3)):
            inner: Any = values
            for key in path[:-1]:
                inner = inner.get(key) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                if draw.random() < 0.2:
                    inner.pop(path[-1], None)
                else:
                    inner[path[-1]] = draw.choice(VALUES)
        try:
            arch = read_config(values, draw.choice([None, 1, 40]))[0]
        except InputError:
            continue
        assert isinstance(arch, Arch)
        if len(arch.blocks) < 64:
            assert all(n >= 1 for shape in tensor_shapes(arch).values() for n in shape)


LIES: dict[str, tuple[dict[str, Any], type[InputError], str]] = {
    "another family": ({"model_type": "mamba"}, UnsupportedError, "model_type is 'mamba'"),
    "no family": ({"model_type": None}, UnsupportedError, "model_type is 'None'"),
    "dynamic scaling": (
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        UnsupportedError,
        "rope_scaling.rope_type is 'dynamic'",
    ),
    "a key of another scaling": (
        {"rope_scaling": {"type": "linear", "factor": 2.0, "mrope_section": [1]}},
        UnsupportedError,
        "rope_scaling.mrope_section",
    ),
    "both forms of scaling": (
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_type": "default"}},
        UnsupportedError,
        "rope_scaling and rope_parameters",
    ),
    "two bases": (
        {"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4},
        UnsupportedError,
        "rope_theta is 10000.0, but",
    ),
    "a base of one": ({"rope_theta": 1.0}, FormatError, "rope_theta is 1.0, not above 1"),
    "part of a head is rotated": ({"partial_rotary_factor": 0.5}, UnsupportedError, "partial_rotary_factor"),
    "no scaling factor": (
        {"rope_scaling": {"type": "linear"}},
        FormatError,
        "rope_scaling.factor is missing",
    ),
    "a ramp without an inside": (
        {
            "rope_scaling": {
                "type": "llama3",
                "factor": 2.0,
                "low_freq_factor": 4.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            }
        },
        FormatError,
        "low_freq_factor is 4.0, not less",
    ),
    "too few factors": (
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}},
        FormatError,
        "short_factor has 1 elements, expected 5",
    ),
    "a bomb of layers": ({"num_hidden_layers": 10**9}, LimitError, "num_hidden_layers"),
    "a wide residual stream": ({"hidden_size": 10**9}, LimitError, "hidden_size"),
    "heads that do not divide": ({"hidden_size": 31}, FormatError, "hidden_size is 31"),
    "groups that do not divide": ({"num_key_value_heads": 2}, FormatError, "num_key_value_heads is 2"),
    "an activation": ({"hidden_act": "quick_gelu"}, UnsupportedError, "hidden_act is 'quick_gelu'"),
    "a bool for a number": ({"num_attention_heads": True}, FormatError, "num_attention_heads is True"),
    "a number for a bool": ({"attention_bias": 1}, FormatError, "attention_bias is 1"),
    "no epsilon": ({"rms_norm_eps": 0.0}, FormatError, "rms_norm_eps is 0.0"),
    "another quantisation": (
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        UnsupportedError,
        "quantization_config.quant_method is 'gptq'",
    ),
    "cross attention": ({"add_cross_attention": True}, UnsupportedError, "add_cross_attention"),
    "an encoder": ({"is_encoder_decoder": True}, UnsupportedError, "is_encoder_decoder"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused_by_name(lie: str) -> None:
    changes, error, text = LIES[lie]
    with pytest.raises(error, match=text):
        read_config({**families.config("llama-2"), **changes})


def test_keys_that_are_not_read_are_listed() -> None:
    values = families.config("llama-2")
    plain = set(read_config(values).unused)
    found = read_config({**values, "use_cache": True, "sep_token_id": None, "is_decoder": True}).unused
    assert set(found) - plain == {"use_cache", "sep_token_id", "is_decoder"}
    assert not plain & {"model_type", "hidden_size", "eos_token_id"}
    outer = read_config({**families.config("gemma3"), "use_cache": True})
    assert "use_cache" in outer.unused


AGREEING: list[tuple[str, dict[str, Any]]] = [
    ("gpt_neox", {"rope_theta": 10000, "partial_rotary_factor": 0.25}),
    ("gpt_neox", {"rope_parameters": {"rope_theta": 10000.0, "partial_rotary_factor": 0.25}}),
    ("llama-2", {"partial_rotary_factor": 1.0}),
]


@pytest.mark.parametrize(("case", "more"), AGREEING)
def test_old_and_new_keys_of_rotations_may_say_the_same(case: str, more: dict[str, Any]) -> None:
    values = families.config(case)
    assert read_config({**values, **more}).arch == read_config(values).arch


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"rope_theta": 500.0}, r"rope_theta is 500\.0, but the model's is 10000\.0"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor is 0\.5, but the model's is 0\.25"),
        ({"rope_parameters": {"rope_theta": 500.0}}, r"rotary_emb_base is 10000\.0, but"),
    ],
)
def test_old_and_new_keys_of_rotations_that_differ_are_refused(more: dict[str, Any], text: str) -> None:
    with pytest.raises(UnsupportedError, match=text):
        read_config({**families.config("gpt_neox"), **more})


def test_a_ramp_of_yarn_is_truncated_unless_that_is_false_or_null() -> None:
    """As in transformers, whose default holds only where the key is missing."""
    values = families.config("llama-2")
    said: dict[str, dict[str, Any]] = {"missing": {}, "true": {"truncate": True}, "null": {"truncate": None}}
    found = {}
    for name, more in said.items():
        scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096, **more}
        rope = read_config({**values, "rope_scaling": scaling}).arch.blocks[0].attention.rope
        assert rope is not None
        found[name] = rope.freqs
    assert found["missing"] == found["true"] != found["null"]


def test_code_in_a_folder_is_not_run_and_that_is_said() -> None:
    notes = read_config(PUBLISHED["Phi-3 mini"][0])[3]
    assert any("code of its own, which is not run" in note for note in notes)
    assert read_config(PUBLISHED["Llama 2 7B"][0])[3] == ()


def test_a_cap_that_gemma3_would_not_apply_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"attn_logit_softcapping is 50\.0"):
        read_config({**families.config("gemma3"), "attn_logit_softcapping": 50.0})


def test_harmless_keys_change_nothing() -> None:
    values = families.config("llama-2")
    known = read_config(values)[0]
    assert read_config({**values, **{key: "anything" for key in HARMLESS if key != "model_type"}})[0] == known


def test_an_inner_object_has_no_harmless_keys() -> None:
    inner = Config({"rope_parameters": {"use_cache": True}}).section("rope_parameters")
    with pytest.raises(UnsupportedError, match=r"rope_parameters\.use_cache"):
        inner.finish()
