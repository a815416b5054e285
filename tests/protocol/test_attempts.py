"""The log of a key's attempts: it never counts too little, whatever happens to the file or the process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import synthetic
from proofcompute.encoding.files import exclusive
from proofcompute.errors import FormatError, InputError, LimitError, MismatchError, StorageError
from proofcompute.freivalds import attempts
from proofcompute.freivalds.attempts import RECORD, FileLog, MemoryLog, read_records, write_records
from proofcompute.tokens import text_request
from proofcompute.verifier import Key
from proofcompute.verifier.holders import KeyHolder
from proofcompute.verifier.partial import _is_finished

ROOT = Path(__file__).resolve().parents[2]


def number(i: int) -> bytes:
    return i.to_bytes(32, "big")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file that was used three times."""
    path = tmp_path / "key"
    key = synthetic.key()
    key.save(path)
    for i in range(1, 4):
        assert key.log.attempt(number(i), number(100 + i)) == i
    return path


def count(path: Path) -> int:
    return len(Key.load(path).log.attempts)


# -- what is kept ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["memory", "file"])
def test_it_counts_from_one_and_knows_its_requests(tmp_path: Path, where: str) -> None:
    key = synthetic.key()
    if where == "file":
        key.save(tmp_path / "key")
    assert [key.log.attempt(number(i), number(i)) for i in (5, 6, 5)] == [1, 2, 3]
    with pytest.raises(MismatchError, match="nonce of another one"):
        key.log.attempt(number(6), number(5))
    assert [key.log.attempt(), key.log.attempt(), key.log.attempt(bytes(32), number(1))] == [4, 5, 6]
    with pytest.raises(MismatchError, match="nonce of another one"):
        key.log.attempt(bytes(32), number(2))
    for nonce, digest in ((b"", number(1)), (number(1), bytes(33))):
        with pytest.raises(FormatError, match="32 bytes"):
            key.log.attempt(nonce, digest)
    wanted = [(number(i), number(i)) for i in (5, 6, 5)] + [(bytes(32), bytes(32))] * 2
    wanted.append((bytes(32), number(1)))
    assert list(key.log.attempts) == wanted
    again = Key.decode(key.encode())
    assert list(again.log.attempts) == wanted
    assert again.encode() == key.encode()
    if where == "file":
        assert (tmp_path / "key").read_bytes() == key.encode()


def test_a_key_that_was_saved_counts_in_its_file(tmp_path: Path) -> None:
    key, first, second = synthetic.key(), tmp_path / "first", tmp_path / "second"
    assert key.log.attempt(number(1), number(1)) == 1  # before there is a file
    key.save(first)
    assert key.log.attempt(number(2), number(2)) == 2
    key.save(second)  # a copy with the count of now
    key.save(first)  # where it is already: nothing is lost, nothing is written
    assert key.log.attempt(number(3), number(3)) == 3
    assert (count(first), count(second)) == (3, 2)
    assert first.read_bytes() == key.encode()
    assert first.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_process_does_not_count_for_itself(tmp_path: Path) -> None:
    """What is in memory would be counted in two places, each half of the whole; a file is one place."""
    key = synthetic.key()
    kept = synthetic.key()
    kept.save(tmp_path / "key")
    key.log.attempt()
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (key.log.attempt, lambda: key.save(tmp_path / "other")):
            try:
                use()
            except StorageError:
                refused += 1
        kept.log.attempt()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert (key.log.attempt(), kept.log.attempt()) == (2, 2)


def test_a_log_in_memory_belongs_to_the_process_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is checked here as well, because nothing that a forked child runs is measured."""
    key = synthetic.key()
    key.log.attempt()
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: 0)
        for use in (key.log.attempt, lambda: key.save(tmp_path / "key")):
            with pytest.raises(StorageError, match="memory of another process"):
                use()
    assert not (tmp_path / "key").exists()
    assert key.log.attempt() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_process_that_is_forked_during_an_attempt_does_not_wait_for_it(path: Path) -> None:
    key = Key.load(path)
    assert isinstance(key.log, FileLog)
    with key.log._lock:  # as a thread has it that writes just now
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # in place of waiting for ever
            os._exit(key.log.attempt())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert key.log.attempt() == 5


def test_saving_a_key_never_takes_attempts_away(path: Path) -> None:
    """Under another name of its file, or over a copy that was used meanwhile."""
    key, beside = Key.load(path), Key.load(path)
    beside.log.attempt()  # which ``key`` has not read yet
    soft, hard, copy = (path.with_name(name) for name in ("soft", "hard", "copy"))
    soft.symlink_to(path)
    hard.hardlink_to(path)
    (path.parent / "sub").mkdir()
    for name in (path, soft, hard, path.parent / "sub" / ".." / path.name):
        key.save(name)
        assert count(path) == 4
    assert beside.log.attempt() == 5
    shutil.copy2(path, copy)
    assert Key.load(copy).log.attempt() == 6
    for again in (key, Key.decode(path.read_bytes()), synthetic.key()):
        with pytest.raises(InputError, match="counts its own attempts"):
            again.save(copy)
    assert (count(copy), count(path)) == (6, 5)


def test_who_counted_in_memory_counts_in_the_file_from_then_on(tmp_path: Path) -> None:
    """A verification that began before the key was saved, in another thread."""
    key = synthetic.key()
    log = key.log
    assert log.attempt(number(1), number(1)) == 1
    key.save(tmp_path / "key")
    assert [log.attempt(number(2), number(2)), key.log.attempt()] == [2, 3]
    assert len(log.attempts) == count(tmp_path / "key") == 3


def test_links_have_one_count_and_copies_begin_with_theirs(path: Path) -> None:
    hard, soft, copy = (path.with_name(name) for name in ("hard", "soft", "copy"))
    hard.hardlink_to(path)
    soft.symlink_to(path)
    shutil.copy2(path, copy)
    logs = [Key.load(p).log for p in (path, hard, soft, copy)]
    assert [log.attempt() for log in logs] == [4, 5, 6, 4]
    with pytest.raises(MismatchError, match="nonce"):
        Key.load(copy).log.attempt(number(1), number(1))
    moved = path.rename(path.with_name("moved"))
    assert Key.load(moved).log.attempt() == 7


def test_a_log_is_where_its_file_is_wherever_the_process_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    log = Key.load(Path("key")).log
    monkeypatch.chdir("/")
    assert log.attempt() == 4


# -- more than one user ----------------------------------------------------------------------------------
def test_two_users_see_each_others_requests(path: Path) -> None:
    a, b = Key.load(path).log, Key.load(path).log
    assert a.attempt(number(8), number(1)) == 4
    with pytest.raises(MismatchError, match="nonce"):
        b.attempt(number(8), number(2))
    assert b.attempt(number(9), number(2)) == 5
    with pytest.raises(MismatchError, match="nonce"):
        a.attempt(number(9), number(1))
    assert a.attempt() == 6


def test_threads_and_processes_get_different_numbers(path: Path) -> None:
    code = (
        "import pathlib, sys; from proofcompute.verifier import Key; "
        "log = Key.load(pathlib.Path(sys.argv[1])).log; [print(log.attempt()) for _ in range(20)]"
    )
    command = [sys.executable, "-c", code, str(path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) for _ in range(3)]
    log = Key.load(path).log
    with ThreadPoolExecutor(3) as pool:
        numbers = list(pool.map(lambda _: log.attempt(), range(20)))
    numbers += [int(n) for p in running for n in p.communicate()[0].split()]
    assert sorted(numbers) == list(range(4, 84))
    assert count(path) == 83


def test_a_forked_process_gets_other_numbers(path: Path) -> None:
    """An open file that both had would not keep them apart."""
    code = (
        "import os, pathlib, sys; from proofcompute.verifier import Key; "
        "log = Key.load(pathlib.Path(sys.argv[1])).log; log.attempt(); child = os.fork(); "
        "numbers = [log.attempt() for _ in range(20)]; "
        "child and os.waitpid(child, 0); print(*numbers, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert sorted(int(n) for n in done.stdout.split()) == list(range(5, 45))


# -- crashes ---------------------------------------------------------------------------------------------
def test_a_process_killed_before_its_check_has_counted_it(path: Path) -> None:
    code = (
        "import os, pathlib, signal, sys; from proofcompute.verifier import Key; "
        "Key.load(pathlib.Path(sys.argv[1])).log.attempt(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for wanted in (4, 5):
        assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT).returncode == -signal.SIGKILL
        assert count(path) == wanted


def test_an_attempt_is_on_the_disk_before_it_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, size = Key.load(path).log, path.stat().st_size
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    log.attempt()
    assert synced == [size + RECORD]


@pytest.mark.parametrize("part", [1, 40, RECORD - 1])
def test_a_record_cut_short_was_followed_by_no_check(path: Path, part: int) -> None:
    key, whole = Key.load(path), path.read_bytes()
    with path.open("ab") as stream:
        stream.write(bytes(part))
    assert count(path) == 3
    assert _is_finished(path, key.columns.seed)  # it is still that key: its seed is not for another
    with pytest.raises(FormatError, match="inside a record"):
        Key.decode(path.read_bytes())
    assert Key.load(path).log.attempt() == 4
    assert key.log.attempt(number(1), number(101)) == 5
    assert count(path) == 5
    assert path.read_bytes()[: len(whole)] == whole
    assert len(path.read_bytes()) == len(whole) + 2 * RECORD


@pytest.mark.parametrize("failing", ["write", "fsync", "part"])
def test_a_disk_that_refuses(path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    log, write = Key.load(path).log, os.write

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def part(fd: int, data: bytes) -> int:
        return write(fd, data[:10])

    with monkeypatch.context() as m:
        m.setattr(os, "fsync" if failing == "fsync" else "write", part if failing == "part" else refuse)
        with pytest.raises(StorageError, match="cannot count this verification"):
            log.attempt(number(9), number(9))
    made = 5 if failing == "fsync" else 4  # rather one too many
    assert log.attempt(number(9), number(9)) == made
    assert count(path) == made


# -- what is refused -------------------------------------------------------------------------------------
def replaced(path: Path) -> None:
    other = path.with_name("other")
    synthetic.key(columns=3).save(other)
    other.rename(path)


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -2 * RECORD])


def rolled_back(path: Path) -> None:
    data = path.read_bytes()[:-RECORD]
    path.write_bytes(data + write_records([(number(7), number(7))], data[-8:]))


@pytest.mark.parametrize("change", [replaced, shorter, rolled_back])
def test_a_file_that_does_not_go_on_from_what_was_read(path: Path, change: Callable[[Path], None]) -> None:
    log = Key.load(path).log
    change(path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="load the key again"):
        log.attempt()
    assert path.read_bytes() == before
    Key.load(path).log.attempt()


def test_a_file_that_is_gone_or_no_file(path: Path) -> None:
    log = Key.load(path).log
    path.unlink()
    with pytest.raises(StorageError, match="cannot count this verification"):
        log.attempt()
    assert not path.exists()  # nothing is made in its place
    os.mkfifo(path, 0o600)
    with pytest.raises(StorageError, match="cannot count this verification"):
        log.attempt()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_key_that_cannot_be_written_to(path: Path) -> None:
    path.chmod(0o400)
    key = Key.load(path)  # it may be looked at
    with pytest.raises(StorageError, match="where it can be written to"):
        key.log.attempt()


@pytest.mark.parametrize("at", range(-3 * RECORD, 0, 17))
def test_damage_of_the_log_is_found(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="make a new one"):
        Key.load(path)
    with pytest.raises(FormatError, match="make a new one"):
        Key.decode(bytes(data))


def test_records_do_not_come_from_elsewhere(path: Path) -> None:
    data = path.read_bytes()
    a, b, c = (data[len(data) - i * RECORD :][:RECORD] for i in (3, 2, 1))
    start = data[: -3 * RECORD]
    for log in (b + a + c, a + c, b + c, a + a, a + b + c + a):
        with pytest.raises(FormatError, match="does not follow"):
            Key.decode(start + log)
    with pytest.raises(FormatError, match="does not follow"):
        Key.decode(synthetic.key(columns=3).encode() + a)


def test_damage_by_another_process_is_found_at_the_next_attempt(path: Path) -> None:
    log = Key.load(path).log
    Key.load(path).log.attempt()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        log.attempt()


def test_the_most_attempts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Key.load(path).log
    monkeypatch.setattr(attempts, "MAX_ATTEMPTS", 5)
    assert [log.attempt(), log.attempt()] == [4, 5]
    with pytest.raises(LimitError, match="make a new one"):
        log.attempt()
    with pytest.raises(LimitError, match="make a new one"):
        MemoryLog([(bytes(32), bytes(32))] * 5).attempt()
    assert count(path) == 5
    with pytest.raises(LimitError, match="more than 5"):
        read_records(bytes(6 * RECORD), bytes(32))


def test_another_process_that_keeps_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_PATIENCE", 0.0)
    log = Key.load(path).log
    assert isinstance(log, FileLog)
    with exclusive(path, "key"), pytest.raises(InputError, match="in use"):
        log.attempt()
    assert log.attempt() == 4


def test_answers_to_one_question_share_a_nonce_and_nothing_else_does() -> None:
    """n choices are n requests that differ in the choice alone; each of them may be verified."""
    model = synthetic.model()
    holder = KeyHolder(synthetic.key())
    asked = text_request(model, "once", max_tokens=2)
    for choice in (0, 1, 2, 1):
        holder.begin(replace(asked, choice=choice))
    other = replace(text_request(model, "twice", max_tokens=2), nonce=asked.nonce)
    for choice in (0, 1):
        with pytest.raises(MismatchError):
            holder.begin(replace(other, choice=choice))
