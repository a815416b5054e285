"""Prompts of README.md, of the demo and of the guides: the float32 model has no near tie in their answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model import real
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.sampling import Sampling
from proofcompute.cli.demo import _prompts
from proofcompute.quality import FloatReference, compare_answers

pytestmark = pytest.mark.model

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/guides/node.md", "docs/guides/auditor.md")
ASKED = re.compile(r'(?:chat_request\(card, |proofcompute ask \S+ |--prompt )"([^"]+)"')
LEAST = 0.5
"""The least difference of the two best logits: quantised models differ by less."""
LONGEST = 48
"""The most tokens of an answer that any of them shows."""


def test_no_shown_answer_hangs_on_a_near_tie(smollm2_path: Path) -> None:
    found = {page: ASKED.findall((ROOT / page).read_text("utf-8")) for page in PAGES}
    assert all(found.values()), found
    greedy = [prompt for prompt, sampling in _prompts() if sampling == Sampling()]
    assert greedy
    asked = sorted({*greedy, *(prompt for prompts in found.values() for prompt in prompts)})
    reference = FloatReference(real.checkpoint(smollm2_path))
    model = real.model(smollm2_path)
    answers = compare_answers(model, reference, asked, kernels_for("auto"), tokens=LONGEST)
    assert {a.question: a.nearest for a in answers if a.nearest < LEAST} == {}
    assert [a.question for a in answers if a.differs_at is not None] == []
