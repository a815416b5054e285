"""Every kind of install finds the ``.cu`` sources: a wheel, a zipped wheel, an editable install.

Each is imported by a Python that knows nothing of this checkout: its path holds the install, and the packages
that proofcompute needs.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from cuda_rig import ROOT, sources
from proofcompute.arithmetic.backends.cuda import FILES, kernel_files, source
from proofcompute.arithmetic.backends.numba.codegen.library import PLACE

pytest.importorskip("hatchling", reason="hatchling is not installed (extra test)")
pytest.importorskip("editables", reason="editables is not installed (extra test)")

PROGRAM = """
import hashlib, site, sys
if sys.argv[1:]:
    site.addsitedir(sys.argv[1])  # as Python does at start, for the .pth file of an editable install
import proofcompute
from proofcompute.arithmetic.backends.cuda import FILES, kernel_files, source
print(proofcompute.__file__)
print(len(kernel_files()))
print(hashlib.sha256("".join(map(source, FILES)).encode()).hexdigest())
"""


def run(*command: object, cwd: Path, path: str = "") -> str:
    env = {**os.environ, "PYTHONPATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(target: str, directory: Path) -> Path:
    """What hatchling makes of this checkout."""
    run("-m", "hatchling", "build", "-t", target, "-d", directory, cwd=ROOT)
    (made,) = directory.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", tmp_path_factory.mktemp("wheel"))


def installed(file: Path, directory: Path) -> Path:
    """A wheel as pip lays it out; no package is fetched."""
    run(
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        directory,
        file,
        cwd=directory.parent,
    )
    return directory


def check(home: Path, install: Path, *addsitedir: Path) -> str:
    """Import proofcompute from ``install`` and compare all sources; where it was found."""
    path = os.pathsep.join([str(install), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    # -S: the .pth files of this environment, its own editable install among them, are not read
    file, kernels, digest = run("-S", "-c", PROGRAM, *addsitedir, cwd=home, path=path).split()
    assert int(kernels) == len(kernel_files())
    assert digest == hashlib.sha256("".join(map(source, FILES)).encode()).hexdigest()
    return file


def test_a_wheel_holds_the_sources_once(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    inside = "proofcompute/arithmetic/backends/cuda/sources/"
    assert sorted(n.removeprefix(inside) for n in names if n.startswith(inside)) == sorted(sources())
    assert [n for n in names if n.endswith((".cu", ".cuh")) and not n.startswith(inside)] == []
    assert [n for n in names if n.startswith(("tests/", "benchmarks/"))] == []


def test_a_wheel_of_python_alone_is_for_every_system(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".so")]


def test_a_wheel_with_kernels_says_for_which_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels lie where they are looked for; an editable install has none."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "level-digest.so").write_bytes(b"code")
    monkeypatch.setenv("PROOFCOMPUTE_WHEEL_KERNELS", str(tmp_path / "kernels"))
    made = built("wheel", tmp_path / "dist")
    assert made.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")
    (inside,) = (n for n in zipfile.ZipFile(made).namelist() if n.endswith(".so"))
    assert ROOT / inside == PLACE / "level-digest.so"
    editable = built("wheel:editable", tmp_path / "editable")
    assert editable.name.endswith("-py3-none-any.whl")


def test_an_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    target = installed(wheel, tmp_path / "target")
    assert check(tmp_path, target).startswith(str(target))


def test_a_zipped_import(wheel: Path, tmp_path: Path) -> None:
    assert check(tmp_path, wheel).startswith(str(wheel))


def test_an_editable_install(tmp_path: Path) -> None:
    target = installed(built("wheel:editable", tmp_path / "wheel"), tmp_path / "target")
    assert not (target / "proofcompute" / "__init__.py").exists()
    assert check(tmp_path, target, target) == str(ROOT / "proofcompute" / "__init__.py")


def test_a_source_archive_holds_the_sources(tmp_path: Path) -> None:
    with tarfile.open(built("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {f"cuda/{name}" for name in sources()} <= names
