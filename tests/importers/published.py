"""Configurations like those of published checkpoints, and how many weights these have.

Keys are those that such files have, with those that change nothing; the numbers of weights are those that are
stated for the models, with tied heads counted once. No weight is here. DeepSeek-V3 is without the layer that
guesses further tokens, and Gemma 3 4B is its decoder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

__all__ = ["PUBLISHED"]

_FILE: Final = Path(__file__).parents[1] / "data" / "published_configs.json"

PUBLISHED: Final[dict[str, tuple[dict[str, Any], int]]] = {
    name: (found["config"], found["weights"]) for name, found in json.loads(_FILE.read_text("utf-8")).items()
}
"""Name -> configuration and number of weights."""
