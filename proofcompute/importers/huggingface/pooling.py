"""Reads how an encoder's rows become one: the files of ``sentence-transformers`` beside a checkpoint.

``modules.json`` lists what is done one after the other. Supported are the transformer itself, one pooling and
a normalisation; anything else is refused by name. A folder without that file has an output for each row.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from proofcompute.errors import FormatError, InputError, UnsupportedError
from proofcompute.importers.architecture import Arch
from proofcompute.importers.huggingface.config import Config
from proofcompute.importers.huggingface.folder import read_bytes, read_json

__all__ = ["with_pooling"]

MODULES: Final = "modules.json"
_LIMIT: Final = 1 << 16
_KINDS: Final = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
_OTHERS: Final = ("pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens")
_NAMES: Final = {"cls": "first", "mean": "mean", "max": "max", "lasttoken": "last"}


def with_pooling(arch: Arch, folder: Path) -> tuple[Arch, tuple[str, ...]]:
    """Return an encoder with the pooling that its folder states, and notes.

    Raises FormatError, UnsupportedError, LimitError or InputError as the readers of other files do.
    """
    encoder = arch.encoder
    modules = _modules(folder)
    if encoder is None or modules is None:
        return arch, ()
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedError(
            f"{MODULES}: {', '.join(kinds)[:200]}; supported are Transformer, Pooling and Normalize"
        )
    if modules[0][1]:
        raise UnsupportedError(f"{MODULES}: the transformer is in the folder {modules[0][1]!r}")
    transformer = read_json(folder, "sentence_bert_config.json") or {}
    if transformer.get("do_lower_case"):
        raise UnsupportedError("sentence_bert_config.json: do_lower_case is true, which is not supported")
    notes: tuple[str, ...] = ()
    most = transformer.get("max_seq_length")
    if type(most) is int and most < arch.context:
        notes = (f"texts of more than {most} tokens are not cut, and were not seen in training",)
    pool = _pooling(folder / modules[1][1], arch.width)
    return replace(arch, encoder=replace(encoder, pool=pool, normalise=len(kinds) == 3)), notes


def _modules(folder: Path) -> list[tuple[str, str]] | None:
    """Return kind and folder of each module; None if there is no list."""
    data = read_bytes(folder, MODULES, _LIMIT)
    if data is None:
        return None
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"{MODULES} is not JSON") from e
    if not isinstance(found, list) or not 1 <= len(found) <= 16:
        raise FormatError(f"{MODULES} is no list of modules")
    modules = []
    for entry in found:
        kind, path = (entry.get(key) if isinstance(entry, dict) else None for key in ("type", "path"))
        if not isinstance(kind, str) or not isinstance(path, str):
            raise FormatError(f"{MODULES}: a module has no type or no path")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", path):
            raise UnsupportedError(f"{MODULES}: the path {path[:80]!r} is no name of a folder")
        modules.append((kind.rpartition(".")[2], path))
    return modules


def _pooling(folder: Path, width: int) -> str:
    values = read_json(folder, "config.json") if folder.is_dir() else None
    if values is None:
        raise InputError(f"{folder.name} has no config.json, which says how rows are pooled")
    c = Config(values, name=f"{folder.name}/config.json", inner=True)
    for key in ("word_embedding_dimension", "embedding_dimension"):
        c.must(key, width)
    c.ignore("include_prompt")  # all tokens of a text count
    for key in _OTHERS:
        c.no(key)
    kinds = [kind for key, kind in _KINDS.items() if c.flag(key)]
    if "pooling_mode" in c:
        name = c.text("pooling_mode")
        if name not in _NAMES or kinds not in ([], [_NAMES[name]]):
            raise UnsupportedError(f"{c.key('pooling_mode')} is {name[:80]!r}, which is not supported")
        kinds = [_NAMES[name]]
    c.finish()
    if len(kinds) != 1:
        raise UnsupportedError(f"{folder.name}/config.json asks for {len(kinds)} ways of pooling")
    return kinds[0]
