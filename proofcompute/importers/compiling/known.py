"""Knows what :mod:`.choosing` chooses for some checkpoints, so that it need not choose again.

``chosen.json`` holds, by the SHA-256 of a checkpoint, the recipe and what the manifest says about it. It is
what the procedure gives, and nothing else: a test chooses again.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Final

from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling.precision import Precision

__all__ = ["CHOSEN", "known_choice"]

CHOSEN: Final = "chosen.json"


def known_choice(checkpoint: Checkpoint) -> tuple[Precision, dict[str, str]] | None:
    """Return the precision and the facts of a checkpoint's choice, or None if it is not known."""
    text = resources.files("proofcompute.importers.compiling").joinpath(CHOSEN).read_text(encoding="utf-8")
    found = json.loads(text).get(checkpoint.digest.hex())
    if found is None:
        return None
    return Precision.from_recipe(json.dumps(found["recipe"])), dict(found["facts"])
