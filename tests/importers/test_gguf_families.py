"""The same network from a Hugging Face folder and from the GGUF file that llama.cpp would make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from importers import families
from importers.gguf_converter import PERMUTED, converted, llama3_divisors, permuted
from importers.gguf_writer import GgufFile, Stored
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError
from proofcompute.importers import open_gguf, rope_scaling
from proofcompute.importers.architecture import Arch, Block, Mlp, Moe, Norm
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.gguf_families import FAMILIES
from proofcompute.models.supported import ARCHITECTURES


def same(arch: Arch) -> Arch:
    return arch


def attention(**changes: Any) -> Callable[[Arch], Arch]:
    """A difference in the attention of all blocks."""

    def apply(arch: Arch) -> Arch:
        blocks = (replace(b, attention=replace(b.attention, **changes)) for b in arch.blocks)
        return replace(arch, blocks=tuple(blocks))

    return apply


def limit(arch: Arch) -> Arch:
    """The limit of gpt-oss's gates, which no file says."""

    def of(ffn: Mlp | Moe) -> Mlp | Moe:
        return replace(ffn, expert=replace(ffn.expert, limit=7.0)) if isinstance(ffn, Moe) else ffn

    return replace(arch, blocks=tuple(replace(b, ffn=of(b.ffn)) for b in arch.blocks))


@dataclass(frozen=True)
class Case:
    """How a case of :mod:`families` is written as a GGUF file."""

    architecture: str
    rope: Mapping[str, Any] = field(default_factory=dict)
    divisors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    context: int = 0
    """The positions that the file states, if it states more than the folder is opened for."""
    differs: Callable[[Arch], Arch] = same
    """What such a file cannot say, or says otherwise."""
    layers: tuple[int, ...] = ()
    """The layers that are written, where a file cannot hold all; empty for all."""
    rounded: bool = False
    """Whether frequencies may differ in the last place, because divisors are rounded."""


YARN = {"scaling.type": "yarn", "scaling.original_context_length": 16}
FACTORS = {
    "rope_factors_short": (1.0, 1.25, 1.5, 2.0, 3.0),
    "rope_factors_long": (1.0, 2.5, 4.0, 8.0, 13.0),
}
CASES = {
    "llama-2": Case("llama", {"freq_base": 10000.0}),
    "llama-3": Case(
        "llama", {"freq_base": 5e5}, {"rope_freqs": llama3_divisors(5e5, 10, 8, 1, 4, 16)}, rounded=True
    ),
    "llama-yarn": Case("llama", {"freq_base": 10000.0, **YARN, "scaling.factor": 4.0}),
    "llama-linear-biases": Case("llama", {"scaling.type": "linear", "scaling.factor": 2.5}),
    "mistral-no-window": Case("llama", {"freq_base": 1e6}),
    "mixtral": Case("llama", {"freq_base": 1e6}),
    "qwen2": Case("qwen2", {"freq_base": 1e6}),
    "qwen2.5": Case("qwen2", {"freq_base": 1e6, **YARN, "scaling.factor": 4.0}),
    "qwen3": Case("qwen3", {"freq_base": 1e6}),
    "qwen2_moe": Case("qwen2moe"),
    "qwen3_moe": Case("qwen3moe", layers=(0, 2)),  # the layer between has no experts
    "gemma": Case("gemma"),
    # embedded tokens are scaled by a root that is rounded to the type of the folder's weights
    "gemma-bf16": Case("gemma", differs=lambda arch: replace(arch, embed_scale=rope_scaling.root(30))),
    # the scale of scores is a number of its own in the folder
    "gemma2": Case("gemma2", differs=attention(scale=rope_scaling.inverse_root(14))),
    "gemma3": Case(
        "gemma3", {"freq_base": 1e6, "freq_base_swa": 1e4, "scaling.type": "linear", "scaling.factor": 8.0}
    ),
    "phi": Case("phi2"),
    "phi3": Case("phi3", {"freq_base": 1e4}),
    "phi3-longrope": Case(
        "phi3",
        {"scaling.attn_factor": 1.1832159757614136, "scaling.original_context_length": 32},
        FACTORS,
        context=128,
    ),
    "phi4-mini": Case(
        "phi3",
        {"scaling.attn_factor": 1.5275251865386963, "scaling.original_context_length": 8},
        {"rope_factors_short": (1.0, 1.0, 1.5), "rope_factors_long": (1.0, 3.0, 9.5)},
    ),
    "olmo2": Case("olmo2", {"freq_base": 5e5}),
    "olmoe": Case("olmoe"),
    "smollm3": Case("smollm3", {"freq_base": 2e6}),
    "granite": Case("granite"),
    "granite-biases": Case("granite"),
    "cohere": Case("command-r", {"freq_base": 8e6, "scaling.type": "none"}),
    "cohere-norms": Case("command-r", {"freq_base": 5e5}),
    "cohere2": Case("cohere2", {"freq_base": 5e4}),
    "stablelm": Case("stablelm"),
    "stablelm-norms": Case("stablelm"),
    # llama.cpp's converter leaves the window away
    "starcoder2": Case("starcoder2", {"freq_base": 1e5}, differs=attention(window=0)),
    "gpt2": Case("gpt2"),
    "gpt_neox": Case("gptneox"),
    "glm4": Case("glm4"),
    "exaone4": Case("exaone4"),
    "exaone4-no-windows": Case(
        "exaone4", {"freq_base": 1e6}, {"rope_freqs": llama3_divisors(1e6, 10, 8, 1, 4, 16)}, rounded=True
    ),
    # the limit of the gates is a number of its own in the folder
    "gpt_oss": Case(
        "gpt-oss",
        {
            "freq_base": 150000.0,
            "scaling.type": "yarn",
            "scaling.factor": 32.0,
            "scaling.original_context_length": 4096,
        },
        differs=limit,
    ),
    "gpt_oss-bf16": Case("gpt-oss", {"freq_base": 150000.0, **YARN, "scaling.factor": 4.0}),
    "deepseek_v2": Case("deepseek2"),
    "deepseek_v2-groups": Case(
        "deepseek2", {**YARN, "scaling.factor": 40.0, "scaling.yarn_log_multiplier": 0.0707}
    ),
}


def folder(case: str, path: Path) -> Checkpoint:
    opened: Checkpoint = families.opened(case, path / case)
    layers = CASES[case].layers
    if not layers:
        return opened

    def read_rows(name: str, a: int, b: int) -> np.ndarray:
        if name.startswith("layers."):
            _, i, rest = name.split(".", 2)
            name = f"layers.{layers[int(i)]}.{rest}"
        return opened.read_rows(name, a, b)

    arch = replace(opened.arch, blocks=tuple(opened.arch.blocks[i] for i in layers))
    return replace(opened, arch=arch, read_rows=read_rows, read_quantised=lambda name, a, b: None)


def file_of(case: str, checkpoint: Checkpoint) -> GgufFile:
    how = CASES[case]
    return converted(
        checkpoint.arch,
        checkpoint.tensor,
        list(checkpoint.shapes),
        how.architecture,
        rope=how.rope,
        divisors=how.divisors,
        context=how.context,
    )


def written(path: Path, file: GgufFile) -> Path:
    path.write_bytes(file.build())
    return path


def without_offset(norm: Norm | None) -> Norm | None:
    return None if norm is None else replace(norm, offset=0.0)


def as_gguf(arch: Arch, architecture: str) -> Arch:
    """The description in a GGUF file of the network: offsets are in the weights, halves side by side."""

    def block(b: Block) -> Block:
        a = b.attention
        rope = a.rope
        if rope is not None and architecture in PERMUTED:
            rope = replace(rope, interleaved=True)
        norm = without_offset(b.norm)
        assert norm is not None
        return replace(b, norm=norm, attention=replace(a, norm=without_offset(a.norm), rope=rope))

    blocks = tuple(block(b) for b in arch.blocks)
    norm = without_offset(arch.norm)
    assert norm is not None
    return replace(arch, family=architecture, norm=norm, blocks=blocks)


def weights_as_gguf(checkpoint: Checkpoint, architecture: str, name: str) -> np.ndarray:
    arch, value = checkpoint.arch, checkpoint.tensor(name)
    base = name.removesuffix(".bias")
    a = arch.blocks[0].attention
    if architecture in PERMUTED and base.endswith(("attention.q", "attention.k")):
        return permuted(value, a.heads if base.endswith("q") else a.kv_heads)
    if name == base and base.endswith(("norm", ".post")):
        return (value.astype(np.float64) + arch.norm.offset).astype(np.float32)
    return value


def frequencies_close(a: Arch, b: Arch) -> Arch:
    """``a`` with the frequencies of ``b``, which must be neighbours of its own."""
    blocks = []
    for mine, theirs in zip(a.blocks, b.blocks, strict=True):
        rope, other = mine.attention.rope, theirs.attention.rope
        if rope is not None and other is not None:
            assert np.abs(np.array(rope.freqs) - np.array(other.freqs)).max() <= 2
            rope = replace(rope, freqs=other.freqs)
        blocks.append(replace(mine, attention=replace(mine.attention, rope=rope)))
    return replace(a, blocks=tuple(blocks))


@pytest.mark.parametrize("case", CASES)
def test_the_same_network_from_both_sources(tmp_path: Path, case: str) -> None:
    how, checkpoint = CASES[case], folder(case, tmp_path)
    path = written(tmp_path / "model.gguf", file_of(case, checkpoint))
    found = open_gguf(path, families.context(case))
    expected = how.differs(as_gguf(checkpoint.arch, how.architecture))
    if how.rounded:
        expected = frequencies_close(expected, found.arch)
    assert found.arch == expected
    for name in found.shapes:
        value = weights_as_gguf(checkpoint, how.architecture, name)
        assert found.tensor(name).tobytes() == value.tobytes(), name
        a, b = len(value) // 3, -(-len(value) // 2)
        assert found.rows(name, a, b).tobytes() == value[a:b].tobytes(), name


@pytest.mark.parametrize(
    ("case", "key", "words"),
    [
        ("starcoder2", "starcoder2.attention.sliding_window", "does not state a window"),
        ("deepseek_v2-groups", "deepseek2.expert_group_count", "into how many groups"),
    ],
)
def test_what_files_of_an_architecture_leave_out_is_noted(
    case: str, key: str, words: str, tmp_path: Path
) -> None:
    """A file that says it, as one group or no window, is read without the note."""
    file = file_of(case, folder(case, tmp_path))
    begin = key.removesuffix("_count")  # which groups are used makes no sense without their number
    metadata = {k: v for k, v in dict(file.metadata).items() if not k.startswith(begin)}
    without = open_gguf(written(tmp_path / "a.gguf", replace(file, metadata=metadata)))
    assert [note for note in without.notes if words in note and key in note]
    said = {**metadata, key: int("group" in key)}
    assert not open_gguf(written(tmp_path / "b.gguf", replace(file, metadata=said))).notes


def test_every_architecture_is_tested_and_listed() -> None:
    assert set(FAMILIES) == set(ARCHITECTURES)
    assert {case.architecture for case in CASES.values()} == set(FAMILIES)


def key(name: str, value: Any) -> Callable[[GgufFile], None]:
    """Set a metadata key of the architecture; None removes it."""

    def apply(file: GgufFile) -> None:
        assert isinstance(file.metadata, dict)
        whole = f"{file.metadata['general.architecture']}.{name}"
        if value is None:
            del file.metadata[whole]
        else:
            file.metadata[whole] = value

    return apply


def without(tensor: str) -> Callable[[GgufFile], None]:
    def apply(file: GgufFile) -> None:
        file.tensors = [t for t in file.tensors if t.name != tensor]

    return apply


def with_tensor(name: str, *shape: int) -> Callable[[GgufFile], None]:
    def apply(file: GgufFile) -> None:
        file.tensors.append(Stored(name, shape, np.ones(shape, "<f4").tobytes()))

    return apply


PATTERN = "attention.sliding_window_pattern"
REFUSED: dict[str, tuple[str, Callable[[GgufFile], None], type[InputError], str]] = {
    "unknown key": ("gemma3", key("altup.active_idx", 1), UnsupportedError, "'gemma3.altup.active_idx' is"),
    "another family's key": ("qwen3", key("residual_scale", 2.0), UnsupportedError, "residual_scale other"),
    "window missing": ("gpt_oss", key("attention.sliding_window", None), FormatError, "window is missing"),
    "short pattern": ("cohere2", key(PATTERN, [True, True]), FormatError, "has 2 elements for 5 layers"),
    "pattern of numbers": ("cohere2", key(PATTERN, [1, 1, 1, 0, 1]), FormatError, "that is not a bool"),
    "no epsilon": ("phi", key("attention.layer_norm_epsilon", None), FormatError, "epsilon is missing"),
    "base of windows": ("cohere2", key("rope.freq_base_swa", 1e4), UnsupportedError, "freq_base_swa is"),
    "base 1": ("qwen3", key("rope.freq_base", 1.0), FormatError, "freq_base is 1.0, not above 1"),
    "yarn's own magnitude": (
        "qwen2.5", key("rope.scaling.yarn_attn_factor", 1.0), UnsupportedError, "yarn_attn_factor is 1.0",
    ),
    "yarn's ramp": (
        "qwen2.5", key("rope.scaling.yarn_beta_slow", 64.0), FormatError, "beta_slow is 64.0, not less",
    ),
    "yarn without extrapolation": (
        "qwen2.5", key("rope.scaling.yarn_ext_factor", 0.5), UnsupportedError, "yarn_ext_factor other than 1",
    ),
    "half of longrope": (
        "phi3-longrope", without("rope_factors_long.weight"), FormatError, "'rope_factors_long.weight' is",
    ),
    "two kinds of divisors": (
        "phi3-longrope", with_tensor("rope_freqs.weight", 5), UnsupportedError, "with rope_freqs.weight",
    ),
    "divisors of nothing": ("gpt2", with_tensor("rope_freqs.weight", 5), UnsupportedError, "is not part"),
    "no positions": ("gpt2", without("position_embd.weight"), FormatError, "'position_embd.weight' is"),
    "half of queries' norms": (
        "qwen3", without("blk.1.attn_k_norm.weight"), FormatError, "'blk.1.attn_k_norm.weight' is missing",
    ),
    "fused and apart": ("phi3", with_tensor("blk.0.attn_q.weight", 30, 30), UnsupportedError, "is not part"),
    "no sinks": ("gpt_oss", without("blk.2.attn_sinks.weight"), FormatError, "attn_sinks.weight' is missing"),
    "scores of experts": ("mixtral", key("expert_gating_func", 4), UnsupportedError, "gating_func is 4"),
    "more used than there are": ("mixtral", key("expert_used_count", 6), LimitError, "used_count is 6"),
    "uneven groups": ("deepseek_v2", key("expert_group_count", 4), FormatError, "cannot be divided"),
    "no shared expert": (
        "deepseek_v2", without("blk.1.ffn_up_shexp.weight"), FormatError, "'blk.1.ffn_up_shexp.weight' is",
    ),
    "keys alone": ("deepseek_v2", without("blk.0.attn_v_b.weight"), FormatError, "attn_v_b.weight' is"),
    "no rank": ("deepseek_v2", key("attention.kv_lora_rank", None), FormatError, "kv_lora_rank is missing"),
    "no rotated columns": ("deepseek_v2", key("attention.key_length_mla", 6), FormatError, "less than 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(tmp_path: Path, name: str) -> None:
    case, change, error, words = REFUSED[name]
    file = file_of(case, folder(case, tmp_path))
    change(file)
    with pytest.raises(error, match=words) as caught:
        open_gguf(written(tmp_path / "model.gguf", file), families.context(case))
    assert type(caught.value) is error


def test_a_longer_context_chooses_other_divisors(tmp_path: Path) -> None:
    file = file_of("phi3-longrope", folder("phi3-longrope", tmp_path))
    path = written(tmp_path / "model.gguf", file)
    short, longer = open_gguf(path), open_gguf(path, 33)
    assert (short.arch.context, longer.arch.context) == (32, 128)
    assert "more than 32 tokens" in short.notes[0]
    assert longer.notes == ()
    ropes = [c.arch.blocks[0].attention.rope for c in (short, longer)]
    expected = (rope_scaling.longrope(1e4, 10, FACTORS[f"rope_factors_{k}"]) for k in ("short", "long"))
    assert [r.freqs for r in ropes if r is not None] == list(expected)
