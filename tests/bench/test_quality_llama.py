"""The page of precision beside llama.cpp: made from its figures, which pieces of logits of any size give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.quality_llama import DATA, OURS, PAGE, THEIRS, compare, main, page
from proofcompute.arrays import F32, I64
from proofcompute.quality import Sums

TEXTS = [[3, 1, 4, 1, 5, 9, 2], [6, 5, 3]]
WORDS = 11


@pytest.fixture
def found() -> dict[str, Any]:
    return dict(json.loads(DATA.read_text("utf-8")))


def test_the_page_is_made_from_the_committed_json(found: dict[str, Any]) -> None:
    assert PAGE.read_text("utf-8") == page(found)


def test_ours_is_no_worse_in_any_figure(found: dict[str, Any]) -> None:
    ours, theirs = found[OURS], found[THEIRS]
    assert found["precision"] == "auto"
    assert ours["tokens"] == theirs["tokens"] == 3629
    assert ours["kl_mean"] <= min(0.001, theirs["kl_mean"])
    assert ours["kl_max"] <= theirs["kl_max"]
    assert ours["top1_agreement"] >= max(0.98, theirs["top1_agreement"])
    assert abs(ours["relative"]) <= min(0.002, abs(theirs["relative"]))
    assert ours["same_answers"] >= theirs["same_answers"]
    assert len(found["answers"]) == 50
    for name in (OURS, THEIRS):
        assert found[name]["same_answers"] == sum(a[name] for a in found["answers"])


def logits(seed: int) -> list[F32]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((len(t), WORDS)).astype(np.float32) for t in TEXTS]


def pieces(of: list[F32], size: int) -> Iterator[F32]:
    for rows in of:
        for a in range(0, len(rows), size):
            yield rows[a : a + size]


class Fixed:
    """A reference whose logits are known."""

    def logits(self, texts: Sequence[Sequence[int] | I64], progress: Any = None) -> Iterator[F32]:
        assert list(texts) == TEXTS
        return pieces(logits(1), 4)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pieces_of_any_size_are_compared(size: int) -> None:
    found = compare(Fixed(), {"a": pieces(logits(2), size), "same": pieces(logits(1), size)}, TEXTS)
    sums = Sums()
    for p, q, tokens in zip(logits(1), logits(2), TEXTS, strict=True):
        sums.add(p[:-1], q[:-1], np.array(tokens[1:], np.int64))
    expected = sums.quality()
    assert found["a"]["kl_mean"] == pytest.approx(expected.kl_mean)
    assert found["a"]["perplexity"] == pytest.approx(expected.perplexity)
    assert found["a"]["tokens"] == sum(len(t) - 1 for t in TEXTS)
    assert (found["same"]["kl_max"], found["same"]["top1_agreement"]) == (0, 1)


def test_a_model_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "a checkpoint and a model are needed" in capsys.readouterr().err
