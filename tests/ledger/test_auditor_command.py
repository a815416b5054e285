"""The command ``auditor``, before a node that listens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client import test_public_audits as proofs
from client.doors import at_door
from client.standin import NAME, NODE, model
from ledger.test_desk import cheating
from proofcompute.cli import main
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.ledger import Ledger, NewJob
from proofcompute.ledger.restoring import check_ledger


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """An identity, a model and its key, and a file of models."""
    NodeIdentity.new().save(tmp_path / "identity")
    model().save(tmp_path / "tiny.model")
    entry = {"name": NAME, "model_id": model().model_id.hex(), "weights": "tiny.model"}
    models = {"version": 1, "models": [entry]}
    (tmp_path / "models.json").write_text(json.dumps(models))
    return tmp_path


def named(files: Path, url: str, **more: Any) -> list[str]:
    """The options that name everything, for a node at a URL."""
    node = {"name": "one", "url": url, "key": NODE.public.hex(), "models": [NAME]}
    (files / "nodes.json").write_text(json.dumps({"version": 1, "nodes": [{**node, **more}]}))
    options = {"ledger": "ledger.db", "nodes": "nodes.json", "models": "models.json", "identity": "identity"}
    return [
        "--device",
        "numpy",
        *(w for name, file in options.items() for w in (f"--{name}", str(files / file))),
    ]


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main(["auditor", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_an_auditor_works_until_its_budget_ends(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger.make(files / "ledger.db").close()
    with at_door() as door:
        options = [*named(files, door.url), "--every", "0.1", "--cells", "2", "--max-tokens", "4"]
        status, said = ran(capsys, *options, "--budget", "600tokens")
        assert (status, said["against"]) == (4, [])
        assert "tokens is used up" in said["stopped"]
        assert said["states"]["verified"] >= 1
        status, said = ran(capsys, *options, "--replay", "--until-idle")
        assert status == 0
    with Ledger(files / "ledger.db") as ledger:
        assert check_ledger(ledger).size >= 1
        (node,) = ledger.fleet.nodes()
        assert node.trust.estimate > 0.5


def test_an_auditor_needs_no_secret_where_nodes_prove(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger.make(files / "ledger.db").close()
    proofs.published().key.save(files / "public")
    entry = {"name": NAME, "model_id": model().model_id.hex(), "public": "public"}
    (files / "models.json").write_text(json.dumps({"version": 1, "models": [entry]}))
    with at_door(proofs.service()) as door:
        options = [*named(files, door.url), "--every", "0.1", "--cells", "2", "--max-tokens", "4"]
        status, said = ran(capsys, *options, "--public", "--budget", "300tokens")
        assert (status, said["against"]) == (4, [])
        assert said["states"]["verified"] >= 1
        assert "names no keys or weights" in ran(capsys, *options)[1]["error"]
        assert ran(capsys, *options, "--public", "--replay")[0] == 2
    (files / "models.json").write_text(
        json.dumps({"version": 1, "models": [{"name": NAME, "model_id": model().model_id.hex()}]})
    )
    assert "names no public keys" in ran(capsys, *options, "--public")[1]["error"]


def test_auditors_that_find_something_say_so_together(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger.make(files / "ledger.db").close()
    for name in ("a", "b"):
        assert main(["verdict", "keygen", "-o", str(files / name)]) == 0
    members = [str(files / f"{name}.member") for name in ("a", "b")]
    quorum = str(files / "quorum")
    assert main(["verdict", "policy", *members, "--threshold", "2", "-o", quorum]) == 0
    with at_door(cheating()) as door:
        options = [*named(files, door.url), "--replay", "--max-tokens", "4", "--until-idle"]
        assert ran(capsys, *options)[1]["jobs"] == 0  # the node is known now
        with Ledger(files / "ledger.db") as ledger:
            body = {"model": NAME, "count": 1}
            ledger.jobs.add(NewJob(name="first", kind="canary", node=NODE.public, body=body))
        status, said = ran(capsys, *options, "--committee", quorum, "--secret", str(files / "a"))
        assert (status, said["against"], said["jobs"]) == (1, [NODE.public.hex()], 2)
        status, said = ran(capsys, *options, "--committee", quorum, "--secret", str(files / "b"))
        assert (status, said["jobs"]) == (0, 1)
    with Ledger(files / "ledger.db") as ledger:
        assert check_ledger(ledger).quorums == 1
        assert ledger.fleet.count_nodes()["quarantined"] == 1


def test_an_auditor_ends_after_the_job_at_hand(files: Path) -> None:
    Ledger.make(files / "ledger.db").close()
    with at_door() as door:
        command = [sys.executable, "-m", "proofcompute", "auditor", *named(files, door.url), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            with Ledger(files / "ledger.db") as ledger:
                while not ledger.fleet.nodes():
                    assert process.poll() is None, process.communicate()[1]
            process.send_signal(signal.SIGTERM)
            out, error = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, error
        assert json.loads(out.splitlines()[-1])["stopped"] is None


def test_what_an_auditor_cannot_use_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = named(files, "http://127.0.0.1:1/v1")
    status, said = ran(capsys, *options)
    assert status == 2
    assert "there is no ledger" in said["error"]
    Ledger.make(files / "ledger.db").close()
    assert ran(capsys, *options, "--committee", str(files / "identity"))[0] == 2
    assert ran(capsys, *options, "--budget", "many")[0] == 2
    (files / "models.json").write_text(
        json.dumps({"version": 1, "models": [{"name": NAME, "model_id": model().model_id.hex()}]})
    )
    assert "needs them" in ran(capsys, *options)[1]["error"]


def test_numbers_that_cannot_be_given_end_the_command(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger.make(files / "ledger.db").close()
    with at_door() as door:
        port = door.url.rpartition(":")[2].partition("/")[0]
        status = main(["auditor", *named(files, door.url), "--until-idle", "--metrics-port", port])
    assert status == 2
    assert "for metrics" in capsys.readouterr().err
