"""Makes one measurement in its own process, so that peak memory and crashes concern it alone.

Started by the command: `python -m benchmarks.peers.case MODULE CASE RESULT`.
"""

from __future__ import annotations

import json
import resource
import sys
from importlib import import_module
from pathlib import Path


def main(module: str, case: str, result: str) -> None:
    rows = import_module(module).run(case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    Path(result).write_text(json.dumps([{**row, "peak_memory_bytes": peak} for row in rows]))


if __name__ == "__main__":
    main(*sys.argv[1:])
