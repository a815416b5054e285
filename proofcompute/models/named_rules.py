"""Says how texts are prepared by the names that GGUF files give (``tokenizer.ggml.pre``), for byte-level BPE.

The parts are those of the models' published ``tokenizer.json`` files, normalisers included; which names mean
the same is llama.cpp's decision (``llama-vocab.cpp``), as are "default" and the names of models that publish
no such file. Each splitter cuts the pieces that the one before it left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from proofcompute.models.text_parts import Part

__all__ = ["NAMED_RULES", "Preparation", "same_rules"]


@dataclass(frozen=True)
class Preparation:
    """What a name means."""

    splitters: tuple[Part, ...]
    """Cut the text into words; the last is the alphabet of bytes."""
    normalisers: tuple[Part, ...] = ()
    """Change the text before."""
    ignore_merges: bool = False
    """Whether a word that is a token becomes that token, whatever the merges give."""
    begin: bool = False
    """Whether a text begins with bos unless the file says otherwise."""


def _rules(*names: str) -> tuple[Part, ...]:
    """Return splitters for rules, and the alphabet."""
    return (*(Part("split", (name, "isolated", 0)) for name in names), Part("bytes", (0, 0)))


_NFC: Final = (Part("nfc"),)
_GPT2: Final = (Part("bytes", (0, 1)),)
_DIGITS: Final = (Part("digits", (1,)), *_GPT2)
_DEEPSEEK: Final = (
    *_rules("lines", "deepseek_cased", "deepseek_signs", "deepseek_end", "deepseek_cjk")[:-1],
    Part("digits", (1,)),
    Part("bytes", (0, 0)),
)
_CODER: Final = (
    *_rules("lines", "letters", "signs", "deepseek_cjk")[:-1],
    Part("digits", (1,)),
    Part("bytes", (0, 0)),
)


def _named(names: str, prepared: Preparation) -> Mapping[str, Preparation]:
    return dict.fromkeys(names.split(), prepared)


NAMED_RULES: Final[Mapping[str, Preparation]] = {
    **_named("default", Preparation(_rules("default_signs", "gpt2", "numbers", "three_digits"))),
    **_named("gpt-2 phi-2 jais exaone4 trillion granite-docling mellum", Preparation(_GPT2)),
    **_named("olmo mpt", Preparation(_GPT2, _NFC)),
    **_named("smollm starcoder refact codeshell exaone minerva-7b", Preparation(_DIGITS)),
    **_named("command-r", Preparation(_DIGITS, _NFC)),
    **_named(
        "llama-bpe llama3 llama-v3 falcon3 pixtral lfm2",
        Preparation(_rules("llama3"), ignore_merges=True, begin=True),
    ),
    **_named("dbrx smaug-bpe chatglm-bpe glm4", Preparation(_rules("llama3"))),
    **_named("qwen2 deepseek-r1-qwen", Preparation(_rules("qwen2"), _NFC)),
    **_named("qwen35", Preparation(_rules("qwen3.5"), _NFC)),
    **_named("stablelm2 hunyuan megrez", Preparation(_rules("qwen2"))),
    **_named("gpt-4o llama4", Preparation(_rules("o200k"))),
    **_named("tekken", Preparation(_rules("tekken"), ignore_merges=True, begin=True)),
    **_named("deepseek-llm", Preparation(_DEEPSEEK)),
    **_named("deepseek-coder", Preparation(_CODER)),
    **_named("deepseek-v3 hunyuan-dense", Preparation(_rules("three_numbers", "deepseek3_cjk", "deepseek3"))),
}
"""Name -> how texts are prepared."""


def same_rules() -> Iterable[list[str]]:
    """Yield the names that mean the same, in the order of their first."""
    groups: dict[Preparation, list[str]] = {}
    for name, prepared in NAMED_RULES.items():
        groups.setdefault(prepared, []).append(name)
    return groups.values()
