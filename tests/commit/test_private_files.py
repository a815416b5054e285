"""Secret files: opened once, a plain file of this user's, which nobody else may read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import synthetic
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import files
from proofcompute.encoding.files import read_private
from proofcompute.errors import InputError, LimitError
from proofcompute.verifier import Key
from proofcompute.verifier.partial import progress_of

SECRET = b"secret"


def secret(path: Path, mode: int = 0o600) -> Path:
    path.write_bytes(SECRET)
    path.chmod(mode)
    return path


def read(path: Path) -> bytes:
    return read_private(path, 100, "key")


@pytest.fixture(params=[read, Key.load, NodeIdentity.load, progress_of])
def reader(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    """Whatever reads a secret."""
    return request.param  # type: ignore[no-any-return]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    for mode in (0o600, 0o400, 0o700):
        assert read(secret(tmp_path / f"{mode}", mode)) == SECRET


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(secret(tmp_path / "key"))
    assert read(tmp_path / "link") == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o610])
def test_a_file_that_others_may_use(tmp_path: Path, mode: int, reader: Callable[[Path], Any]) -> None:
    path = secret(tmp_path / "key", mode)
    with pytest.raises(InputError, match="chmod 600"):
        reader(path)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(InputError, match="chmod 600"):
        reader(tmp_path / "link")


def test_a_file_of_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[Path], Any]
) -> None:
    path = secret(tmp_path / "key")
    mine, real = os.geteuid(), os.fstat

    def of_another(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[4] = mine + 1 if mine else 12345
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_another)
    with pytest.raises(InputError, match="no file of yours"):
        reader(path)


def test_a_file_of_roots_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = secret(tmp_path / "key"), os.fstat

    def of_root(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[4] = 0
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_root)
    assert read(path) == SECRET


@pytest.mark.parametrize(
    ("owner", "group", "mode", "directory", "named", "taken"),
    [
        (0, 0, 0o440, 0o550, True, True),
        (0, 0, 0o440, 0o500, True, True),
        (0, 0, 0o440, 0o550, False, False),
        (0, 0, 0o440, 0o555, True, False),
        (0, 0, 0o440, 0o570, True, False),
        (0, 0, 0o444, 0o550, True, False),
        (0, 0, 0o460, 0o550, True, False),
        (0, 7, 0o440, 0o550, True, False),
        (None, 0, 0o440, 0o550, True, False),
    ],
)
def test_a_credential_from_systemd(
    owner: int | None,
    group: int,
    mode: int,
    directory: int,
    named: bool,
    taken: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A list of who may read it shows as permissions of root's group; nothing else of the kind is taken."""
    place, real = tmp_path / "credentials", os.fstat
    place.mkdir()
    path = secret(place / "key", mode)
    place.chmod(directory)

    def of_root(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[4], found[5] = (12345 if owner is None else owner), group
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_root)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(place if named else tmp_path))
    try:
        if taken:
            assert read(path) == SECRET
        else:
            with pytest.raises(InputError, match="chmod 600"):
                read(path)
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        with pytest.raises(InputError, match="chmod 600"):
            read(path)
    finally:
        place.chmod(0o700)


def test_a_system_without_users_asks_for_a_plain_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a file has neither an owner's number nor permissions of this kind."""
    path = secret(tmp_path / "key", 0o644)
    monkeypatch.delattr(os, "geteuid")
    assert read(path) == SECRET
    with pytest.raises(InputError, match="a plain file is needed"):
        read(tmp_path)


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="a plain file is needed"):
            reader(path)


def test_a_key_is_not_made_over_a_pipe_by_waiting_for_it(tmp_path: Path) -> None:
    from proofcompute.verifier.partial import _is_finished

    os.mkfifo(tmp_path / "key", 0o600)
    assert not _is_finished(tmp_path / "key", bytes(32))


def test_no_file(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    with pytest.raises(InputError, match="cannot read"):
        reader(tmp_path / "none")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = secret(tmp_path / "key")
    with pytest.raises(LimitError):
        read_private(path, len(SECRET) - 1, "key")


def test_what_is_checked_is_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Callable[[Path], Any]
) -> None:
    """A file of somebody else's, put in its place at whatever moment, is never read unchecked."""
    key, node = synthetic.key(), synthetic.NODE
    good, other = tmp_path / "good", tmp_path / "other"
    other.write_bytes(b"of another")
    other.chmod(0o644)
    seen: list[bytes] = []
    real = files.read_limited

    def noted(*arguments: Any) -> bytes:
        seen.append(real(*arguments))
        return seen[-1]

    monkeypatch.setattr(files, "read_limited", noted)
    for name in ("open", "fstat"):
        for saved in (key.save, node.save):
            saved(good)
            call = getattr(os, name)

            def exchanged(*arguments: Any, call: Callable[..., Any] = call) -> Any:
                found = call(*arguments)
                os.replace(_copy(other), good)
                return found

            with monkeypatch.context() as raced:
                raced.setattr(os, name, exchanged)
                try:
                    reader(good)
                except InputError:
                    pass
    assert b"of another" not in seen


def _copy(path: Path) -> Path:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o644)
    return copy
