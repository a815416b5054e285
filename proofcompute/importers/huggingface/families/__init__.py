"""The families of decoders and encoders that this reader knows: one entry each, by ``model_type``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proofcompute.importers.huggingface.families.cohere import COHERES
from proofcompute.importers.huggingface.families.common import Family
from proofcompute.importers.huggingface.families.deepseek import DEEPSEEKS
from proofcompute.importers.huggingface.families.encoders import ENCODERS
from proofcompute.importers.huggingface.families.gemma import GEMMAS
from proofcompute.importers.huggingface.families.glm import GLMS
from proofcompute.importers.huggingface.families.gpt import GPTS
from proofcompute.importers.huggingface.families.llama import LLAMA_LIKE
from proofcompute.importers.huggingface.families.mixtures import MIXTURES
from proofcompute.importers.huggingface.families.phi import PHIS

__all__ = ["ENCODERS", "FAMILIES", "Family"]

FAMILIES: Final[Mapping[str, Family]] = {
    **LLAMA_LIKE,
    **GEMMAS,
    **PHIS,
    **COHERES,
    **GLMS,
    **GPTS,
    **MIXTURES,
    **DEEPSEEKS,
}
"""Every family of decoders by its ``model_type``."""
