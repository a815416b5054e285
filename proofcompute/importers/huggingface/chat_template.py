"""Finds the chat template of a folder, where transformers looks for it.

``chat_template.jinja`` counts most, then ``chat_template.json``, then the field of ``tokenizer_config.json``,
which is one template or a list of named ones, of which the one named "default" is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from proofcompute.errors import FormatError, LimitError
from proofcompute.importers.huggingface.folder import read_bytes, read_json
from proofcompute.importers.huggingface.nodes import require_text
from proofcompute.limits import MAX_TEMPLATE

__all__ = ["read_chat_template"]

JINJA: Final = "chat_template.jinja"
JSON: Final = "chat_template.json"
CONFIG: Final = "tokenizer_config.json"
KEY: Final = "chat_template"


def read_chat_template(folder: Path, config: Mapping[str, Any], notes: list[str]) -> str | None:
    """Return the template, or None; append to ``notes`` if there are several.

    Raises FormatError for a wrong one, LimitError for one of more than MAX_TEMPLATE characters.
    """
    found: list[tuple[str, str]] = []
    if (data := read_bytes(folder, JINJA, 4 * MAX_TEMPLATE)) is not None:
        try:
            found.append((JINJA, data.decode()))
        except UnicodeDecodeError as e:
            raise FormatError(f"{JINJA} is not UTF-8: {e.reason} at byte {e.start}") from e
    for name, fields in ((JSON, read_json(folder, JSON) or {}), (CONFIG, config)):
        if (text := _chosen(fields.get(KEY), name, notes)) is not None:
            found.append((name, text))
    for name, text in found:
        require_text(text, f"{name}: the chat template")
        if len(text) > MAX_TEMPLATE:
            raise LimitError(
                f"{name}: the chat template has {len(text)} characters, the limit is {MAX_TEMPLATE}"
            )
    if not found:
        return None
    if others := [name for name, text in found[1:] if text != found[0][1]]:
        notes.append(f"the chat template of {found[0][0]} is used, not that of {', '.join(others)}")
    return found[0][1] or None


def _chosen(value: object, name: str, notes: list[str]) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise FormatError(f"{name}: {KEY} is neither a text nor a list")
    templates: dict[str, str] = {}
    for i, entry in enumerate(value):
        fields = entry if isinstance(entry, dict) else {}
        title, text = fields.get("name"), fields.get("template")
        if not isinstance(title, str) or not isinstance(text, str):
            raise FormatError(f"{name}: {KEY}[{i}] is not a name and a template")
        if title in templates:
            raise FormatError(f"{name}: {KEY}[{i}]: there are two templates {title[:80]!r}")
        templates[title] = text
    others = [title for title in templates if title != "default"]
    if "default" not in templates:
        if templates:
            notes.append(f"{name}: no chat template is named default, so none is used of {len(templates)}")
        return None
    if others:
        notes.append(f"{name}: of several chat templates the default is used, not {', '.join(others)[:200]}")
    return templates["default"]
