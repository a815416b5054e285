"""Devices, pipes and links as outputs and inputs, closed standard streams, and text as it is shown."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import proofcompute.encoding.files as files_module
from cli.driver import Files, done, refused
from proofcompute.cli.console import printable
from proofcompute.cli.files import check_output
from proofcompute.encoding.files import write_atomic, writing
from proofcompute.errors import InputError, StorageError
from proofcompute.protocol.messages import Challenge


# -- outputs ---------------------------------------------------------------------------------------------
def listen(path: Path) -> tuple[threading.Thread, list[bytes]]:
    """A reader of a pipe."""
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(path.read_bytes()))
    thread.start()
    return thread, got


def test_a_pipe_gets_the_bytes_and_stays(files: Files, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread, got = listen(pipe)
    done("challenge", files.key, files.receipt, "--request", files.request, "-o", pipe, "--cells", 3)
    thread.join()
    assert len(Challenge.decode(got[0]).cells) > 0
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_stays(files: Files, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    done("challenge", files.key, files.receipt, "--request", files.request, "-o", link)
    done("import", files.gguf, "-o", link, "--precision", "w8a16")
    assert link.is_symlink()
    try:
        os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.stat("/dev/null").st_rdev)
    except PermissionError:
        pytest.skip("this user makes no devices")
    done("open", files.run, files.challenge, "-o", tmp_path / "null")
    assert stat.S_ISCHR((tmp_path / "null").lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_names_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link, again = tmp_path / "elsewhere" / "target", tmp_path / "link", tmp_path / "again"
    link.symlink_to("elsewhere/target")
    again.symlink_to("link")
    if there:
        target.write_bytes(b"old")
    with suppress(ZeroDivisionError), writing(again) as stream:
        stream.write(b"%d" % (1 // 0))
    assert target.exists() == there
    write_atomic(again, b"new")
    assert (target.read_bytes(), link.is_symlink(), again.is_symlink()) == (b"new", True, True)
    assert os.listdir(target.parent) == ["target"]


def test_what_takes_no_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("socket")
        for name, word in (("loop", "symbolic"), ("directory", "a directory"), ("socket", "a socket")):
            before = (tmp_path / name).lstat()
            with pytest.raises((InputError, StorageError), match=word):
                write_atomic(tmp_path / name, b"new")
            with pytest.raises(InputError, match=word):
                check_output(tmp_path / name, force=False)
            assert (tmp_path / name).lstat() == before


def test_a_pipe_whose_reader_left(tmp_path: Path) -> None:
    """Nothing is half sent: there is an error, and no file in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # the writer waits for a reader: here one comes, and goes
    thread = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_RDONLY)))
    thread.start()
    with pytest.raises(StorageError, match="pipe"):
        write_atomic(pipe, bytes(1 << 20))
    thread.join()
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_pipe_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waited on for a while, then an error: a command that hangs looks like one that works."""
    monkeypatch.setattr(files_module, "READER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="nobody reads"):
        write_atomic(tmp_path / "pipe", b"x")
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_pipe_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's coming would help, so nothing is waited for."""
    pipe, real = tmp_path / "pipe", os.open
    os.mkfifo(pipe)

    def refuses(path: Any, *arguments: Any) -> int:
        if path == pipe:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(StorageError, match="Permission denied"):
        write_atomic(pipe, b"x")
    assert os.listdir(tmp_path) == ["pipe"]


def test_messages_and_files_do_not_mix(files: Files, tmp_path: Path) -> None:
    """Standard output is no place for a file, and a key is no secret in a pipe."""
    words = ("request", files.model, "--prompt", "x", "-o", "/dev/stdout")
    command = [sys.executable, "-m", "proofcompute", *map(str, words)]
    found = subprocess.run(command, capture_output=True, check=False)
    assert (found.returncode, found.stdout) == (2, b"")
    assert b"standard output" in found.stderr
    os.mkfifo(tmp_path / "pipe")
    assert "plain file" in refused("keygen", files.model, "-o", tmp_path / "pipe")
    assert os.listdir(tmp_path) == ["pipe"]


# -- inputs ----------------------------------------------------------------------------------------------
@pytest.fixture
def piped(tmp_path: Path) -> Callable[[Path], Path]:
    """A pipe through which a file comes, once."""

    def send(source: Path, pipe: Path) -> None:
        with suppress(BrokenPipeError):  # a command may look at what it was given, and refuse it
            pipe.write_bytes(source.read_bytes())

    def make(source: Path) -> Path:
        pipe = tmp_path / f"pipe{len(os.listdir(tmp_path))}"
        os.mkfifo(pipe, 0o600)
        threading.Thread(target=send, args=(source, pipe), daemon=True).start()
        return pipe

    return make


def test_messages_may_come_through_pipes(
    files: Files, key: Path, piped: Callable[[Path], Path], tmp_path: Path
) -> None:
    run, challenge, opening = tmp_path / "run", tmp_path / "challenge", tmp_path / "opening"
    done("run", files.model, piped(files.request), "-o", run)
    done("challenge", key, piped(files.receipt), "--request", piped(files.request), "-o", challenge, "--all")
    done("open", files.run, piped(challenge), "-o", opening)
    messages = (piped(files.receipt), piped(challenge), piped(opening))
    assert done("verify", key, *messages, "--request", piped(files.request))["verified"]


@pytest.mark.parametrize("what", ["request", "receipt", "challenge", "opening"])
def test_what_comes_through_a_pipe_is_inspected(
    files: Files, piped: Callable[[Path], Path], what: str
) -> None:
    path: Path = getattr(files, what)
    assert done("inspect", piped(path)) == done("inspect", path)


def test_files_that_are_read_at_several_places_are_plain(
    files: Files, piped: Callable[[Path], Path], tmp_path: Path
) -> None:
    out, rest = tmp_path / "out", (files.receipt, files.challenge, files.opening, "--request", files.request)
    for words in (
        ("import", piped(files.gguf), "-o", out, "--precision", "w8a16"),
        ("keygen", piped(files.model), "-o", out),
        ("run", piped(files.model), files.request, "-o", out),
        ("run", files.model, files.request, "-o", out, "--identity", piped(files.identity)),
        ("verify", piped(files.key), *rest),
        ("inspect", piped(files.model)),
    ):
        assert "plain file is needed" in refused(*words)


# -- standard streams ------------------------------------------------------------------------------------
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(files: Files, tmp_path: Path, closed: str) -> None:
    """The command does its work, and prints into no file that it opened."""
    out = tmp_path / "challenge"
    words = f'"{files.key}" "{files.receipt}" --request "{files.request}" --all -o "{out}"'
    command = f'exec "{sys.executable}" -m proofcompute challenge {words} {closed}'
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert Challenge.decode(out.read_bytes()) == Challenge.decode(files.challenge.read_bytes())


# -- text ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "Bonjour\N{NO-BREAK SPACE}! Ça va\N{NARROW NO-BREAK SPACE}?",
        "你好\N{IDEOGRAPHIC SPACE}世界",
        "می\N{ZERO WIDTH NON-JOINER}خواهم",
        "क\N{DEVANAGARI SIGN VIRAMA}\N{ZERO WIDTH JOINER}ष",
        "👩\N{ZERO WIDTH JOINER}👩\N{ZERO WIDTH JOINER}👧",
        "🏴\U000e0067\U000e0062\U000e007f ❤\N{VARIATION SELECTOR-16}",
        "Donau\N{SOFT HYPHEN}dampf",
        "שלום\N{RIGHT-TO-LEFT MARK}!",
        "tab\tand\nnewline",
    ],
)
def test_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "code", [0, 7, 8, 0x0D, 0x1B, 0x7F, 0x85, 0x9B, 0x2028, 0x2029, 0x202E, 0x2066, 0xD800]
)
def test_what_commands_a_terminal_is_not_shown(code: int) -> None:
    assert printable(f"a{chr(code)}b") == "a\N{REPLACEMENT CHARACTER}b"
