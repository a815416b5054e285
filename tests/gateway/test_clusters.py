"""Verdicts about clusters that a gateway shows: which folders it takes, and what it says of them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from adversary.mutation import Edit, apply
from cli.driver import call
from gateway.live import live
from gateway.standing import gateway, honest
from networks.bundles import saved, work
from networks.test_cluster import HOUR, OTHER, OWNER, POLICY, recorded
from proofcompute.errors import EnvelopeError, EvidenceError, InputError, LimitError
from proofcompute.gateway import ClusterVerdict, Shown, app, clusters, read_clusters
from proofcompute.networks.cluster.forms import Policy, Records
from proofcompute.networks.cluster.judging import judge, wrap

LINES: dict[str, Any] = {"node": {"audits": 1, "contradictions": 0}, "cluster": {"nodes": 1}}


def verdict_in(folder: Path, name: str = "north", **policy: Any) -> int:
    """Write a verdict about one node, with its bundle. Returns when it was made."""
    folder.mkdir(exist_ok=True)
    saved(folder, "accepted")
    one = work(folder, "accepted")
    records = Records.of({**recorded(one), "cluster": name})
    asked = Policy.of({**Policy.read(POLICY.encode()).value, **LINES, **policy})
    (folder / "north.intoto.json").write_bytes(wrap(judge(asked, records, [one], one.made), OWNER).data)
    return one.made


def read(folder: Path, at: int) -> tuple[ClusterVerdict, ...]:
    return read_clusters(folder, OWNER.public, at)


def test_a_folder_of_verdicts_is_read(tmp_path: Path) -> None:
    at = verdict_in(tmp_path / "shown")
    (found,) = read(tmp_path / "shown", at)
    node = work(tmp_path / "shown", "accepted")
    said = found.describe({node.node: "hall 3"}, at)
    assert (said["name"], said["policy"], said["state"]) == ("north", "gold", "verified")
    assert said["signer"] == OWNER.public.hex()
    assert "our own" in said["interface"]
    (shown,) = said["nodes"]
    assert (shown["name"], shown["node"], shown["verified"]) == ("hall 3", node.node.hex(), True)
    audits, contradictions = shown["lines"]
    assert (audits["line"], audits["found"], audits["holds"]) == ("audits", "1", True)
    assert audits["evidence"] == [node.bundle_sha256.hex()]
    assert contradictions["evidence"] == []
    assert found.describe({}, at)["nodes"][0]["name"] is None


def test_a_cluster_that_fails_its_policy_is_shown_as_that(tmp_path: Path) -> None:
    at = verdict_in(tmp_path / "shown", node={"audits": 2})
    assert read(tmp_path / "shown", at)[0].state(at) == "not verified"


def test_a_verdict_that_is_over_is_shown_as_ended(tmp_path: Path) -> None:
    at = verdict_in(tmp_path / "shown")
    (found,) = read(tmp_path / "shown", at)
    assert found.state(at + 48 * HOUR) == "verified"
    assert found.state(at + 48 * HOUR + 1) == "ended"
    assert found.describe({}, at + 49 * HOUR)["state"] == "ended"


def _changed(folder: Path) -> int:
    at = verdict_in(folder)
    file = folder / "north.intoto.json"
    envelope = json.loads(file.read_bytes())
    text = base64.b64decode(envelope["payload"]).replace(b'"holds":true', b'"holds":null', 1)
    envelope["payload"] = base64.b64encode(text).decode()
    file.write_text(json.dumps(envelope))
    return at


def _without_evidence(folder: Path) -> int:
    at = verdict_in(folder)
    (folder / "accepted").unlink()
    return at


def _with_a_stranger(folder: Path) -> int:
    at = verdict_in(folder)
    (folder / "notes").write_text("no bundle")
    return at


def _one_of_two(folder: Path) -> int:
    at = verdict_in(folder)
    (folder / "south.intoto.json").write_bytes(b"{}")
    return at


def _empty(folder: Path) -> int:
    at = verdict_in(folder)
    (folder / "north.intoto.json").unlink()
    return at


REFUSED: dict[str, tuple[Callable[[Path], int], type[Exception]]] = {
    "changed": (_changed, EnvelopeError),
    "without its evidence": (_without_evidence, EnvelopeError),
    "a file that is no bundle": (_with_a_stranger, EvidenceError),
    "one of two": (_one_of_two, EnvelopeError),
    "over": (lambda folder: verdict_in(folder) + 48 * HOUR + 1, EnvelopeError),
    "not yet made": (lambda folder: verdict_in(folder) - 1, EnvelopeError),
    "no verdict": (_empty, InputError),
    "no folder": (lambda folder: 0, InputError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_with_one_verdict_that_does_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    make, error = REFUSED[name]
    at = make(tmp_path / "shown")
    with pytest.raises(error):
        read(tmp_path / "shown", at)


def test_a_verdict_of_another_signer_is_refused(tmp_path: Path) -> None:
    at = verdict_in(tmp_path / "shown")
    with pytest.raises(EnvelopeError):
        read_clusters(tmp_path / "shown", OTHER.public, at)


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = verdict_in(tmp_path / "shown")
    monkeypatch.setattr(clusters, "MOST_FILES", 1)
    with pytest.raises(LimitError, match="2 files"):
        read(tmp_path / "shown", at)


MUTANTS: dict[str, tuple[Edit, Callable[[Path], object]]] = {
    "the end": (
        Edit("gateway.clusters", "if now > self.cluster.until:", "if False:"),
        lambda folder: read(folder, at := verdict_in(folder))[0].state(at + 49 * HOUR) == "ended",
    ),
    "a folder without verdicts": (
        Edit("gateway.clusters", "    if not envelopes:", "    if False:"),
        lambda folder: _refuses(lambda: read(folder, _empty(folder))),
    ),
    "the number of files": (
        Edit("gateway.clusters", "if len(files) > MOST_FILES:", "if False:"),
        lambda folder: _refuses(lambda: read(folder, verdict_in(folder))),
    ),
}


def _refuses(act: Callable[[], object]) -> bool:
    try:
        act()
    except (InputError, LimitError):
        return True
    return False


@pytest.mark.parametrize("name", MUTANTS)
def test_without_one_check_of_a_folder_what_it_refuses_passes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, act = MUTANTS[name]
    if name == "the number of files":
        monkeypatch.setattr(clusters, "MOST_FILES", 1)
    assert act(tmp_path / "with")
    apply(monkeypatch, [edit])
    assert not act(tmp_path / "without")


def test_a_gateway_says_what_it_was_given(tmp_path: Path) -> None:
    at = verdict_in(tmp_path / "shown")
    for shown, names in (((), []), (read(tmp_path / "shown", at), ["north"])):
        with live(gateway({"north": honest("north")}), Shown(shown)) as standing:
            found = httpx2.get(f"{standing.url}/v1/fleet/clusters")
        assert found.status_code == 200
        assert [each["name"] for each in found.json()["clusters"]] == names


def test_the_command_takes_folder_and_signer_together(tmp_path: Path) -> None:
    for word in (("--clusters", str(tmp_path)), ("--cluster-signer", "aa" * 32)):
        found = call("gateway", "--nodes", tmp_path / "n", "--models", tmp_path / "m", *word)
        assert found.status == 2
        assert "both --clusters and --cluster-signer" in found.err


def again(folder: Path, at: int, **policy: Any) -> None:
    """Write the verdict of a folder anew, as one that is made at another time."""
    one = work(folder, "accepted")
    records = Records.of({**recorded(one), "cluster": "north"})
    asked = Policy.of({**Policy.read(POLICY.encode()).value, **LINES, **policy})
    (folder / "north.intoto.json").write_bytes(wrap(judge(asked, records, [one], at), OWNER).data)


def watched(folder: Path) -> tuple[Shown, int]:
    """What is shown of a folder, at a time an hour after its verdict was made."""
    at = verdict_in(folder)
    return Shown.of(folder, OWNER.public, lambda: at + HOUR), at


def test_newer_verdicts_take_the_place_of_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, at = watched(folder := tmp_path / "shown")
    judged = []

    def counted(*args: Any) -> tuple[ClusterVerdict, ...]:
        judged.append(args)
        return read_clusters(*args)

    monkeypatch.setattr(clusters, "read_clusters", counted)
    assert not shown.look()
    assert judged == []
    again(folder, at + 1000, node={"audits": 2})
    assert shown.look()
    assert [each.state(at + HOUR) for each in shown.verdicts] == ["not verified"]
    assert not shown.look()
    assert len(judged) == 1
    assert not Shown().look()


BROKEN: dict[str, Callable[[Path, int], object]] = {
    "a verdict that is none": lambda f, at: (f / "south.intoto.json").write_bytes(b"{}"),
    "a verdict without its bundle": lambda f, at: (f / "accepted").unlink(),
    "another signer": lambda f, at: (f / "north.intoto.json").write_bytes(
        wrap(read(f, at + HOUR)[0].cluster, OTHER).data
    ),
    "an older verdict": lambda f, at: again(f, at, cluster={"nodes": 1}),
    "of the future": lambda f, at: again(f, at + 2 * HOUR),
    "no verdict": lambda f, at: (f / "north.intoto.json").unlink(),
    "no folder": lambda f, at: f.rename(f.with_name("elsewhere")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_hold_leaves_what_is_shown(tmp_path: Path, name: str) -> None:
    shown, at = watched(folder := tmp_path / "shown")
    again(folder, at + 1000)
    assert shown.look()
    last = shown.verdicts
    BROKEN[name](folder, at)
    assert shown.look()
    assert (shown.refused, shown.verdicts) == (True, last)
    assert not shown.look()
    if not folder.exists():
        folder.with_name("elsewhere").rename(folder)
    for each in folder.glob("*.intoto.json"):
        each.unlink()
    saved(folder, "accepted")
    again(folder, at + 2000)
    assert shown.look()
    assert not shown.refused
    assert shown.verdicts[0].cluster.at == at + 2000


def test_what_changes_while_it_is_read_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it holds or not."""
    shown, at = watched(folder := tmp_path / "shown")
    last = shown.verdicts

    def meanwhile(*args: Any) -> tuple[ClusterVerdict, ...]:
        try:
            return read_clusters(*args)
        finally:
            again(folder, at + 2000)

    for data in (None, b"{"):
        again(folder, at + 1000)
        if data is not None:
            (folder / "north.intoto.json").write_bytes(data)
        monkeypatch.setattr(clusters, "read_clusters", meanwhile)
        assert not shown.look()
        assert (shown.refused, shown.verdicts) == (False, last)
    monkeypatch.setattr(clusters, "read_clusters", read_clusters)
    assert shown.look()
    assert shown.verdicts[0].cluster.at == at + 2000


LOOKS: dict[str, tuple[Edit, Callable[[Path, int], object]]] = {
    "an older verdict": (
        Edit("gateway.clusters", "            self._check_newer(found)\n", "            pass\n"),
        BROKEN["an older verdict"],
    ),
    "whether something changed": (
        Edit("gateway.clusters", "        if before == self._judged:", "        if True:"),
        BROKEN["a verdict that is none"],
    ),
}


@pytest.mark.parametrize("name", LOOKS)
def test_without_one_check_of_a_look_it_goes_unsaid(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, spoil = LOOKS[name]
    for without in (False, True):
        shown, at = watched(folder := tmp_path / str(without))
        again(folder, at + 1000)
        assert shown.look()
        spoil(folder, at)
        if without:
            apply(monkeypatch, [edit])
        shown.look()
        assert shown.refused is not without


def test_a_gateway_shows_what_is_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LOOK_SECONDS", 0.02)
    shown, at = watched(folder := tmp_path / "shown")
    with live(gateway({"north": honest("north")}), shown) as standing:

        def until(holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
            for _ in range(3000):
                said: dict[str, Any] = httpx2.get(f"{standing.url}/v1/fleet/clusters").json()
                if holds(said):
                    return said
                time.sleep(0.02)
            raise AssertionError("nothing newer is shown")

        assert until(lambda s: True)["refused"] is False
        again(folder, at + 1000, node={"audits": 2})
        until(lambda s: not s["clusters"][0]["nodes"][0]["verified"])
        (folder / "south.intoto.json").write_bytes(b"{}")
        said = until(lambda s: bool(s["refused"]))
        assert [each["name"] for each in said["clusters"]] == ["north"]
