"""The record of an audit: cut off anywhere it continues, and damaged anywhere it is refused by its line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.campaigns import BEGUN
from proofcompute.client import record as records
from proofcompute.client.entries import Answer, Asked, Challenged, Entry, Verdict, entry_of, fields_of
from proofcompute.client.record import Record
from proofcompute.client.tally import Tally
from proofcompute.errors import FormatError, InputError, LimitError, StorageError

ASKED = Asked(0, "ab" * 32, "client", 1.5, 7, 8, 1)
ENTRIES: tuple[Entry, ...] = (
    ASKED,
    Answer(0, 0, 2.25, b"request", b"receipt\xff", b"terms", 3, 0),
    Verdict(0, 0, "verified", 3.0, cells=2, detects_one=0.125, detects_shares={"0.1": 0.3}, found={"a": [1]}),
    replace(ASKED, id=1, nonce_by="node"),
    Verdict(1, None, "unanswered", 4.0, "status 503: \u2028", lost=2),
    replace(ASKED, id=2),
    Answer(2, 0, 5.0, b"", b"", None, 0, 1),
    Challenged(2, 0, 5.5, b"challenge"),
)


def written(path: Path, entries: tuple[Entry, ...] = ENTRIES) -> bytes:
    with Record(path, BEGUN, Tally()) as record:
        for entry in entries:
            record.write(entry)
    return path.read_bytes()


def opened(path: Path) -> Tally:
    tally = Tally()
    Record(path, BEGUN, tally).close()
    return tally


def everything(tally: Tally) -> list[Entry]:
    found: list[Entry] = []
    for sent in tally.sent.values():
        found += [sent.asked, *sent.answers.values(), *sent.challenged.values(), *sent.verdicts.values()]
    return found


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    data = written(tmp_path / "record")
    assert everything(opened(tmp_path / "record")) == list(ENTRIES)
    assert (tmp_path / "record").read_bytes() == data
    assert [json.loads(line)["event"] for line in data.splitlines()][:3] == ["audit", "asked", "answer"]
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("entry", [BEGUN, *ENTRIES])
def test_an_entry_is_what_is_written_of_it(entry: Entry) -> None:
    assert entry_of(json.loads(json.dumps(fields_of(entry)))) == entry


def test_a_record_that_was_cut_off_anywhere_continues(tmp_path: Path) -> None:
    """A process may be killed, or its disk be full, in the middle of any line."""
    data, path = written(tmp_path / "whole"), tmp_path / "record"
    ends = [i + 1 for i, byte in enumerate(data) if byte == 10]
    for size in [
        *range(0, len(data), 11),
        *ends,
        *(end - 1 for end in ends),
        *range(ends[-2], len(data) + 1),
    ]:
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        kept = list(ENTRIES[: max(0, whole - 1)])
        assert everything(opened(path)) == kept
        left = path.read_bytes()
        assert left == data[: ends[max(whole, 1) - 1]]
    with Record(path, BEGUN, Tally()) as record:
        record.write(Verdict(2, 0, "receipted", 6.0))
    assert everything(opened(path))[-1] == Verdict(2, 0, "receipted", 6.0)


def test_a_byte_that_was_changed_anywhere_is_found_and_its_line_named(tmp_path: Path) -> None:
    data, path = written(tmp_path / "whole"), tmp_path / "record"
    ends = [i for i, byte in enumerate(data) if byte == 10]
    for at in {*range(0, len(data), 11), *ends, *range(ends[-2], len(data))}:
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(InputError, match=f"line {data[:at].count(10) + 1} "):
            opened(path)
        assert path.read_bytes() == bytes(changed)


LINES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "left out": (lambda lines: lines[:2] + lines[3:], 3),
    "left out, a verdict": (lambda lines: lines[:3] + lines[4:], 4),
    "twice": (lambda lines: lines[:3] + lines[2:], 4),
    "in another order": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 3),
    "without the first": (lambda lines: lines[1:], 1),
    "empty": (lambda lines: [*lines[:2], b"\n", *lines[2:]], 3),
    "of another record": (lambda lines: [*lines[:3], b'{"event":"verdict"}\n', *lines[3:]], 4),
}


@pytest.mark.parametrize("name", LINES)
def test_lines_that_do_not_follow_are_found(name: str, tmp_path: Path) -> None:
    change, number = LINES[name]
    data = b"".join(change(written(tmp_path / "record").splitlines(keepends=True)))
    (tmp_path / "record").write_bytes(data)
    with pytest.raises(InputError, match=f"line {number} cannot be used"):
        opened(tmp_path / "record")
    assert (tmp_path / "record").read_bytes() == data


FOREIGN = {
    "a key file": b"\x93proofcompute key and no line end",
    "requests": b'{"prompt": "once"}\n{"prompt": "twice"}\n',
    "one request without an end": b'{"prompt": "once"}',
    "an array": b"[1, 2]\n",
    "an empty line": b"\n",
    "a text": b"Dear auditor,\nhello\n",
    "zeros": bytes(4096),
    "a deep one": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_no_record_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    """Whoever mistakes the name of a file loses nothing."""
    (tmp_path / "file").write_bytes(FOREIGN[name])
    with pytest.raises(InputError, match="line 1 "):
        opened(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == FOREIGN[name]


@pytest.mark.parametrize("other", [replace(BEGUN, url="http://else/v1"), replace(BEGUN, model_id="00" * 32)])
def test_the_record_of_another_audit_is_refused(other: Any, tmp_path: Path) -> None:
    data = written(tmp_path / "record")
    with pytest.raises(InputError, match=f"is of an audit of {BEGUN.url}"):
        Record(tmp_path / "record", other, Tally())
    assert (tmp_path / "record").read_bytes() == data


def test_a_record_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with Record(tmp_path / "record", BEGUN, Tally()), pytest.raises(InputError, match="in use"):
        Record(tmp_path / "record", BEGUN, Tally())
    opened(tmp_path / "record")


def test_a_directory_and_a_pipe_are_no_records(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, error in ((tmp_path, StorageError), (tmp_path / "pipe", InputError)):
        with pytest.raises((error, InputError)):
            Record(path, BEGUN, Tally())


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, real = written(tmp_path / "record"), os.write

    def full(fd: int, line: Any) -> int:
        if len(line) < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, bytes(line[: len(line) // 2]))

    tally = Tally()
    with Record(tmp_path / "record", BEGUN, tally) as record:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            record.write(Verdict(2, 0, "receipted", 6.0))
        assert (tmp_path / "record").read_bytes() == data
        assert everything(tally) == list(ENTRIES)
        monkeypatch.setattr(os, "write", lambda fd, line: real(fd, bytes(line[:7])))
        record.write(Verdict(2, 0, "receipted", 6.0))  # a system may take a few bytes at a time
    monkeypatch.undo()
    assert everything(opened(tmp_path / "record")) == [*ENTRIES, Verdict(2, 0, "receipted", 6.0)]


def test_a_file_that_cannot_be_cut_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int, size: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    written(tmp_path / "record")
    monkeypatch.setattr(os, "ftruncate", refused)
    with pytest.raises(StorageError, match="Read-only"):
        opened(tmp_path / "record")


@pytest.mark.parametrize("body", [b'{"event":"audit","url":"', b'{"a":' * 100_000, b'{"event":"audit"'])
def test_a_line_that_is_sealed_and_no_entry_is_refused(body: bytes, tmp_path: Path) -> None:
    seal = hashlib.sha256(b"0" * 32 + body).hexdigest()[:32]
    (tmp_path / "record").write_bytes(body + b',"chain":"' + seal.encode() + b'"}\n')
    with pytest.raises(InputError, match="line 1 cannot be used"):
        opened(tmp_path / "record")


def test_an_empty_file_that_others_may_read_becomes_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record"
    path.touch()
    path.chmod(0o644)
    opened(path)
    assert path.stat().st_mode & 0o777 == 0o600

    def refused(fd: int, mode: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refused)
    with pytest.raises(StorageError, match="private"):
        opened(tmp_path / "another")


def test_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(tmp_path / "record")
    with Record(tmp_path / "record", BEGUN, Tally()) as record:
        monkeypatch.setattr(records, "MAX_LINE", 300)
        with pytest.raises(LimitError):
            record.write(Verdict(2, 0, "contradicted", 1.0, "x" * 300))
    monkeypatch.setattr(records, "MAX_LINE", 100)
    with pytest.raises(InputError, match="line 1 is too long"):
        opened(tmp_path / "record")
    assert (tmp_path / "record").read_bytes() == data


# -- entries that no audit writes ----------------------------------------------------------------------------
def changed(entry: Entry, **fields: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**fields_of(entry), **fields}


def lacking(entry: Entry, name: str) -> Callable[[], dict[str, Any]]:
    return lambda: {k: v for k, v in fields_of(entry).items() if k != name}


ANSWER, VERDICT = ENTRIES[1], ENTRIES[2]
assert isinstance(ANSWER, Answer)
MALFORMED: dict[str, Callable[[], Any]] = {
    "no object": list,
    "no event": dict,
    "an event that nobody knows": lambda: {"event": "guess"},
    "an event that is no text": lambda: {"event": [1]},
    "a field more": changed(ASKED, more=1),
    "a field less": lacking(ASKED, "name"),
    "a number as text": changed(ASKED, id="0"),
    "a negative number": changed(ASKED, prompt=-1),
    "a large number": changed(ASKED, most=1 << 60),
    "true as a number": changed(ASKED, most=True),
    "an infinite time": changed(ASKED, when=float("inf")),
    "no time": changed(ASKED, when=float("nan")),
    "a time as text": changed(ASKED, when="now"),
    "another side": changed(ASKED, nonce_by="both"),
    "bytes as a list": changed(ANSWER, receipt=[1]),
    "bytes that are no base64": changed(ANSWER, receipt="a"),
    "bytes with a sign": changed(ANSWER, receipt="YQ==!"),
    "a state that nobody knows": changed(VERDICT, state="fine"),
    "a state as a list": changed(VERDICT, state=["verified"]),
    "a flag as a number": changed(VERDICT, unpublished=1),
    "a probability above 1": changed(VERDICT, detects_one=1.5),
    "probabilities above 1": changed(VERDICT, detects_shares={"0.1": 2}),
    "probabilities as a list": changed(VERDICT, detects_shares=[]),
    "what was found as a text": changed(VERDICT, found="much"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_entry_is_refused(name: str) -> None:
    with pytest.raises(FormatError):
        entry_of(MALFORMED[name]())


FOLLOWING: dict[str, tuple[Entry, ...]] = {
    "no beginning": (ASKED,),
    "two beginnings": (BEGUN, BEGUN),
    "a canary with a number left out": (BEGUN, replace(ASKED, id=1)),
    "a canary twice": (BEGUN, ASKED, ASKED),
    "a canary without a choice": (BEGUN, replace(ASKED, choices=0)),
    "an answer to nothing": (BEGUN, ANSWER),
    "an answer twice": (BEGUN, ASKED, ANSWER, ANSWER),
    "an answer of a choice that was not asked for": (BEGUN, ASKED, replace(ANSWER, choice=1)),
    "an answer after the verdict": (BEGUN, ASKED, Verdict(0, None, "unanswered", 1.0), ANSWER),
    "a verdict about nothing": (BEGUN, VERDICT),
    "a verdict about no answer": (BEGUN, ASKED, VERDICT),
    "a challenge of nothing": (BEGUN, ASKED, Challenged(0, 0, 1.0, b"")),
    "a challenge after the verdict": (BEGUN, ASKED, ANSWER, VERDICT, Challenged(0, 0, 1.0, b"")),
    "a verdict twice": (BEGUN, ASKED, ANSWER, VERDICT, VERDICT),
}


@pytest.mark.parametrize("name", FOLLOWING)
def test_entries_that_do_not_follow_are_refused(name: str) -> None:
    tally = Tally()
    *before, last = FOLLOWING[name]
    for entry in before:
        tally.take(entry)
    with pytest.raises(FormatError):
        tally.take(last)
