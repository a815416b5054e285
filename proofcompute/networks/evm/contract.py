"""Write calls of the contracts that this package brings, and read what they answer.

The sources are ``contracts/*.vy``; beside each lie its interface and its byte code, as Vyper compiled it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from proofcompute.errors import InputError
from proofcompute.networks.evm.typed import keccak
from proofcompute.networks.evm.validation import SELECTOR, Call, abi

__all__ = ["Contract", "contract"]

NAMES: Final = ("escrow", "anchor")


def _kind(argument: dict[str, Any]) -> str:
    """Return the type of an argument as signatures write it."""
    kind = str(argument["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_kind(each) for each in argument['components'])}){kind.removeprefix('tuple')}"


@dataclass(frozen=True)
class Contract:
    """A contract: how it is deployed and called."""

    interface: Sequence[dict[str, Any]]
    bytecode: bytes

    def _entry(self, kind: Literal["constructor", "function", "event"], name: str | None) -> dict[str, Any]:
        for entry in self.interface:
            if entry["type"] == kind and entry.get("name") == name:
                return entry
        raise InputError(f"the contract has no {kind} {name}")

    def deployment(self, *arguments: object) -> bytes:
        """Return the input of the transaction that deploys the contract."""
        try:
            kinds = [_kind(each) for each in self._entry("constructor", None)["inputs"]]
        except InputError:
            kinds = []
        return self.bytecode + bytes(abi().encode(kinds, arguments))

    def call(self, name: str, *arguments: object) -> Call:
        """Return the call of a function. The caller has checked that the arguments fit."""
        kinds = [_kind(each) for each in self._entry("function", name)["inputs"]]
        signature = f"{name}({','.join(kinds)})"
        return Call(signature, keccak(signature.encode())[:SELECTOR] + bytes(abi().encode(kinds, arguments)))

    def event_topic(self, name: str) -> bytes:
        """Return the first topic of an event's logs, 32 bytes."""
        kinds = [_kind(each) for each in self._entry("event", name)["inputs"]]
        return keccak(f"{name}({','.join(kinds)})".encode())

    def kinds(self, name: str) -> list[str]:
        """Return the types of what a function takes."""
        return [_kind(each) for each in self._entry("function", name)["inputs"]]


@cache
def contract(name: Literal["escrow", "anchor"]) -> Contract:
    """Return one of the contracts."""
    artifact = json.loads((files("proofcompute.networks.evm") / "contracts" / f"{name}.json").read_bytes())
    return Contract(artifact["abi"], bytes.fromhex(artifact["bytecode"].removeprefix("0x")))
