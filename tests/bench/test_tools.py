"""`benchmarks.quality`, `page`, `scale`, `scale.page`: help, progress, where they write, what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, page, quality
from benchmarks.peers import __main__ as peers
from benchmarks.scale import __main__ as scale
from benchmarks.scale import page as scale_page
from proofcompute.bench.busy import Busy
from proofcompute.errors import InputError
from proofcompute.quality import Quality

MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "quality": quality.main,
    "page": page.main,
    "peers": peers.main,
    "scale": scale.main,
    "scale.page": scale_page.main,
}


def refused(name: str, *options: object, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        MAINS[name]([str(o) for o in options])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", MAINS)
def test_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        MAINS[name](["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in text
    assert "-o" in text


# -- how a command ends ------------------------------------------------------------------------------------
def test_what_can_be_foreseen_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: BaseException) -> Callable[[], int]:
        def main() -> int:
            raise error

        return main

    assert command.entry(lambda: 0) == 0
    assert command.entry(fails(InputError("a reason"))) == 2
    assert command.entry(fails(OSError("disk"))) == 2
    assert command.entry(fails(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "a reason\ndisk\ninterrupted\n"
    with pytest.raises(ZeroDivisionError):
        command.entry(lambda: 1 // 0)


def test_outputs_that_cannot_be_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    for name in ("peers", "scale"):
        for path in (taken, tmp_path / "no" / "such"):
            assert "cannot be made a directory" in refused(name, "-o", path, capsys=capsys)
    for name in ("page", "scale.page"):
        assert "is a directory" in refused(name, "-o", tmp_path, capsys=capsys)
        assert "make it first" in refused(name, "-o", tmp_path / "no" / "such", capsys=capsys)


# -- pages -------------------------------------------------------------------------------------------------
def test_a_page_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    assert page.main(["-o", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_bytes() == page.PAGE.read_bytes()
    assert scale_page.main(["-o", str(tmp_path / "scale.md")]) == 0
    assert (tmp_path / "scale.md").read_bytes() == scale_page.PAGE.read_bytes()


def test_data_that_make_no_page_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data.json", tmp_path / "page.md"
    for option, name in (("--results", "page"), ("--peers", "page"), ("--data", "scale.page")):
        for text, message in (("{", "is not JSON"), ("[]", "holds no"), ("{}", "holds no")):
            data.write_text(text)
            assert message in refused(name, option, data, "-o", out, capsys=capsys)
        assert "cannot read" in refused(name, option, tmp_path / "absent", "-o", out, capsys=capsys)
    found = json.loads((page.DATA / "results.json").read_text("utf-8"))
    for change, message in (({"schema": 1}, "measure again"), ({"complete": False}, "interrupted")):
        data.write_text(json.dumps({**found, **change}))
        assert message in refused("page", "--results", data, "-o", out, capsys=capsys)
    assert not out.exists()


# -- large models ------------------------------------------------------------------------------------------
@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts that were measured, at no cost."""
    seen: list[str] = []

    def measure(part: str) -> Callable[[Any, int], Any]:
        def action(_: Any, rounds: int) -> Any:
            if part == stop.get("before"):
                raise KeyboardInterrupt
            seen.append(part)
            return {"rounds": rounds, "serial": len(seen)}

        return action

    stop: dict[str, str] = {}
    monkeypatch.setattr(scale, "MEASURES", {part: measure(part) for part in scale_page.PARTS})
    monkeypatch.setattr(scale, "stop", stop, raising=False)
    return seen


def test_an_interrupted_measurement_goes_on(
    parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop: dict[str, str] = scale.stop  # type: ignore[attr-defined]
    stop["before"] = scale_page.PARTS[2]
    with pytest.raises(KeyboardInterrupt):
        scale.main(["-o", str(tmp_path)])
    before = json.loads((tmp_path / "scale.json").read_text())
    assert parts == list(scale_page.PARTS[:2])
    stop.clear()
    assert scale.main(["-o", str(tmp_path)]) == 0
    assert parts == list(scale_page.PARTS)
    after = json.loads((tmp_path / "scale.json").read_text())
    assert {part: after[part] for part in scale_page.PARTS[:2]} == {
        part: before[part] for part in scale_page.PARTS[:2]
    }
    assert f"3/6 {scale_page.PARTS[2]} ..." in capsys.readouterr().err
    parts.clear()
    scale.main(["-o", str(tmp_path)])
    assert parts == []
    scale.main(["-o", str(tmp_path), "--rounds", "2", "--part", "key"])
    assert parts == ["key"]
    scale.main(["-o", str(tmp_path), "--again"])
    assert parts[1:] == list(scale_page.PARTS)


def test_a_busy_machine_is_named(
    parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "load", lambda: Busy(1.5, 0.0))
    scale.main(["-o", str(tmp_path), "--part", "key"])
    assert "busy machine: before key, others used 1.5" in capsys.readouterr().err
    found = json.loads((tmp_path / "scale.json").read_text())
    assert found["machine"]["load"] == found["under"]["key"]["load"] == 1.5


def test_scale_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rounds in ("0", "-1", "many"):
        assert "whole number from 1" in refused("scale", "-o", tmp_path, "--rounds", rounds, capsys=capsys)
    assert "invalid choice" in refused("scale", "-o", tmp_path, "--part", "other", capsys=capsys)
    (tmp_path / "scale.json").write_text("{")
    assert "is not JSON" in refused("scale", "-o", tmp_path, capsys=capsys)


# -- quality -----------------------------------------------------------------------------------------------
def test_quality_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, other, latin = tmp_path / "text", tmp_path / "other", tmp_path / "latin"
    text.write_text("some words")
    other.write_bytes(b"no checkpoint")
    latin.write_bytes(b"caf\xe9")
    for options, message in (
        ((other, tmp_path / "absent"), "cannot read"),
        ((other, latin), "not UTF-8 at byte 3"),
        ((other, text, "--precisions", "w4a4"), "precision 'w4a4' is none of"),
        ((other, text, "--tokens", "0"), "whole number from 1"),
        ((other, text, "-o", tmp_path), "is a directory"),
        ((other, text, "-o", tmp_path / "no" / "such"), "make it first"),
        ((other, text), "GGUF"),
        ((tmp_path / "absent", text), "absent"),
    ):
        assert message in refused("quality", *options, capsys=capsys), options


def test_quality_writes_after_each_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = Quality(3, 2.0, 2.5, 0.1, 0.2, 0.9)
    seen: list[set[str]] = []
    out, text = tmp_path / "out.json", tmp_path / "text"
    text.write_text("some words")

    def measure(*_: object, **options: Any) -> Any:
        for precision in ("w8a8", "w8a16"):
            options["progress"](f"{precision}: running")
            yield precision, figures
            seen.append(set(json.loads(out.read_text())) if out.exists() else set())

    monkeypatch.setattr(quality, "measure", measure)
    assert quality.main([str(text), str(text), "-o", str(out)]) == 0
    assert seen == [{"w8a8"}, {"w8a8", "w8a16"}]
    assert json.loads(out.read_text())["w8a16"]["relative"] == 0.25
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "w8a8: running" in printed.err
    out.unlink()
    assert quality.main([str(text), str(text)]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"w8a8", "w8a16"}


def test_as_a_command_it_ends_with_status_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.page", "--data", "/no/such"],
        cwd=page.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot read" in done.stderr
    assert "Traceback" not in done.stderr
