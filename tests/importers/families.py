"""Small random checkpoints of every family, as folders in the layout of Hugging Face.

``tests/vectors/decoders.json`` records their configurations, the names and shapes of their tensors, and the
float32 logits that transformers computed. Weights follow from the names alone, so that a test writes the very
same folder without torch::

    for case in FAMILIES:
        checkpoint = open_huggingface(write_folder(case, tmp_path / case), vocabulary(case))
        expected = logits(case)  # after each of tokens(case)
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from proofcompute.models.vocabulary import NORMAL, Vocabulary

__all__ = [
    "FAMILIES",
    "config",
    "context",
    "logits",
    "opened",
    "tensors",
    "tokens",
    "vocabulary",
    "weights",
    "write_folder",
    "write_safetensors",
]

Array = npt.NDArray[Any]
VECTORS: Final = Path(__file__).parent.parent / "vectors" / "decoders.json"


@cache
def _cases() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTORS.read_text("utf-8"))["cases"]
    return found


FAMILIES: Final[Sequence[str]] = tuple(_cases()) if VECTORS.exists() else ()
"""The names of the cases; each begins with that of a family."""


def config(case: str) -> dict[str, Any]:
    """A copy of the contents of its config.json."""
    found: dict[str, Any] = json.loads(json.dumps(_cases()[case]["config"]))
    return found


def context(case: str) -> int | None:
    """The context to open it with."""
    found: int | None = _cases()[case]["context"]
    return found


def tokens(case: str) -> list[int]:
    """The text whose logits are recorded."""
    size = (config(case).get("text_config") or config(case))["vocab_size"]
    return text(size)


def text(size: int) -> list[int]:
    """Nineteen tokens of a vocabulary of ``size``: more than any window of the cases."""
    return [(7 * i * i + 3 * i + 5) % size for i in range(19)]


def logits(case: str) -> npt.NDArray[np.float32]:
    """What transformers computes in float32 for :func:`tokens`: [t, v]."""
    raw = base64.b64decode(_cases()[case]["logits"])
    return np.frombuffer(raw, "<f4").reshape(len(tokens(case)), -1)


def vocabulary(case: str) -> Vocabulary:
    """As many tokens as the embedding has rows, without meaning."""
    size = (config(case).get("text_config") or config(case))["vocab_size"]
    names = tuple(b"%c%c" % (97 + i // 26, 97 + i % 26) for i in range(size))
    return Vocabulary("bpe", names, bytes([NORMAL]) * size)


def tensors(case: str) -> dict[str, tuple[int, ...]]:
    """Stored name -> shape."""
    return {name: tuple(shape) for name, shape in _cases()[case]["tensors"].items()}


def weights(case: str) -> dict[str, tuple[str, Array]]:
    """Stored name -> type and elements, as unsigned integers of their size for BF16."""
    record = _cases()[case]
    return {name: stored(name, tuple(shape), record["dtype"]) for name, shape in record["tensors"].items()}


def stored(name: str, shape: tuple[int, ...], dtype: str) -> tuple[str, Array]:
    """A tensor's elements: sixteen bits of SHAKE-128 of its name each, spread evenly over a range."""
    name, count = name.removeprefix("language_model."), math.prod(shape)
    raw = np.frombuffer(hashlib.shake_128(name.encode()).digest(2 * count), "<i2").astype(np.float32)
    even = (raw + np.float32(0.5)) * np.float32(2.0**-15)  # -1..1
    base = name.rsplit(".", 1)[0]
    if len(shape) == 1 and not name.endswith("bias") and "norm" in base.lower() + "ln_" * ("ln_" in base):
        values = even * np.float32(0.5) + np.float32(1)
    elif len(shape) == 1 or "bias" in name or "norm" in base:
        values = even * np.float32(0.5) + np.float32("norm" in base and "bias" not in name)
    else:
        fan = shape[-1] if "embed" not in name and "wte" not in name and "wpe" not in name else 3
        values = even * np.float32(2.0 ** -round(math.log2(fan / 3) / 2))
    values = values.astype(np.float32).reshape(shape)
    if dtype == "F16":
        return dtype, values.astype("<f2")
    if dtype == "BF16":
        bits = values.view(np.uint32)
        return dtype, ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    return "F32", values


def write_folder(case: str, path: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write config.json, with ``changes`` of its keys, and the safetensors files; return ``path``."""
    record = _cases()[case]
    write(path, {**config(case), **(changes or {})}, weights(case), record["shards"])
    return path


def write(
    path: Path, settings: Mapping[str, Any], found: Mapping[str, tuple[str, Array]], shards: int
) -> None:
    """Write a folder."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    if shards == 1:
        write_safetensors(path / "model.safetensors", found)
        return
    names, where = list(found), {}
    for k in range(shards):
        file = f"model-{k + 1:05}-of-{shards:05}.safetensors"
        part = names[k::shards]
        write_safetensors(path / file, {name: found[name] for name in part})
        where.update(dict.fromkeys(part, file))
    index = {"metadata": {"total_size": sum(a.nbytes for _, a in found.values())}, "weight_map": where}
    (path / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def write_safetensors(path: Path, found: Mapping[str, tuple[str, Array]]) -> None:
    """Write a safetensors file; a type and little-endian elements by name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, array) in found.items():
        end = offset + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, array in found.values():
            file.write(np.ascontiguousarray(array).tobytes())


def opened(case: str, path: Path) -> Any:
    """Write the folder and open it as a checkpoint."""
    from proofcompute.importers.huggingface import open_huggingface

    return open_huggingface(write_folder(case, path), vocabulary(case), context=context(case))
