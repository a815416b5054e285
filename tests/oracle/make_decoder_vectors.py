"""Makes the vectors of decoders: what transformers computes for small checkpoints of every family.

It needs torch and transformers, and imports nothing of the package but the writer of test folders. Run in
``tests/``: ``python -m oracle.make_decoder_vectors vectors/decoders.json [CASE ...]``; with names, only these
cases are made, and the others are kept.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from importers import families
from oracle.decoder_cases import CASES, Json


def _model(folder: Path) -> Any:
    model, info = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    wrong = {
        kind: info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]
    }
    assert not wrong, wrong
    return model.eval()


def _names(config: Json, folder: Path) -> dict[str, list[int]]:
    """The names and shapes that transformers itself would write."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    known = AutoConfig.from_pretrained(folder)
    text = getattr(known, "text_config", known)
    AutoModelForCausalLM.from_config(text, dtype=torch.float32).save_pretrained(folder / "saved")
    raw = (folder / "saved" / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return {name: header[name]["shape"] for name in sorted(header) if name != "__metadata__"}


def compute(config: Json, dtype: str, shards: int, here: Path) -> tuple[dict[str, list[int]], Any]:
    """Return names and shapes of the tensors, and logits; the checkpoint stays in ``here / "folder"``."""
    shapes = _names(config, here / "names")
    found = {name: families.stored(name, tuple(shape), dtype) for name, shape in shapes.items()}
    text = config.get("text_config", config)
    families.write(here / "folder", text, found, shards)
    model = _model(here / "folder")
    if text["model_type"].startswith("gemma") and dtype == "BF16":
        # loaded in bfloat16 the model rounds this factor to it; weights are exact in float32
        embed = model.get_input_embeddings()
        embed.embed_scale = embed.embed_scale.to(torch.bfloat16).to(torch.float32)
    tokens = torch.tensor([families.text(text["vocab_size"])])
    with torch.no_grad():
        return shapes, model(tokens).logits[0].numpy().astype("<f4")


def make(case: str) -> Json:
    """Return the record of a case."""
    config, dtype, shards = CASES[case]["config"], CASES[case]["dtype"], CASES[case]["shards"]
    with tempfile.TemporaryDirectory() as temporary:
        shapes, logits = compute(config, dtype, shards, Path(temporary))
    assert np.isfinite(logits).all()
    assert logits.std() > 0.05, (case, logits.std())
    if "text_config" in config:  # as the folder of a model that also sees images names them
        shapes = {f"language_model.{name}": shape for name, shape in shapes.items()}
    return {
        "config": config,
        "context": CASES[case]["context"],
        "dtype": dtype,
        "shards": shards,
        "tensors": shapes,
        "logits": base64.b64encode(logits.tobytes()).decode(),
    }


def defaults() -> Json:
    """The values that a missing key of each family's configuration has; those of JSON's types."""
    found = {}
    for kind in sorted({case["config"]["model_type"] for case in CASES.values()}):
        kept = CONFIG_MAPPING[kind]
        fields = {f.name: f.default for f in dataclasses.fields(kept)}
        simple = {name: value for name, value in fields.items() if isinstance(value, (bool, int, float, str))}
        found[kind] = {"default_theta": kept.default_theta, **dict(sorted(simple.items()))}
    return found


def main(path: str, *names: str) -> None:
    file = Path(path)
    known = json.loads(file.read_text("utf-8"))["cases"] if names and file.exists() else {}
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = {}
    for case in CASES:
        if not names or case in names or case not in known:
            cases[case] = make(case)
            print(case, flush=True)
        else:
            cases[case] = known[case]
    record = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "defaults": defaults(),
        "cases": cases,
    }
    file.write_text(
        json.dumps(record, separators=(",", ":"), sort_keys=True).replace("}},", "}},\n") + "\n", "utf-8"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
