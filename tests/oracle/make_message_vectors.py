"""Makes ``messages.json``: requests, receipts, terms, challenges and opening heads, right and (mostly) wrong.

The oracle imports nothing from proofcompute. Run in ``tests/``: ``python -m oracle.make_message_vectors
vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from oracle.message_cases import HEAD, challenges, digest, emit, receipts, requests, signatures, terms
from oracle.message_mistakes import wrong_challenges, wrong_heads, wrong_receipts, wrong_requests, wrong_terms

Json = Any


def valid(kind: str, name: str, fields: list[Any]) -> Json:
    data = emit(fields)
    suite = fields[2] if kind in ("request", "receipt") else "sha256"
    case = {"kind": kind, "name": name, "hex": data.hex(), "digest": digest(suite, kind, data).hex()}
    if kind in ("receipt", "terms"):
        case["body_digest"] = digest(suite, f"{kind} body", emit(fields[:-1])).hex()
    return case


def pieces(data: bytes) -> list[Json]:
    """Hexadecimal, with a long stretch of equal cells folded: [hexadecimal, how often]."""
    unit = bytes.fromhex("83000001")
    if len(data) < 1 << 16:
        return [[data.hex(), 1]]
    start = data.index(unit)
    count = 0
    while data[start + 4 * count : start + 4 * count + 4] == unit:
        count += 1
    return [[data[:start].hex(), 1], [unit.hex(), count], [data[start + 4 * count :].hex(), 1]]


def messages() -> Json:
    right = {
        "request": requests(),
        "receipt": receipts(),
        "terms": terms(),
        "challenge": challenges(),
        "opening": {"two roots": HEAD},
    }
    wrong = {
        "request": wrong_requests(), "receipt": wrong_receipts(), "challenge": wrong_challenges(),
        "opening": wrong_heads(), "terms": wrong_terms(),
    }  # fmt: skip
    return {
        "valid": [valid(kind, name, f) for kind, cases in right.items() for name, f in cases.items()],
        "invalid": [
            {
                "kind": kind,
                "name": name,
                "pieces": pieces(bad if isinstance(bad, bytes) else emit(bad)),
                "error": error,
            }
            for kind, cases in wrong.items()
            for name, bad, error in cases
        ],
        "signatures": signatures(),
    }


def main(folder: Path) -> None:
    text = json.dumps(messages(), indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "messages.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
