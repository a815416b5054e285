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

POOLERS = ("bert", "roberta", "xlm-roberta", "camembert")


def _model(config: Json, folder: Path) -> Any:
    """The model of a folder with the tensors that transformers would write, and their shapes."""
    names = folder / "names"
    names.mkdir()
    (names / "config.json").write_text(json.dumps(config))
    options = {"add_pooling_layer": False} if config["model_type"] in POOLERS else {}
    fresh = AutoModel.from_config(AutoConfig.from_pretrained(names), dtype=torch.float32, **options)
    shapes = {name: list(value.shape) for name, value in sorted(fresh.state_dict().items())}
    shapes = {name: shape for name, shape in shapes.items() if "inv_freq" not in name}
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


def make(config: Json) -> Json:
    """Return the record of a case."""
    text = families.text(config["vocab_size"])
    types = config.get("type_vocab_size", 2 if config["model_type"] == "bert" else 0)
    kinds = [i * i % types for i in range(len(text))] if types > 1 else []
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        shapes, model = _model(config, Path(temporary))
        more = {"token_type_ids": torch.tensor([kinds])} if kinds else {}
        hidden = model(input_ids=torch.tensor([text]), **more).last_hidden_state[0].numpy().astype("<f4")
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
