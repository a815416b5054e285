"""The whole protocol on a two-layer synthetic model."""

from __future__ import annotations

import numpy as np
import pytest

import synthetic
from cuda_rig.requests import together
from proofcompute.errors import VerificationError
from proofcompute.models.model import Model
from proofcompute.verifier import Key


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w16a16"])
@pytest.mark.parametrize("suite", ["sha256", "keccak256", "blake3"])
def test_an_honest_run_passes_a_full_audit(precision: str, suite: str) -> None:
    m = synthetic.model(precision=precision)
    run = synthetic.prove(m, synthetic.request(m, sampling=synthetic.SAMPLED, suite=suite))
    for holder in (synthetic.key(precision=precision), m):
        result = synthetic.audit(holder, run)
        assert result.complete
        assert result.cells == 19 * 3 + 8  # 12 prompt and 8 generated tokens; the head runs from row 11 on
        assert result.detects_one == 1
        assert result.soundness_bits == (97.0 if isinstance(holder, Model) else pytest.approx(62, abs=1e-6))


def test_a_key_survives_its_encoding() -> None:
    key = synthetic.key()
    again = Key.decode(key.encode())
    assert again.encode() == key.encode()
    run = synthetic.prove(synthetic.model(), synthetic.request(synthetic.model()))
    assert synthetic.audit(again, run).complete


def test_another_model_that_recommits_is_caught_by_its_products() -> None:
    m, other = synthetic.model(0), synthetic.model(1)
    r = synthetic.request(m)
    # The cheat runs other weights of the same shape but claims the model it was asked for.
    liar = Model(m.card, other.weights)
    run = synthetic.prove(liar, r)
    with pytest.raises(VerificationError) as caught:
        synthetic.audit(synthetic.key(), run)
    assert caught.value.step in (7, 8)
    assert caught.value.cell is not None


def test_rows_do_not_depend_on_batching_or_chunks() -> None:
    m = synthetic.model()
    requests = [
        synthetic.request(m, text, sampling=synthetic.SAMPLED) for text in ("a", "Hello there", "xyz" * 9)
    ]
    alone = [synthetic.prove(m, r) for r in requests]
    node = synthetic.node(m, chunk=5)
    for run, session in zip(alone, together(node, requests), strict=True):
        assert session.answer == run.answer
        again = node.trace(session.request, node.commit(session))
        for mine, theirs in zip(again.groups, run.stored.groups, strict=True):
            np.testing.assert_array_equal(mine, theirs)
