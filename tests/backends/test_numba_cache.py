"""Compiled kernels: what changes the key of the cache, and that nothing in it can do harm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofcompute.arithmetic.backends import filecache
from proofcompute.arithmetic.backends.numba.codegen.fields import Fields
from proofcompute.arithmetic.backends.numba.codegen.library import source_key
from proofcompute.arithmetic.backends.numba.codegen.signatures import boolean, float32, int64
from proofcompute.arithmetic.backends.numba.runtime import cache, machine
from proofcompute.arithmetic.backends.numba.runtime.cache import load
from proofcompute.errors import DeviceError

ROOT = Path(__file__).parents[2]
SIGNATURE = int64(int64)


def add_seven(x: Any) -> Any:
    return x + 7


def compiled(directory: Path | None) -> tuple[Callable[..., Any], bool]:
    """``add_seven``, and whether it was in the directory."""
    return load(add_seven, (SIGNATURE,), directory)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    return done.stdout


def sources(path: Path, **files: str) -> Path:
    path.mkdir()
    for name, text in files.items():
        (path / f"{name}.py").write_text(text)
    return path


def test_key_depends_on_every_source_and_word(tmp_path: Path) -> None:
    first = sources(tmp_path / "a", one="x = 1", two="y = 2")
    same = sources(tmp_path / "b", one="x = 1", two="y = 2")
    keys = [
        source_key([sources(tmp_path / "c", one="x = 1", two="y = 3")], ["cpu"]),
        source_key([sources(tmp_path / "d", one="x = 2", two="y = 2")], ["cpu"]),
        source_key([sources(tmp_path / "e", one="x = 1", three="y = 2")], ["cpu"]),
        source_key([sources(tmp_path / "f", one="x = 1")], ["cpu"]),
        source_key([first], ["other cpu"]),
        source_key([first], ["c", "pu"]),
    ]
    key = source_key([first], ["cpu"])
    assert key is not None
    assert key == source_key([same], ["cpu"])
    assert None not in keys
    assert len({key, *keys}) == 1 + len(keys)


def test_no_key_without_sources(tmp_path: Path) -> None:
    assert source_key([tmp_path / "missing"], ["cpu"]) is None


def test_key_depends_on_the_settings_of_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba takes some from where a process is started, which may be somebody else's download."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found = [cache._directory.__wrapped__("numba")]
    for text in ("boundscheck: 1\n", "cpu_name: generic\n"):
        (tmp_path / ".numba_config.yaml").write_text(text)
        found.append(cache._directory.__wrapped__("numba"))
    assert None not in found
    assert len(set(found)) == 3


def adding(n: int) -> Callable[..., Any]:
    def add(x: Any) -> Any:
        return x + n

    return add


def test_two_kernels_of_one_name_are_an_error(tmp_path: Path) -> None:
    """The second would get the first one's code from the cache."""
    assert load(adding(1), (SIGNATURE,), tmp_path)[0](0) == 1
    with pytest.raises(TypeError, match=r"another kernel .*adding.*add"):
        load(adding(2), (SIGNATURE,), tmp_path)


def test_second_compilation_is_a_load(tmp_path: Path) -> None:
    (first, made), (second, loaded) = compiled(tmp_path), compiled(tmp_path)
    assert (made, loaded) == (False, True)
    assert first(5) == second(5) == 12
    assert [file.suffix for file in tmp_path.iterdir()] == [".kernel"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "garbage", "head only"])
def test_damaged_files_are_compiled_again(tmp_path: Path, damage: str) -> None:
    compiled(tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    file.write_bytes(
        {
            "empty": b"",
            "cut": good[:-1],
            "flipped": bytes(flipped),
            "garbage": b"x" * 99,
            "head only": good[: good.index(b"\n")],
        }[damage]
    )
    again, hit = compiled(tmp_path)
    assert not hit
    assert again(5) == 12
    assert file.read_bytes()[:32] != b"x" * 32
    assert compiled(tmp_path)[1]


def test_works_without_a_directory() -> None:
    function, hit = compiled(None)
    assert function(5) == 12
    assert not hit


def test_works_where_the_directory_vanished(tmp_path: Path) -> None:
    assert compiled(tmp_path / "gone")[0](5) == 12


def test_works_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("proofcompute.encoding.files.whole", refuse)
    assert compiled(tmp_path)[0](5) == 12
    assert list(tmp_path.iterdir()) == []


def test_processes_may_fill_one_directory_at_once(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from backends import test_numba_cache as t\n"
        f"f, hit = t.compiled(Path({str(tmp_path)!r})); assert f(5) == 12; raise SystemExit(40 + hit)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'tests')\n{code}"]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert {process.wait(120) for process in both} <= {40, 41}
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 41
    assert len(list(tmp_path.iterdir())) == 1


def test_another_signature_is_another_file(tmp_path: Path) -> None:
    compiled(tmp_path)
    assert not load(add_seven, (float_of_float,), tmp_path)[1]
    assert len(list(tmp_path.iterdir())) == 2


float_of_float = boolean(float32)


def test_what_is_loaded_needs_no_numba() -> None:
    """The second process has everything in the cache, and importing Numba is an error in it."""
    code = (
        "import sys\n"
        "{}"
        "import numpy as np\n"
        "from proofcompute.arithmetic.backends.numba import NumbaKernels\n"
        "from proofcompute.arithmetic.backends.numba.kernels import sampler\n"
        "from proofcompute.arithmetic.backends.numba.steps import crew\n"
        "k = NumbaKernels()\n"
        "x = (np.arange(2 * 300).reshape(2, 300) % 17 - 8).astype(np.float32)\n"
        "w = np.ones(300, np.float32)\n"
        "print(k.rms_norm(x, w, np.float32(1e-5)).tobytes().hex())\n"
        "print(k.hash_rows('sha256', b'ab', np.zeros((40, 70), np.uint8)).tobytes().hex())\n"
        "print(k.product(np.ones((2, 8), np.int8), np.ones((3, 8), np.int8)))\n"
    )
    first = python(code.format(""))
    assert python(code.format("sys.modules['numba.core'] = None\n")) == first


def test_every_kernel_needs_only_symbols_of_python_and_the_c_library() -> None:
    """Anything of Numba's runtime would be missing in a process without it."""
    from proofcompute.arithmetic.backends.numba.kernels import hints, packing, rows, sampler, sha256  # noqa: F401

    directory = cache.directory()
    assert directory is not None
    libc = {"malloc", "free", "memcpy", "memset", "memmove", "sched_yield", "sqrtf"}
    seen = 0
    for file in directory.glob("*.kernel"):
        body = filecache.load(file)
        assert body is not None
        needed = json.loads(body.partition(b"\n")[0])
        assert {name for name in needed if not name.startswith("Py")} <= libc
        seen += 1
    assert seen > 20


def test_a_missing_symbol_is_an_error(tmp_path: Path) -> None:
    compiled(tmp_path)
    (file,) = tmp_path.iterdir()
    body = filecache.load(file)
    assert body is not None
    filecache.store(file, b'["no_such_function"]\n' + body.partition(b"\n")[2])
    with pytest.raises(DeviceError, match="no no_such_function; use --device numpy"):
        compiled(tmp_path)


@pytest.mark.parametrize(
    "field", ["DATA", "DIMENSIONS", "SHAPE", "FLAGS", "KIND", "ORDER", "SIZE", "CONTIGUOUS"]
)
def test_an_unknown_layout_of_arrays_is_an_error(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine._check_fields()
    other = {"DATA": 24, "DIMENSIONS": 28, "SHAPE": 40, "FLAGS": 68, "KIND": 25, "ORDER": 24, "SIZE": 48}
    monkeypatch.setattr(Fields, field, other.get(field, 2) + object.__basicsize__ - 16)
    with pytest.raises(DeviceError, match="laid out in an unknown way"):
        machine._check_fields()


def test_a_process_may_be_forked_while_a_thread_loads_code() -> None:
    code = (
        "import os, threading, time\n"
        "from proofcompute.arithmetic.backends.numba.runtime import machine\n"
        "def load():\n"
        "    with machine._guard:\n"
        "        held.set(); time.sleep(0.3)\n"
        "held = threading.Event()\n"
        "threading.Thread(target=load).start(); held.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(40 + machine._guard.acquire(timeout=10))\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), machine._guard.acquire(timeout=10))"
    )
    assert python(code).split() == ["41", "True"]


def test_importing_the_package_does_not_import_numba() -> None:
    code = "import sys, proofcompute, proofcompute.arithmetic.devices; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_settings_of_numba_are_left_alone() -> None:
    code = (
        "import os; env = dict(os.environ)\n"
        "import numba; before = numba.config.CACHE_DIR, numba.config.THREADING_LAYER\n"
        "from proofcompute.arithmetic.backends.numba.kernels import packing\n"
        "assert (numba.config.CACHE_DIR, numba.config.THREADING_LAYER) == before and dict(os.environ) == env"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
