"""One honest audit on the tiny model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.driver import Files, done
from importers.tiny import write_tiny_gguf


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The whole flow, through the command line."""
    home = tmp_path_factory.mktemp("audit")
    f = Files(
        home,
        write_tiny_gguf(home / "tiny.gguf"),
        home / "model",
        home / "key",
        home / "identity",
        home / "request",
        home / "run",
        home / "run" / "receipt",
        home / "challenge",
        home / "opening",
    )
    done("import", f.gguf, "-o", f.model, "--precision", "w8a16")
    done("keygen", f.model, "-o", f.key)
    done("identity", "-o", f.identity)
    done("request", f.model, "--prompt", "Hello the world", "--max-tokens", 10, "-o", f.request)
    done("run", f.model, f.request, "-o", f.run, "--identity", f.identity)
    done("challenge", f.key, f.receipt, "--request", f.request, "-o", f.challenge, "--all")
    done("open", f.run, f.challenge, "-o", f.opening)
    return f


@pytest.fixture
def key(files: Files, tmp_path: Path) -> Path:
    """A copy of the key with a count of its own."""
    copy = tmp_path / "key"
    copy.write_bytes(files.key.read_bytes())
    copy.chmod(0o600)
    return copy
