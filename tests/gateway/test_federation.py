"""Federation files: what they may say, and that nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import proofcompute.gateway
from client.standin import KERNELS, model
from gateway.standing import gateway, honest, the_model
from proofcompute.errors import InputError, LimitError
from proofcompute.gateway import Gateway, ModelsFile, NodesFile, read_models, read_nodes
from proofcompute.gateway.federation import MAX_FILE, Audits, schemas

KEY = "ab" * 32
NODE: dict[str, Any] = {"name": "north", "url": "https://north.example/v1", "key": KEY, "models": ["small"]}
NODES: dict[str, Any] = {"version": 1, "nodes": [NODE]}
MODELS: dict[str, Any] = {"version": 1, "models": [{"name": "small", "model_id": KEY}]}
YAML = """
version: 1
nodes:
  - name: north
    url: https://north.example/v1
    key: "%s"
    models: [small]
    price: 1  # an integer is a number too
    terms: {retention: 60, seconds: 5}
"""


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "nodes.yaml").write_text(YAML % KEY)
    found = read_nodes(tmp_path / "nodes.yaml")
    assert (found.nodes[0].price, found.nodes[0].terms.retention) == (1.0, 60)
    (tmp_path / "nodes.json").write_text(json.dumps(json.loads(found.model_dump_json())))
    assert read_nodes(tmp_path / "nodes.json") == found


def test_paths_of_models_are_relative_to_their_file(tmp_path: Path) -> None:
    value = {"version": 1, "models": [{"name": "small", "card": "cards/small.card"}]}
    (tmp_path / "models.json").write_text(json.dumps(value))
    assert read_models(tmp_path / "models.json").models[0].card == str(tmp_path / "cards/small.card")


def nodes(**change: Any) -> dict[str, Any]:
    return {"version": 1, "nodes": [{**NODE, **change}]}


def models(**change: Any) -> dict[str, Any]:
    return {"version": 1, "models": [{**MODELS["models"][0], **change}]}


WRONG_NODES: dict[str, Any] = {
    "another version": {**NODES, "version": 2},
    "a version that is a text": {**NODES, "version": "1"},
    "no nodes": {"version": 1, "nodes": []},
    "an unknown field": nodes(adress="x"),
    "an unknown field of the file": {**NODES, "note": ""},
    "two nodes of one name": {"version": 1, "nodes": [NODE, {**NODE, "key": "cd" * 32}]},
    "two nodes of one key": {"version": 1, "nodes": [NODE, {**NODE, "name": "south"}]},
    "a key that is short": nodes(key="ab"),
    "a key in capitals": nodes(key="AB" * 32),
    "an address of a file": nodes(url="file:///etc/passwd"),
    "an address with a password": nodes(url="http://a:b@north.example/v1"),
    "no models": nodes(models=[]),
    "a name with a control character": nodes(name="north\n"),
    "a price below 0": nodes(price=-1),
    "a price that is a text": nodes(price="1"),
    "true as a number": nodes(most=True),
    "a variable of the shell": nodes(api_key_env="$(id)"),
    "terms with an unknown field": nodes(terms={"retentoin": 1}),
    "not an object": [],
}
WRONG_MODELS: dict[str, Any] = {
    "card and id": models(card="x"),
    "neither card nor id": models(model_id=None),
    "audits by nothing": models(audit={"by": "trust", "share": 0.1}),
    "replay without weights": models(audit={"by": "replay", "share": 0.1}, key="k"),
    "openings without a key": models(audit={"by": "opening", "share": 0.1}),
    "no share": models(audit={"by": "replay", "share": 0}, weights="w"),
    "a share above 1": models(audit={"by": "replay", "share": 1.5}, weights="w"),
    "no cells": models(audit={"by": "opening", "share": 1, "cells": 0}, key="k"),
    "some cells": models(audit={"by": "opening", "share": 1, "cells": "some"}, key="k"),
}
RAW: dict[str, tuple[str, bytes]] = {
    "an alias": ("nodes.yaml", b"version: 1\nnodes: &a [*a]\n"),
    "a bomb of aliases": ("nodes.yaml", b"a: &a [x, x]\nb: &b [*a, *a]\nversion: 1\nnodes: *b\n"),
    "a key twice": ("nodes.yaml", b"version: 1\nversion: 1\nnodes: []\n"),
    "a key twice, in JSON": ("nodes.json", b'{"version": 1, "version": 1, "nodes": []}'),
    "a tag of Python": ("nodes.yaml", b"version: !!python/object/apply:os.system [true]\n"),
    "a date": ("nodes.yaml", b"version: 2026-01-01\n"),
    "a number that is none": ("nodes.yaml", b"version: .nan\n"),
    "a key that is a number": ("nodes.yaml", b"1: 1\n"),
    "two documents": ("nodes.yaml", b"version: 1\n---\nversion: 1\n"),
    "deep lists": ("nodes.yaml", b"[" * 4000),
    "not UTF-8": ("nodes.yaml", b"\xff\xfe"),
    "nothing": ("nodes.yaml", b""),
    "no JSON": ("nodes.json", b"version: 1"),
}


@pytest.mark.parametrize("name", WRONG_NODES)
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_wrong_file_is_refused(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"nodes.{form}"
    path.write_text(json.dumps(WRONG_NODES[name]))  # which YAML reads too
    with pytest.raises(InputError):
        read_nodes(path)


@pytest.mark.parametrize("name", WRONG_MODELS)
def test_a_wrong_file_of_models_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(json.dumps(WRONG_MODELS[name]))
    with pytest.raises(InputError):
        read_models(tmp_path / "models.json")


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_file_are_refused(name: str, tmp_path: Path) -> None:
    file, data = RAW[name]
    (tmp_path / file).write_bytes(data)
    with pytest.raises(InputError):
        read_nodes(tmp_path / file)


def test_a_giant_file_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "nodes.yaml").open("wb") as stream:
        stream.truncate(MAX_FILE + 1)
    with pytest.raises(LimitError):
        read_nodes(tmp_path / "nodes.yaml")


def test_the_schemas_are_those_of_the_classes() -> None:
    """Write them again with `python -c` and `schemas()` when the classes change."""
    folder = Path(proofcompute.gateway.__file__).parent
    for name, wanted in schemas().items():
        assert json.loads((folder / name).read_text("utf-8")) == wanted
        jsonschema.Draft202012Validator.check_schema(wanted)
    check = {n: jsonschema.Draft202012Validator(s) for n, s in schemas().items()}
    check["nodes.schema.json"].validate(NODES)
    check["models.schema.json"].validate(MODELS)
    for value in (nodes(adress="x"), nodes(key="ab"), nodes(price=-1), {**NODES, "version": 2}):
        with pytest.raises(jsonschema.ValidationError):
            check["nodes.schema.json"].validate(value)


def _lacking_weights(tmp: Path) -> Gateway:
    held = the_model(weights=str(tmp / "none"), audit=Audits(by="replay", share=1.0, cells=16))
    return gateway({"north": honest("north")}, models=ModelsFile(version=1, models=(held,)))


def test_a_gateway_refuses_what_does_not_fit_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError):  # what is held to audit is not there
        _lacking_weights(tmp_path)
    model(1).save(tmp_path / "other")
    held = the_model(weights=str(tmp_path / "other"), audit=Audits(by="replay", share=1.0, cells=16))
    with pytest.raises(InputError, match="another model"):
        gateway({"north": honest("north")}, models=ModelsFile(version=1, models=(held,)))
    entries = NodesFile.model_validate_json(json.dumps(NODES))
    with pytest.raises(InputError, match="serves 'small'"):
        Gateway(entries, ModelsFile(version=1, models=(the_model(),)), kernels=KERNELS)
    with_key = NodesFile.model_validate_json(json.dumps(nodes(api_key_env="NORTH_KEY")))
    pinned = ModelsFile.model_validate_json(json.dumps(MODELS))
    monkeypatch.delenv("NORTH_KEY", raising=False)
    with pytest.raises(InputError, match="NORTH_KEY"):
        Gateway(with_key, pinned, kernels=KERNELS)
    monkeypatch.setenv("NORTH_KEY", "secret")
    made = Gateway(with_key, pinned, kernels=KERNELS)
    assert made.fleet.members["north"].headers["authorization"] == "Bearer secret"
