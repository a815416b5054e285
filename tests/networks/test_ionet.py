"""io.net: deployment files that its own SDK reads as they are meant, and refuses when they are changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.driver import done, refused
from proofcompute.errors import InputError
from proofcompute.networks.ionet.deployment import Deployment, describe, gateway_nodes
from proofcompute.networks.structured import read_yaml, write_yaml

WANTED = Deployment(
    name="north-nodes",
    image="registry.example.org:5000/node/proofcompute:1.2",
    hardware="H100",
    gpus=8,
    hours=24,
    replicas=3,
    arguments=("/state/model", "--name", "$HOME ${PATH} off"),
    environment={"MODE": "on", "PRICE": "$5"},
    secrets=("NODE_API_KEY",),
    location="us-1",
)
SECRET = {"NODE_API_KEY": "k-123"}


def theirs(path: Path, env: dict[str, str]) -> Any:
    """The request that io.net's SDK makes of a file. Raises its errors."""
    reader = pytest.importorskip("iocloud.cli._yaml")
    types = pytest.importorskip("iocloud.types")
    building = pytest.importorskip("iocloud.resources.deployments")
    spec = reader.load_file(path, env=env)
    fields = spec.to_kwargs()
    gpu = types.parse_gpu(fields.pop("gpu"))
    more = {"payment_source": "credits", "on_incomplete_booking": "full_refund", "resource_id": None}
    return building._build_deploy_request(gpu.name, gpu.count or 8, **fields, **more).to_payload()


def written(path: Path, value: dict[str, Any]) -> Path:
    path.write_bytes(write_yaml(value))
    return path


def test_their_sdk_makes_the_request_that_is_meant(tmp_path: Path) -> None:
    made = describe(WANTED)
    assert made.interface == "theirs"
    assert b"k-123" not in made.data
    path = tmp_path / "deployment"
    path.write_bytes(made.data)
    asked = theirs(path, SECRET)
    assert asked["resource_private_name"] == "north-nodes"
    assert (asked["hardware_id"], asked["gpus_per_container"], asked["duration_hours"]) == ("H100", 8, 24)
    assert asked["registry_config"] == {"image_url": WANTED.image}
    assert asked["location_ids"] == ["us-1"]
    container = asked["container_config"]
    assert (container["replica_count"], container["traffic_port"]) == (3, 8000)
    assert container["args"] == list(WANTED.arguments)
    assert container["env_variables"] == {"MODE": "on", "PRICE": "$5"}
    assert container["secret_env_variables"] == SECRET
    plain = Deployment(name="n", image="node@sha256:" + "a" * 64, hardware="RTX 4090", hours=1, node_pool="p")
    path.write_bytes(describe(plain).data)
    asked = theirs(path, {})
    assert (asked["hardware_id"], asked["node_pool_id"]) == ("RTX 4090", "p")


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda v: v.update(apiVersion="ionet.io/v2"),
    "another kind": lambda v: v.update(kind="Node"),
    "a field more": lambda v: v["spec"].update(imagee="x"),
    "no image": lambda v: v["spec"].pop("image"),
    "no name": lambda v: v["metadata"].clear(),
    "no hours": lambda v: v["spec"].update(hours="some"),
    "no number of GPUs": lambda v: v["spec"].update(gpu="H100:some"),
    "an unknown variable": lambda v: v["spec"]["env"].update(A="${NOWHERE}"),
    "two places": lambda v: v["spec"].update(node_pool="p"),
    "words that are no list": lambda v: v["spec"].update(args="word"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_their_sdk_refuses_what_is_changed(tmp_path: Path, name: str) -> None:
    value = read_yaml(describe(WANTED).data)
    CHANGES[name](value)
    with pytest.raises(ValueError):  # noqa: PT011 - several errors of theirs
        theirs(written(tmp_path / "changed", value), SECRET)


def test_deployments_that_nobody_could_make() -> None:
    usual: dict[str, Any] = {"name": "n", "image": "node:1", "hardware": "H100", "hours": 1}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": "Node"}, "no name"),
        ({"name": "-n"}, "no name"),
        ({"image": "node"}, "tag or digest"),
        ({"hardware": "H100:8"}, "name alone"),
        ({"hours": 0}, "hours"),
        ({"gpus": 0}, "gpus"),
        ({"replicas": 0}, "replicas"),
        ({"environment": {"A-B": "x"}}, "variable"),
        ({"secrets": ("1A",)}, "variable"),
        ({"environment": {"A": "x"}, "secrets": ("A",)}, "secret or not"),
        ({"location": "x", "node_pool": "y"}, "not both"),
    ]
    for fields, because in wrong:
        with pytest.raises(InputError, match=because):
            Deployment(**{**usual, **fields})


NODES = [("https://one.example.org/v1", "ab" * 32), ("https://two.example.org/v1", "cd" * 32)]


def test_the_gateway_reads_the_list_of_nodes(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from proofcompute.gateway.federation import read_nodes

    path = tmp_path / "nodes.yaml"
    made = gateway_nodes(NODES, "smollm", 0.25, "NODE_API_KEY")
    assert made.interface == "ours"
    path.write_bytes(made.data)
    found = read_nodes(path).nodes
    assert [(node.url, node.key, node.price, node.api_key_env) for node in found] == [
        (*node, 0.25, "NODE_API_KEY") for node in NODES
    ]
    wrong: list[tuple[tuple[Any, ...], str]] = [
        (([], "m", 0.0), "one or more"),
        (([NODES[0], NODES[0]], "m", 0.0), "each once"),
        (([NODES[0], (NODES[0][0], "cd" * 32)], "m", 0.0), "each once"),
        ((NODES, "a model", 0.0), "name of a model"),
        ((NODES, "m", -1.0), "price"),
        ((NODES, "m", 0.0, "key"), "capitals"),
        (([("ftp://x", "ab" * 32)], "m", 0.0), "http"),
        (([("https://x", "AB" * 32)], "m", 0.0), "64"),
    ]
    for words, because in wrong:
        with pytest.raises(InputError, match=because):
            gateway_nodes(*words)


def test_the_commands(tmp_path: Path) -> None:
    network, path, nodes = ("network", "ionet"), tmp_path / "deployment", tmp_path / "nodes.yaml"
    command = (*network, "deployment", WANTED.image, "-o", path, "--name", "north-nodes", "--hours", 24)
    words: list[object] = ["--replicas", 3, "--env", "MODE=on", "--env", "PRICE=$5", "--location", "us-1"]
    words += ["--secret", "NODE_API_KEY", *(w for a in WANTED.arguments for w in ("--argument", a))]
    assert done(*command, "--gpu", "H100:8", *words)["interface"] == "theirs"
    assert path.read_bytes() == describe(WANTED).data
    assert "COUNT" in refused(*command, "--force", "--gpu", "H100:x")
    assert "NAME=VALUE" in refused(*command, "--force", "--gpu", "H100", "--env", "MODE")
    listed = ["=".join(node) for node in NODES]
    said = done(*network, "nodes", *listed, "-o", nodes, "--model", "smollm", "--price", 0.25)
    assert said["interface"] == "ours"
    assert nodes.read_bytes() == gateway_nodes(NODES, "smollm", 0.25).data
