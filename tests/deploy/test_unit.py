"""The unit for systemd is valid and confines the node, and its command line starts a node and ends it."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.tools import DEPLOY, program, replaced
from proofcompute.cli import main
from serving.running import SOON, chat_model
from synthetic import NODE

UNIT = DEPLOY / "proofcompute.service"
COMMAND = "/opt/proofcompute/bin/proofcompute"
EXPOSURE = 20
"""Tenths of what `systemd-analyze security` may call the exposure of the unit; it is 1.4."""


class Unit:
    """The settings of a unit; those that occur several times have one line for each."""

    def __init__(self, text: str) -> None:
        parser = configparser.RawConfigParser(strict=False, delimiters="=", comment_prefixes="#")
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(text.replace("\\\n", " "))
        self.service = dict(parser["Service"])

    @property
    def words(self) -> list[str]:
        return shlex.split(self.service["ExecStart"])

    def option(self, name: str) -> str:
        return self.words[self.words.index(name) + 1]


@pytest.fixture(scope="module")
def unit() -> Unit:
    return Unit(UNIT.read_text("utf-8"))


def test_systemd_takes_it_and_finds_it_confined(tmp_path: Path) -> None:
    analyze = program("systemd-analyze", package="Debian's package systemd")
    made = tmp_path / UNIT.name
    here = str(Path(sys.executable))
    made.write_text(UNIT.read_text("utf-8").replace(COMMAND, here), "utf-8")  # it insists on a program
    done = subprocess.run([analyze, "verify", str(made)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    words = ["security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(made)]
    done = subprocess.run([analyze, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_systemd_refuses_a_wrong_one(tmp_path: Path) -> None:
    """So the test above can fail."""
    analyze = program("systemd-analyze", package="Debian's package systemd")
    made = tmp_path / UNIT.name
    text = UNIT.read_text("utf-8").replace(COMMAND, sys.executable)
    made.write_text(text.replace("TimeoutStopSec=90", "TimeoutStopSec=soon"), "utf-8")
    done = subprocess.run([analyze, "verify", str(made)], capture_output=True, text=True, check=False)
    assert "Failed to parse time value" in done.stderr
    lines = text.splitlines()
    confining = re.compile(
        r"Protect|Restrict|Capability|SystemCall|Private|NoNewPrivileges|IPAddress|Dynamic"
    )
    made.write_text("\n".join(line for line in lines if not confining.match(line)), "utf-8")
    words = ["security", "--offline=true", f"--threshold={EXPOSURE}", str(made)]
    assert subprocess.run([analyze, *words], capture_output=True, check=False).returncode != 0


def test_its_numbers_fit_each_other_and_nginx(unit: Unit) -> None:
    assert float(unit.service["TimeoutStopSec"]) > float(unit.option("--drain"))
    assert unit.service["SocketBindAllow"] == f"tcp:{unit.option('--port')}"
    assert f"server 127.0.0.1:{unit.option('--port')};" in (DEPLOY / "nginx.conf").read_text("utf-8")
    assert unit.option("--proxy") == "127.0.0.1"
    traces = (int(unit.option("--memory")) + int(unit.option("--trace-memory"))) / 1024
    assert traces + 3 <= float(unit.service["MemoryHigh"].removesuffix("G"))


@contextmanager
def started(words: list[str], **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A node that a command line starts, and its address."""
    env = {**os.environ, **environment}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as node:
        try:
            assert node.stdout is not None
            found = re.match(r"serving at (http://127\.0\.0\.1:\d+)/v1,", node.stdout.readline())
            assert found is not None, node.communicate(timeout=SOON)[1]
            yield node, found[1]
        finally:
            node.kill()


def test_it_compiles_kernels_before_anybody_waits(unit: Unit, capsys: pytest.CaptureFixture[str]) -> None:
    program_, *words = shlex.split(unit.service["ExecStartPre"])
    assert program_ == COMMAND
    assert main([*words, "--help"]) == 0
    assert "warm-up" in capsys.readouterr().out


def test_its_command_line_starts_a_node(unit: Unit, tmp_path: Path) -> None:
    """With a small model in place of the large one. The container's check of health finds this node too."""
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    NODE.save(credentials / "identity")
    (credentials / "api-keys").write_text(f"alice {'0' * 64}\n", "utf-8")
    chat_model().save(tmp_path / "model")
    changes = {
        COMMAND: f"{shlex.quote(sys.executable)} -m proofcompute",
        "--port 8000": "--port 0 --device numpy --rate 50",
        "%d/identity": str(credentials / "identity"),
        "%d/api-keys": str(credentials / "api-keys"),
    }
    words = shlex.split(replaced(unit.service["ExecStart"], changes))
    words = [w.replace("/srv/proofcompute/model", str(tmp_path / "model")) for w in words]
    with started(words, CREDENTIALS_DIRECTORY=str(credentials)) as (node, url):
        check = health_check(url.rpartition(":")[2])
        assert subprocess.run(check, timeout=SOON, check=False).returncode == 0
        node.send_signal(getattr(signal, unit.service.get("KillSignal", "SIGTERM")))
        assert node.wait(SOON) == 0
    assert subprocess.run(check, timeout=SOON, stderr=subprocess.DEVNULL, check=False).returncode != 0


def health_check(port: str) -> list[str]:
    """The command of the container's HEALTHCHECK for a node at another port."""
    text = (DEPLOY / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    (found,) = re.findall(r"^HEALTHCHECK.* CMD \[(.*)\]$", text, re.MULTILINE)
    program_, *arguments = re.findall(r'"([^"]*)"', found)
    assert program_ == "python"
    return [sys.executable, *(a.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for a in arguments)]
