"""The whole session on files for models that are no language models: convolutions, recurrence, trees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cli.driver import call, done, refused
from cli.networks import Network, network
from proofcompute.protocol.messages import Receipt, Request
from proofcompute.prover import RunDirectory


@dataclass(frozen=True)
class Session:
    """Files of one audit of every cell."""

    network: Network
    home: Path
    model: Path
    key: Path
    request: Path
    run: Path

    @property
    def receipt(self) -> Path:
        return self.run / "receipt"


@pytest.fixture(scope="module", params=["cnn", "lstm", "trees"])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A request of five rows, answered."""
    found, home = network(request.param), tmp_path_factory.mktemp(request.param)
    s = Session(found, home, home / "model", home / "key", home / "request", home / "run")
    found.model.save(s.model)
    np.save(home / "rows.npy", found.rows)
    done("keygen", s.model, "-o", s.key)
    done("identity", "-o", home / "identity")
    done("card", s.model, "-o", home / "card")
    made = done("request", home / "card", "--input", home / "rows.npy", "-o", s.request)
    assert made["rows"] == 5
    asked = Request.decode(s.request.read_bytes())
    assert (asked.digest.hex(), asked.generation) == (made["digest"], None)
    answer = done(
        "run", s.model, s.request, "-o", s.run, "--identity", home / "identity", "--outputs", home / "out.npy"
    )
    assert answer["rows"] == 5
    (shape,) = answer["outputs"].values()
    assert shape == {"dtype": "float32", "shape": list(found.expected.shape)}
    return s


def audited(s: Session, holds: Path, tmp_path: Path, run: Path | None = None) -> tuple[Path, Path]:
    """Challenge and opening of all cells, for a verifier that holds a key or the model."""
    run, challenge, opening = run or s.run, tmp_path / "challenge", tmp_path / "opening"
    done("challenge", holds, run / "receipt", "--request", s.request, "--all", "-o", challenge)
    done("open", run, challenge, "-o", opening)
    return challenge, opening


def test_the_answer_is_that_of_the_network(session: Session) -> None:
    out = np.load(session.home / "out.npy")
    np.testing.assert_allclose(out, session.network.expected, atol=1e-2)
    ((_, data),) = Receipt.decode(session.receipt.read_bytes()).outputs
    assert out.astype("<f4").tobytes() == data


@pytest.mark.parametrize("holds", ["key", "model"])
def test_a_full_audit_holds(session: Session, tmp_path: Path, holds: str) -> None:
    path = getattr(session, holds)
    challenge, opening = audited(session, path, tmp_path)
    words = ("verify", path, session.receipt, challenge, opening, "--request", session.request)
    found = done(*words, "--outputs", tmp_path / "out.json")
    assert (found["verified"], found["complete"], found["rows"]) == (True, True, 5)
    assert (found["answer"], found["text"]) == (None, "")
    ((name, values),) = json.loads((tmp_path / "out.json").read_text()).items()
    assert np.array_equal(np.array(values, np.float32), np.load(session.home / "out.npy"))
    text = call(*words).out
    assert f"output {name}" in text
    assert "float32 [5" in text


def test_a_few_cells_hold(session: Session, tmp_path: Path) -> None:
    challenge, opening = tmp_path / "challenge", tmp_path / "opening"
    request = ("--request", session.request)
    drawn = done("challenge", session.key, session.receipt, *request, "--cells", 3, "-o", challenge)
    assert drawn["cells"] == 3
    assert drawn["total_cells"] == 5 * len(session.network.model.program.segments)
    done("open", session.run, challenge, "-o", opening)
    found = done("verify", session.key, session.receipt, challenge, opening, *request)
    assert (found["cells"], found["complete"]) == (3, False)


def test_other_ways_to_check(session: Session, tmp_path: Path) -> None:
    """Replay, and a public proof, which take the model and no secret."""
    request = ("--request", session.request)
    assert done("replay", session.model, session.receipt, *request)["verified"]
    proof = tmp_path / "proof"
    done("open", session.run, "--public", 4, "-o", proof)
    found = done("verify-public", session.model, session.receipt, proof, "--cells", 4, *request)
    assert found["verified"]
    assert "grinding_bits" in found


def test_many_audits_at_once(session: Session, tmp_path: Path) -> None:
    """Two honest nodes and one that cheats, under one key."""
    cheat = tmp_path / "cheat"
    session.network.cheat.save(cheat)
    for name, model in (("first", session.model), ("second", session.model), ("third", cheat)):
        run = tmp_path / name
        done("run", model, session.request, "-o", run)
        words = (run / "receipt", "--request", session.request, "--all", "-o", run / "challenge")
        done("challenge", session.key, *words)
        done("open", run, run / "challenge", "-o", run / "opening")
    result = call("verify-many", session.key, *(tmp_path / n for n in ("first", "second", "third")), "--json")
    assert result.status == 1
    assert result.json == {"verified": 2, "rejected": 1, "unusable": 0}


def test_an_answer_without_a_commitment(session: Session, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out.json"
    found = done("run", session.model, session.request, "-o", run, "--no-commit", "--outputs", out)
    assert (found["receipt"], found["rows"]) == (None, 5)
    shown = done("inspect", run)
    assert shown["state"] == "interrupted, or not committed"
    assert "tokens" not in shown
    again = done("run", session.model, session.request, "-o", run)
    assert again["outputs"] == found["outputs"]
    assert done("inspect", run)["rows"] == 5


def test_a_trace_that_was_removed_is_computed_again(session: Session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done("run", session.model, session.request, "-o", run)
    before = audited(session, session.key, tmp_path, run)[1].read_bytes()
    (run / "trace").unlink()
    done("open", run, tmp_path / "challenge", "-o", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == before
    assert RunDirectory(run).receipt().rows == 5


def test_a_cheat_that_commits_to_what_it_computed_is_caught(session: Session, tmp_path: Path) -> None:
    """With a key, with the model and by replay; and evidence of it convinces others."""
    cheat, run = tmp_path / "cheat", tmp_path / "run"
    session.network.cheat.save(cheat)
    done("run", cheat, session.request, "-o", run)
    honest = Receipt.decode(session.receipt.read_bytes())
    assert Receipt.decode((run / "receipt").read_bytes()).trace_root != honest.trace_root
    request = ("--request", session.request)
    challenge, opening = audited(session, session.key, tmp_path, run)
    bundle = tmp_path / "bundle"
    result = call(
        *("verify", session.key, run / "receipt", challenge, opening, *request, "--waited", 1),
        *("--evidence", bundle, "--identity", session.home / "identity", "--json"),
    )
    assert result.status == 1
    assert (result.json["verified"], result.json["step"]) == (False, session.network.step)
    assert result.json["attributable"]
    assert call("replay", session.model, run / "receipt", *request).status == 1
    judged = call("verify-evidence", bundle, "--model", session.model, "--json")
    assert (judged.status, judged.json["finding"]) == (0, "contradicted")
    for path in (challenge, opening):
        path.unlink()
    challenge, opening = audited(session, session.model, tmp_path, run)
    assert call("verify", session.model, run / "receipt", challenge, opening, *request).status == 1


def test_an_answer_that_was_edited_is_caught(session: Session, tmp_path: Path) -> None:
    """Somebody who changes an output in transit breaks the signature."""
    data = bytearray(session.receipt.read_bytes())
    ((_, output),) = Receipt.decode(bytes(data)).outputs
    data[data.index(output)] ^= 1
    edited = tmp_path / "receipt"
    edited.write_bytes(data)
    result = call("replay", session.model, edited, "--request", session.request, "--json")
    assert (result.status, result.json["step"]) == (1, 2)


def test_inspect_says_what_the_model_takes_and_what_audits_cost(session: Session) -> None:
    program = session.network.model.program
    ((name, spec),), (output,) = program.inputs, program.outputs
    shown = [done("inspect", path) for path in (session.model, session.key, session.home / "card")]
    for found in shown:
        assert found["inputs"] == {name: {"dtype": "f32", "shape": list(spec.shape)}}
        assert found["outputs"] == {output: {"dtype": "f32", "shape": list(program.specs[output].shape)}}
        assert (found["segments"], found["context"]) == (len(program.segments), program.context)
        assert found["prices"] == shown[0]["prices"]
    priced = shown[0]["prices"]
    assert priced["rows"] == 1
    assert [s["name"] for s in priced["segments"]] == [s.name for s in program.segments]
    assert priced["weights"]["nbytes"] <= priced["key"]["nbytes"]
    assert priced["cheaper"] == ("weights" if any(plan.sites for plan in program.plans) else None)
    text = call("inspect", session.model).out
    assert f"{name}: f32 {list(spec.shape)} a row" in text
    assert "full audit with a key" in text
    assert f"cell of segment {len(program.segments) - 1}" in text
    assert ("the same either way" in text) == (priced["cheaper"] is None)


def test_run_takes_inputs_too(session: Session, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = done("run", session.model, "--input", session.home / "rows.npy", "-o", run)
    assert found["rows"] == 5
    asked = Request.decode((run / "request").read_bytes())
    assert asked.inputs == Request.decode(session.request.read_bytes()).inputs
    assert "to continue it" in refused("run", session.model, "--input", session.home / "rows.npy", "-o", run)


def test_nobody_asks_such_a_model_over_http(session: Session, tmp_path: Path) -> None:
    """The commands say so before they look for a node."""
    nowhere = "http://127.0.0.1:1"
    for option, path in (
        ("--card", session.home / "card"),
        ("--key", session.key),
        ("--model", session.model),
    ):
        assert "takes arrays" in refused("ask", nowhere, "Hello", option, path)
        assert "takes arrays" in refused("audit", nowhere, option, path)
    served = call("serve", session.model, "--identity", session.home / "identity", "--port", 0)
    assert (served.status, "takes arrays" in served.err) == (2, True)
