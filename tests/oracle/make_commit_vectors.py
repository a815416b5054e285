"""Makes the vectors of wire, hashing, merkle and field. The oracle imports nothing from proofcompute.

Run in ``tests/``: ``python -m oracle.make_commit_vectors vectors``. Every run writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from oracle.commit_field import field
from oracle.commit_hashing import hashing
from oracle.commit_merkle import merkle
from oracle.commit_wire import wire


def main(folder: Path) -> None:
    for make in (wire, hashing, merkle, field):
        text = json.dumps(make(), indent=0, ensure_ascii=True, sort_keys=True)
        (folder / f"{make.__name__}.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
