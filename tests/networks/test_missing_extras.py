"""What adapters of networks say where nothing but the base package is installed, and what they cost it."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from typing import Any

import pytest

from cuda_rig import ROOT
from proofcompute import networks
from proofcompute.errors import UnsupportedError

HIDDEN = (
    *(
        "bittensor",
        "bittensor_core",
        "cryptography",
        "dag_cbor",
        "dcap_qvl",
        "eth_abi",
        "eth_keys",
        "httpx",
        "jsonschema",
    ),
    *("jwt", "multiformats", "referencing", "rfc8785", "solders", "yaml"),
)
"""What the extras of the adapters install."""
MODULES = sorted(each.name for each in pkgutil.walk_packages(networks.__path__, "proofcompute.networks."))


def call(module: str, function: str, *arguments: Any) -> Callable[[], object]:
    return lambda: getattr(import_module(f"proofcompute.networks.{module}"), function)(*arguments)


LACKING: dict[str, tuple[str, str, Callable[[], object]]] = {
    "aci": ("rfc8785", "aci", call("aci", "canonical", {})),
    "akash, YAML": ("yaml", "akash", call("structured", "write_yaml", {})),
    "akash, schemas": ("jsonschema", "akash", call("structured", "fault", {}, {})),
    "cluster, YAML": ("yaml", "cluster", call("cluster.forms", "read_yaml", b"a: 1\n", 9, "cluster")),
    "cluster, schemas": ("jsonschema", "cluster", call("cluster.forms", "fault", {}, {}, "cluster")),
    "bittensor": ("bittensor_core", "bittensor", call("bittensor.auth", "core")),
    "bittensor, synapses": ("bittensor", "bittensor10", call("bittensor.synapse", "exchanges")),
    "bittensor, requests": ("httpx", "client", call("bittensor.http", "signing", None, "")),
    "clouds, tokens": ("jwt", "clouds", call("clouds.tokens", "_library")),
    "clouds, quotes": ("dcap_qvl", "clouds", call("clouds.quotes", "_library")),
    "clouds, nitro": ("cryptography", "clouds", call("clouds.nitro", "_x509")),
    "evm, signing": ("eth_keys", "evm", call("evm.typed", "curve")),
    "evm, calls": ("eth_abi", "evm", call("evm.validation", "abi")),
    "filecoin, CBOR": ("dag_cbor", "filecoin", call("filecoin.car", "_root", BytesIO())),
    "filecoin, CIDs": ("multiformats", "filecoin", call("filecoin.car", "_root", BytesIO())),
    "render": ("httpx", "client", call("render", "signing", None)),
    "solana": ("solders", "solana", call("solana", "unsigned_message", "", "", [])),
}


def alone(code: str) -> str:
    """What a program prints where no extra of the adapters is installed."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN!r}))\n"
    done = subprocess.run(
        [sys.executable, "-c", hide + code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def test_every_adapter_is_imported_without_its_extra() -> None:
    assert len(MODULES) > 40
    code = f"from importlib import import_module\nfor name in {MODULES!r}: import_module(name)\nprint('all')"
    assert alone(code) == "all\n"


def test_the_package_and_its_commands_load_no_adapter() -> None:
    code = (
        "import proofcompute, proofcompute.cli\n"
        "print([name for name in sys.modules if name.startswith('proofcompute.networks')])"
    )
    assert alone(code) == "[]\n"


def test_an_adapter_loads_no_package_that_the_base_install_lacks() -> None:
    """Importing and describing them all, where every extra is installed, costs modules of our own only."""
    code = f"""
import sys, proofcompute, proofcompute.cli
from importlib import import_module
from proofcompute.networks.adapter import ADAPTERS, adapter
def packages():
    roots = {{name.split(".")[0] for name in sys.modules}}
    return {{each for each in roots if each not in sys.stdlib_module_names}}
before = packages()
for name in {MODULES!r}: import_module(name)
titles = [adapter(name).describe().title for name in ADAPTERS]
print(len(titles) == len(ADAPTERS), *(packages() - before))
"""
    base = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in base}
    assert "numpy" in names
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    whole, *loaded = done.stdout.split()
    assert whole == "True"
    assert set(loaded) <= names


@pytest.mark.parametrize("name", LACKING)
def test_a_missing_extra_says_which_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, extra, act = LACKING[name]
    for module in [each for each in sys.modules if each == package or each.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedError, match=re.escape(f"pip install 'proofcompute[{extra}]'")):
        act()


def test_every_place_that_takes_an_extra_is_tried() -> None:
    source = "".join(each.read_text("utf-8") for each in (ROOT / "proofcompute/networks").rglob("*.py"))
    places = source.count("raise lacking(")
    # schemas and YAML are tried for two extras, and a CAR by its two packages; its writer takes the same two
    assert places == len(LACKING) - 3 + 1
