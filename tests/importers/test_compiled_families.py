"""Decoders of every family, compiled: their logits are those of transformers, and answers are audited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import synthetic
from importers import families, test_gguf_families
from proofcompute.arithmetic.devices import kernels_for
from proofcompute.engine import logits_of
from proofcompute.errors import UnsupportedError
from proofcompute.importers import open_gguf
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import compile_decoder
from proofcompute.models.vocabulary import NORMAL, Vocabulary
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

F32 = npt.NDArray[np.float32]
MIXTURES = ("deepseek", "gpt_oss", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe")
DENSE = [case for case in families.FAMILIES if not case.startswith(MIXTURES)]
ENOUGH = 40
"""Families, dense ones, must not become fewer."""


def opened(case: str, path: Path) -> Checkpoint:
    checkpoint: Checkpoint = families.opened(case, path / case)
    return checkpoint


def logits(checkpoint: Checkpoint, precision: str, case: str) -> F32:
    model = compile_decoder(checkpoint, synthetic.KERNELS, precision)
    return logits_of(model, synthetic.KERNELS, families.tokens(case))


def error(found: F32, expected: F32) -> float:
    """Relative error, in the 2-norm over all logits."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_most_cases_are_dense() -> None:
    assert len(DENSE) >= ENOUGH


@pytest.mark.parametrize("case", DENSE)
def test_two_limbs_give_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    found, expected = logits(opened(case, tmp_path), "w16a16", case), families.logits(case)
    assert error(found, expected) <= 1e-3
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_one_limb_of_weights_is_close(tmp_path: Path) -> None:
    errors = [
        error(logits(opened(case, tmp_path), "w8a16", case), families.logits(case)) for case in DENSE[::3]
    ]
    assert np.median(errors) <= 0.02
    assert max(errors) <= 0.1


@pytest.mark.parametrize(
    "case",
    [
        c
        for c, how in test_gguf_families.CASES.items()
        if c in DENSE and how.differs is test_gguf_families.same
    ],
)
def test_a_gguf_file_gives_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    file = test_gguf_families.file_of(case, test_gguf_families.folder(case, tmp_path))
    path = test_gguf_families.written(tmp_path / "model.gguf", file)
    checkpoint = open_gguf(path, families.context(case))
    assert error(logits(checkpoint, "w16a16", case), families.logits(case)) <= 1e-3


@pytest.mark.parametrize("case", DENSE)
def test_an_answer_is_audited(tmp_path: Path, case: str) -> None:
    """Every cell of a short answer, from two limbs everywhere, on the CPU's backend."""
    kernels = kernels_for("cpu")
    subject = Subject(compile_decoder(worded(opened(case, tmp_path)), kernels, "w16a16"), kernels)
    run = subject.finish(token_request(subject.model, 7, 3))
    verified = subject.verifier(run, subject.open(run))()
    assert verified.complete


def worded(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with a name for every row of its embedding, so that any token can be answered."""
    names = tuple(b"%c%c" % (97 + i // 26, 97 + i % 26) for i in range(checkpoint.arch.vocabulary))
    return replace(checkpoint, vocabulary=Vocabulary("bpe", names, bytes([NORMAL]) * len(names)))


def test_what_is_not_expressed_is_refused_by_name(tmp_path: Path) -> None:
    for case, words in (("mixtral", "a mixture of experts"), ("deepseek_v2", "latent attention")):
        with pytest.raises(UnsupportedError, match=words):
            compile_decoder(opened(case, tmp_path), synthetic.KERNELS)
