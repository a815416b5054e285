"""Wrong proof fields: each has one mistake, which names it.

Imports nothing from proofcompute.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from oracle.message_cases import digest, emit, put, signed
from oracle.openai_binding import DAY, END, MODEL, NODE, NONCE, Answer, Exchange, receipt
from oracle.openai_responses import ENDED, ONE, OTHER, TWO, Case, altered, coded, without

Json = Any


def proof_fields() -> dict[str, tuple[Case, int]]:
    """Malformed or untrue fields of a proof."""
    raw = receipt(ONE.made[0], ENDED)
    values: dict[str, tuple[Json, ...]] = {
        "v": (0, 2, "1", True, 1.0, None),
        "choice": (-1, 128, "0", False, None),
        "receipt": (
            "",
            None,
            1,
            [coded(raw)],
            coded(raw)[:-1],
            coded(raw) + "=",
            coded(raw) + "\n",
            " " + coded(raw),
            raw.hex(),
            "é",
            coded(raw).replace("A", "-"),
            coded(raw + b"\0"),
            coded(raw[:-1]),
            coded(b"\x80"),
        ),
        "nonce": (
            None,
            "",
            NONCE.hex()[:-1],
            NONCE.hex() + "0",
            NONCE.hex().upper(),
            "0x" + NONCE.hex()[2:],
            "g" * 64,
            [NONCE.hex()],
            "\u0660" * 64,
        ),
        "nonce_by": (None, "", "Client", "server", True),
        "model_id": (None, "", MODEL.hex()[:-1], MODEL.hex().upper()),
        "node": (None, "", NODE.hex()[:-1], NODE.hex().upper()),
        "date": (
            None,
            "",
            "2026-11-31",
            "20261130",
            "2026-W49-1",
            "2026-11-30T00:00:00",
            "30.11.2026",
            20261130,
            "0000-01-01",
            " 2026-11-30",
        ),
        "open": (
            None,
            "",
            "v1/proofs/open",
            "//evil.example/open",
            "http://evil.example/open",
            "/v1/../open",
            "/v1/./open",
            "/..",
            "/v1//open",
            "/v1/open/",
            "/open?x=1",
            "/open#x",
            "\\open",
            "/op en",
            "/é",
            "/" + "x" * 256,
            "/open\n",
            "/%2e%2e/open",
            "/a:b@c",
        ),
    }
    found = {
        f"proof field: {name} {i}": (Case(ONE, altered(ONE.whole(), "proofcompute", name, value=value)), 1)
        for name, wrong in values.items()
        for i, value in enumerate(wrong)
    }
    found |= {
        f"proof field without {name}": (Case(ONE, without(ONE.whole(), "proofcompute", name)), 1)
        for name in ONE.whole()["proofcompute"]
    }
    long = next(e for k in range(3) if coded(receipt((e := ending(k)).made[0], e.answers[0]))[-2:] == "==")
    loose = long.proof(0)["receipt"]
    by_node = ONE._replace(nonce_by="node").whole()
    other = ONE._replace(date=DAY - timedelta(2))
    foreign = signed(put(receipt_fields(), (13,), OTHER))
    return found | {
        "bits behind the end of a receipt": (
            Case(
                long,
                altered(
                    long.whole(), "proofcompute", "receipt", value=loose[:-3] + chr(ord(loose[-3]) + 1) + "=="
                ),
            ),
            1,
        ),
        "a nonce by somebody else": (
            Case(ONE, altered(by_node, "proofcompute", "nonce_by", value="gateway"), nonce=None),
            1,
        ),
        "no proof field": (Case(ONE, without(ONE.whole(), "proofcompute")), 1),
        "proof field null": (Case(ONE, altered(ONE.whole(), "proofcompute", value=None)), 1),
        "proof field a list": (Case(ONE, altered(ONE.whole(), "proofcompute", value=[ONE.proof(0)])), 1),
        "proof field with more": (Case(ONE, altered(ONE.whole(), "proofcompute", "more", value=None)), 1),
        "proof field of two for one": (
            Case(ONE, altered(ONE.whole(), "proofcompute", value=TWO.proof(0, 1))),
            1,
        ),
        "proof field of one for two": (
            Case(TWO, altered(TWO.whole(), "proofcompute", value=TWO.proof(0))),
            1,
        ),
        "one receipt for two": (
            Case(TWO, altered(TWO.whole(), "proofcompute", "receipts", value=[TWO.proof(0)["receipt"]])),
            1,
        ),
        "three receipts for two": (
            Case(
                TWO,
                altered(
                    TWO.whole(),
                    "proofcompute",
                    "receipts",
                    value=[*TWO.proof(0, 1)["receipts"], TWO.proof(0)["receipt"]],
                ),
            ),
            1,
        ),
        "receipts no list": (Case(TWO, altered(TWO.whole(), "proofcompute", "receipts", value="x")), 1),
        "receipts swapped": (
            Case(
                TWO,
                altered(
                    TWO.whole(), "proofcompute", "receipts", value=[*reversed(TWO.proof(0, 1)["receipts"])]
                ),
            ),
            4,
        ),
        "one receipt twice": (
            Case(TWO, altered(TWO.whole(), "proofcompute", "receipts", value=[TWO.proof(0)["receipt"]] * 2)),
            4,
        ),
        "the choice is another one": (Case(ONE, altered(ONE.whole(), "proofcompute", "choice", value=1)), 4),
        "another model id": (
            Case(ONE, altered(ONE.whole(), "proofcompute", "model_id", value=OTHER.hex())),
            3,
        ),
        "another node than is wanted": (Case(ONE, ONE.whole(), node=OTHER), 2),
        "another node than signed": (
            Case(ONE, altered(ONE.whole(), "proofcompute", "node", value=OTHER.hex())),
            2,
        ),
        "signed by nobody": (
            Case(ONE, altered(ONE.whole(), "proofcompute", "receipt", value=coded(emit(foreign)))),
            2,
        ),
        "a nonce by the node, said to be the client's": (Case(ONE, ONE.whole(), nonce=None), 4),
        "the client's nonce, said to be the node's": (
            Case(ONE, altered(ONE.whole(), "proofcompute", "nonce_by", value="node")),
            4,
        ),
        "the client's nonce was not used": (Case(ONE, ONE.whole(), nonce=OTHER), 4),
        "another nonce than the receipt's": (
            Case(ONE, altered(ONE.whole(), "proofcompute", "nonce", value=OTHER.hex()), nonce=OTHER),
            4,
        ),
        "the nonce of the node is not the receipt's": (
            Case(
                ONE,
                altered(ONE._replace(nonce_by="node").whole(), "proofcompute", "nonce", value=OTHER.hex()),
                nonce=None,
            ),
            4,
        ),
        "a date two days ago": (Case(other, other.whole()), 4),
        "a date in two days": (Case(ONE, ONE.whole(), today=DAY - timedelta(2)), 4),
        "another date than the receipt's": (
            Case(ONE, altered(ONE.whole(), "proofcompute", "date", value="2026-11-29")),
            4,
        ),
    }


def ending(k: int) -> Exchange:
    """An answer of k more tokens: lengths of receipts of all three remainders."""
    words = "Hi, é!" + "!" * k
    return ONE._replace(answers=[Answer([*words.encode(), END], "end", words)])


def receipt_fields() -> list[Any]:
    made = ONE.made[0]
    outputs = [["next", b"".join(t.to_bytes(4, "little") for t in ENDED.tokens)]]
    return [
        "proofcompute receipt",
        2,
        "sha256",
        MODEL,
        digest("sha256", "request", emit(made)),
        outputs,
        len(made[4][0][1]) // 4 + len(ENDED.tokens) - 1,
        "end",
        b"\x03" * 32,
        1,
        b"",
        604800,
        "ed25519",
        NODE,
    ]
