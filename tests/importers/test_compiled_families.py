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
from proofcompute.importers import open_gguf
from proofcompute.importers.checkpoint import Checkpoint
from proofcompute.importers.compiling import compile_decoder
from proofcompute.importers.float_model import FloatModel
from proofcompute.models.vocabulary import NORMAL, Vocabulary
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

F32 = npt.NDArray[np.float32]
NEAR_TIES = {"mixtral-window": 1}
"""Rows whose two largest logits differ by less than 1e-4: sixteen bits decide otherwise."""
GGUF = [case for case, how in test_gguf_families.CASES.items() if how.differs is test_gguf_families.same]
ALIKE = ["qwen2", "qwen2_moe", "qwen3_moe", "olmoe", "gpt_oss-bf16", "deepseek_v2", "deepseek_v2-groups"]
"""Cases in which a file holds the very weights of the folder, in the same order."""
TOKENS = families.text(61)


def opened(case: str, path: Path) -> Checkpoint:
    checkpoint: Checkpoint = families.opened(case, path / case)
    return checkpoint


def logits(checkpoint: Checkpoint, precision: str, case: str) -> F32:
    model = compile_decoder(checkpoint, synthetic.KERNELS, precision)
    return logits_of(model, synthetic.KERNELS, families.tokens(case))


def error(found: F32, expected: F32) -> float:
    """Relative error, in the 2-norm over all logits."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("case", families.FAMILIES)
def test_two_limbs_give_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    found, expected = logits(opened(case, tmp_path), "w16a16", case), families.logits(case)
    assert error(found, expected) <= 1e-3
    others = found.argmax(axis=1) != expected.argmax(axis=1)
    assert others.sum() == NEAR_TIES.get(case, 0)
    first, second = np.sort(expected[others], axis=1)[:, -1:-3:-1].T
    assert (first - second < 1e-4).all()


def test_one_limb_of_weights_is_close(tmp_path: Path) -> None:
    some = families.FAMILIES[::3]
    errors = [error(logits(opened(case, tmp_path), "w8a16", case), families.logits(case)) for case in some]
    assert np.median(errors) <= 0.02
    assert max(errors) <= 0.1


@pytest.mark.parametrize("case", GGUF)
def test_a_gguf_file_gives_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    folder = test_gguf_families.folder(case, tmp_path)
    file = test_gguf_families.file_of(case, folder)
    path = test_gguf_families.written(tmp_path / "model.gguf", file)
    checkpoint = open_gguf(path, families.context(case))
    whole = len(checkpoint.arch.blocks) == len(opened(case, tmp_path).arch.blocks)
    expected = families.logits(case) if whole else FloatModel(folder.arch, folder.rows).logits(TOKENS)
    assert error(logits(checkpoint, "w16a16", case), expected) <= 1e-3
    if case in ALIKE:
        one, other = (compile_decoder(c, synthetic.KERNELS, "w8a16") for c in (folder, checkpoint))
        assert (one.program, one.card.roots) == (other.program, other.card.roots)


@pytest.mark.parametrize("case", families.FAMILIES)
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
    return replace(checkpoint, words=Vocabulary("bpe", names, bytes([NORMAL]) * len(names)))
