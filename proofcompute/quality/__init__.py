"""Compares a compiled model with the float32 model it was made from: perplexity, divergence, answers."""

from proofcompute.quality.answers import Answers, compare_answers, questions, shown
from proofcompute.quality.comparing import Quality, Sums, compare_texts, text, windows
from proofcompute.quality.reference import FloatReference, Reference, open_reference

__all__ = [
    "Answers",
    "FloatReference",
    "Quality",
    "Reference",
    "Sums",
    "compare_answers",
    "compare_texts",
    "open_reference",
    "questions",
    "shown",
    "text",
    "windows",
]
