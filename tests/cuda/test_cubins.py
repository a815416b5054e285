"""Tests cubins that are built ahead, kept and compiled, and that a bad cache costs time only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cuda_rig import nvrtc as rig_nvrtc
from proofcompute.arithmetic.backends.cuda import FILES, cubins, source
from proofcompute.arithmetic.backends.cuda.cubins import VARIABLE, Cubins, build_cubins, files_for
from proofcompute.arithmetic.backends.cuda.nvrtc import OPTIONS, Compiled, Nvrtc, find_nvrtc
from proofcompute.errors import DeviceError, InputError, StorageError

compiles = pytest.mark.skipif(bool(rig_nvrtc.why_not()), reason=rig_nvrtc.why_not() or "-")


@dataclass
class Counting:
    """An NVRTC that only counts compilations."""

    version: tuple[int, int] = (13, 0)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def compile(self, text: str, name: str, architecture: int, *more: str) -> Compiled:
        self.asked.append((name, architecture))
        return Compiled("", hashlib.sha256(f"{text}{architecture}{self.version}".encode()).digest(), "")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets up an empty user's cache, with nothing built ahead."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "cache"


def on(compiler: Counting, capability: int = 90) -> Cubins:
    return Cubins(capability, compiler=lambda driver: compiler)  # type: ignore[arg-type, return-value]


def no_compiler(driver: int | None) -> Nvrtc:
    raise DeviceError(f"no NVRTC of version {driver}")


def kept(cache: Path) -> list[Path]:
    return sorted(cache.glob("proofcompute/cuda/*/*"))


def test_compiled_once(cache: Path) -> None:
    compiler = Counting()
    first = on(compiler).get("add")
    assert on(compiler).get("add") == first
    assert compiler.asked == [("add.cu", 90)]
    (file,) = kept(cache)
    assert file.parent.name == "nvrtc-13.0"
    assert file.name.startswith("add-sm_90-")


def test_whatever_the_code_depends_on_is_in_its_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(Counting()).get("add")
    on(Counting()).get("gate")
    on(Counting(), 80).get("add")
    on(Counting((13, 1))).get("add")
    monkeypatch.setattr(cubins, "OPTIONS", (*OPTIONS, "--maxrregcount=32"))
    on(Counting()).get("add")
    monkeypatch.setattr(cubins, "source", lambda file: source(file) + "\n")
    on(Counting()).get("add")
    assert len(kept(cache)) == 6


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 99])
def test_a_damaged_file_is_compiled_again(cache: Path, damage: bytes) -> None:
    compiler = Counting()
    good = on(compiler).get("add")
    kept(cache)[0].write_bytes(damage)
    assert on(compiler).get("add") == good
    assert len(compiler.asked) == 2
    assert on(compiler).get("add") == good
    assert len(compiler.asked) == 2


def test_without_a_usable_cache_everything_still_works(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = Counting()
    cache.write_text("in the way")
    assert on(compiler).get("add") == on(compiler).get("add")
    assert len(compiler.asked) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent / "shared"))
    open_to_all = cache.parent / "shared" / "proofcompute" / "cuda" / "nvrtc-13.0"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    on(compiler).get("add")
    assert list(open_to_all.iterdir()) == []


def test_what_was_built_ahead_needs_no_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = cache.parent / "ahead"
    monkeypatch.setattr(cubins, "find_nvrtc", Counting)
    told: list[tuple[int, int]] = []
    paths = build_cubins(ahead, [75, 80], lambda steps, total: told.append((steps, total)))
    assert len(paths) == len(files_for(75)) + len(FILES)
    assert told == [(1, len(paths))] * len(paths)
    monkeypatch.setenv(VARIABLE, str(ahead))
    for capability, serves in ((75, 75), (80, 80), (86, 80), (89, 80)):
        found = Cubins(capability, compiler=no_compiler).get("gate")
        assert found == Counting().compile(source("gate"), "", serves).cubin
    with pytest.raises(DeviceError, match=r"ahead has no usable cubin of gate .see: proofcompute cubins"):
        Cubins(90, 12, no_compiler).get("gate")
    assert kept(cache) == []


def test_what_others_can_write_is_not_believed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = cache.parent / "ahead"
    monkeypatch.setattr(cubins, "find_nvrtc", Counting)
    build_cubins(ahead, [90])
    monkeypatch.setenv(VARIABLE, str(ahead))
    ahead.chmod(0o777)
    with pytest.raises(DeviceError):
        Cubins(90, compiler=no_compiler).get("gate")


def test_without_a_compiler_the_error_says_what_to_do(cache: Path) -> None:
    with pytest.raises(DeviceError, match=f"{VARIABLE} is not set"):
        Cubins(90, compiler=no_compiler).get("gate")


def test_building_ahead_fails_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubins, "find_nvrtc", Counting)
    with pytest.raises(InputError, match="sm_61 is too old; sm_75 is needed"):
        build_cubins(tmp_path / "x", [90, 61])
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        build_cubins(tmp_path / "file", [90])
    assert not (tmp_path / "x").exists()


def test_sm_75_has_no_tensor_core_product() -> None:
    assert set(FILES) - set(files_for(75)) == {"linear_mma"}
    assert files_for(80) == list(FILES)


class Refusing(Counting):
    """Has the real compiler's version, but refuses to compile."""

    def compile(self, text: str, name: str, architecture: int, *more: str) -> Compiled:
        raise AssertionError(f"{name} is compiled again")


@compiles
def test_the_real_compiler(cache: Path) -> None:
    found = Cubins(90).get("relu")
    assert found.startswith(b"\x7fELF")
    assert on(Refusing(find_nvrtc().version)).get("relu") == found


@compiles
def test_mistakes_and_unknown_architectures_are_told() -> None:
    compiler = find_nvrtc()
    with pytest.raises(DeviceError, match=r"cannot compile wrong\.cu for sm_90(.|\n)*undefined"):
        compiler.compile("int x = y;", "wrong.cu", 90)
    with pytest.raises(DeviceError, match="sm_999"):
        compiler.compile("", "empty.cu", 999)


@compiles
def test_a_compiler_fits_the_driver() -> None:
    major = find_nvrtc().version[0]
    assert find_nvrtc(major + 1) is find_nvrtc(major) is find_nvrtc()
    with pytest.raises(DeviceError, match=r"no NVRTC of version 11 or older; install proofcompute\[cuda12\]"):
        find_nvrtc(11)
    with pytest.raises(DeviceError, match="cannot be loaded"):
        Nvrtc("libnvrtc.so.no")
