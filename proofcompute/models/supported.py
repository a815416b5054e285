r"""Lists the checkpoints that can be read; the help of ``import`` and docs/supported.md are made from it.

The rules that split text into words before byte-pair merges are regular expressions, by the names that GGUF
files give them (``tokenizer.ggml.pre``). The expressions are those of the models' published
``tokenizer.json`` files; the meaning of each GGUF name, "default" included, is that in llama.cpp's
``llama-vocab.cpp``. Each expression splits the pieces that the one before it left, into its matches and the
text between them. ``\p{N}`` and ``\p{L}`` are Unicode's numbers and letters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["ARCHITECTURES", "PRECISIONS", "STORAGE_TYPES", "TOKENIZERS", "WORD_RULES", "page", "summary"]

ARCHITECTURES: Final[Mapping[str, str]] = {
    "llama": "Llama 2 and 3, SmolLM, Mistral without a sliding window, and others of their kind",
    "qwen2": "Qwen 2 and 2.5",
}
"""``general.architecture`` -> its models; all are dense decoders with RMS norm and gated SiLU."""
STORAGE_TYPES: Final = tuple(
    "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S "
    "IQ1_S IQ1_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4".split()
)
"""Storage types of weights; weights are converted to float32 before they are quantised."""
TOKENIZERS: Final[Mapping[str, str]] = {
    "gpt2": "byte-level BPE with ranked merges, with one of the rules for words below",
    "llama": "SentencePiece BPE with scores and byte fallback",
}
"""``tokenizer.ggml.model`` -> what it is."""
PRECISIONS: Final[Mapping[str, str]] = {
    "w8a8": "one limb for weights, one for activations",
    "w8a16": "one limb for weights, two for activations (default)",
    "w16a16": "two limbs for both",
}
"""Precision of a compiled model -> what it means."""

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT: Final = r"\p{N}"


def _cl100k(digits: str) -> str:
    """Return the word rule of tiktoken's cl100k_base with another rule for runs of digits."""
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


_LLAMA3: Final = _cl100k(r"\p{N}{1,3}")
_QWEN2: Final = _cl100k(_DIGIT)
WORD_RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    **dict.fromkeys(("gpt-2", "mpt", "olmo", "jais"), (_GPT2,)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), (_DIGIT, _GPT2)
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), (_LLAMA3,)),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen"), (_QWEN2,)),
}
"""Name -> regular expressions, applied one after the other."""


def summary() -> str:
    """Return a paragraph about what can be imported."""
    return (
        "Supported are GGUF files (versions 2 and 3, whole or in parts) of the architectures "
        f"{_list(ARCHITECTURES)}, with tokenizers {_list(TOKENIZERS)}, rules for words "
        f"{_list(sorted(WORD_RULES))}, and weights stored as {_list(STORAGE_TYPES)}."
    )


def page() -> str:
    """Return the text of docs/supported.md."""
    lines = [
        "# What can be imported",
        "",
        "Made by `python -m proofcompute.models.supported > docs/supported.md`; a test compares the two.",
        "GGUF files of versions 2 and 3, little-endian, whole or split into",
        "parts that lie beside one another.",
        "",
    ]
    for title, table in (
        ("Architectures", ARCHITECTURES),
        ("Tokenizers", TOKENIZERS),
        ("Precisions of the compiled model", PRECISIONS),
    ):
        lines += [f"## {title}", "", "| name | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {what} |" for name, what in table.items()]
        lines.append("")
    rules: dict[tuple[str, ...], list[str]] = {}
    for name, expressions in WORD_RULES.items():
        rules.setdefault(expressions, []).append(f"`{name}`")
    lines += ["## Rules for words", "", "Of `gpt2` tokenizers; names in one line mean the same rule.", ""]
    lines += [f"- {_list(sorted(names))}" for names in rules.values()]
    lines += ["", "## Storage types of weights", "", _list(f"`{kind}`" for kind in STORAGE_TYPES) + "."]
    lines += [
        "",
        "Whatever in a file could change the computation and is not understood is refused by name: another",
        "architecture, a metadata key of the architecture or the tokenizer with another than its neutral",
        "value, a tensor that is no part of the network. What is merely not used is listed by",
        "`proofcompute inspect`.",
    ]
    return "\n".join(lines) + "\n"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    sys.stdout.write(page())
