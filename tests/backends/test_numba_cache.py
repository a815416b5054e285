"""The cache of compiled kernels: what changes its key, and that nothing in it can do harm."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import types

from proofcompute.backends.numba.cache import KernelCache, source_key

SIGNATURE = types.int64(types.int64)


def add_seven(x: Any) -> Any:
    return x + 7


def compiled(directory: Path | None) -> Any:
    """``add_seven`` as ``cache.kernel`` compiles it, with another directory."""
    dispatcher = numba.njit(nogil=True)(add_seven)
    dispatcher._cache = KernelCache(add_seven, directory)
    dispatcher.compile(SIGNATURE)
    return dispatcher


def hits(dispatcher: Any) -> int:
    return sum(dispatcher.stats.cache_hits.values())


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


def test_second_compilation_is_a_load(tmp_path: Path) -> None:
    first, second = compiled(tmp_path), compiled(tmp_path)
    assert (hits(first), hits(second)) == (0, 1)
    assert first(5) == second(5) == 12
    assert [file.suffix for file in tmp_path.iterdir()] == [".kernel"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "garbage"])
def test_damaged_files_are_compiled_again(tmp_path: Path, damage: str) -> None:
    compiled(tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    file.write_bytes(
        {"empty": b"", "cut": good[:-1], "flipped": bytes(flipped), "garbage": b"x" * 99}[damage]
    )
    again = compiled(tmp_path)
    assert hits(again) == 0
    assert again(5) == 12
    assert file.read_bytes()[:32] != b"x" * 32
    assert hits(compiled(tmp_path)) == 1


def test_works_without_a_directory() -> None:
    dispatcher = compiled(None)
    assert dispatcher(5) == 12
    assert dispatcher.stats.cache_path is None


def test_works_where_the_directory_vanished(tmp_path: Path) -> None:
    dispatcher = compiled(tmp_path / "gone")
    assert dispatcher(5) == 12


def test_kernels_refuse_other_types() -> None:
    from proofcompute.backends.numba import sampler

    with pytest.raises(TypeError):
        sampler._largest(np.zeros(3))  # binary64


def test_importing_the_package_does_not_import_numba() -> None:
    code = "import sys, proofcompute, proofcompute.devices; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_settings_of_numba_are_left_alone() -> None:
    code = (
        "import os; env = dict(os.environ)\n"
        "import numba; before = numba.config.CACHE_DIR, numba.config.THREADING_LAYER\n"
        "from proofcompute.backends.numba import packing\n"
        "assert (numba.config.CACHE_DIR, numba.config.THREADING_LAYER) == before and dict(os.environ) == env"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
