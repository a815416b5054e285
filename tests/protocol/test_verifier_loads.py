"""What a process loads that only verifies: neither prover nor engine nor importers, and no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import synthetic
from cuda_rig import ROOT
from proofcompute.verifier import write_key

PARTS = ("prover", "importers", "tokens", "templates", "jobs", "testing", "bench", "cli", "models.builder")
LIBRARIES = ("numba", "tokenizers", "jinja2", "gguf", "huggingface_hub", "matplotlib", "cupy")
NEVER = (*(f"proofcompute.{part}" for part in PARTS), *LIBRARIES)
"""What no verification takes, of whatever kind."""
ENGINE = "proofcompute.engine"
LOADED = """
import sys
def loaded(*names):
    return [m for m in sys.modules if any(m == n or m.startswith(n + ".") for n in names)]
"""
READ = """
from pathlib import Path
import proofcompute as pc
home = Path(sys.argv[1])
request = pc.Request.decode((home / "request").read_bytes())
receipt = (home / "receipt").read_bytes()
"""
CHECK = """
auditor = pc.Auditor(pc.Key.load(home / "key"), device=sys.argv[2])
challenge = pc.Challenge.decode((home / "challenge").read_bytes())
with (home / "opening").open("rb") as opening:
    assert auditor.check(request, receipt, challenge, opening).complete
"""
REPLAY = f"""
auditor = pc.Auditor(pc.Model.load(home / "model"), device=sys.argv[2])
auditor.claim(request, receipt)
assert not loaded("{ENGINE}")
assert auditor.replay(request, receipt).complete
assert loaded("{ENGINE}")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a key, and an answer of which every cell is opened."""
    home, model = tmp_path_factory.mktemp("verifier"), synthetic.model()
    run = synthetic.prove(model, synthetic.request(model, "Hello", max_tokens=3))
    challenge = synthetic.challenge_all(run)
    model.save(home / "model")
    write_key(model, synthetic.KERNELS, home / "key")
    for name, data in (
        ("request", run.request.encode()),
        ("receipt", run.data),
        ("challenge", challenge.encode()),
        ("opening", run.open(challenge)),
    ):
        (home / name).write_bytes(data)
    return home


def fresh(code: str, *arguments: object) -> None:
    """Run code in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED + READ + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_check_with_a_key_loads_neither_prover_nor_engine(home: Path) -> None:
    never = (
        *NEVER,
        ENGINE,
        "proofcompute.arithmetic.backends",
        "proofcompute.verifier.replay",
        "safetensors",
    )
    fresh(f"{CHECK}assert not loaded(*{never}), loaded(*{never})", home, "numpy")


def test_a_check_with_compiled_kernels_loads_no_compiler(home: Path) -> None:
    fresh(CHECK, home, "cpu")  # compiles what is not compiled yet
    never = (*NEVER, ENGINE, "proofcompute.arithmetic.backends.cuda", "safetensors")
    fresh(f"{CHECK}assert not loaded(*{never}), loaded(*{never})", home, "cpu")


def test_the_engine_is_loaded_once_an_answer_is_computed_again(home: Path) -> None:
    fresh(f"{REPLAY}assert not loaded(*{NEVER}), loaded(*{NEVER})", home, "numpy")
