"""What a node sends, mutated, through the commands of a verifier.

Whatever it is, a command ends with status 0 or 1: accepted, or rejected with the step and with what is known
of node, model, request and receipt. Never 2, which blames the verifier's own files, nor 70, a fault of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from cli.driver import Files, call, done
from fuzz.harness import drive
from fuzz.mutate import mutant, mutate_bytes


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """An audit of a few cells under terms, so that openings are short."""
    from importers.tiny import write_tiny_gguf

    home = tmp_path_factory.mktemp("hostile")
    names = ("model", "key", "identity", "request", "run", "run/receipt", "challenge", "opening")
    f = Files(home, write_tiny_gguf(home / "tiny.gguf"), *(home / name for name in names))
    done("import", f.gguf, "-o", f.model, "--precision", "w8a16")
    done("keygen", f.model, "-o", f.key)
    public = done("identity", "-o", f.identity)["public"]
    done("terms", "--identity", f.identity, "--rate", 100, "-o", home / "terms")
    asked = ("--prompt", "Hello", "--max-tokens", 4, "--node", public)
    done("request", f.model, *asked, "-o", f.request)
    done("run", f.model, f.request, "-o", f.run, "--identity", f.identity, "--terms", home / "terms")
    done("challenge", f.key, f.receipt, "--request", f.request, "--cells", 4, "-o", f.challenge)
    done("open", f.run, f.challenge, "-o", f.opening)
    done("card", f.model, "-o", home / "card")
    return f


def judged(files: Files, sent: Path, honest: bytes, *args: object) -> Callable[[bytes], None]:
    """The property: bytes that ``args`` read from ``sent`` are accepted if they are the honest ones, and
    otherwise rejected in words.
    """
    request = done("inspect", files.request)
    result = call(*args, "--json")
    assert result.status == 0, result.err

    def check(data: bytes) -> None:
        sent.write_bytes(data)
        result = call(*args, "--json")
        if data == honest:
            assert result.status == 0, result.err
            return
        assert result.status == 1, (result.status, result.err)
        found = result.json
        assert found["verified"] is False
        assert 1 <= found["step"] <= 10
        assert found["error"]
        assert found["error"] in result.err
        assert found["model_id"] == request["model_id"]
        if "--request" in args and "--terms" not in args:  # which are not about a request
            assert found["request_digest"] == request["digest"]
        if found["step"] > 1:
            assert found["node"] or "--model-id" in args or "--terms" in args

    return check


def test_receipts(files: Files, tmp_path: Path) -> None:
    honest, sent, out = files.receipt.read_bytes(), tmp_path / "receipt", tmp_path / "challenge"
    sent.write_bytes(honest)
    asked = ("--request", files.request)
    commands = (
        judged(files, sent, honest, "challenge", files.key, sent, *asked, "-o", out, "--force"),
        judged(files, sent, honest, "verify", files.key, sent, files.challenge, files.opening, *asked),
        judged(files, sent, honest, "replay", files.model, sent, *asked, "--device", "numpy"),
    )
    honest_and_other = [honest, files.request.read_bytes()]

    def make(rng: Random) -> tuple[int, bytes]:
        data = mutant(rng, [honest]) if rng.random() < 0.8 else mutate_bytes(rng, honest, honest_and_other)
        return rng.randrange(len(commands)), data

    drive("commands: receipt", make, lambda made: commands[made[0]](made[1]))


def test_openings(files: Files, tmp_path: Path) -> None:
    honest, sent = files.opening.read_bytes(), tmp_path / "opening"
    sent.write_bytes(honest)
    words = ("verify", files.key, files.receipt, files.challenge, sent, "--request", files.request)
    check = judged(files, sent, honest, *words)
    others = [files.receipt.read_bytes(), files.challenge.read_bytes()]
    drive("commands: opening", lambda rng: mutate_bytes(rng, honest, others), check)


def test_terms(files: Files, tmp_path: Path) -> None:
    honest, sent, out = (files.home / "terms").read_bytes(), tmp_path / "terms", tmp_path / "challenge"
    sent.write_bytes(honest)
    words = ("challenge", files.key, files.receipt, "--request", files.request, "--terms", sent)
    check = judged(files, sent, honest, *words, "-o", out, "--force")
    drive("commands: terms", lambda rng: mutant(rng, [honest]), check)


def test_cards(files: Files, tmp_path: Path) -> None:
    honest, sent, out = (files.home / "card").read_bytes(), tmp_path / "card", tmp_path / "mine"
    sent.write_bytes(honest)
    model_id = done("inspect", files.model)["model_id"]
    check = judged(files, sent, honest, "card", sent, "--model-id", model_id, "-o", out, "--force")
    drive("commands: card", lambda rng: mutant(rng, [honest]), check)
