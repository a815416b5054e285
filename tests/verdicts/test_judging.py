"""What a judge found becomes a statement, and a quorum's statement in a bundle is decided again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import pytest

from adversary.attacks import CELLS
from adversary.cheats import CHEATS
from adversary.evidence import ACCUSED, AUDITOR, HOLDERS, bundle, good, judged, signed, waited
from adversary.mutation import Edit, apply
from adversary.setting import BLOCK_1, NODE, case
from proofcompute.bls.signatures import total_signature
from proofcompute.errors import Cell, FormatError, InputError, LimitError, VerdictError, VerdictFault
from proofcompute.protocol.bundle import Bundle
from proofcompute.protocol.messages import Challenge, Outcome, Receipt
from proofcompute.verdicts import QuorumVerdict, VerdictStatement
from proofcompute.verifier.evidence import make_evidence
from proofcompute.verifier.findings import Finding
from proofcompute.verifier.quorums import quorum_of, statement_of
from verdicts.world import DAY, KEYS, NOW, policy

pytest.importorskip("py_ecc")


def honest() -> Bundle:
    return bundle(good())


def lying(cell: Cell = Cell(BLOCK_1, 4, 6)) -> Bundle:
    """A node that skipped a layer, whose false cells were opened."""
    return bundle(case(CHEATS["one layer skipped"].build(), cell))


def accepted_elsewhere() -> Bundle:
    """The same node, of which an auditor opened a cell that is right."""
    return lying(Cell(0, 1, 2))


def early() -> Bundle:
    return waited(1.0)()


def silent() -> Bundle:
    return waited(3600.0)()


def statement(made: Bundle, holder: str, **options: Any) -> VerdictStatement:
    found = judged(made, HOLDERS[holder]())
    evidence = made.evidence
    return statement_of(found, evidence, policy(), valid_from=NOW, valid_until=NOW + DAY, **options)


def digest(made: Bundle) -> bytes:
    return Challenge.decode(made.evidence.challenge).digest


@pytest.mark.parametrize("holder", ["key", "model"])
def test_what_was_found_is_what_is_signed(holder: str) -> None:
    for made in (honest(), signed(honest(), outcome=ACCUSED)):
        said = statement(made, holder)
        assert (said.outcome.kind, said.check, said.challenge_digest) == ("accepted", "cells", digest(made))
        assert said.receipt_digest == Receipt.decode(made.evidence.receipt).digest
        assert said.request_digest == made.evidence.request_digest
    said = statement(lying(), holder)
    found = judged(lying(), HOLDERS[holder]())
    assert said.outcome == found.contradiction
    assert (said.check, said.outcome.cell) == ("cells", Cell(BLOCK_1, 4, 6))


def test_a_replay_and_a_receipt_are_other_checks() -> None:
    said = statement(signed(accepted_elsewhere(), b"", outcome=ACCUSED), "model")
    assert (said.outcome.kind, said.check, said.challenge_digest) == ("contradicted", "replay", b"")
    said = statement(silent(), "model", own_word=True)
    assert (said.outcome.kind, said.check, said.terms_digest != b"") == ("silent", "cells", True)


def test_nothing_is_signed_that_was_not_found() -> None:
    for made, holder, text in (
        (honest(), "card", "nothing was found"),
        (silent(), "key", "only the auditor's word"),
        (silent(), "model", "only the auditor's word"),
        (early(), "key", "nothing was found"),
        (signed(honest(), b"", outcome=ACCUSED), "key", "nothing was found"),
    ):
        with pytest.raises(InputError, match=text):
            statement(made, holder)
    broken = signed(honest(), receipt=b"receipt")
    with pytest.raises(InputError, match="no receipt"):
        statement(broken, "key")


def carrying(made: Bundle, said: VerdictStatement) -> Bundle:
    """The bundle with what two of the quorum signed."""
    each = [KEYS[n].sign(said.digest) for n in (0, 1)]
    numbers = tuple(sorted(policy().place_of(KEYS[n].public) for n in (0, 1)))
    return made.with_verdict(QuorumVerdict(said, numbers, total_signature(each)).encode())


class Shown(NamedTuple):
    """A bundle, a holder, what a quorum says of it, and whether the judge comes to the same."""

    made: Callable[[], Bundle]
    holder: str
    outcome: Outcome
    check: str
    agrees: bool | None


FALSE = Outcome("contradicted", 9, Cell(BLOCK_1, 4, 6), "")
SHOWN = {
    "accepted, and so it is": Shown(honest, "key", Outcome("accepted"), "cells", True),
    "accused of what is right": Shown(honest, "key", FALSE, "cells", False),
    "accused, and the judge has only a card": Shown(honest, "card", FALSE, "cells", None),
    "accepted as a whole, of which the judge checked cells": Shown(
        honest, "key", Outcome("accepted"), "replay", None
    ),
    "an accusation of the whole, of which the judge checked cells": Shown(
        honest, "key", FALSE, "replay", None
    ),
    "a receipt called false that is right": Shown(
        honest, "key", Outcome("contradicted", 5), "receipt", False
    ),
    "accused, and so it is": Shown(lying, "key", FALSE, "cells", True),
    "accused of another place": Shown(lying, "key", Outcome("contradicted", 7), "replay", True),
    "accepted though it is false": Shown(lying, "key", Outcome("accepted"), "cells", False),
    "a whole that is accepted though it is false": Shown(lying, "key", Outcome("accepted"), "replay", False),
    "silence about what is false": Shown(lying, "key", Outcome("silent"), "cells", None),
    "a refusal of what was opened": Shown(honest, "key", Outcome("refused"), "cells", False),
    "a refusal, and what was opened is false": Shown(lying, "key", Outcome("refused"), "cells", None),
    "silence": Shown(silent, "key", Outcome("silent"), "cells", None),
    "an answer that a replay finds right": Shown(silent, "model", Outcome("accepted"), "replay", True),
    "an accusation that a replay refutes": Shown(silent, "model", FALSE, "replay", False),
}


@cache
def built(name: str) -> Bundle:
    shown = SHOWN[name]
    made = shown.made()
    receipt = Receipt.decode(made.evidence.receipt)
    said = VerdictStatement(
        policy=policy().digest,
        request_digest=made.evidence.request_digest,
        receipt_digest=receipt.digest,
        check=shown.check,
        challenge_digest=digest(made) if shown.check == "cells" else b"",
        outcome=shown.outcome,
        valid_from=NOW,
        valid_until=NOW + DAY,
    )
    return carrying(made, said)


@pytest.mark.parametrize("name", SHOWN)
def test_a_quorum_in_a_bundle_is_decided_again(name: str) -> None:
    made, shown = built(name), SHOWN[name]
    made = Bundle.decode(made.encode())
    found = quorum_of(made, judged(made, HOLDERS[shown.holder]()), policy(), NOW)
    assert found.agrees is shown.agrees
    assert found.statement.outcome == shown.outcome
    assert set(found.signers) == {KEYS[0].public, KEYS[1].public}


def test_a_verdict_in_a_bundle_is_about_it() -> None:
    one, other = built("accepted, and so it is"), built("accused, and so it is")
    found = judged(one)
    swapped = one.with_verdict(other.verdict)
    for made, at, fault in (
        (swapped, NOW, VerdictFault.SUBJECT),
        (one, NOW + 2 * DAY, VerdictFault.TIME),
        (one.with_verdict(b""), NOW, VerdictFault.MALFORMED),
        (one.with_verdict(b"verdict"), NOW, VerdictFault.MALFORMED),
    ):
        with pytest.raises(VerdictError) as caught:
            quorum_of(made, found, policy(), at)
        assert caught.value.fault is fault
    broken = replace(one, evidence=signed(one, receipt=b"receipt").evidence)
    with pytest.raises(VerdictError, match="no receipt"):
        quorum_of(broken, found, policy(), NOW)


def test_a_receipt_that_is_false_decides_every_check() -> None:
    """A contradiction at steps 1 to 5 is a part of every check, so whoever accepted the cells was wrong."""
    receipt = Receipt.decode(honest().evidence.receipt)
    forged = replace(receipt, rows=receipt.rows + 1)
    forged = forged.signed(NODE.sign(forged.signed_digest))
    asked = other_challenge(forged)
    made = make_evidence(AUDITOR, good().request, forged.encode(), "refused", challenge=asked)
    found = judged(made)
    assert (found.finding, found.check) == (Finding.CONTRADICTED, "receipt")
    said = VerdictStatement(
        policy=policy().digest,
        request_digest=made.evidence.request_digest,
        receipt_digest=forged.digest,
        check="cells",
        challenge_digest=b"c" * 32,
        outcome=Outcome("accepted"),
        valid_from=NOW,
        valid_until=NOW + DAY,
    )
    assert quorum_of(carrying(made, said), found, policy(), NOW).agrees is False


def other_challenge(receipt: Receipt) -> Challenge:
    return replace(good().challenge, receipt_digest=receipt.digest)


def test_another_challenge_is_another_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quorum that checked other cells than the judge is neither confirmed nor refuted."""
    made = honest()
    said = statement(made, "key")
    other = replace(said, challenge_digest=b"c" * 32)
    found = judged(made)
    assert found.finding is Finding.CONFIRMED
    assert quorum_of(carrying(made, other), found, policy(), NOW).agrees is None
    apply(
        monkeypatch, [Edit("verifier.quorums", "return (same and found.check ==", "return (found.check ==")]
    )
    assert quorum_of(carrying(made, other), found, policy(), NOW).agrees is True


def test_a_bundle_keeps_its_bytes_and_takes_one_verdict() -> None:
    plain, made = honest(), built("accepted, and so it is")
    data = made.encode()
    assert Bundle.decode(data).verdict == made.verdict
    assert data.startswith(honest().encode()[:100])
    assert Bundle.decode(data).with_verdict(b"").encode() == data[: -len(made.verdict) - 3]
    assert Bundle.decode(plain.encode()).verdict == b""
    for bad in (data + b"\0", data[:-1], data + b"\x41a", plain.encode() + b"\x40", plain.encode() + b"\x41"):
        with pytest.raises(FormatError):
            Bundle.decode(bad)
    with pytest.raises(LimitError):
        Bundle.decode(plain.encode() + bytes(20_000))
    with pytest.raises(LimitError):
        Bundle.decode(plain.encode() + b"\x59\x40\x01" + bytes(0x4001))
    with pytest.raises(LimitError):
        plain.with_verdict(bytes(20_000))


@pytest.mark.parametrize(
    ("old", "new", "bad"),
    [
        ("if not verdict:", "if verdict is None:", lambda: honest().encode() + b"\x40"),
        (
            "if len(verdict) + len(frame_head(len(verdict))) != size:",
            "if not verdict:",
            lambda: built("accepted, and so it is").encode() + b"\0",
        ),
    ],
)
def test_bytes_after_an_opening_are_accepted_only_without_the_check(
    old: str, new: str, bad: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match="evidence:"):
        Bundle.decode(bad())
    apply(monkeypatch, [Edit("protocol.bundle", old, new)])
    assert Bundle.decode(bad())


def test_what_was_checked_is_named() -> None:
    assert [judged(honest(), HOLDERS[h]()).check for h in ("key", "model", "card")] == [
        "cells",
        "cells",
        "receipt",
    ]
    assert judged(silent(), HOLDERS["model"]()).check == "replay"
    assert judged(signed(honest(), outcome=Outcome("contradicted", 5))).check == "cells"
    hidden = replace(honest(), evidence=honest().evidence.with_request(None))
    assert judged(hidden, HOLDERS["card"]()).check == ""
    assert len(CELLS) > 1
