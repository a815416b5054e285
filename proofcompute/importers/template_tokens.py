"""Gives a chat template the names of special tokens that it uses, as ``transformers`` does.

``transformers`` passes to a template the text of each special token that has a name: ``bos_token``,
``eos_token``, ``pad_token`` and so on (``apply_chat_template``). Of these a model carries bos and eos only,
so the others that a template uses become assignments at its beginning. Each ends with a line break, which the
template's environment removes, and after which it strips a line as it does the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from proofcompute.errors import LimitError, UnsupportedError
from proofcompute.limits import MAX_TEMPLATE

__all__ = ["NAMES", "assigned", "used"]

NAMES: Final = ("pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
"""Names of special tokens that every tokenizer may have, without bos and eos."""
_LISTS: Final = ("additional_special_tokens", "extra_special_tokens")
"""Variables that only some versions of transformers pass to a template."""


def used(template: str, names: Iterable[str]) -> list[str]:
    """Return which of ``names`` occur as words in a template, in their order.

    Raises UnsupportedError for a template that uses a list of special tokens.
    """
    words = set(re.findall(r"\w+", template))
    for name in _LISTS:
        if name in words:
            raise UnsupportedError(
                f"the chat template uses {name}, which has a value in some versions of transformers only"
            )
    return [name for name in names if name in words]


def assigned(template: str, tokens: Mapping[str, str]) -> str:
    """Return the template with an assignment of each name of ``tokens`` at its beginning.

    Raises LimitError if it gets longer than MAX_TEMPLATE characters.
    """
    lines = [f'{{% set {name} = "{_escaped(text)}" %}}\n' for name, text in tokens.items()]
    found = "".join([*lines, template])
    if len(found) > MAX_TEMPLATE:
        raise LimitError(
            f"the chat template has {len(found)} characters with its special tokens, the limit is "
            f"{MAX_TEMPLATE}"
        )
    return found


def _escaped(text: str) -> str:
    """Return a text as the inside of one of Jinja's literals."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text)
