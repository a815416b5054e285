"""Folders that lie, one change each: what is done to a good folder, and the refusal that must follow."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from importers import families
from proofcompute.errors import FormatError, InputError, LimitError, UnsupportedError

__all__ = ["HOSTILE", "Hostile", "good_folder"]

FIRST: Final = "model-00001-of-00002.safetensors"
SECOND: Final = "model-00002-of-00002.safetensors"
INDEX: Final = "model.safetensors.index.json"
CASE: Final = "llama-2"


class Hostile(NamedTuple):
    """A change of a good folder, and the error that opening it must raise."""

    change: Callable[[Path], None]
    error: type[InputError]
    says: str
    """Part of the message: the file and, where it is about one, the tensor or the key."""


def good_folder(path: Path) -> Path:
    """Two shards and an index."""
    return families.write_folder(CASE, path)


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + n]), raw[8 + n :]


def _write(path: Path, header: Any, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _shard(edit: Callable[[dict[str, Any], list[str]], None], name: str = FIRST) -> Callable[[Path], None]:
    """Change the header of a shard; ``edit`` also gets the tensors' names in order."""

    def change(folder: Path) -> None:
        header, data = _header(folder / name)
        edit(header, [key for key in header if key != "__metadata__"])
        _write(folder / name, header, data)

    return change


def _entry(**values: Any) -> Callable[[Path], None]:
    """Change the description of the second tensor of the first shard."""
    return _shard(lambda header, names: header[names[1]].update(values))


def _shift(by: int) -> Callable[[Path], None]:
    def edit(header: dict[str, Any], names: list[str]) -> None:
        offsets = header[names[1]]["data_offsets"]
        header[names[1]]["data_offsets"] = [offsets[0] + by, offsets[1] + by]

    return _shard(edit)


def _bytes(name: str, data: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_bytes(data(path.read_bytes()))

    return change


def _index(edit: Callable[[dict[str, str]], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        edit(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index))

    return change


def _named(file: str) -> Callable[[Path], None]:
    return _index(lambda where: where.update({"lm_head.weight": file}))


def _tensors(edit: Callable[[dict[str, tuple[str, Any]]], object]) -> Callable[[Path], None]:
    """Write the folder again, in shards, with other tensors."""

    def change(folder: Path) -> None:
        found = families.weights(CASE)
        edit(found)
        families.write(folder, families.config(CASE), found, 2)

    return change


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({**families.config(CASE), **changes}))

    return change


def _linked(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    (folder / FIRST).rename(outside)
    (folder / FIRST).symlink_to(outside)


def _linked_config(folder: Path) -> None:
    outside = folder.parent / "outside.json"
    (folder / "config.json").rename(outside)
    (folder / "config.json").symlink_to(outside)


def _fifo(folder: Path) -> None:
    (folder / FIRST).unlink()
    os.mkfifo(folder / FIRST)


def _twice(folder: Path) -> None:
    header, data = _header(folder / FIRST)
    text = json.dumps(header)
    first = json.dumps({key: header[key] for key in list(header)[1:2]})[1:-1]
    _write(folder / FIRST, (text[:-1] + "," + first + "}").encode(), data)


def _both_shards(folder: Path) -> None:
    header, data = _header(folder / SECOND)
    other, more = _header(folder / FIRST)
    name = next(key for key in other if key != "__metadata__")
    a, b = other[name]["data_offsets"]
    header[name] = {**other[name], "data_offsets": [len(data), len(data) + b - a]}
    _write(folder / SECOND, header, data + more[a:b])


def _pickles(folder: Path) -> None:
    for name in (FIRST, SECOND, INDEX):
        (folder / name).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _none(folder: Path) -> None:
    for name in (FIRST, SECOND, INDEX):
        (folder / name).unlink()


def _single_too(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / FIRST).read_bytes())


def _gap(header: dict[str, Any], names: list[str]) -> None:
    del header[names[2]]


UP: Final = "model.layers.0.mlp.up_proj.weight"
DEEP: Final = b"[" * 100_000
STRING: Final = b'{"' + b'\\"' * 2_000_000  # a string without end, in which every byte could begin one

HOSTILE: Final[dict[str, Hostile]] = {
    # -- the configuration
    "no config": Hostile(lambda f: (f / "config.json").unlink(), InputError, "has no config.json"),
    "config is no JSON": Hostile(
        _bytes("config.json", lambda b: b[:-2]), FormatError, "config.json is not JSON"
    ),
    "config is no object": Hostile(
        _bytes("config.json", lambda _: b"[1]"), FormatError, "config.json is not a JSON object"
    ),
    "config is no text": Hostile(
        _bytes("config.json", lambda b: b"\xff" + b), FormatError, "config.json is not UTF-8"
    ),
    "a key twice": Hostile(
        _bytes("config.json", lambda b: b.replace(b"{", b'{"hidden_size": 7,', 1)),
        FormatError,
        "config.json: the key 'hidden_size' occurs twice",
    ),
    "not a number": Hostile(
        _bytes("config.json", lambda b: b.replace(b"1e-05", b"NaN")), FormatError, "config.json: NaN"
    ),
    "a number without end": Hostile(
        _bytes("config.json", lambda b: b.replace(b"10000.0", b"1" * 5000)),
        FormatError,
        "a number is too long",
    ),
    "a deep config": Hostile(
        _bytes("config.json", lambda _: b'{"a":' + DEEP), LimitError, "config.json is nested 100001 deep"
    ),
    "a long config": Hostile(
        _bytes("config.json", lambda b: b + b" " * (1 << 20)), LimitError, "config.json has more than"
    ),
    "a string without end": Hostile(
        _bytes("config.json", lambda _: STRING[: 1 << 20]), FormatError, "config.json is not JSON"
    ),
    "config is a link out": Hostile(_linked_config, InputError, "config.json is a link out of"),
    "more layers than tensors": Hostile(
        _config(num_hidden_layers=4000),
        FormatError,
        "config.json: 4000 layers, but there are only 30 tensors",
    ),
    "one layer more": Hostile(
        _config(num_hidden_layers=4), FormatError, "tensor 'model.layers.3.input_layernorm.weight' is missing"
    ),
    "one layer less": Hostile(
        _config(num_hidden_layers=2),
        UnsupportedError,
        "tensor 'model.layers.2.input_layernorm.weight' is not part",
    ),
    "another width of feed-forward layers": Hostile(
        _config(intermediate_size=44),
        FormatError,
        "tensor 'model.layers.0.mlp.gate_proj.weight' has the shape (43, 30), but config.json asks for "
        "(44, 30) (hidden_size, intermediate_size)",
    ),
    "another vocabulary": Hostile(
        _config(vocab_size=62),
        FormatError,
        "tensor 'model.embed_tokens.weight' has the shape (61, 30), but config.json asks for (62, 30) "
        "(vocab_size, hidden_size)",
    ),
    "other heads": Hostile(
        _config(num_key_value_heads=1),
        FormatError,
        "tensor 'model.layers.0.self_attn.k_proj.weight' has the shape (30, 30), but config.json asks for "
        "(10, 30) (hidden_size, num_key_value_heads, head_dim)",
    ),
    "biases that are not there": Hostile(
        _config(attention_bias=True), FormatError, "tensor 'model.layers.0.self_attn.q_proj.bias' is missing"
    ),
    # -- the index
    "a path up": Hostile(_named("../outside.safetensors"), FormatError, "'lm_head.weight' is in '../outside"),
    "an absolute path": Hostile(_named("/etc/passwd"), FormatError, "'lm_head.weight' is in '/etc/passwd'"),
    "a path down": Hostile(_named("more/model.safetensors"), FormatError, "'lm_head.weight' is in 'more/"),
    "a hidden name": Hostile(_named(".model.safetensors"), FormatError, "'lm_head.weight' is in '.model"),
    "a name that is no text": Hostile(
        _index(lambda where: where.update({"lm_head.weight": 7})),  # type: ignore[dict-item]  # what JSON may hold
        FormatError,
        "'lm_head.weight' is in '7'",
    ),
    "a pickle in the index": Hostile(_named("model.bin"), FormatError, "'lm_head.weight' is in 'model.bin'"),
    "a shard that is not there": Hostile(
        _named("model-3.safetensors"), InputError, "model-3.safetensors is missing"
    ),
    "a tensor that no shard has": Hostile(
        _index(lambda where: where.update({"extra.weight": FIRST})),
        FormatError,
        f"{FIRST} lacks the tensor 'extra.weight'",
    ),
    "a tensor in another shard": Hostile(
        _index(lambda where: where.update({UP: FIRST if where[UP] == SECOND else SECOND})),
        FormatError,
        f"tensor {UP!r} is not so in {INDEX}",
    ),
    "a tensor that the index omits": Hostile(
        _index(lambda where: where.pop(UP)), FormatError, f"tensor {UP!r} is not so in {INDEX}"
    ),
    "an empty index": Hostile(_bytes(INDEX, lambda _: b"{}"), FormatError, f"{INDEX} has no weight_map"),
    "an index and a single file": Hostile(
        _single_too, FormatError, "has model.safetensors and model.safetensors"
    ),
    "too many shards": Hostile(
        _index(lambda where: where.update({f"t{i}": f"s{i}.safetensors" for i in range(2000)})),
        LimitError,
        "names 2002 shards",
    ),
    # -- files
    "a link out of the folder": Hostile(_linked, InputError, f"{FIRST} is a link out of"),
    "a pipe": Hostile(_fifo, InputError, "a plain file is needed"),
    "pickles only": Hostile(
        _pickles, UnsupportedError, "pytorch_model.bin, a format whose files can run code"
    ),
    "no weights": Hostile(_none, InputError, "has neither model.safetensors nor"),
    # -- headers
    "an empty shard": Hostile(_bytes(FIRST, lambda _: b""), FormatError, f"{FIRST} has 0 bytes"),
    "a shard that is cut off": Hostile(
        _bytes(FIRST, lambda b: b[:-1]),
        FormatError,
        f"{FIRST}: tensor 'model.layers.2.self_attn.v_proj.weight' has the bytes",
    ),
    "a shard that is cut off in the header": Hostile(
        _bytes(FIRST, lambda b: b[:100]), FormatError, f"{FIRST} is cut off"
    ),
    "bytes after the tensors": Hostile(
        _bytes(FIRST, lambda b: b + b"\0"), FormatError, f"{FIRST} has 50041 bytes of tensors, but the header"
    ),
    "a header of 2^60 bytes": Hostile(
        _bytes(FIRST, lambda b: struct.pack("<Q", 1 << 60) + b[8:]), LimitError, f"{FIRST}: the header has"
    ),
    "a header that is no JSON": Hostile(
        _bytes(FIRST, lambda b: b[:8] + b"x" + b[9:]), FormatError, f"{FIRST}: the header is not JSON"
    ),
    "a deep header": Hostile(
        lambda f: _write(f / FIRST, b'{"a":' + DEEP, b""), LimitError, f"{FIRST}: the header is nested"
    ),
    "a tensor twice in a header": Hostile(_twice, FormatError, f"{FIRST}: the header: the key"),
    "a tensor in two shards": Hostile(
        _both_shards, FormatError, f"{SECOND}: tensor 'lm_head.weight' is in {FIRST} too"
    ),
    "overlapping tensors": Hostile(_shift(-4), FormatError, f"{FIRST}: tensor"),
    "a gap between tensors": Hostile(_shard(_gap), FormatError, "begins at byte"),
    "offsets beyond the file": Hostile(_shift(1 << 50), FormatError, "out of range, or the file is cut off"),
    "offsets in reverse": Hostile(_entry(data_offsets=[8, 4]), FormatError, "has the bytes 8..4"),
    "negative offsets": Hostile(_entry(data_offsets=[-4, 4]), FormatError, "has no valid offsets"),
    "offsets that are no numbers": Hostile(
        _entry(data_offsets=[True, "4"]), FormatError, "has no valid offsets"
    ),
    "a negative shape": Hostile(_entry(shape=[-1, -30]), FormatError, "has no valid shape"),
    "a huge shape": Hostile(
        _entry(shape=[1 << 40, 1 << 40]), FormatError, "bytes, which is not F32 of the shape"
    ),
    "a shape of many axes": Hostile(_entry(shape=[1] * 9), FormatError, "has no valid shape"),
    "a shape that does not fit the bytes": Hostile(
        _entry(shape=[3, 3]), FormatError, "bytes, which is not F32"
    ),
    "an unknown type": Hostile(_entry(dtype="F4"), UnsupportedError, "has the type 'F4'"),
    "a type that is no text": Hostile(_entry(dtype=[1]), UnsupportedError, "has the type"),
    "one key more": Hostile(_entry(strides=[1, 1]), FormatError, "is not described by"),
    "integers for weights": Hostile(
        _tensors(lambda t: t.update({UP: ("I32", t[UP][1].astype("<i4"))})),
        UnsupportedError,
        f"tensor {UP!r} is stored as I32",
    ),
    # -- tensors
    "a missing tensor": Hostile(_tensors(lambda t: t.pop(UP)), FormatError, f"tensor {UP!r} is missing"),
    "a tensor too many": Hostile(
        _tensors(lambda t: t.update({"model.layers.0.mlp.up_proj.lora_a": t[UP]})),
        UnsupportedError,
        "tensor 'model.layers.0.mlp.up_proj.lora_a' is not part of what config.json describes",
    ),
    "a transposed tensor": Hostile(
        _tensors(lambda t: t.update({UP: ("F32", np.ascontiguousarray(t[UP][1].T))})),
        FormatError,
        f"tensor {UP!r} has the shape (30, 43)",
    ),
    "a vector for a matrix": Hostile(
        _tensors(lambda t: t.update({UP: ("F32", t[UP][1].reshape(-1))})),
        FormatError,
        f"tensor {UP!r} has the shape (1290,)",
    ),
}
"""Name -> change and refusal."""
