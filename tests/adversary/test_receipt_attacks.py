"""Forged, replayed and mistimed receipts, and challenges that name cells which do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from adversary.attacks import ATTACKS
from adversary.setting import BLOCK_0, NODE, ROWS, case, forge, honest, model, request
from proofcompute.commitments import hashing
from proofcompute.encoding import wire
from proofcompute.errors import Cell, FormatError, InputError, LimitError, MismatchError, VerificationError
from proofcompute.limits import MAX_CELL_ROWS, MAX_CELLS, MAX_ROWS
from proofcompute.models.model import Model
from proofcompute.models.vocabulary import Vocabulary
from proofcompute.protocol import cells as cells_module
from proofcompute.protocol.cells import all_cells, draw_cells
from proofcompute.protocol.claim import Claim
from proofcompute.protocol.messages import Challenge, Generation, Pipeline, Receipt
from proofcompute.protocol.promises import require_retention
from proofcompute.protocol.stop import check_answer, stop_reason
from proofcompute.verifier import check_receipt


def test_the_node_named_by_the_request_may_answer() -> None:
    asked = request(node=NODE.public)
    good = case(forge(asked=asked), Cell(BLOCK_0, 3, 5))
    assert replace(good, node=NODE.public).verify().node == NODE.public


def test_every_signed_field_is_signed() -> None:
    """A change of any field without the node's key fails at step 1 or 2."""
    receipt = honest().receipt
    changes: dict[str, object] = {
        "suite": "blake3",
        "model_id": bytes(32),
        "request_digest": bytes(32),
        "outputs": (("next", bytes(24)),),
        "rows": receipt.rows - 1,
        "stop_reason": "stop",
        "trace_root": bytes(32),
        "numerics": 2,
        "terms_digest": bytes(32),
        "retention": 0,
        "node": bytes(32),
        "pipeline": Pipeline.of((1, 3), (NODE.public, bytes(32))),
    }
    assert {*changes, "stage", "scheme", "signature"} == {f.name for f in fields(Receipt)}
    good = case(honest(), Cell(BLOCK_0, 3, 5))
    for name, value in changes.items():
        forged: Receipt = replace(receipt, **{name: value})  # type: ignore[arg-type]
        assert forged.signed_digest != receipt.signed_digest
        assert replace(good, receipt=forged.encode()).rejection().step == 2
    staged = replace(receipt, pipeline=changes["pipeline"])  # type: ignore[arg-type]
    assert replace(staged, stage=1).signed_digest != staged.signed_digest


def test_a_trace_that_is_not_kept_is_refused_before_cells_are_drawn() -> None:
    """A node that signs for no time at all could keep silent about every challenge with good reason."""
    for seconds, least in ((0, 1), (3599, 3600), (3600, 1 << 40)):
        forgery = honest().signed(retention=seconds)
        assert case(forgery, Cell(BLOCK_0, 3, 5)).verify().cells == 2  # nothing else is wrong with it
        with pytest.raises(VerificationError, match="too short a time") as caught:
            require_retention(forgery.receipt, least)
        assert (caught.value.step, caught.value.expected, caught.value.found) == (5, least, seconds)
        require_retention(forgery.receipt, seconds)


def test_bytes_of_a_node_key_that_is_no_point_are_no_signature() -> None:
    good = case(honest(), Cell(BLOCK_0, 3, 5))
    for node in (bytes([255] * 32), bytes(31) + b"\x80", bytes([2]) + bytes(31)):
        forged = replace(honest().receipt, node=node)
        assert replace(good, receipt=forged.encode()).rejection().step == 2


def test_a_client_may_change_nothing_after_the_answer() -> None:
    """Every field of a request is in the digest that the receipt names."""
    assert honest().request.generation is not None
    changes: list[dict[str, object]] = [
        {"nonce": bytes([8] * 32)},
        {"text": "Hello, World"},
        {"suite": "keccak256"},
        {"node": bytes([1] * 32)},
        {"seed": bytes([1] * 32)},
        {"max_tokens": 7},
        {"stops": ("x",)},
    ]
    good = case(honest(), Cell(BLOCK_0, 3, 5))
    for change in changes:
        asked = request(**change)  # type: ignore[arg-type]
        error = replace(good, request=asked).rejection()
        assert error.step == (2 if "node" in change else 4)
    with pytest.raises(MismatchError):
        replace(good, request=request(model_id=bytes(32))).verify()


def test_the_draw_of_cells_depends_on_what_was_committed() -> None:
    """A prover cannot keep a challenge that it liked: another receipt has other cells under one seed."""
    seed = bytes(32)
    drawn = {draw_cells(honest().signed(retention=r).claim, 4, seed) for r in range(8)}
    assert len(drawn) == 8


def test_a_receipt_cannot_make_the_verifier_list_cells_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells are drawn from what the request allows; a receipt that states other rows is rejected."""
    for rows in (1, ROWS - 1, ROWS + 1, MAX_ROWS):
        forged = honest().signed(rows=rows).receipt.encode()
        with pytest.raises(VerificationError, match="wrong row count") as caught:
            check_receipt(model(), honest().request, forged)
        assert caught.value.step == 5
    statement = replace(honest().statement, rows=MAX_ROWS)
    huge = Claim(honest().receipt, statement)
    assert len(all_cells(huge)) == 4 * MAX_ROWS // MAX_CELL_ROWS
    assert len(draw_cells(huge, 3)) == 3
    for count in (0, -1, MAX_CELLS + 1):
        with pytest.raises(InputError):
            draw_cells(huge, count)
    monkeypatch.setattr(cells_module, "_PIECE", 1)
    with pytest.raises(LimitError):
        all_cells(huge)


def test_an_answer_of_silent_tokens_is_searched_once() -> None:
    """A hostile answer that prints nothing must not make the search for stop strings quadratic."""

    class Counting:
        """A vocabulary that counts how many tokens are asked what they print."""

        end_ids = ()
        asked = 0

        def text_bytes(self, ids: Sequence[int]) -> bytes:
            self.asked += len(ids)
            return b""

    vocabulary = Counting()
    reason = check_answer(Generation(4000, stops=("stop",)), [258] * 4000, vocabulary)  # type: ignore[arg-type]
    assert reason == "length"
    assert vocabulary.asked == 2 * 4000


def test_a_long_stop_string_is_searched_in_what_was_just_printed() -> None:
    """Sixteen of 256 bytes, and an answer that is all but one of them: each token is looked at twice."""

    class Counting:
        """A vocabulary of one byte, that counts how many tokens are asked what they print."""

        end_ids = ()
        asked = 0

        def text_bytes(self, ids: Sequence[int]) -> bytes:
            self.asked += len(ids)
            return b"a" * len(ids)

    rule = Generation(4000, stops=tuple("a" * 255 + c for c in "bcdefghijklmnopq"))
    vocabulary = Counting()
    assert check_answer(rule, [97] * 4000, vocabulary) == "length"  # type: ignore[arg-type]
    assert vocabulary.asked == 2 * 4000
    rule = Generation(4000, stops=("b", "a" * 256))
    assert check_answer(rule, [97] * 256, vocabulary) == "stop"  # type: ignore[arg-type]
    assert stop_reason(rule, [97] * 256, vocabulary) == "stop"  # type: ignore[arg-type]
    assert stop_reason(rule, [97] * 255, vocabulary) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("seen", ["ab", "xab", "b", "a"])
def test_silent_tokens_do_not_hide_a_stop_string(seen: str) -> None:
    """A stop string is found across tokens that print nothing, and only where it is complete."""
    vocabulary = Vocabulary.decode(model().card.tokenizer)
    answer = [t for char in seen.encode() for t in (258, char, 259)][:-1]
    if seen.endswith("ab"):
        assert check_answer(Generation(100, stops=("ab",)), answer, vocabulary) == "stop"
        with pytest.raises(FormatError, match="goes on"):
            check_answer(Generation(100, stops=("ab",)), [*answer, 120], vocabulary)
    else:
        with pytest.raises(FormatError, match="ends after"):
            check_answer(Generation(100, stops=("ab",)), answer, vocabulary)


def test_a_challenge_names_each_cell_once_and_at_least_one() -> None:
    digest = honest().receipt.digest
    with pytest.raises(InputError):
        Challenge(digest, ())
    for cells in (
        (Cell(1, 3, 5), Cell(1, 3, 5)),
        (Cell(1, 3, 5), Cell(1, 4, 6)),
        (Cell(2, 3, 5), Cell(1, 3, 5)),
        (Cell(1, 5, 5),),
        (Cell(1, 0, MAX_CELL_ROWS + 1),),
        (Cell(1, -1, 3),),
    ):
        with pytest.raises(FormatError):
            Challenge(digest, cells)


def test_a_verifier_refuses_weights_that_are_not_the_models() -> None:
    """Weights of the verifier's own are bound to the model id before they are used."""
    good = case(honest(), holder=model())
    liar = Model(model().card, model(1).weights)
    with pytest.raises(MismatchError):
        replace(good, holder=liar).verify()
    assert replace(good, holder=Model(model().card, model().weights)).verify().complete


def test_digests_of_different_kinds_never_meet() -> None:
    data = wire.encode(("x",))
    kinds = ("receipt", "receipt body", "request", "challenge", "trace", "program", "tokenizer", "template")
    digests = {hashing.message_digest(suite, k, data) for k in kinds for suite in hashing.SUITES}
    assert len(digests) == len(kinds) * len(hashing.SUITES)


def test_an_error_tells_what_was_expected_where_it_is_public() -> None:
    error = ATTACKS["another model id"][0]().rejection()
    assert isinstance(error, VerificationError)
    assert (error.expected, error.found) == (model().model_id.hex(), bytes(32).hex())
