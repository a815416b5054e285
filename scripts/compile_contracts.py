"""Compile the contracts of the EVM adapter: writes the interface and the byte code beside each source.

``make .venv/vyper/installed`` installs the compiler in an environment of its own, since it takes older
versions of two packages than the library does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "proofcompute" / "networks" / "evm" / "contracts"
COMPILER = ROOT / ".venv" / "vyper" / "bin" / "vyper"


def compiled(source: Path, compiler: Path = COMPILER) -> dict[str, Any]:
    """Return interface and byte code of a contract, and what compiled it."""

    def output(*words: str) -> str:
        done = subprocess.run(
            [str(compiler), *words], capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout

    abi, bytecode = output("-f", "abi,bytecode", str(source)).strip().split("\n")
    version = output("--version").split("+")[0]
    return {"compiler": f"vyper {version}", "abi": json.loads(abi), "bytecode": bytecode}


def text(artifact: dict[str, Any]) -> str:
    """Return the text of an artifact's file."""
    return json.dumps(artifact, indent=1) + "\n"


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else COMPILER
    for path in sorted(CONTRACTS.glob("*.vy")):
        path.with_suffix(".json").write_text(text(compiled(path, chosen)))
