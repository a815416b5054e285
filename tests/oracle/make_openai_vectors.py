"""Makes ``openai.json``: bodies and the requests they mean, responses and their receipts, mostly wrong ones.

The oracle imports nothing from proofcompute. Run in ``tests/``: ``python -m oracle.make_openai_vectors
vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from oracle import (
    openai_bodies,
    openai_responses,
    openai_wrong_bodies,
    openai_wrong_proofs,
    openai_wrong_responses,
    openai_wrong_streams,
)
from oracle.message_cases import digest, emit
from oracle.openai_binding import CARD, DAY, MODEL, NODE, NONCE, dumped, requests

Json = Any
LIMIT = 1 << 22
"""The limit of a body here."""
EXACT = {
    # a decimal that is nearest to the middle of two binary32 numbers in binary64, but above it
    "chat: temperature just above the middle": (b"1.0000000596046448", b"1.0000000596046447753906251"),
}
"""Digits that Python would not write."""


def body(name: str, endpoint: str, value: Json) -> Json:
    text = dumped(value)
    if name in EXACT:
        assert text.count(EXACT[name][0]) == 1
        text = text.replace(*EXACT[name])
    made = [emit(r) for r in requests(value, endpoint, NONCE, DAY, NODE)]
    return {
        "name": name,
        "endpoint": endpoint,
        "body": text.decode(),
        "request": made[0].hex(),
        "digests": [digest("sha256", "request", r).hex() for r in made],
    }


def vectors() -> Json:
    wrong = (
        openai_wrong_proofs.proof_fields() | openai_wrong_responses.wholes() | openai_wrong_streams.streams()
    )
    pool: dict[str, int] = {}
    right_responses = [{"name": n, **c.json(pool)} for n, c in openai_responses.right().items()]
    wrong_responses = [{"name": n, "step": step, **c.json(pool)} for n, (c, step) in wrong.items()]
    return {
        "card": hashlib.sha256(CARD.read_bytes()).hexdigest(),
        "model_id": MODEL.hex(),
        "nonce": NONCE.hex(),
        "node": NODE.hex(),
        "date": DAY.isoformat(),
        "limit": LIMIT,
        "bodies": [body(name, *case) for name, case in openai_bodies.right().items()],
        "wrong_bodies": [
            {
                "name": name,
                "endpoint": endpoint,
                "pieces": [[data.decode("latin-1"), count] for data, count in pieces],
                "error": error,
                "param": param,
            }
            for name, endpoint, pieces, error, param in openai_wrong_bodies.wrong()
        ],
        "responses": right_responses,
        "wrong_responses": wrong_responses,
        "texts": list(pool),
    }


def main(folder: Path) -> None:
    text = json.dumps(vectors(), indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "openai.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
