"""The command ``ask`` against a real service: what it shows, what it checks, and what it says it did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import proofcompute as pc
from proofcompute.cli import main
from serving.running import Running, chat_model
from synthetic import NODE


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["ask", *map(str, words), "--max-tokens", "6", "--temperature", "0", "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]), err


@pytest.mark.parametrize(
    ("pin", "level"),
    [
        ((), "advertised"),
        (("--card", "card"), "receipted (nonce by client)"),
        (("--key", "key", "--cells", 0), "receipted (nonce by client)"),
        (("--key", "key", "--cells", 3), "sampled"),
        (("--key", "key", "--runs", "2x4"), "sampled"),
        (("--model", "model", "--all"), "fully audited"),
    ],
)
def test_each_level_of_assurance_is_named(
    pin: tuple[object, ...], level: str, node: Running, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [files / str(w) if w in ("card", "key", "model") else w for w in pin]
    status, found, _ = asked(capsys, node.url, "hello", *words)
    assert (status, found["assurance"]) == (0, level)
    assert found["node"] == NODE.public.hex()
    assert found["model_id"] == chat_model().model_id.hex()
    assert (found["cells"] > 0) == (level in ("sampled", "fully audited"))
    assert found["answer"]


def test_a_policy_draws_what_is_checked(
    node: Running, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often, never = tmp_path / "often", tmp_path / "never"
    pc.AuditPolicy(0, 1, pc.Sample(2, 4)).save(often)
    pc.AuditPolicy(1e-12).save(never)
    words = (node.url, "hello", "--key", files / "key")
    status, found, _ = asked(capsys, *words, "--policy", often)
    assert (status, found["assurance"]) == (0, "sampled")
    assert 0 < found["cells"] < found["total_cells"]
    status, found, _ = asked(capsys, *words, "--policy", never)
    assert (status, found["assurance"], found["cells"]) == (0, "receipted (nonce by client)", 0)
    assert "the policy drew nothing" in found["not_checked"]
    for also in (("--all",), ("--cells", 2), ("--runs", "2x4")):
        assert asked(capsys, *words, "--policy", often, *also)[0] == 2
    assert asked(capsys, *words, "--policy", files / "card")[0] == 2


def test_people_read_the_answer_and_what_was_not_checked(
    node: Running, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", node.url, "hello", "--card", str(files / "card"), "--max-tokens", "6"]) == 0
    out = capsys.readouterr().out
    assert "assurance" in out
    assert "the computation: give --key or --model" in out


def test_an_answer_of_another_model_is_contradicted(
    node: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "card"
    other.write_bytes(chat_model(1).card.encode())
    status, found, err = asked(capsys, node.url, "hello", "--card", other)
    assert (status, found["assurance"], found["verified"]) == (1, "contradicted", False)
    assert "REJECTED" in err


def test_another_node_than_the_pinned_one_is_contradicted(
    node: Running, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pc.NodeIdentity.new().public.hex()
    status, found, _ = asked(capsys, node.url, "hello", "--card", files / "card", "--node", other)
    assert (status, found["step"]) == (1, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ftp://x", "hello"), "no address of a node"),
        (("http://127.0.0.1:9", "hello"), "does not answer"),
        (("URL", " "), "the question is empty"),
        (("URL", "hello", "--name", "nobody"), "status 404"),
        (("URL", "hello", "--card", "card", "--key", "key"), "give one file or id that pins the model"),
        (("URL", "hello", "--model-id", "12"), "bytes where 32 are needed"),
        (("URL", "hello", "--key", "card"), "key"),
    ],
)
def test_what_cannot_be_asked(
    words: tuple[str, ...], said: str, node: Running, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"URL": node.url, "card": str(files / "card"), "key": str(files / "key")}
    status, found, _ = asked(capsys, *(given.get(w, w) for w in words))
    assert status == 2
    assert said in found["error"]
