"""Makes the vectors of encoders: what transformers computes for small checkpoints of every family.

It needs torch and transformers, and imports nothing of the package but the writer of test folders. Run in
``tests/``: ``python -m oracle.make_encoder_vectors vectors/encoders.json``.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel

from importers import families
from oracle.encoder_cases import CASES, Json

POOLERS = ("bert", "roberta", "xlm-roberta", "camembert", "vit")


def _model(config: Json, folder: Path) -> Any:
    """The model of a folder with the tensors that transformers would write, and their shapes."""
    names = folder / "names"
    names.mkdir()
    (names / "config.json").write_text(json.dumps(config))
    options = {"add_pooling_layer": False} if config["model_type"] in POOLERS else {}
    fresh = AutoModel.from_config(AutoConfig.from_pretrained(names), dtype=torch.float32, **options)
    fresh.save_pretrained(folder / "saved")
    raw = (folder / "saved" / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    shapes = {name: header[name]["shape"] for name in sorted(header) if name != "__metadata__"}
    found = {name: families.stored(name, tuple(shape), "F32") for name, shape in shapes.items()}
    families.write(folder / "model", config, found, 1)
    model, info = AutoModel.from_pretrained(
        folder / "model",
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
        **options,
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return shapes, model.eval()


def _picture(config: Json) -> Any:
    """A picture [1, channels, size, size] that follows from the sizes alone, as a test makes it too."""
    shape = (config["num_channels"], config["image_size"], config["image_size"])
    _, values = families.stored("a.picture", shape, "F32")
    return torch.tensor(values)[None]


def make(config: Json) -> Json:
    """Return the record of a case."""
    types = config.get("type_vocab_size", 2 if config["model_type"] == "bert" else 0)
    text = families.text(config.get("vocab_size", 1))
    kinds = [i * i % types for i in range(len(text))] if types > 1 else []
    given = {"input_ids": torch.tensor([text])} if "vocab_size" in config else {}
    if config["model_type"] == "vit":
        given = {"pixel_values": _picture(config)}
    if kinds:
        given["token_type_ids"] = torch.tensor([kinds])
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        shapes, model = _model(config, Path(temporary))
        hidden = model(**given).last_hidden_state[0].numpy().astype("<f4")
    assert np.isfinite(hidden).all()
    return {
        "config": config,
        "tensors": shapes,
        "types": kinds,
        "hidden": base64.b64encode(hidden.tobytes()).decode(),
    }


def main(path: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = {name: make(config) for name, config in CASES.items()}
    record = {"torch": torch.__version__, "transformers": transformers.__version__, "cases": cases}
    text = json.dumps(record, separators=(",", ":"), sort_keys=True).replace("}},", "}},\n") + "\n"
    Path(path).write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
