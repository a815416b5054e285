"""The contracts' byte code is that of their sources, and no check in the escrow's is one too many."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from networks.chain import Chain, RevertedError, running
from networks.committees import Committee
from networks.escrow_mutants import GUARD, MUTANTS
from networks.escrow_scenes import SCENES
from scripts.compile_contracts import CONTRACTS, compiled, text

pytest.importorskip("eth_keys")
pytest.importorskip("eth_abi")


@pytest.fixture(scope="module")
def compiler() -> Path:
    found = Path(sys.prefix) / "vyper" / "bin" / "vyper"
    if not found.exists():
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL"):
            pytest.fail("the compiler is not installed; run: make .venv/vyper/installed")
        pytest.skip("needs the compiler (make .venv/vyper/installed)")
    return found


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with running() as found:
        yield found


@pytest.mark.parametrize("name", ["escrow", "anchor"])
def test_compiling_again_gives_the_same(compiler: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / f"{name}.vy"
    source.write_bytes((CONTRACTS / f"{name}.vy").read_bytes())
    assert text(compiled(source, compiler)) == (CONTRACTS / f"{name}.json").read_text()


def test_each_mutant_changes_the_source() -> None:
    source = (CONTRACTS / "escrow.vy").read_text()
    assert GUARD in source
    for name, (old, new) in MUTANTS.items():
        assert old in source, name
        assert old != new, name


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_scene_notices_each_mutant(compiler: Path, chain: Chain, tmp_path: Path, name: str) -> None:
    old, new = MUTANTS[name]
    source = (CONTRACTS / "escrow.vy").read_text().replace(old, new, 1)
    if name == "paid while it is being paid":
        source = source.replace(GUARD, "")
    path = tmp_path / "escrow.vy"
    path.write_text(source)
    artifact = json.loads(text(compiled(path, compiler)))
    bytecode = bytes.fromhex(artifact["bytecode"][2:])
    noticed = []
    for scene, run in SCENES.items():
        try:
            run(partial(Committee.deploy, chain, bytecode=bytecode))
        except (AssertionError, RevertedError, pytest.fail.Exception):
            noticed.append(scene)
            break
    assert noticed
