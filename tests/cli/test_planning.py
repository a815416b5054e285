"""The commands ``policy`` and ``plan``: what they say, write and refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.driver import Files, call, done, refused
from proofcompute.cli import planning_commands
from proofcompute.planning import DOCUMENTED, Figures, Rate
from proofcompute.protocol.samples import Sample
from proofcompute.verifier.policy import AuditPolicy

LENGTHS = ("--lengths", "12+30")


def test_several_policies_are_compared(files: Files) -> None:
    found = done("policy", files.model, *LENGTHS)
    assert len(found["policies"]) > 4
    for one in found["policies"]:
        assert one["dollars"] > 0
        assert 0 < one["finds"]["one cell"] <= one["finds"]["one layer"] <= 1
        assert one["bytes"] > 0
    text = call("policy", files.key, *LENGTHS).out  # a key or a card tells as much as the model
    assert "left of the saving" in text
    assert "documented" in text


def test_a_policy_is_written_and_read(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "policy"
    words = ("--whole", 0.02, "--runs", "2x8", "--cells", 3)
    found = done("policy", files.model, *LENGTHS, *words, "-o", path)
    assert AuditPolicy.load(path) == AuditPolicy(0.02, 0.98, Sample(2, 8, 3))
    again = done("policy", files.model, *LENGTHS, "--policy", path)
    assert again["policies"] == found["policies"]
    assert "exists" in refused("policy", files.model, "--whole", 1, "-o", path)
    assert "which policy" in refused("policy", files.model, "-o", tmp_path / "other")
    assert "--sampled" in refused("policy", files.model, "--sampled", 0.5)
    assert "without" in refused("policy", files.model, "--policy", path, "--whole", 1)
    assert "add up" in refused("policy", files.model, "--whole", 0.5, "--runs", "2x8", "--sampled", 0.6)
    assert "more than" in refused("policy", files.model, "--lengths", "1048576+2", "--whole", 1)
    assert "context" in refused("policy", files.model, "--lengths", "9000+2", "--whole", 1)


def test_a_plan_holds_what_it_promises(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "policy"
    cheats = ("--cheat", "copy=50%", "--cheat", "layer=0.0001", "--cheat", "share:5%=0.0002")
    words = (*LENGTHS, "--stake", 0.001, *cheats, "--trials", 300)
    found = done("plan", files.model, *words, "-o", path)
    policy = AuditPolicy.load(path)
    assert (found["plan"]["whole"], found["plan"]["sampled"]) == (policy.whole, policy.sampled)
    for cheat in found["cheats"]:
        assert cheat["found"] >= cheat["needed"] * 0.999
        assert cheat["agrees"]
        low, high = cheat["interval"]
        assert low <= cheat["expected"] <= high
        assert cheat["profit"] < 0
        assert cheat["profit_of_answers"] < 0
    assert all(o["dollars"] >= found["plan"]["dollars"] / 1.021 for o in found["others"])
    assert done("plan", files.model, *words)["plan"] == found["plan"]  # the same again
    text = call("plan", files.model, *words).out
    assert "simulated" in text
    assert "needed" in text


def test_a_simulation_that_disagrees_is_told(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("plan", files.model, *LENGTHS, "--stake", 0.001, "--cheat", "copy=50%", "--trials", 50)
    assert "disagree" not in call(*words).err
    monkeypatch.setattr(Rate, "interval", property(lambda rate: (0.0, 0.0)))
    assert "disagree about a copy" in call(*words).err


def test_without_a_way_the_status_says_so(files: Files) -> None:
    words = ("plan", files.model, *LENGTHS, "--trials", 1)
    hopeless = call(*words, "--stake", 0, "--cheat", "cell=5")
    assert hopeless.status == planning_commands.NO_POLICY
    assert "larger stake" in hopeless.err
    dear = call(*words, "--stake", 0.001, "--cheat", "cell=0.0001", "--budget", 0, "--json")
    assert dear.status == planning_commands.NO_POLICY
    assert "more than the budget" in dear.err
    assert dear.json["plan"] is None
    for cheat in ("cell", "cell=", "cell=x", "cell=-1", "=1", "token=1", "cell=inf", "cell=nan"):
        assert refused(*words, "--stake", 1, "--cheat", cheat)
    assert "--stake" in refused(*words)
    assert "nothing is saved" in refused(*words, "--stake", 1, "--node-hour", 8)


def test_measured_figures_are_kept_and_used(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "figures"
    words = ("plan", files.model, "--lengths", "8+4", "--stake", 1, "--trials", 10)
    found = done(*words, "--measure", path, "--rounds", 1, "--device", "numpy")
    assert "measured" in found["figures"]
    kept = Figures.load(path)
    assert kept.machine["backend"] == "numpy"
    assert done(*words, "--figures", path)["figures"] == kept.source
    assert done("policy", files.model, "--lengths", "8+4", "--figures", path)["figures"] == kept.source
    assert "the model file" in refused("plan", files.key, *words[2:], "--measure", tmp_path / "x")
    assert "not both" in refused(*words, "--measure", tmp_path / "x", "--figures", path)
    assert "figures" in refused(*words, "--figures", files.request)
    DOCUMENTED.save(tmp_path / "documented")
    again = done(*words, "--figures", tmp_path / "documented")
    assert again["plan"] == done(*words)["plan"]


def test_a_plot_is_the_same_every_time(files: Files, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    words = ("plan", files.model, *LENGTHS, "--stake", 0.001, "--trials", 10)
    for name in ("a.svg", "b.svg", "a.png"):
        done(*words, "--plot", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert ".svg" in refused(*words, "--plot", tmp_path / "a.txt")


def test_without_matplotlib_a_plot_is_refused_before_anything_is_done(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    words = ("plan", files.model, *LENGTHS, "--stake", 0.001, "--plot", tmp_path / "a.svg")
    assert "proofcompute[plot]" in refused(*words)


def test_networks_are_compared(files: Files, tmp_path: Path) -> None:
    command = ("network", "economics", files.key, *LENGTHS)
    found = done(*command, "--stake", 0.001)
    (row,) = found["rows"]
    assert (row["network"]["hour"], row["cloud"]["hour"]) == (2.56, 7.90)
    assert (row["network"]["source"], row["cloud"]["source"]) == ("documented", "documented")
    assert found["figures"].startswith("documented")
    planned = done("plan", files.key, *LENGTHS, "--stake", 0.001, "--trials", 10)["plan"]
    assert row["left"] == pytest.approx(planned["left"])
    prices, expected = row["dollars_per_million_rows"], planned["dollars_per_million_rows"]
    assert prices["cloud"] == pytest.approx(expected["elsewhere"])
    assert prices["verified"] == pytest.approx(expected["node"] + expected["verification"])
    assert len(found["sensitivity"]) == 5
    policy, plot = tmp_path / "policy", tmp_path / "plot.svg"
    AuditPolicy(0.02).save(policy)
    offers = ("--network", "akash=1.95", "--network", "other=2.2", "--cloud", "big=6", "--cloud", "small=3")
    words = (*command, "--policy", policy, *offers, "--redundancy", 2, "--plot", plot)
    found = done(*words)
    assert [(row["network"]["name"], row["cloud"]["name"]) for row in found["rows"]] == [
        ("akash", "big"),
        ("akash", "small"),
        ("other", "big"),
        ("other", "small"),
    ]
    assert {row["network"]["source"] for row in found["rows"]} == {"given"}
    assert plot.read_bytes().startswith(b"<?xml")
    text = call(*command, "--policy", policy, "--redundancy", 2).out
    assert "left of the saving" in text
    assert "2 nodes would take" in text
    hopeless = call(*command, "--stake", 0, "--cheat", "cell=5", "--json")
    assert hopeless.status == planning_commands.NO_POLICY
    assert hopeless.json["rows"][0]["left"] is None
    assert hopeless.json["rows"][0]["dollars_per_million_rows"]["verified"] is None
    for more, because in [
        ((), "how much"),
        (("--stake", 1, "--policy", policy), "how much"),
        (("--stake", 1, "--network", "akash"), "NAME=DOLLARS"),
        (("--stake", 1, "--network", "=2"), "a name"),
        (("--stake", 1, "--network", "a=2", "--network", "a=3"), "of its own"),
        (("--stake", 1, "--network", "a=9"), "nothing is saved"),
    ]:
        assert because in refused(*command, *more)
