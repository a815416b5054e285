"""Files appear whole or not at all, and a process that is killed while it writes leaves nothing."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import synthetic
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.encoding import whole as whole_module
from proofcompute.encoding.files import write_atomic, writing
from proofcompute.errors import StorageError
from proofcompute.protocol.messages import Terms

DYING = Path(__file__).with_name("dying.py")


@pytest.fixture(params=["nameless", "no such flag", "no such files", "no /proc"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the system offers."""
    real = os.open

    def refuses(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, *more, **named)

    if request.param == "no such files":
        monkeypatch.setattr(os, "open", refuses)
    elif request.param == "no such flag":
        monkeypatch.setattr(whole_module, "_NAMELESS", 0)
    elif request.param == "no /proc":
        monkeypatch.setattr(whole_module, "_own", lambda fd: f"/none/{fd}")
    return str(request.param)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_file_appears_when_it_is_whole(named: bool, there: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if there:
        path.write_bytes(b"old")
    before = os.listdir(tmp_path)
    with writing(path, 0o640, named=named) as stream:
        stream.write(b"new")
        stream.flush()
        assert [n for n in os.listdir(tmp_path) if not n.startswith(".")] == before
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o640)
    with pytest.raises(ZeroDivisionError), writing(path, named=named) as stream:
        stream.write(b"%d" % (1 // 0))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.usefixtures("system")
def test_a_directory_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(tmp_path / "none" / "file", b"x")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "file").write_bytes(b"old")
    for owner, name in ((os, "fsync"), (os, "fchmod"), (Path, "replace")):
        with monkeypatch.context() as m:
            m.setattr(owner, name, full)
            if name == "fchmod":
                m.setattr(Path, "chmod", full)
            with pytest.raises(StorageError, match="No space"):
                write_atomic(tmp_path / "file", b"new")
    assert ((tmp_path / "file").read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


def holds(path: Path, what: str) -> None:
    """A file is whole."""
    if what == "identity":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        NodeIdentity.load(path)
    else:
        assert Terms.decode(path.read_bytes()).node == synthetic.NODE.public


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("what", ["identity", "terms"])
def test_a_command_that_is_killed_leaves_nothing(what: str, there: bool, tmp_path: Path) -> None:
    """Before every call that changes a file. Only while it replaces a file, the new one has two names."""
    given = tmp_path / "given"
    given.mkdir()
    synthetic.NODE.save(given / "signer")
    if there:
        old = NodeIdentity(bytes(32)) if what == "identity" else synthetic.NODE
        old.save(given / "made") if what == "identity" else write_atomic(
            given / "made", Terms.of(old, base=1, rate=1, retention=1).encode()
        )
    words = [what, "-o", "made", *(["--force"] if there else [])]
    words += ["--identity", "signer", "--rate", "5"] if what == "terms" else []
    before = (given / "made").read_bytes() if there else None
    subprocess.run([sys.executable, str(DYING), str(tmp_path), *words], check=True)
    outcomes = []
    for nth in range(len(os.listdir(tmp_path)) - 1):
        files = {p.name: p for p in (tmp_path / str(nth)).iterdir()}
        assert files.pop("signer").read_bytes() == (given / "signer").read_bytes()
        made = files.pop("made", None)
        if made is not None:
            holds(made, what)
        for extra in files.values():
            assert there
            holds(extra, what)
        outcomes.append((made is not None and made.read_bytes() != before, len(files)))
    assert outcomes == sorted(outcomes, key=lambda o: o[0])
    assert len({done for done, _ in outcomes}) == 2
    assert sum(extra for _, extra in outcomes) <= there
