"""A folder in the layout of Hugging Face is imported, asked and audited like any checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.driver import call, done, refused
from importers.families import stored, write_safetensors
from importers.tokenizer_files import family, file

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A decoder of two blocks."""
    path, width, ffn = tmp_path / "model", 24, 40
    path.mkdir()
    vocabulary = family("qwen 2").get_vocab_size(with_added_tokens=True)
    config: dict[str, Any] = {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    shapes = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for i in range(2):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.{n}_layernorm.weight": (width,) for n in ("input", "post_attention")}
        shapes |= {f"{layer}.self_attn.{n}_proj.weight": (width, width) for n in "qo"}
        shapes |= {f"{layer}.self_attn.{n}_proj.weight": (width // 2, width) for n in "kv"}
        shapes |= {f"{layer}.mlp.{n}_proj.weight": (ffn, width) for n in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, ffn)
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text(file("qwen 2"))
    (path / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": TEMPLATE, "eos_token": "<|im_end|>"})
    )
    write_safetensors(path / "model.safetensors", {n: stored(n, s, "F32") for n, s in shapes.items()})
    return path


def test_a_folder_is_imported_asked_and_audited(folder: Path, tmp_path: Path) -> None:
    facts = done("inspect", folder)
    assert (facts["kind"], facts["layers"], facts["family"]) == ("checkpoint", 2, "llama")
    assert facts["chat_template"] is True
    model, key, run = tmp_path / "m.pc", tmp_path / "k", tmp_path / "run"
    made = done("import", folder, "-o", model)
    assert done("inspect", model)["model_id"] == made["model_id"]
    done("keygen", model, "-o", key)
    asked, challenge, opening = (tmp_path / n for n in ("request", "challenge", "opening"))
    done("request", model, "-o", asked, "--prompt", "the quick brown fox", "--max-tokens", 4)
    done("run", model, asked, "-o", run)
    done("challenge", key, run / "receipt", "--request", asked, "-o", challenge, "--all")
    done("open", run, challenge, "-o", opening)
    verdict = call("verify", key, run / "receipt", challenge, opening, "--request", asked)
    assert verdict.status == 0, verdict.err


def test_what_is_wrong_with_a_folder_is_named(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.pc"
    assert "context of 0" in refused("import", folder, "-o", out, "--context", 0)
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json" in refused("import", folder, "-o", out)
    assert not out.exists()
