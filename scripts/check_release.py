"""Checks what is to be released: ``python scripts/check_release.py dist``, which ``make release`` runs.

Metadata and tags by twine and auditwheel; what is in each file; and of each wheel, that a new environment
with nothing else in it, hub clients and compilers least of all, is small and verifies a proof which this
checkout made. The first use of the wheel with kernels must take less than a second and compile nothing.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni")
GLIBC = (2, 17)
MEBIBYTES = 150
SECONDS = 1.0
UNWANTED = ("numba", "llvmlite", "huggingface_hub", "tokenizers", "requests", "httpx")
PROOF = """
import sys
from pathlib import Path
import synthetic
from proofcompute.verifier import write_key
home, model = Path(sys.argv[1]), synthetic.model()
write_key(model, synthetic.KERNELS, home / "key")
run = synthetic.prove(model, synthetic.request(model, max_tokens=3))
challenge = synthetic.challenge_all(run)
for name, data in (
    ("request", run.request.encode()),
    ("receipt", run.receipt.encode()),
    ("challenge", challenge.encode()),
    ("opening", synthetic.open_all(run, challenge)),
):
    (home / name).write_bytes(data)
"""


def need(condition: bool, text: str) -> None:
    """Stop with a text unless something holds."""
    if not condition:
        raise SystemExit(f"check_release: {text}")


def out(*command: object, **env: str) -> str:
    """What a command prints, on both streams; it must succeed."""
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    need(done.returncode == 0, f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def check_contents(sdist: Path, pure: Path, platform: Path) -> None:
    """Everything is there once, and nothing else is."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("pyproject.toml", "hatch_build.py", "Makefile", "LICENSE", "tests/conftest.py"):
        need(name in names, f"{sdist.name} lacks {name}")
    need(not any(name.endswith((".so", ".key")) for name in names), f"{sdist.name} holds what was built")
    contents = {}
    for wheel in (pure, platform):
        names = set(zipfile.ZipFile(wheel).namelist())
        tops = {name.partition("/")[0] for name in names}
        need(len(tops) == 2 and "proofcompute" in tops, f"{wheel.name} holds {sorted(tops)}")
        contents[wheel] = {name for name in names if ".dist-info/" not in name}
    kernels = {name for name in contents[platform] if name.endswith(".so")}
    need(contents[platform] - kernels == contents[pure], "the wheels differ in more than kernels")
    found = sorted(re.sub(r"-[0-9a-f]{32}\.so$", "", name.rpartition("/")[2]) for name in kernels)
    need(found == sorted(LEVELS), f"{platform.name} has kernels for {found}")


def check_tag(platform: Path) -> None:
    """What the kernels ask of the C library is as old as the tag says."""
    text = out(sys.executable, "-m", "auditwheel", "show", platform)
    versions = [tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", text)]
    tags = [tuple(map(int, found)) for found in re.findall(r"manylinux_(\d+)_(\d+)", text)]
    need(bool(tags), f"auditwheel finds no tag:\n{text}")
    need(max(versions, default=(0, 0)) <= GLIBC and min(tags) <= GLIBC, f"not manylinux_2_17:\n{text}")


def check_install(wheel: Path, proof: Path, home: Path, *, compiled: bool) -> str:
    """A new environment verifies a proof; what there is to say of it."""
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    before = size(home / "venv")
    out(python, "-m", "pip", "-qq", "install", wheel, PIP_DISABLE_PIP_VERSION_CHECK="1")
    mebibytes = (size(home / "venv") - before) / 2**20
    need(mebibytes < MEBIBYTES, f"{wheel.name} takes {mebibytes:.0f} MiB installed")
    unwanted = f"import importlib.util as u; print([n for n in {UNWANTED!r} if u.find_spec(n)])"
    need(out(python, "-c", unwanted).strip() == "[]", f"{wheel.name} brings what it should do without")
    given = [proof / name for name in ("key", "receipt", "challenge", "opening")]
    words = ("verify", *given, "--request", proof / "request", "--tokens-only", "--json")
    took = []
    for _ in range(3):
        start = time.perf_counter()
        printed = out(home / "venv" / "bin" / "proofcompute", *words, XDG_CACHE_HOME=str(home / "cache"))
        took.append(time.perf_counter() - start)
        need(json.loads(printed.splitlines()[-1])["verified"] is True, f"not verified:\n{printed}")
        need("compiling" not in printed, f"the compiler was started:\n{printed}")
        need(("NumPy alone" in printed) is not compiled, f"other kernels than expected:\n{printed}")
    need(not compiled or took[0] < SECONDS, f"the first verification took {took[0]:.2f} s")
    times = ", ".join(f"{seconds:.2f}" for seconds in took)
    return f"{wheel.name}: {mebibytes:.0f} MiB installed; verifies in {times} s"


def size(directory: Path) -> int:
    """Bytes of all files in a directory."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def only(files: Sequence[Path]) -> Path:
    """The one file of a list."""
    need(len(files) == 1, f"one file was expected, not {[str(file) for file in files]}")
    return files[0]


def main(dist: Path) -> None:
    """Check all files in a directory."""
    sdist = only(list(dist.glob("*.tar.gz")))
    pure, platform = (only(list(dist.glob(f"*-py3-none-{tag}.whl"))) for tag in ("any", "manylinux*"))
    need({*dist.iterdir()} == {sdist, pure, platform}, f"{dist} holds more than three files")
    out(sys.executable, "-m", "twine", "check", "--strict", sdist, pure, platform)
    check_contents(sdist, pure, platform)
    check_tag(platform)
    with tempfile.TemporaryDirectory() as scratch:
        proof = Path(scratch, "proof")
        proof.mkdir()
        out(sys.executable, "-c", PROOF, proof, PYTHONPATH=f"{ROOT / 'tests'}{os.pathsep}{ROOT}")
        for name, wheel in (("pure", pure), ("platform", platform)):
            print(check_install(wheel, proof, Path(scratch, name), compiled=wheel == platform))
    for file in (sdist, pure, platform):
        print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
