"""Compiled code on disk: where it may lie, and that damage only costs time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from proofcompute.arithmetic.backends.filecache import cache_directory, load, store, trusted, user_cache


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


def test_unusable_places(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert cache_directory(in_the_way, "kind", "key") is None


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@posix
def test_trust(tmp_path: Path) -> None:
    place = tmp_path / "place"
    assert trusted(place) is None
    place.mkdir(mode=0o755)
    assert trusted(place) == place
    place.chmod(0o775)
    assert trusted(place) is None
    file = tmp_path / "file"
    file.touch(mode=0o600)
    assert trusted(file) is None


@posix
@pytest.mark.parametrize("level", [0, 1, 2])
def test_directories_that_others_can_write_are_refused(tmp_path: Path, level: int) -> None:
    path = cache_directory(tmp_path, "kind", "key")
    assert path is not None
    [path, *path.parents][level].chmod(0o770)
    assert cache_directory(tmp_path, "kind", "key") is None


@posix
def test_made_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = cache_directory(tmp_path, "kind", "key")
    finally:
        os.umask(before)
    assert path is not None
    assert [p.stat().st_mode & 0o777 for p in (path, *path.parents[:2])] == [0o700] * 3


@posix
def test_whoever_can_write_on_the_way_there_can_put_code_in_its_place(tmp_path: Path) -> None:
    """The directory itself is private, but it could be renamed, and another one of ours be linked there."""
    shared = tmp_path / "shared"
    shared.mkdir()
    path = cache_directory(shared / "deep", "kind", "key")
    assert path is not None
    path.chmod(0o755)  # as what is built ahead
    shared.chmod(0o777)
    assert cache_directory(shared / "deep", "kind", "key") is None
    assert trusted(path) is None
    shared.chmod(0o1777)  # as /tmp: what we own stays where it is
    assert cache_directory(shared / "deep", "kind", "key") == path
    assert trusted(path) == path


@posix
@pytest.mark.parametrize("level", [0, 1, 2])
def test_links_to_directories_of_ours_are_refused(tmp_path: Path, level: int) -> None:
    """Such as one that was unpacked from somebody's archive."""
    unpacked = tmp_path / "unpacked"
    unpacked.joinpath(*("kind", "key")[2 - level :]).mkdir(parents=True, mode=0o700)
    for p in unpacked.rglob("*"):
        p.chmod(0o700)
    unpacked.chmod(0o700)
    at = tmp_path.joinpath("base", *("proofcompute", "kind", "key")[: 3 - level])
    at.parent.mkdir(parents=True, mode=0o700)
    for p in at.relative_to(tmp_path).parents[:-1]:
        (tmp_path / p).chmod(0o700)
    at.symlink_to(unpacked)
    assert cache_directory(tmp_path / "base", "kind", "key") is None


@posix
def test_a_place_is_named_without_links(tmp_path: Path) -> None:
    """Who can change a link can change where it leads after it was looked at."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = cache_directory(tmp_path / "link", "kind", "key")
    assert path == tmp_path / "real" / "proofcompute" / "kind" / "key"
    assert trusted(tmp_path / "link") == tmp_path / "real"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs the administrator")
def test_directories_below_those_of_another_user_are_refused(tmp_path: Path) -> None:
    """The administrator with somebody's HOME, as some uses of sudo leave it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    assert cache_directory(home / "cache", "kind", "key") is not None
    os.chown(home, 12345, 12345)
    assert cache_directory(home / "cache", "kind", "key") is None


@posix
@pytest.mark.parametrize("members", [[], ["me"], ["me", "somebody"]])
def test_a_group_of_one_may_write_on_the_way_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: list[str]
) -> None:
    """Fedora and Debian give each user a group, and let it write."""
    import grp
    import pwd

    base = tmp_path / "base"
    base.mkdir()
    base.chmod(0o775)
    gid = os.getgid() + 1 if os.getgid() == 0 else os.getgid()
    if base.stat().st_gid != gid:
        os.chown(base, -1, gid)
    user = pwd.struct_passwd(("me", "x", os.getuid(), gid, "", "/", "/bin/sh"))
    group = grp.struct_group(("me", "x", gid, members))
    monkeypatch.setattr("pwd.getpwuid", lambda uid: user)
    monkeypatch.setattr("pwd.getpwall", lambda: [user])
    monkeypatch.setattr("grp.getgrgid", lambda gid: group)
    assert (cache_directory(base, "kind", "key") is None) == ("somebody" in members)
    other = pwd.struct_passwd(("other", "x", os.getuid() + 1, gid, "", "/", "/bin/sh"))
    with monkeypatch.context() as m:  # it is that one's group too, though not listed as a member
        m.setattr("pwd.getpwall", lambda: [user, other])
        assert cache_directory(base, "kind", "key") is None
    monkeypatch.setattr("grp.getgrgid", lambda gid: grp.struct_group(("users", "x", gid, [])))
    assert cache_directory(base, "kind", "key") is None


@posix
def test_what_is_kept_is_of_use_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache_directory(tmp_path, "kind", "key")
    assert path is not None
    assert store(path / "file", b"body")

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("os.fsync", refuse)
    assert cache_directory(tmp_path, "kind", "key") == path
    assert load(path / "file") == b"body"
    assert not store(path / "more", b"body")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions bind only other users")
def test_places_where_nothing_can_be_made_are_refused(tmp_path: Path) -> None:
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
