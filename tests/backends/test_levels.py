"""Kernels compiled ahead for levels of processors: the same bytes as the definition, without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import synthetic
from cuda_rig import ROOT
from proofcompute.arithmetic.backends.numba import building
from proofcompute.arithmetic.backends.numba.codegen import library, target
from proofcompute.arithmetic.backends.numba.codegen.levels import (
    LEVELS,
    Level,
    level_named,
    levels_for,
    processor_flags,
)
from proofcompute.arithmetic.backends.numba.codegen.library import Library, file_name, find, sealed, whole
from proofcompute.encoding.files import exclusive

pytestmark = pytest.mark.skipif(
    sys.platform != "linux"
    or os.uname().machine != "x86_64"
    or shutil.which(os.environ.get("CC") or "cc") is None,
    reason="libraries are for Linux on x86-64, and a C compiler links them",
)
ALONE = "import sys\nsys.modules.update(dict.fromkeys(('numba', 'llvmlite')))\n"
"""Nothing is there that compiles."""
EQUAL = f"""{ALONE}
from kernel_cases import CASES, outcome
from proofcompute.arithmetic.backends.numba import NumbaKernels
from proofcompute.arithmetic.backends.numba.codegen import library
from proofcompute.arithmetic.definition import NumpyKernels
fast, slow = NumbaKernels(), NumpyKernels()
different = [str(case) for case in CASES if outcome(fast, case) != outcome(slow, case)]
print(library.library().level.name, len(CASES), different)
"""
ROOTS = f"""{ALONE}
import synthetic
from proofcompute.arithmetic.devices import kernels_for, survey, warm_up
synthetic.KERNELS = k = kernels_for("cpu")
assert warm_up() == 0
m = synthetic.model()
run = synthetic.prove(m, synthetic.request(m, prompt="Hello, world, of many rows" * 2), k)
synthetic.audit(synthetic.key(), run)
print(run.receipt.trace_root.hex(), survey()[0].fields["level"])
"""


def python(code: str, kernels: Path | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU")}
    place = {} if kernels is None else {library.VARIABLE: str(kernels)}
    path = f"{ROOT / 'tests'}{os.pathsep}{ROOT}"
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": path, **place, **settings},
        check=False,
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(level, marks=() if level is LEVELS[-1] else pytest.mark.slow, id=level.name)
        for level in reversed(LEVELS)
    ],
)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Level, Path]:
    """A level that this machine has, and a directory with its library alone."""
    level: Level = request.param
    if level not in levels_for(processor_flags()):
        pytest.skip(f"this processor is not {level.name}")
    # one for all processes that run tests
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with exclusive(shared / f"{level.name}.lock", "lock", wait=900):
        place = building.build(shared / level.name, [level])
        place.chmod(0o700)
    return level, place


def test_every_case_is_equal_to_the_definition(built: tuple[Level, Path]) -> None:
    level, place = built
    done = python(EQUAL, place)
    assert done.returncode == 0, done.stderr
    name, cases, different = done.stdout.split(maxsplit=2)
    assert (name, different.strip()) == (level.name, "[]")
    assert int(cases) > 100


def test_a_run_has_the_same_root(built: tuple[Level, Path]) -> None:
    level, place = built
    m = synthetic.model()
    run = synthetic.prove(m, synthetic.request(m, prompt="Hello, world, of many rows" * 2))
    done = python(ROOTS, place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [run.receipt.trace_root.hex(), level.name]
    assert done.stderr == ""


def test_a_library_asks_for_nothing_but_python_and_the_c_library(built: tuple[Level, Path]) -> None:
    """In versions that a system of the wheel's tag has."""
    _, place = built
    (file,) = place.iterdir()
    elffile = pytest.importorskip("elftools.elf.elffile", reason="pyelftools is not installed")
    with file.open("rb") as stream:
        elf = elffile.ELFFile(stream)
        dynamic, symbols = elf.get_section_by_name(".dynamic"), elf.get_section_by_name(".dynsym")
        libraries = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
        wanted = {s.name for s in symbols.iter_symbols() if s["st_shndx"] == "SHN_UNDEF" and s.name}
        versions = elf.get_section_by_name(".gnu.version_r")
        named = {aux.name for _, auxes in versions.iter_versions() for aux in auxes}
    assert libraries <= {"libc.so.6", "libm.so.6"}
    libc = {"malloc", "free", "memcpy", "memset", "memmove", "sched_yield", "sqrtf"}
    libc |= {"log10"}  # Numba counts digits with it in the text of an error about slices
    crt = {"__cxa_finalize", "__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
    assert {name for name in wanted if not name.startswith("Py")} <= libc | crt
    assert named <= {"GLIBC_2.2.5", "GLIBC_2.14"}


def test_damaged_and_foreign_libraries_count_as_absent(
    built: tuple[Level, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    level, place = built
    (good,) = place.iterdir()
    data = good.read_bytes()
    file = tmp_path / good.name
    assert file.name == file_name(level)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for bad in (b"", data[:-1], bytes(flipped), data[:32], b"x" * 99):
        file.write_bytes(bad)
        assert not whole(file)
        assert find([level], [tmp_path]) is None
    file.write_bytes(sealed(b"no library"))
    assert whole(file)
    assert find([level], [tmp_path]) is None
    assert "cannot be used" in caplog.text
    file.rename(tmp_path / f"{level.name}-{'0' * 32}.so")  # of other sources
    assert find([level], [tmp_path]) is None
    found = find(LEVELS, [tmp_path, place])
    assert isinstance(found, Library)
    assert found.level is level
    assert found.address("no_such_symbol") is None


def test_a_directory_that_others_may_write_is_not_looked_at(built: tuple[Level, Path]) -> None:
    _, place = built
    code = "from proofcompute.arithmetic.backends.numba.codegen.library import library; print(library())"
    place.chmod(0o777)
    try:
        assert python(code, place).stdout.strip() == "None"
    finally:
        place.chmod(0o700)
    assert "Library object" in python(code, place).stdout
    assert python(code, place, NUMBA_CPU_NAME="generic").stdout.strip() == "None"


def test_what_is_there_is_not_compiled_again(
    built: tuple[Level, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    level, place = built
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **named: pytest.fail("compiled again"))
    assert building.build(place.parent, [level]) == place


def test_levels_contain_those_below() -> None:
    for above, below in pairwise(LEVELS):
        assert above.flags > below.flags
        assert set(above.features) > set(below.features)
    for level in LEVELS:
        assert level_named(level.name) is level
        assert levels_for(level.flags) == list(LEVELS[LEVELS.index(level) :])
        features = level.target[2]
        for feature in ("avx2", "avx512f", "avx512bw", "avx512vnni"):
            assert target._has(features, feature) is (feature in level.features)
    assert levels_for([]) == []


def test_flags_are_those_of_all_processors(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor\t: 0\nflags\t\t: sse3 avx avx2\nbugs\t: x\n\nprocessor\t: 1\nflags\t\t: avx sse3\n"
    )
    assert processor_flags(file) == {"avx", "sse3"}
    assert processor_flags(tmp_path / "missing") == frozenset()
    (tmp_path / "arm").write_text("Features: asimd\n")
    assert processor_flags(tmp_path / "arm") == frozenset()


def test_without_kernels_and_compiler_the_definition_verifies_and_says_so(tmp_path: Path) -> None:
    code = f"""{ALONE}
import synthetic
from proofcompute.arithmetic.devices import kernels_for, survey, warm_up
from proofcompute.errors import DeviceError
k = kernels_for("cpu")
assert kernels_for("auto") is k and k.name == "numpy"
m = synthetic.model()
synthetic.audit(synthetic.key(), synthetic.prove(m, synthetic.request(m, max_tokens=2), k))
try:
    warm_up()
except DeviceError as e:
    print(e)
print(survey()[0].problem)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'proofcompute[jit]'") == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith("computing with NumPy alone, which is slow: this install has no kernels")
