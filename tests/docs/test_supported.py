"""What is said to be supported is what the code takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf.constants import GGMLQuantizationType

from cli.driver import call
from proofcompute.importers.compiling import PRECISIONS
from proofcompute.importers.compiling.precision import AUTO
from proofcompute.importers.huggingface.families import ENCODERS, FAMILIES
from proofcompute.models import supported
from proofcompute.models.named_rules import NAMED_RULES
from proofcompute.models.vocabulary import NORMAL, Vocabulary
from proofcompute.tokens import Tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "supported.md"


def test_the_page_is_made_from_the_tables() -> None:
    assert PAGE.read_text("utf-8") == supported.page(), (
        "run: python -m proofcompute.models.supported > docs/supported.md"
    )


@pytest.mark.parametrize("command", ["import", "inspect"])
def test_the_help_lists_all(command: str) -> None:
    # lines are broken at hyphens too
    shown = "".join(call(command, "--help").out.split())
    tables = (
        supported.ARCHITECTURES,
        supported.FAMILIES,
        supported.ENCODERS,
        supported.TOKENIZERS,
        supported.TOKENIZER_JSON,
        supported.WORD_RULES,
        supported.STORAGE_TYPES,
    )
    for table in tables:
        for name in table:
            assert name in shown


def test_the_tables_are_what_the_code_takes() -> None:
    """Architectures, tokenizers and rules are looked up in these tables; the others are compared."""
    assert list(supported.PRECISIONS) == [*PRECISIONS, AUTO]
    assert set(supported.FAMILIES) == set(FAMILIES)
    assert set(supported.ENCODERS) == set(ENCODERS)
    assert set(supported.STORAGE_TYPES) <= {kind.name for kind in GGMLQuantizationType}
    assert list(supported.WORD_RULES) == list(NAMED_RULES)
    for name, prepared in NAMED_RULES.items():
        letters = tuple(bytes([b]) for b in range(256))
        vocabulary = Vocabulary(
            "bpe", letters, bytes([NORMAL] * 256), prepared.splitters, prepared.normalisers
        )
        assert Tokenizer(vocabulary).encode("It's 2024!", special=False) == [*b"It's 2024!"], name
