"""Bundles of evidence: no auditor frames an honest node, and no node's lie is nobody's
(docs/spec/evidence.md).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adversary.attacks import ATTACKS, CELLS
from adversary.cheats import CHEATS
from adversary.closings import long_opening, small_pieces
from adversary.evidence import (
    ACCUSED,
    AUDITOR,
    FRAMING,
    HOLDERS,
    LYING,
    SHOWN,
    TERMS,
    Holds,
    bundle,
    good,
    judge_key,
    judged,
    lie,
    of_another_kind,
    refused,
    said,
    signed,
    waited,
)
from adversary.mutation import Edit, apply
from adversary.setting import BLOCK_1, NODE, STRANGER, case, honest, key, model, request, target
from proofcompute.attacks.case import Case
from proofcompute.attacks.challenges import CHALLENGES
from proofcompute.attacks.openings import UNREADABLE
from proofcompute.attacks.receipts import RECEIPTS
from proofcompute.commitments.hashing import message_digest
from proofcompute.encoding import wire
from proofcompute.encoding.frames import read_frame, write_frame
from proofcompute.errors import (
    Cell,
    EvidenceError,
    FormatError,
    InputError,
    LimitError,
    MismatchError,
    UnsupportedError,
    VerificationError,
)
from proofcompute.freivalds.attempts import MemoryLog
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Outcome
from proofcompute.verifier import Key
from proofcompute.verifier.evidence import make_evidence
from proofcompute.verifier.findings import Finding


# -- what judges say -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", SHOWN)
def test_a_bundle_is_judged_by_whoever_holds_something(name: str, holder: str) -> None:
    shown = SHOWN[name]
    assert said(shown.build(target()), HOLDERS[holder]()) == getattr(shown, holder)


def test_no_auditor_frames_an_honest_node() -> None:
    assert {f for s in FRAMING.values() for f in (s.key, s.model, s.card)} >= {"refuted", "unattributable"}
    assert all("contradicted" not in (s.key, s.model, s.card) for s in FRAMING.values())


def test_whoever_holds_the_model_finds_every_lie() -> None:
    assert {s.model for s in LYING.values()} == {"contradicted"}


def test_a_contradiction_names_the_node_that_signed_it() -> None:
    """An auditor that answers itself accuses itself."""
    own = judged(LYING["an answer that is the auditor's own"].build(target()))
    assert (own.finding, own.node) == (Finding.CONTRADICTED, STRANGER.public)
    assert judged(bundle(lie())).node == NODE.public


def test_a_verdict_says_what_was_found_and_what_was_claimed() -> None:
    right, blamed = judged(bundle(lie())), judged(LYING["a false cell, blamed on another"].build(target()))
    for verdict in (right, blamed):
        assert verdict.contradiction is not None
        where = (verdict.contradiction.step, verdict.contradiction.cell)
        assert where == (8, Cell(BLOCK_1, 4, 6))
        assert (verdict.stands, verdict.verified, verdict.replayed) == (True, None, False)
    assert right.as_claimed
    assert not blamed.as_claimed
    assert blamed.claimed == ACCUSED
    assert judged(LYING["a false cell, accepted"].build(target())).stands is False
    assert judged(FRAMING["a cell that is right"].build(target())).stands is False
    assert judged(FRAMING["silence"].build(target())).stands is None
    confirmed = judged(bundle(good()))
    assert confirmed.stands is True
    assert confirmed.verified is not None
    assert confirmed.verified.cells == sum(c.b - c.a for c in CELLS)
    assert str(ACCUSED) == f"contradicted at step 8, {CELLS[0]}, block.0.attention.qkv"


def test_a_verdict_says_what_was_not_checked() -> None:
    card = judged(bundle(good()), model().card)
    assert any("a card checks receipts and signatures only" in line for line in card.unchecked)
    assert any("a replay takes the model" in line for line in card.unchecked)
    assert not any("cells" in line for line in card.checked)
    assert "the cells that were not opened" in judged(bundle(good())).unchecked
    unsigned = judged(FRAMING["a flipped bit"].build(target()))
    assert any("the node did not sign it" in line for line in unsigned.unchecked)
    hintless = judged(LYING["a false cell without hints"].build(target()))
    assert any("takes the model" in line for line in hintless.unchecked)


@pytest.mark.parametrize("kind", [(True, False), (False, True)])
def test_cells_that_were_opened_as_for_a_public_proof_are_not_checked(kind: tuple[bool, bool]) -> None:
    """Nor is the opening, which is another challenge's, signed for this one."""
    c = good()
    challenge = replace(c.challenge, hints=kind[0], tables=kind[1])
    made = bundle(c, opening=honest().open(challenge))
    made = signed(made, challenge=challenge.encode(), outcome=ACCUSED)
    for holder in ("key", "model"):
        verdict = judged(made, HOLDERS[holder]())
        assert verdict.finding is Finding.UNDECIDED
        assert any("public proof" in line for line in verdict.unchecked)
    assert said(of_another_kind(*kind)) == "unattributable"


def test_after_silence_a_replay_says_whether_the_answer_is_right() -> None:
    verdict = judged(FRAMING["silence"].build(target()), model())
    assert (verdict.finding, verdict.replayed) == (Finding.ASSERTED, True)
    assert "the answer itself is right" in verdict.reason


def test_who_waited_a_little_past_the_deadline_is_not_refuted() -> None:
    """Times are rounded up to milliseconds: an auditor gives up the moment its deadline passes."""
    allowed = TERMS.deadline(honest().receipt.rows, math.inf)
    assert said(waited(allowed + 0.0002)()) == "asserted"
    assert said(waited(allowed)()) == "refuted"


# -- every attack, shown to others ---------------------------------------------------------------------------
def shown(c: Case) -> tuple[VerificationError, Bundle]:
    error = c.rejection()
    return error, make_evidence(
        AUDITOR, c.request, c.receipt, error, challenge=c.challenge, opening=c.opening, waited=1.0
    )


@pytest.mark.parametrize("name", [n for n in ATTACKS if n not in RECEIPTS and n not in CHALLENGES])
def test_what_the_node_signed_is_a_contradiction_for_every_judge(name: str) -> None:
    """The same step, cell and operation, by a key that the auditor never saw; and nothing else is one."""
    c = ATTACKS[name][0]()
    error, made = shown(c)
    holds = key(secret=9) if isinstance(c.holder, Key) and c.holder.model_id == model().model_id else c.holder
    verdict = judged(made, replace(holds, log=MemoryLog()) if isinstance(holds, Key) else holds)
    if error.attributable:
        assert verdict.finding is Finding.CONTRADICTED
        assert verdict.as_claimed
    elif name in READ_TO_THE_END:
        assert verdict.finding is Finding.CONTRADICTED
    else:
        wanted = Finding.ASSERTED if made.evidence.outcome.kind == "silent" else Finding.UNATTRIBUTABLE
        assert verdict.finding is wanted


READ_TO_THE_END = {
    "a part twice",
    "parts in another order",
    "one part more",
    "bytes beyond what a part may hold",
}
"""Openings that an auditor stops reading, and that a judge reads on: the node signed them."""


def test_frames_for_which_a_judge_reads_on_are_those_of_the_table() -> None:
    assert UNREADABLE > READ_TO_THE_END


@pytest.mark.parametrize("name", list(CHEATS)[::4])
def test_every_cheat_is_a_contradiction_for_who_holds_the_model(name: str) -> None:
    c = CHEATS[name].build()
    made = make_evidence(
        AUDITOR, c.request, c.receipt.encode(), "silent", challenge=c.challenge(*CELLS), waited=1.0
    )
    holds = model() if c.claims.model_id == model().model_id else c.claims
    assert said(made, holds) == "contradicted"


def test_rows_that_travel_ahead_are_judged_too() -> None:
    with small_pieces():
        c = long_opening().case
        assert said(bundle(c)) == "confirmed"


# -- bytes ---------------------------------------------------------------------------------------------------
def written(opening: bool = True) -> bytes:
    return (bundle(good()) if opening else FRAMING["silence"].build(target())).encode()


def rewritten(change: Callable[[list[Any]], None], signer: Any = None, *, opening: bool = True) -> bytes:
    """One element of an encoded bundle changed, and signed again if there is a signer."""
    stream = io.BytesIO(written(opening))
    head = read_frame(stream, limit=1 << 26, what="evidence")
    assert head is not None
    fields = list(wire.as_list(wire.decode(head, limit=1 << 26, what="evidence"), "evidence"))
    change(fields)
    if signer is not None:
        fields[14] = signer.sign(message_digest("sha256", "evidence", wire.encode(tuple(fields[:14]))))
    out = io.BytesIO()
    write_frame(out, wire.encode(tuple(fields)))
    return out.getvalue() + stream.read()


def put(index: int, value: Any) -> Callable[[list[Any]], None]:
    return lambda fields: fields.__setitem__(index, value)


ELEMENTS: dict[str, tuple[int, Any]] = {
    "kind": (0, "proofcompute opening"),
    "version": (1, 2),
    "request digest": (2, bytes(32)),
    "receipt": (3, b"receipt"),
    "terms": (4, TERMS.encode()),
    "challenge": (5, b"challenge"),
    "sent": (6, 1),
    "waited": (7, 5),
    "outcome": (8, ("refused", 0, (), "")),
    "opening size": (9, 1),
    "opening digest": (10, bytes(32)),
    "made": (11, 1),
    "scheme": (12, "eip712-secp256k1"),
    "auditor": (13, STRANGER.public),
    "signature": (14, bytes(64)),
    "request": (15, request(nonce=bytes([1] * 32)).encode()),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_element_that_somebody_else_changed_makes_a_bundle_invalid(name: str) -> None:
    Bundle.decode(rewritten(lambda fields: None)).check()
    data = rewritten(put(*ELEMENTS[name]))
    with pytest.raises((FormatError, EvidenceError, UnsupportedError)):
        Bundle.decode(data).check()


WRONG: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no opening": lambda: io.BytesIO(written()).read(len(head_of(written()))),
    "cut off": lambda: written()[:-1],
    "a byte more": lambda: written() + b"\0",
    "an opening of another size": lambda: rewritten(put(9, 1), AUDITOR),
    "silence without a challenge": lambda: rewritten(
        lambda f: f.__setitem__(slice(5, 8), [b"", 0, 0]), AUDITOR, opening=False
    ),
    "an opening without a challenge": lambda: rewritten(put(5, b""), AUDITOR),
    "a digest of nothing that is another": lambda: rewritten(put(10, bytes(32)), AUDITOR, opening=False),
    "an outcome that nobody knows": lambda: rewritten(put(8, ("guilty", 0, (), "")), AUDITOR),
    "a contradiction without a step": lambda: rewritten(put(8, ("contradicted", 0, (), "")), AUDITOR),
    "a step without a contradiction": lambda: rewritten(put(8, ("accepted", 3, (), "")), AUDITOR),
    "an empty cell": lambda: rewritten(put(8, ("contradicted", 8, (1, 2, 2), "")), AUDITOR),
    "another request": lambda: rewritten(put(15, request(nonce=bytes([1] * 32)).encode()), AUDITOR),
    "another auditor's signature": lambda: rewritten(lambda fields: None, STRANGER),
    "another opening": lambda: written()[:-1] + bytes([written()[-1] ^ 1]),
}


def head_of(data: bytes) -> bytes:
    stream = io.BytesIO(data)
    read_frame(stream, limit=1 << 26, what="evidence")
    return data[: stream.tell()]


@pytest.mark.parametrize("name", WRONG)
def test_bytes_that_are_no_bundle_are_refused(name: str) -> None:
    assert refused(WRONG[name]())


def test_every_byte_of_a_bundle_is_bound() -> None:
    data = FRAMING["silence"].build(target()).encode()
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        with pytest.raises((InputError, EvidenceError)):
            Bundle.decode(bytes(changed)).check()


def test_an_announced_size_is_compared_before_anything_is_read() -> None:
    with pytest.raises(LimitError):
        Bundle.decode(b"\x5b" + bytes([0xFF] * 8))
    head = head_of(written())
    with pytest.raises(LimitError):
        Bundle.decode(head + b"\x5b" + bytes([0xFF] * 8))


def test_a_bundle_is_what_is_written_of_it() -> None:
    for build in (
        bundle(good()),
        FRAMING["silence"].build(target()),
        FRAMING["what holds, accepted by replay"].build(target()),
    ):
        data = build.encode()
        again = Bundle.decode(data)
        assert (again.evidence, again.encode()) == (build.evidence, data)


# -- disclosure ----------------------------------------------------------------------------------------------
def test_a_request_is_taken_out_and_put_in_again() -> None:
    asked, whole = good().request, bundle(good())
    hidden = Bundle.decode(whole.with_request(None).encode())
    assert asked.inputs[0][1] not in hidden.encode()
    assert hidden.with_request(asked).encode() == whole.encode()
    assert judged(hidden, request=asked).finding is Finding.CONFIRMED
    with pytest.raises(MismatchError):
        judged(hidden, request=request(nonce=bytes([1] * 32)))
    assert bundle(good(), disclose=False).evidence.request == b""


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("a false cell", "undecided"),
        ("what holds, accepted", "undecided"),
        ("a flipped bit", "unattributable"),
        ("a receipt that is right", "undecided"),
        ("silence", "asserted"),
        ("terms that are not signed, named", "contradicted"),
        ("another stop reason", "undecided"),
    ],
)
def test_without_the_request_signatures_are_all_that_is_checked(name: str, finding: str, holder: str) -> None:
    made = SHOWN[name].build(target()).with_request(None)
    assert said(made, HOLDERS[holder]()) == finding
    if finding != "contradicted":
        assert any("not disclosed" in line for line in judged(made, HOLDERS[holder]()).unchecked)


def test_a_bundle_is_about_the_judges_own_model_node_and_auditor() -> None:
    made = bundle(good())
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: judged(made, model(1)),
        lambda: judged(made.with_request(None), model(1).card),
        lambda: judged(made, node=STRANGER.public),
        lambda: judged(made, auditor=STRANGER.public),
    )
    for wrong in wrongs:
        with pytest.raises(MismatchError):
            wrong()
    assert judged(made, node=NODE.public, auditor=AUDITOR.public).finding is Finding.CONFIRMED


def test_a_request_that_the_model_cannot_run_is_the_auditors_doing() -> None:
    asked = request(max_tokens=4000)
    receipt = honest().receipt
    receipt = replace(receipt, request_digest=asked.digest)
    receipt = receipt.signed(NODE.sign(receipt.signed_digest))
    made = make_evidence(AUDITOR, asked, receipt.encode(), VerificationError(5, "made up"))
    assert said(made) == "invalid"


def test_terms_of_a_later_version_are_left_out() -> None:
    """They are nobody's fault."""
    later = wire.encode(("proofcompute terms", 2))
    from proofcompute.commitments.hashing import message_digest

    c = case(honest().signed(terms_digest=message_digest("sha256", "terms", later)), *CELLS)
    verdict = judged(signed(bundle(c), terms=later))
    assert verdict.finding is Finding.CONFIRMED
    assert any("cannot be read" in line for line in verdict.unchecked)


# -- the judge's own key -------------------------------------------------------------------------------------
def test_a_strangers_bundle_counts_as_an_attempt_and_takes_no_nonce() -> None:
    """Otherwise whoever saw a nonce could make the judge's own request unusable."""
    mine = key()
    asked = request(max_tokens=3)
    assert asked.nonce == good().request.nonce
    judged(bundle(good()), mine)
    assert mine.log.attempts == [(bytes(32), bytes(32))]
    mine.log.attempt(asked.nonce, asked.digest)
    judged(FRAMING["a flipped bit"].build(target()), mine)
    assert len(mine.log.attempts) == 2


class Turns(io.BytesIO):
    """A file that is another one from the third reading on."""

    def __init__(self, first: bytes, then: bytes, at: int) -> None:
        super().__init__(first)
        self._then, self._at, self._left = then, at, 2

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset == self._at:
            self._left -= 1
            if self._left < 0:
                super().seek(0)
                self.write(self._then)
        return super().seek(offset, whence)


def test_a_file_that_changes_while_it_is_read_counts_against_nobody() -> None:
    data, at = written(), len(head_of(written())) + 3
    changed = data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]
    with pytest.raises(EvidenceError, match="changed while it was read"):
        judged(Bundle.read(Turns(data, changed, at)))


# -- making --------------------------------------------------------------------------------------------------
def test_what_an_auditor_must_say_when_it_makes_evidence() -> None:
    c = good()
    wrongs: tuple[Callable[[], object], ...] = (
        lambda: make_evidence(AUDITOR, c.request, c.receipt, "silent", challenge=c.challenge),
        lambda: make_evidence(AUDITOR, c.request, c.receipt, "silent", waited=1.0),
        lambda: make_evidence(AUDITOR, c.request, c.receipt, c.verify(), opening=c.opening),
        lambda: bundle(c, waited=-1.0),
        lambda: bundle(c, sent=float("nan")),
        lambda: bundle(c, opening=object()),
        lambda: make_evidence(AUDITOR, c.request, c.receipt, "guilty"),  # type: ignore[arg-type]
    )
    for wrong in wrongs:
        with pytest.raises(InputError):
            wrong()


def test_a_rejection_at_step_10_that_nobody_signed_is_silence() -> None:
    assert bundle(good(), VerificationError(10, "late")).evidence.outcome == Outcome("silent")
    signed_one = VerificationError(10, "more", attributable=True)
    assert bundle(good(), signed_one).evidence.outcome == Outcome("contradicted", 10)


def test_an_opening_that_changes_after_it_was_signed_is_not_written() -> None:
    stream = io.BytesIO(good().opening)
    made = bundle(good(), opening=stream)
    stream.write(b"\0")
    with pytest.raises(InputError, match="changed since"):
        made.encode()


# -- mutants -------------------------------------------------------------------------------------------------
RECEIPT = "receipt.node, receipt.signed_digest, receipt.signature"
EVIDENCE = "evidence.auditor, evidence.signed_digest, evidence.signature"
MUTANTS: dict[str, tuple[tuple[Edit, ...], str, str]] = {
    "the receipt's signature": (
        (
            Edit(
                "verifier.judging_receipts",
                "if not signature_holds(receipt.node, receipt.signed_digest, receipt.signature):",
                "if False:",
            ),
        ),
        "another receipt's signature",
        "unattributable",
    ),
    "the request's digest": (
        (
            Edit(
                "verifier.judging_receipts",
                "if receipt.request_digest != judge.evidence.request_digest:",
                "if False:",
            ),
        ),
        "another request",
        "unattributable",
    ),
    "the version of the arithmetic": (
        (Edit("verifier.judging", "if receipt.numerics != NUMERICS:  # E4", "if False:"),),
        "another version of the arithmetic",
        "undecided",
    ),
    "the terms' digest": (
        (
            Edit(
                "verifier.judging_receipts",
                'message_digest(SUITE, "terms", evidence.terms) != receipt.terms_digest',
                "False",
            ),
        ),
        "terms of another node",
        "invalid",
    ),
    "the terms' signature": (
        (Edit("verifier.judging_receipts", "check_signer(terms, receipt.node)", "pass"),),
        "terms that are not signed, named",
        "contradicted",
    ),
    "the challenge's receipt": (
        (
            Edit("verifier.judging_receipts", "if challenge.receipt_digest != receipt.digest:", "if False:"),
            Edit("verifier.judging_openings", "_require_answerable(judge, claim, challenge)\n", "pass\n"),
        ),
        "a challenge for another receipt",
        "invalid",
    ),
    "the node's signature of the opening": (
        (Edit("verifier.judging_openings", "if found.doubt:", "if False:"),),
        "a flipped bit",
        "unattributable",
    ),
    "the digest of the frames": (
        (Edit("protocol.frames", "if end.frames != read.digest():", "if False:"),),
        "a flipped bit",
        "unattributable",
    ),
    "more frames than were asked for": (
        (Edit("protocol.frames", "if index >= len(limits):", "if False:"),),
        "a frame more",
        "contradicted",
    ),
    "larger frames than were asked for": (
        (Edit("protocol.frames", "if size > limits[index]:", "if False:"),),
        "a frame that is too large",
        "contradicted",
    ),
    "what the node signed beyond the challenge": (
        (Edit("verifier.judging_openings", "if found.excess is not None:", "if False:"),),
        "a frame more",
        "contradicted",
    ),
    "the wait": (
        (Edit("verifier.findings", "known.waited <= known.allowed", "False"),),
        "silence that was shorter than the terms allow",
        "refuted",
    ),
    "the replay": (
        (Edit("verifier.judging", "if self._replay_decides(receipt) and request is not None:", "if False:"),),
        "a false answer that is not opened",
        "contradicted",
    ),
    "the replay's verdict of what is right": (
        (Edit("verifier.findings", "if known.doubt and known.answer_holds:", "if False:"),),
        "an answer that is right, without an opening",
        "refuted",
    ),
    "cells that hold": (
        (Edit("verifier.judging", "opening_holds=opening_holds", "opening_holds=False"),),
        "a cell that is right",
        "refuted",
    ),
}
"""What removes a check, and a bundle that is then judged otherwise by who holds the model."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bundle_is_misjudged_only_without_the_check(name: str) -> None:
    edits, case_name, right = MUTANTS[name]
    made = SHOWN[case_name].build(target())
    holds: list[Holds] = [model()] if name in ONLY_MODEL else [judge_key(), model()]
    assert {said(made, h) for h in holds} == {right}
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, edits)
        wrong = []
        for h in holds:
            try:
                wrong.append(said(made, replace(h, log=MemoryLog()) if isinstance(h, Key) else h))
            except (InputError, VerificationError, IndexError):
                wrong.append("error")
        assert right not in wrong
    assert {said(made, h) for h in holds} == {right}


ONLY_MODEL = {"the replay", "the replay's verdict of what is right"}

CODEC: dict[str, tuple[Edit, str]] = {
    name: (Edit(module, old, new), wrong)
    for name, (module, old, new, wrong) in {
        "the auditor's signature": (
            "protocol.bundle",
            f"if not signature_holds({EVIDENCE}):",
            "if False:",
            "another auditor's signature",
        ),
        "the opening's digest": (
            "protocol.bundle",
            "if measured(self.opening)[1] != evidence.opening_digest:",
            "if False:",
            "another opening",
        ),
        "the opening's size": (
            "protocol.bundle",
            "if size != evidence.opening_size:",
            "if False:",
            "an opening of another size",
        ),
        "the end": ("protocol.bundle", "if left > size else", "if False else", "a byte more"),
        "the request's digest": (
            "protocol.messages.evidence",
            "        if request.digest != self.request_digest:\n",
            "        if False:\n",
            "another request",
        ),
        "silence without a challenge": (
            "protocol.messages.evidence",
            'if self.outcome.kind in ("silent", "refused"):',
            "if False:",
            "silence without a challenge",
        ),
        "an opening without a challenge": (
            "protocol.messages.evidence",
            "if self.opening_size or self.sent or self.waited:",
            "if False:",
            "an opening without a challenge",
        ),
        "the digest of nothing": (
            "protocol.messages.evidence",
            "if not self.opening_size and self.opening_digest != no_opening():",
            "if False:",
            "a digest of nothing that is another",
        ),
        "the outcome": (
            "protocol.messages.evidence",
            "if self.kind not in OUTCOMES:",
            "if False:",
            "an outcome that nobody knows",
        ),
        "the step": (
            "protocol.messages.evidence",
            "if not 1 <= self.step <= STEPS:",
            "if False:",
            "a contradiction without a step",
        ),
        "no step": (
            "protocol.messages.evidence",
            'elif (self.step, self.cell, self.operation) != (0, None, ""):',
            "elif False:",
            "a step without a contradiction",
        ),
        "the cell": ("protocol.messages.evidence", "if cell.a >= cell.b:", "if False:", "an empty cell"),
    }.items()
}
"""What removes a check of the bytes, and the bytes that then pass."""


@pytest.mark.parametrize("name", CODEC)
def test_bytes_are_accepted_only_without_the_check(name: str) -> None:
    edit, wrong = CODEC[name]
    data = WRONG[wrong]()
    assert refused(data)
    with pytest.MonkeyPatch.context() as patch:
        apply(patch, [edit])
        if name in BEHIND:
            with pytest.raises((FormatError, EvidenceError), match=BEHIND[name]):
                Bundle.decode(data).check()
        else:
            Bundle.decode(data).check()
    assert refused(data)


BEHIND = {
    "the digest of nothing": "not the one that the auditor signed",
}
"""Checks that another one stands behind: what is said without them."""
