r"""Lists the regular expressions of word rules, by canonical name.

The expressions are those of the models' published ``tokenizer.json`` files, byte for byte: a file's
expression is recognised by comparison, and none is run that is not here. ``\p{N}`` and ``\p{L}`` are
Unicode's numbers and letters; the dialect is that of Oniguruma, which the ``tokenizers`` library uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["RULES", "expression_of", "rule_of"]

_SUFFIX: Final = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER: Final = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER: Final = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SIGNS: Final = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]".replace('\\"', '"')


def _cl100k(digits: str, letters: str = r"\p{L}", marks: str = "") -> str:
    """Return the word rule of tiktoken's cl100k_base with another rule for runs of digits."""
    return (
        _SUFFIX
        + rf"|[^\r\n\p{{L}}\p{{N}}]?{letters}+|"
        + digits
        + rf"| ?[^\s\p{{L}}{marks}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _o200k(suffix: str, digits: str) -> str:
    """Return the word rule of tiktoken's o200k_base, or its variants without English suffixes."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (
        f"{lead}{_UPPER}*{_LOWER}+{suffix}|{lead}{_UPPER}+{_LOWER}*{suffix}|"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


# Letters with case, which DeepSeek's first models split. Those that NFC would replace are written as numbers.
_CASED: Final = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴ"
    "ᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗ"
    "Ａ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
RULES: Final[Mapping[str, str]] = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": _cl100k(r"\p{N}{1,3}"),
    "qwen2": _cl100k(r"\p{N}"),
    "qwen3.5": _cl100k(r"\p{N}", r"[\p{L}\p{M}]", r"\p{M}"),
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
        r"\s+(?!\S)|\s+"
    ),
    "o200k": _o200k(_SUFFIX + "?", r"\p{N}{1,3}"),
    "tekken": _o200k("", r"\p{N}"),
    "deepseek3": (
        _SIGNS + r"[A-Za-z]+|[^" + "\r\n" + r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[" + "\r\n"
        r"]*|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+"
    ),
    "deepseek3_escaped": (
        _SIGNS + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    ),
    "deepseek_cased": rf"\s?[{_CASED}]+",
    "deepseek_signs": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "deepseek_end": r"\s+$",
    "deepseek_cjk": "[一-龥ࠀ-一가-\ud7ff]+",
    "deepseek3_cjk": "[一-龥\u3040-ゟ゠-ヿ]+",
    "lines": "[\r\n]",
    "lines_escaped": r"[\r\n]",
    "letters": r"\s?\p{L}+",
    "signs": r"\s?\p{P}+",
    "default_signs": r"[\p{P}\$\+<=>\^~\|]+",
    "three_numbers": r"\p{N}{1,3}",
    "number": r"\p{N}",
    "numbers": r"\p{N}+",
    "three_digits": "[0-9][0-9][0-9]",
    "spaces": " {2,}",
}
"""Name -> regular expression. Names stay as they are: vocabularies and so model ids contain them."""
_LINEAR: Final[Mapping[str, str]] = {"deepseek_end": r"(?<!\s)\s+$"}
"""Rules that are run as another expression with the same matches. ``\\s+$`` takes time quadratic in a run of
white space that is not at an end; where it does not match from the beginning of a run, it does not inside."""
_NAMES: Final = {expression: name for name, expression in RULES.items()}


def expression_of(name: str) -> str:
    """Return the expression that is run for the rule ``name``; its matches are those of the rule's own."""
    return _LINEAR.get(name, RULES[name])


def rule_of(expression: str) -> str | None:
    """Return the name of the rule whose expression this is, letter by letter; None if there is none."""
    return _NAMES.get(expression)
