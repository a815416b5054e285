"""Runs a checkpoint with the ``transformers`` library, as a reference (extra ``quality``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from proofcompute.arrays import F32, I64
from proofcompute.engine.logits import PIECE
from proofcompute.errors import FormatError, InputError
from proofcompute.errors.extras import lacking
from proofcompute.quality.reference import Progress

try:
    import torch
    import transformers
except ModuleNotFoundError as e:
    raise lacking(e, "a reference by transformers", "quality") from e

__all__ = ["TransformersReference"]


class TransformersReference:
    """A checkpoint that ``transformers`` runs in float32. No code of the folder is executed."""

    def __init__(self, path: Path) -> None:
        """Load a folder, or a GGUF file that the library knows. Raises InputError or FormatError."""
        if not path.exists():
            raise InputError(f"{path} does not exist")
        folder, more = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
        try:
            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True if path.is_dir() else None,
                local_files_only=True,
                **more,
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as e:
            raise FormatError(f"transformers cannot load {path}: {str(e)[:400]}") from e
        self._model.eval()

    def logits(
        self, texts: Sequence[Sequence[int] | I64], progress: Progress = lambda done, total: None
    ) -> Iterator[F32]:
        """See Reference. The rows of a text go through the model in pieces, with its cache between them."""
        rows = sum(map(len, texts))
        for tokens in texts:
            ids = torch.from_numpy(np.asarray(tokens, np.int64))[None]
            cache = None
            for a in range(0, ids.shape[1], PIECE):
                part = ids[:, a : a + PIECE]
                with torch.inference_mode():
                    out = self._model(part, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                progress(part.shape[1], rows)
                found: F32 = out.logits[0].float().numpy()
                yield found
