"""Compiled code on disk: where it may lie, and that damage only costs time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from proofcompute.backends.filecache import cache_directory, load, store, trusted, user_cache


def test_no_directory_without_a_place_or_a_key(tmp_path: Path) -> None:
    assert cache_directory(tmp_path, "kind", None) is None
    assert cache_directory(None, "kind", "key") is None


def test_keeps_what_was_stored(tmp_path: Path) -> None:
    assert store(tmp_path / "file", b"body")
    assert load(tmp_path / "file") == b"body"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "garbage", "digest only"])
def test_damage_counts_as_absence(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "file"
    store(file, b"body")
    good = file.read_bytes()
    damaged = {
        "empty": b"",
        "cut": good[:-1],
        "flipped": bytes([good[0] ^ 1]) + good[1:],
        "garbage": b"x" * 99,
        "digest only": good[:32],
    }
    file.write_bytes(damaged[damage])
    assert load(file) is None


def test_a_refusal_is_no_error(tmp_path: Path) -> None:
    assert not store(tmp_path / "gone" / "file", b"body")
    assert load(tmp_path / "gone" / "file") is None
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    assert not store(tmp_path / "taken", b"body")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_trust(tmp_path: Path) -> None:
    place = tmp_path / "place"
    assert not trusted(place)
    place.mkdir(mode=0o755)
    assert trusted(place)
    place.chmod(0o775)
    assert not trusted(place)
    file = tmp_path / "file"
    file.touch(mode=0o600)
    assert not trusted(file)


def test_unusable_places(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert cache_directory(in_the_way, "kind", "key") is None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_directories_that_others_can_write_are_refused(tmp_path: Path) -> None:
    path = cache_directory(tmp_path, "kind", "key")
    assert path is not None
    path.chmod(0o777)
    assert cache_directory(tmp_path, "kind", "key") is None


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions bind only other users")
def test_read_only_directories_are_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert cache_directory(tmp_path, "kind", "key") is None


def test_user_cache_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert user_cache() == tmp_path / "Library" / "Caches"
