r"""The rules that cut text into words before byte-pair merges, by the names GGUF files give them.

Sources: the regular expressions are facts of the models' published ``tokenizer.json`` files; which GGUF name
(``tokenizer.ggml.pre``) means which, and that "default" means the one listed here, are facts of llama.cpp's
``llama-vocab.cpp``. Each rule cuts every piece that the rule before it left; matches and the text between
them both stay. ``\p{N}`` and ``\p{L}`` are Unicode's numbers and letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split

from proofcompute.errors import UnsupportedError

__all__ = ["IGNORE_MERGES", "RULES", "pre_tokenizer"]

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT: Final = r"\p{N}"


def _cl100k(digits: str) -> str:
    """The words of tiktoken's cl100k_base, with another rule for runs of digits."""
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


_LLAMA3: Final = _cl100k(r"\p{N}{1,3}")
_QWEN2: Final = _cl100k(_DIGIT)
RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    **dict.fromkeys(("gpt-2", "mpt", "olmo", "jais"), (_GPT2,)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), (_DIGIT, _GPT2)
    ),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), (_LLAMA3,)),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen"), (_QWEN2,)),
}
"""Name -> regular expressions, applied one after the other."""
IGNORE_MERGES: Final = frozenset(("llama-bpe", "llama3", "llama-v3"))
"""Rules whose models take a word that is a token as that token, whatever the merges say."""


def pre_tokenizer(name: str) -> PreTokenizer:
    """The rule called ``name``, ending in the byte-level alphabet. Raises UnsupportedError."""
    rules = RULES.get(name)
    if rules is None:
        known = ", ".join(sorted(RULES))
        raise UnsupportedError(f"pre-tokenizer {name!r} is not supported; supported are {known}")
    splits = [Split(Regex(rule), behavior="isolated") for rule in rules]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
