"""Makes ``openings.json``: closing frames of openings, what they sign, and (mostly) wrong ones.

The oracle imports nothing from proofcompute. Run in ``tests/``: ``python -m oracle.make_opening_vectors
vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from oracle.message_cases import CHALLENGE, HEAD, SEED, Raw, digest, emit, public, put, sign
from oracle.message_mistakes import FORMAT, LIMIT, Bad, wrong_bytes, wrong_sizes

Json = Any
UNSUPPORTED = "UnsupportedError"
RECEIPT = CHALLENGE[2]
ASKED = digest("sha256", "challenge", emit(CHALLENGE))
FRAMES: dict[str, list[bytes]] = {
    "a head alone": [emit(HEAD)],
    "a head and two parts": [emit(HEAD), emit([[], [], []]), emit([[], [], [[b"\x01\x00"]]])],
    "an empty frame": [b""],
    "no frames": [],
    "frames around a chunk of BLAKE3": [bytes(range(256)) * 4, bytes(991), bytes(990), bytes(5000)],
    "two frames": [b"ab", b"c"],
    "the same bytes in one frame": [b"abc"],
}


def frames_digest(frames: list[bytes]) -> bytes:
    each = [digest("blake3", "opening frame", frame) for frame in frames]
    return digest("sha256", "opening frames", b"".join(each))


def signed_digest(frames: list[bytes]) -> bytes:
    return digest("sha256", "opening", RECEIPT + ASKED + frames_digest(frames))


def end(frames: list[bytes]) -> list[Any]:
    signature = sign(SEED, signed_digest(frames))
    return ["proofcompute opening end", 3, frames_digest(frames), "ed25519", signature]


RIGHT = end(FRAMES["a head and two parts"])


def wrong_ends() -> list[Bad]:
    cases = [c for c in wrong_bytes(RIGHT, emit(HEAD)) if c[0] != "twice"]  # longer than any closing frame
    cases += wrong_sizes(RIGHT, 2, "frames digest", (0, 31, 33))
    cases += wrong_sizes(RIGHT, 4, "signature", (0, 63, 65))
    names = ("", "Ed25519", "ed25519 ", "none", "secp256k1")
    return [
        *cases,
        ("twice", emit(RIGHT) * 2, LIMIT),
        *((f"scheme {name!r}", put(RIGHT, (3,), name), FORMAT) for name in names),
        ("a scheme that is reserved", put(RIGHT, (3,), "eip712-secp256k1"), UNSUPPORTED),
        ("scheme as bytes", put(RIGHT, (3,), b"ed25519"), FORMAT),
        ("scheme as an integer", put(RIGHT, (3,), 1), FORMAT),
        ("scheme null", put(RIGHT, (3,), Raw("f6")), FORMAT),
        ("more bytes than a closing frame has", put(RIGHT, (3,), "s" * 200), LIMIT),
    ]


def openings() -> Json:
    return {
        "node": public(SEED).hex(),
        "receipt_digest": RECEIPT.hex(),
        "challenge_digest": ASKED.hex(),
        "valid": [
            {
                "name": name,
                "frames": [frame.hex() for frame in frames],
                "frames_digest": frames_digest(frames).hex(),
                "signed_digest": signed_digest(frames).hex(),
                "hex": emit(end(frames)).hex(),
            }
            for name, frames in FRAMES.items()
        ],
        "invalid": [
            {"name": name, "hex": (bad if isinstance(bad, bytes) else emit(bad)).hex(), "error": error}
            for name, bad, error in wrong_ends()
        ],
    }


def main(folder: Path) -> None:
    text = json.dumps(openings(), indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "openings.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
