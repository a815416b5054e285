"""The files of a fleet fit together: services and command lines, alerts, the dashboard, and the runbook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client import CollectorRegistry

from deploy.promql import PromqlError, labels_of
from deploy.tools import DEPLOY
from proofcompute.cli.app import COMMANDS, app
from proofcompute.serving.metrics import Metrics

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (extra gateway)")
FLEET = DEPLOY / "fleet"
ROOT = DEPLOY.parents[1]
PORTS = {"gateway": 8080, "node-a": 8000, "node-b": 8000, "auditor": 9400}


def read(name: str) -> Any:
    return yaml.safe_load((FLEET / name).read_text("utf-8"))


@cache
def services() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = read("compose.yaml")["services"]
    return found


# -- services ----------------------------------------------------------------------------------------------
def words(service: Mapping[str, Any]) -> list[str]:
    """The command line of a service; the image's own begins with ``proofcompute serve``."""
    inside = re.search(r"ENTRYPOINT (\[.*\])", (DEPLOY / "Containerfile").read_text("utf-8"))
    assert inside is not None
    entry = service.get("entrypoint") or json.loads(inside[1])
    unset = re.compile(r"\$\{\w+:-([^}]*)\}")
    return [*entry, *(unset.sub(r"\1", word) for word in service.get("command", []))]


OURS = [
    name for name, service in services().items() if service["image"] == "proofcompute" and name != "image"
]


@pytest.mark.parametrize("name", OURS)
def test_each_command_line_is_one(name: str) -> None:
    program, command, *rest = words(services()[name])
    assert program == "proofcompute"
    found: Any = typer.main.get_command(app([command]))
    found = found.commands[command]
    if hasattr(found, "commands"):
        found, rest = found.commands[rest[0]], rest[1:]
    options = {o for p in found.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given <= options
    needed = {p.opts[0] for p in found.params if p.required and p.param_type_name == "option"}
    assert needed <= given
    context = typer.Context(found, info_name=command)
    found.parse_args(context, list(rest))  # the types of values too


def test_every_command_is_known() -> None:
    assert {words(services()[name])[1] for name in OURS} == {"serve", "gateway", "auditor", "ledger"}
    assert {"serve", "gateway", "auditor", "ledger"} <= set(COMMANDS)


def test_what_services_name_is_there() -> None:
    compose = read("compose.yaml")
    for name, service in services().items():
        assert set(service.get("depends_on", ())) <= set(services()), name
        assert set(service.get("networks", ())) <= set(compose["networks"]), name
        for secret in service.get("secrets", ()):
            assert (secret if isinstance(secret, str) else secret["source"]) in compose["secrets"], name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0] if not volume.startswith("${") else ""
            if source.startswith("./"):
                assert (FLEET / source).exists(), volume
            elif source:
                assert source in compose["volumes"], volume


def test_nothing_is_reachable_or_privileged_beyond_need() -> None:
    for name, service in services().items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert "privileged" not in service, name
        if name == "image":
            continue  # it runs nothing
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service["image"] == "proofcompute":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
    networks = read("compose.yaml")["networks"]
    assert [name for name, options in networks.items() if not options.get("internal")] == ["front"]
    assert {name for name, s in services().items() if "ledger" in s.get("networks", ())} == {
        "database",
        "ledger",
        "gateway",
        "auditor",
    }
    assert "front" not in services()["node-a"]["networks"]


def test_prometheus_asks_the_services() -> None:
    found = {}
    for job in read("prometheus.yml")["scrape_configs"]:
        for target in (t for config in job["static_configs"] for t in config["targets"]):
            host, _, port = target.partition(":")
            found[host] = int(port)
            assert "numbers" in services()[host]["networks"]
    assert found == PORTS


# -- expressions -------------------------------------------------------------------------------------------
def exported(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    """The names of the series of a registry, with the labels that a scraped series has."""
    for collector in set(registry._collector_to_names):
        labels = frozenset({"job", "instance", *getattr(collector, "_labelnames", ())})
        for family in collector.collect():
            ends = {"counter": ["_total", "_created"], "gauge": [""], "histogram": ["_sum", "_count"]}
            for end in ends[family.type]:
                yield family.name + end, labels
            if family.type == "histogram":
                yield f"{family.name}_bucket", labels | {"le"}


@cache
def series() -> Mapping[str, frozenset[str]]:
    """The labels of all series that Prometheus has of a fleet, by name."""
    pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed (extra gateway)")
    from proofcompute.auditing.metrics import AuditorMetrics
    from proofcompute.gateway.gateway import Numbers

    up = {"up": frozenset({"job", "instance"})}
    registries = [Metrics().registry, Numbers().registry, AuditorMetrics().registry]
    return up | {name: labels for registry in registries for name, labels in exported(registry)}


def rules() -> list[dict[str, Any]]:
    return [rule for group in read("alerts.yml")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_is_about_what_services_export(rule: dict[str, Any]) -> None:
    labels = labels_of(rule["expr"], series())
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}


def test_alerts_have_names_of_their_own() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    runbook = (ROOT / "docs/guides/runbook.md").read_text("utf-8")
    for heading in (
        "A node was contradicted",
        "An opening is late",
        "A key leaked",
        "A numerics version is retired",
    ):
        assert f"## {heading}\n" in runbook


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FLEET / "grafana/fleet.json").read_text("utf-8"))["panels"]
    return found


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_shows_what_services_export(panel: dict[str, Any]) -> None:
    assert panel["datasource"]["uid"] == read("grafana/datasources.yml")["datasources"][0]["uid"]
    assert panel["targets"]
    for target in panel["targets"]:
        labels = labels_of(target["expr"], series())
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("proofcompute_nothing_total", "no service exports"),
        ('proofcompute_gateway_audits_total{color="red"}', "no label color"),
        ("sum by (color) (up)", "groups by"),
        ("rate(up)", "rate of"),
        ("up[5m]", "gives a range"),
        ("sum by (job) (up", "ends where"),
        ("up) > 1", "goes on"),
        ("up + proofcompute_queued", "never matches"),
        ("histogram_quantile(0.5, up)", "histogram_quantile of"),
        ("up > 1 ; up", "cannot read"),
    ],
)
def test_the_check_of_expressions_can_fail(text: str, why: str) -> None:
    with pytest.raises(PromqlError, match=why):
        labels_of(text, series())


def test_prometheus_own_linter_agrees(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(FLEET / name, tmp_path)
    subprocess.run([promtool, "check", "config", str(tmp_path / "prometheus.yml")], check=True)
