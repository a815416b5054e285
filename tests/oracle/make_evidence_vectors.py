"""Makes ``evidence.json``: bundles of evidence, right and (mostly) wrong.

The oracle imports nothing from proofcompute. Run in ``tests/``: ``python -m oracle.make_evidence_vectors
vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from oracle.commit_wire import head
from oracle.message_cases import (
    CHALLENGE,
    ORDER,
    PLAIN,
    RECEIPT,
    digest,
    emit,
    public,
    put,
    requests,
    sign,
    signed,
    signed_terms,
    terms,
)
from oracle.message_mistakes import FORMAT, LIMIT, UNSUPPORTED, Bad, wrong_bytes

Json = Any
AUDITOR = bytes(range(64, 96))
OPENING = b"\x45frame\x41e"
NOTHING = digest("blake3", "evidence opening", b"")
MOST = 2**53 - 1


def sealed(body: list[Any], request: bytes, seed: bytes = AUDITOR) -> list[Any]:
    """The 16 elements: body, signature, request."""
    return [*body, sign(seed, digest("sha256", "evidence", emit(body))), request]


def opened(body: list[Any], opening: bytes) -> list[Any]:
    """The body with another opening."""
    return put(put(body, (9,), len(opening)), (10,), digest("blake3", "evidence opening", opening))


BODY: list[Any] = opened(
    [
        "proofcompute evidence", 1, digest("sha256", "request", emit(PLAIN)), emit(signed(RECEIPT)), b"",
        emit(CHALLENGE), 1_700_000_000_000, 1500, ["contradicted", 8, [2, 1, 2], "block.1.ffn.up"], 0, b"",
        1_700_000_002_000, "ed25519", public(AUDITOR),
    ],
    OPENING,
)  # fmt: skip
REPLAYED: list[Any] = put(
    put(put(put(opened(BODY, b""), (5,), b""), (6,), 0), (7,), 0), (8,), ["accepted", 0, [], ""]
)


def file_of(fields: list[Any] | bytes, opening: bytes = OPENING) -> bytes:
    first = fields if isinstance(fields, bytes) else emit(fields)
    return head(2, len(first)) + first + head(2, len(opening)) + opening


def right() -> dict[str, tuple[list[Any], bytes]]:
    asked = emit(PLAIN)
    under = signed(put(RECEIPT, (10,), digest("sha256", "terms", emit(terms()["usual"]))))
    with_terms = put(put(BODY, (3,), emit(under)), (4,), emit(terms()["usual"]))
    keccak = requests()["keccak256"]
    greatest = put(put(put(BODY, (6,), MOST), (7,), MOST), (11,), MOST)
    return {
        "a contradiction": (sealed(BODY, asked), OPENING),
        "not disclosed": (sealed(BODY, b""), OPENING),
        "under terms": (sealed(with_terms, asked), OPENING),
        "accepted": (sealed(put(BODY, (8,), ["accepted", 0, [], ""]), asked), OPENING),
        "silence": (sealed(opened(put(BODY, (8,), ["silent", 0, [], ""]), b""), asked), b""),
        "a refusal": (sealed(opened(put(BODY, (8,), ["refused", 0, [], ""]), b""), asked), b""),
        "silence and late bytes": (sealed(put(BODY, (8,), ["silent", 0, [], ""]), asked), OPENING),
        "a replay": (sealed(REPLAYED, asked), b""),
        "a contradiction of a receipt": (
            sealed(put(REPLAYED, (8,), ["contradicted", 5, [], ""]), asked), b"",
        ),
        "a receipt that is none": (sealed(put(BODY, (3,), b"receipt"), asked), OPENING),
        "no receipt": (sealed(put(BODY, (3,), b""), asked), OPENING),
        "greatest times": (sealed(greatest, asked), OPENING),
        "the largest cell": (sealed(put(BODY, (8, 2), [4096, 0, 1 << 20]), asked), OPENING),
        "a request in keccak256": (
            sealed(put(BODY, (2,), digest("keccak256", "request", emit(keccak))), emit(keccak)), OPENING,
        ),
        "an opening of 256 bytes": (sealed(opened(BODY, bytes(256)), asked), bytes(256)),
    }  # fmt: skip


def wrong_heads() -> list[Bad]:
    """First frames that are none; each is followed by the opening."""
    asked = emit(PLAIN)
    fields = sealed(BODY, asked)

    def changed(path: tuple[int, ...], value: Any) -> list[Any]:
        return sealed(put(BODY, path, value), asked)

    integers = ((6, MOST), (7, MOST), (11, MOST))
    return [
        *wrong_bytes(fields, emit(PLAIN)),
        ("no request digest", changed((2,), b""), FORMAT),
        ("a request digest of 33 bytes", changed((2,), bytes(33)), FORMAT),
        ("a receipt as text", changed((3,), "receipt"), FORMAT),
        ("terms of more than 1 KiB", changed((4,), bytes(1025)), LIMIT),
        *((f"field {i} negative", changed((i,), -1), FORMAT) for i, _ in integers),
        *((f"field {i} one more than the greatest", changed((i,), most + 1), FORMAT) for i, most in integers),
        ("an opening of more than 1 TiB", changed((9,), (1 << 40) + 1), FORMAT),
        ("a digest of the opening that is too short", changed((10,), bytes(31)), FORMAT),
        ("no opening, and the digest of another", changed((9,), 0), FORMAT),
        (
            "no opening, and a digest of zeros",
            sealed(put(opened(BODY, b""), (10,), bytes(32)), asked),
            FORMAT,
        ),
        ("no scheme", changed((12,), ""), FORMAT),
        ("a scheme that nobody knows", changed((12,), "ed448"), FORMAT),
        ("a scheme that is reserved", changed((12,), "eip712-secp256k1"), UNSUPPORTED),
        ("an auditor's key of 31 bytes", changed((13,), bytes(31)), FORMAT),
        ("a signature of 63 bytes", put(fields, (14,), bytes(63)), FORMAT),
        ("a signature of 65 bytes", put(fields, (14,), bytes(65)), FORMAT),
        ("another request", sealed(BODY, emit(put(PLAIN, (7,), b"\x04" * 32))), FORMAT),
        ("the request with a byte more", sealed(BODY, asked + b"\0"), FORMAT),
        ("a request that is none", sealed(BODY, b"request"), FORMAT),
        ("a request with an impossible setting", sealed(BODY, emit(put(PLAIN, (5, 0), 0))), FORMAT),
        ("an outcome that nobody knows", changed((8, 0), "guilty"), FORMAT),
        ("an outcome in capitals", changed((8, 0), "Contradicted"), FORMAT),
        ("an outcome of three elements", changed((8,), ["accepted", 0, []]), FORMAT),
        ("an outcome of five elements", changed((8,), ["accepted", 0, [], "", 0]), FORMAT),
        ("a contradiction without a step", changed((8, 1), 0), FORMAT),
        ("a contradiction at step 11", changed((8, 1), 11), FORMAT),
        ("a contradiction at step -1", changed((8, 1), -1), FORMAT),
        ("accepted, with a step", changed((8,), ["accepted", 8, [], ""]), FORMAT),
        ("accepted, with a cell", changed((8,), ["accepted", 0, [2, 1, 2], ""]), FORMAT),
        ("silence, with an operation", changed((8,), ["silent", 0, [], "w"]), FORMAT),
        ("an empty cell", changed((8, 2), [2, 1, 1]), FORMAT),
        ("a cell that ends before it begins", changed((8, 2), [2, 2, 1]), FORMAT),
        ("a cell of two numbers", changed((8, 2), [2, 1]), FORMAT),
        ("a cell of a negative segment", changed((8, 2), [-1, 1, 2]), FORMAT),
        ("a cell of segment 4097", changed((8, 2), [4097, 1, 2]), FORMAT),
        ("a cell beyond the greatest row", changed((8, 2), [2, 1, (1 << 20) + 1]), FORMAT),
        ("an operation of 257 bytes", changed((8, 3), "w" * 257), LIMIT),
        ("an operation as bytes", changed((8, 3), b"w"), FORMAT),
        ("no challenge, and an opening", changed((5,), b""), FORMAT),
        ("no challenge, and when it was sent", sealed(put(REPLAYED, (6,), 1), asked), FORMAT),
        ("no challenge, and a wait", sealed(put(REPLAYED, (7,), 1), asked), FORMAT),
        ("no challenge, and silence", sealed(put(REPLAYED, (8, 0), "silent"), asked), FORMAT),
        ("no challenge, and a refusal", sealed(put(REPLAYED, (8, 0), "refused"), asked), FORMAT),
    ]  # fmt: skip


def wrong_files() -> list[tuple[str, bytes, str]]:
    """Files around a right first frame."""
    fields = sealed(BODY, emit(PLAIN))
    whole, first = file_of(fields), emit(fields)
    before = head(2, len(first)) + first
    return [
        ("empty", b"", FORMAT),
        ("the first frame only", before, FORMAT),
        ("cut off in the first frame", whole[: len(before) - 1], FORMAT),
        ("cut off in the opening", whole[:-1], FORMAT),
        ("cut off in the opening's head", before + b"\x58", FORMAT),
        ("a byte after the end", whole + b"\0", FORMAT),
        ("another frame after the end", whole + b"\x40", FORMAT),
        ("an opening of one byte less", file_of(fields, OPENING[:-1]), FORMAT),
        ("an opening of one byte more", file_of(fields, OPENING + b"\0"), FORMAT),
        ("no opening", file_of(fields, b""), FORMAT),
        ("not framed", first, FORMAT),
        ("an array of both", head(4, 2) + whole, FORMAT),
        ("the first frame as text", head(3, len(first)) + first + whole[len(before) :], FORMAT),
        ("the opening as text", before + head(3, len(OPENING)) + OPENING, FORMAT),
        ("the opening as an array", before + b"\x82\x00\x00", FORMAT),
        ("a head of the opening in a longer encoding", before + b"\x58\x08" + OPENING, FORMAT),
        ("the first frame of indefinite length", b"\x5f" + before + b"\xff", FORMAT),
        (
            "an opening of indefinite length",
            before + b"\x5f" + head(2, len(OPENING)) + OPENING + b"\xff",
            FORMAT,
        ),
        ("a first frame that announces 2^63 bytes", b"\x5b\x80" + bytes(7), LIMIT),
        ("an opening that announces 2^63 bytes", before + b"\x5b\x80" + bytes(7), LIMIT),
    ]


def judged() -> list[Json]:
    """Files that decode, and whether the auditor signed them."""
    asked = emit(PLAIN)
    fields = sealed(BODY, asked)
    signature = fields[14]
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    in_sha256 = digest("sha256", "evidence opening", OPENING)
    body_digest = digest("sha256", "evidence", emit(BODY))

    def signing(kind: str, data: bytes, suite: str = "sha256") -> list[Any]:
        return put(fields, (14,), sign(AUDITOR, digest(suite, kind, data)))

    another = put(signed_terms(["proofcompute terms", 1, "ed25519", public(AUDITOR), 1, 0, 1, 0]), (5,), 0)
    cases: list[tuple[str, list[Any], bytes, bool]] = [
        ("right", fields, OPENING, True),
        ("right, not disclosed", put(fields, (15,), b""), OPENING, True),
        ("not signed", put(fields, (14,), bytes(64)), OPENING, False),
        ("by another key", sealed(BODY, asked, bytes(32)), OPENING, False),
        ("another auditor's key", put(fields, (13,), public(bytes(32))), OPENING, False),
        ("S plus the order", put(fields, (14,), r + (s + ORDER).to_bytes(32, "little")), OPENING, False),
        ("S plus one", put(fields, (14,), r + (s + 1).to_bytes(32, "little")), OPENING, False),
        ("over the body in blake3", signing("evidence", emit(BODY), "blake3"), OPENING, False),
        ("over the body as a receipt", signing("receipt body", emit(BODY)), OPENING, False),
        ("over the whole", signing("evidence", emit(fields)), OPENING, False),
        ("over the digest's digest", signing("evidence", body_digest), OPENING, False),
        ("over terms", put(fields, (14,), another[-1]), OPENING, False),
        ("another byte in the opening", fields, OPENING[:-1] + b"f", False),
        ("another receipt", put(fields, (3,), b"receipt"), OPENING, False),
        ("another challenge", put(fields, (5,), emit(put(CHALLENGE, (4,), 0))), OPENING, False),
        ("terms added", put(fields, (4,), emit(terms()["usual"])), OPENING, False),
        ("another time of the challenge", put(fields, (6,), 1_600_000_000_000), OPENING, False),
        ("another wait", put(fields, (7,), 60_000), OPENING, False),
        ("another time of the signature", put(fields, (11,), 0), OPENING, False),
        ("another step", put(fields, (8, 1), 9), OPENING, False),
        ("another cell", put(fields, (8, 2), [2, 2, 3]), OPENING, False),
        ("another operation", put(fields, (8, 3), "block.0.ffn.up"), OPENING, False),
        ("another outcome", put(fields, (8,), ["accepted", 0, [], ""]), OPENING, False),
        ("the digest of the opening in sha256", put(fields, (10,), in_sha256), OPENING, False),
    ]  # fmt: skip
    return [{"name": name, "hex": file_of(f, opening).hex(), "signed": ok} for name, f, opening, ok in cases]


def evidence() -> Json:
    return {
        "valid": [
            {
                "name": name,
                "hex": file_of(fields, opening).hex(),
                "signed_digest": digest("sha256", "evidence", emit(fields[:14])).hex(),
                "opening_digest": digest("blake3", "evidence opening", opening).hex(),
            }
            for name, (fields, opening) in right().items()
        ],
        "invalid": [
            {"name": name, "hex": data.hex(), "error": error}
            for name, data, error in (
                *((name, file_of(bad), error) for name, bad, error in wrong_heads()),
                *((f"file: {name}", data, error) for name, data, error in wrong_files()),
            )
        ],
        "signatures": judged(),
    }


def main(folder: Path) -> None:
    text = json.dumps(evidence(), indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "evidence.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
