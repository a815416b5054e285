"""Results are written as they come, and a run that was stopped goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench.stub import Stub
from cli.driver import call, done, refused, start
from proofcompute.encoding.files import exclusive

SMALL = ("--sizes", "tiny,small", "--precisions", "w8a8,w8a16", "--sections", "sizes", "--device", "numpy")
ONE = ("--quick", "--sizes", "tiny", "--precisions", "w8a8", "--lengths", "6+2", "--device", "numpy")
STEPS = [f"size {size} {precision}" for size in ("tiny", "small") for precision in ("w8a8", "w8a16")]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    monkeypatch.setattr("proofcompute.bench.plots.drawable", lambda: False)
    return Stub(monkeypatch)


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.mark.parametrize("at", range(1, len(STEPS)))
def test_a_run_that_was_interrupted_goes_on(at: int, stub: Stub, tmp_path: Path) -> None:
    stub.stop_before = STEPS[at]
    result = call("bench", *SMALL, "-o", tmp_path)
    assert result.status == 130
    assert "the same command continues" in result.err
    before = kept(tmp_path)
    assert [row["step"] for row in before["sizes"]] == stub.measured == STEPS[:at]
    assert not before["complete"]
    stub.stop_before = ""
    stub.measured.clear()
    after = done("bench", *SMALL, "-o", tmp_path)
    assert stub.measured == STEPS[at:]
    assert [row["step"] for row in after["sizes"]] == [s["name"] for s in after["steps"]] == STEPS
    assert after["sizes"][:at] == before["sizes"]
    assert after["complete"]
    assert kept(tmp_path) == after
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_stopped_before_the_first_measurement_nothing_is_written(stub: Stub, tmp_path: Path) -> None:
    stub.stop_before = STEPS[0]
    assert call("bench", *SMALL, "-o", tmp_path / "new").status == 130
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_complete_is_shown_and_not_measured(stub: Stub, tmp_path: Path) -> None:
    first = done("bench", *SMALL, "-o", tmp_path)
    stub.measured.clear()
    assert done("bench", *SMALL, "-o", tmp_path) == first
    assert "--force measures it again" in call("bench", *SMALL, "-o", tmp_path).out
    assert stub.measured == []
    done("bench", *SMALL, "-o", tmp_path, "--force")
    assert stub.measured == STEPS


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--rounds", 5), "rounds 7 there, 5 now"),
        (("--lengths", "8+2"), "lengths 64+64 there, 8+2 now"),
        (("--budgets", "3"), "budgets 1,2,4,8,16,32,64,128 there, 3 now"),
    ],
)
def test_other_settings_are_refused(
    options: tuple[object, ...], named: str, stub: Stub, tmp_path: Path
) -> None:
    stub.stop_before = STEPS[1]
    call("bench", *SMALL, "-o", tmp_path)
    before = kept(tmp_path)
    message = refused("bench", *SMALL, *options, "-o", tmp_path)
    assert named in message
    assert "choose another directory, or pass --force" in message
    assert kept(tmp_path) == before
    stub.stop_before = ""
    stub.measured.clear()
    done("bench", *SMALL, *options, "-o", tmp_path, "--force")
    assert stub.measured == STEPS


def test_other_code_or_another_machine_is_refused(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("bench", *SMALL, "-o", tmp_path)
    for change in ({"code": "0" * 12}, {"machine": {**kept(tmp_path)["machine"], "cores": 64}}):
        found = kept(tmp_path)
        (tmp_path / "results.json").write_text(json.dumps({**found, **change}))
        name = "code" if "code" in change else "machine's cores"
        assert f"{name} " in refused("bench", *SMALL, "-o", tmp_path)
        (tmp_path / "results.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 1}', '{"schema": 2}', "\xff", '{"schema": 2, "sizes": [{}]}'],
)
def test_a_file_that_holds_no_results_is_left_alone(text: str, stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(text.encode("latin-1"))
    assert "choose another directory" in refused("bench", *SMALL, "-o", tmp_path)
    assert (tmp_path / "results.json").read_bytes() == text.encode("latin-1")
    assert stub.measured == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("load",), {}),
        (("sizes", 0, "rounds"), {"run": ["a"]}),
        (("sizes", 0, "rounds"), {"run": []}),
        (("sizes", 0, "weights"), "1"),
        (("steps", 0, "name"), 1),
        (("complete",), 1),
        (("left_out",), None),
    ],
)
def test_results_of_another_form_are_left_alone(
    path: tuple[Any, ...], value: object, stub: Stub, tmp_path: Path
) -> None:
    done("bench", *SMALL, "-o", tmp_path)
    found = kept(tmp_path)
    place: Any = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert "these results have another form" in refused("bench", *SMALL, "-o", tmp_path)


def test_two_runs_do_not_share_a_directory(stub: Stub, tmp_path: Path) -> None:
    with exclusive(tmp_path / ".running", "lock"):
        assert "in use by another process" in refused("bench", *SMALL, "-o", tmp_path)
    done("bench", *SMALL, "-o", tmp_path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_loses_nothing(how: signal.Signals, tmp_path: Path) -> None:
    options = (*ONE, "--budgets", "1,2", "--sections", "sizes,budgets", "--rounds", 1)
    file, process = tmp_path / "results.json", start("bench", *options, "-o", tmp_path)
    while not file.exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, how)
    process.communicate()
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    before = kept(tmp_path)
    assert not before["complete"]
    after = done("bench", *options, "-o", tmp_path)
    for section in ("sizes", "budgets"):
        assert after[section][: len(before[section])] == before[section]
    assert after["complete"]
    assert [s["name"] for s in after["steps"]] == ["size tiny w8a8", "budget 1", "budget 2", "budget all"]
