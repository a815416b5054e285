"""Makes ``pipelines.json``: pipelines, boundaries and receipts of stages, right and (mostly) wrong.

The oracle imports nothing from proofcompute. Run in ``tests/``: ``python -m oracle.make_pipeline_vectors
vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from oracle.message_cases import RECEIPT, SEED, digest, emit, public, sign, signed

Json = Any
OTHER = bytes([4] * 32)
STAGES: list[Any] = [[2, public(SEED)], [3, public(OTHER)], [40, public(SEED)]]


def pipeline(stages: list[Any]) -> list[Any]:
    return ["proofcompute pipeline", 1, stages]


def boundary(**changes: Any) -> list[Any]:
    fields: dict[str, Any] = {
        "kind": "proofcompute boundary",
        "version": 1,
        "suite": "sha256",
        "model": bytes([1] * 32),
        "request": bytes([2] * 32),
        "stage": 1,
        "rows": 19,
        "roots": [bytes([3] * 32), bytes([4] * 32)],
        "scheme": "ed25519",
        "node": public(SEED),
    }
    body = list({**fields, **changes}.values())
    return [*body, sign(SEED, digest(body[2], "boundary body", emit(body)))]


def staged(part: Any, version: int = 3) -> list[Any]:
    """A receipt of a stage: that of a whole run with another version and one element more."""
    return signed([RECEIPT[0], version, *RECEIPT[2:9], part, *RECEIPT[9:]])


def right() -> dict[str, dict[str, list[Any]]]:
    return {
        "pipeline": {
            "three stages": pipeline(STAGES),
            "two stages of one segment": pipeline([[1, public(SEED)], [2, public(OTHER)]]),
            "sixty-four stages": pipeline([[n + 1, public(SEED)] for n in range(64)]),
        },
        "boundary": {
            "two groups": boundary(),
            "in Keccak": boundary(suite="keccak256"),
            "last stage, one row": boundary(stage=63, rows=1, roots=[bytes(32)]),
        },
        "receipt": {"first stage": staged([STAGES, 0]), "last stage": staged([STAGES, 2])},
    }


def wrong() -> dict[str, dict[str, list[Any]]]:
    a, b = public(SEED), public(OTHER)
    return {
        "pipeline": {
            "no stage": pipeline([]),
            "one stage": pipeline([[4, a]]),
            "sixty-five stages": pipeline([[n + 1, a] for n in range(65)]),
            "an empty stage": pipeline([[2, a], [2, b]]),
            "stages out of order": pipeline([[3, a], [2, b]]),
            "a stage of no segments": pipeline([[0, a], [2, b]]),
            "beyond the most segments": pipeline([[1, a], [4097, b]]),
            "a short key": pipeline([[1, a[:31]], [2, b]]),
            "no key": pipeline([[1, b""], [2, b]]),
            "a stage of one element": pipeline([[1], [2, b]]),
            "a stage of three elements": pipeline([[1, a, 0], [2, b]]),
            "an end that is text": pipeline([["1", a], [2, b]]),
            "another kind": ["proofcompute pipelines", 1, STAGES],
            "another version": ["proofcompute pipeline", 2, STAGES],
            "one element more": [*pipeline(STAGES), 0],
            "one element less": pipeline(STAGES)[:2],
        },
        "boundary": {
            "another kind": boundary(kind="proofcompute boundaries"),
            "another version": boundary(version=2),
            "no roots": boundary(roots=[]),
            "a short root": boundary(roots=[bytes(31)]),
            "a root that is text": boundary(roots=["x" * 32]),
            "no rows": boundary(rows=0),
            "too many rows": boundary(rows=2**20 + 1),
            "stage 64": boundary(stage=64),
            "a stage below 0": boundary(stage=-1),
            "a short model id": boundary(model=bytes(31)),
            "a long request digest": boundary(request=bytes(33)),
            "a short key": boundary(node=a[:31]),
            "a short signature": [*boundary()[:-1], bytes(63)],
            "no signature": boundary()[:-1],
            "one element more": [*boundary(), 0],
        },
        "receipt": {
            "version 2 with a part": staged([STAGES, 0], 2),
            "version 4": staged([STAGES, 0], 4),
            "version 3 without a part": signed([RECEIPT[0], 3, *RECEIPT[2:]]),
            "a stage that there is not": staged([STAGES, 3]),
            "stage -1": staged([STAGES, -1]),
            "one stage": staged([STAGES[:1], 0]),
            "no stages": staged([[], 0]),
            "stages out of order": staged([STAGES[::-1], 0]),
            "a part of one element": staged([STAGES]),
            "a part of three elements": staged([STAGES, 0, 0]),
            "an empty part": staged([]),
            "a part that is a digest": staged(bytes(32)),
            "two parts": signed([RECEIPT[0], 3, *RECEIPT[2:9], [STAGES, 0], [STAGES, 0], *RECEIPT[9:]]),
        },
    }


def valid(kind: str, name: str, fields: list[Any]) -> Json:
    data = emit(fields)
    case = {"kind": kind, "name": name, "hex": data.hex()}
    if kind != "boundary":
        suite = "sha256" if kind == "pipeline" else fields[2]
        case["digest"] = digest(suite, kind, data).hex()
    if kind != "pipeline":
        case["body_digest"] = digest(fields[2], f"{kind} body", emit(fields[:-1])).hex()
    return case


def pipelines() -> Json:
    return {
        "valid": [valid(kind, n, f) for kind, cases in right().items() for n, f in cases.items()],
        "invalid": [
            {"kind": kind, "name": n, "hex": emit(f).hex()}
            for kind, cases in wrong().items()
            for n, f in cases.items()
        ],
    }


def main(folder: Path) -> None:
    text = json.dumps(pipelines(), indent=0, ensure_ascii=True, sort_keys=True)
    (folder / "pipelines.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
