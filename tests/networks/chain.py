"""A chain of its own on this machine: anvil, a node of Ethereum's machine, with accounts that have money."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from networks.judging import HERE

START = 1_800_000_000
"""The time of the first block, in seconds since the Unix epoch."""


class RevertedError(Exception):
    """The contract refused a call; the text has its reason."""


@dataclass
class Chain:
    """A running node."""

    port: int
    accounts: list[str] = field(default_factory=list)
    gas: dict[str, int] = field(default_factory=dict)
    """Gas that the last transaction of each name used."""

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.accounts = self.ask("eth_accounts")

    def ask(self, method: str, *parameters: object) -> Any:
        """Ask the node by JSON-RPC."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters})
        self._connection.request("POST", "/", body, {"content-type": "application/json"})
        answer = json.loads(self._connection.getresponse().read())
        if "error" in answer:
            raise RevertedError(answer["error"]["message"])
        return answer["result"]

    def send(
        self, name: str, data: bytes, sender: str, to: str | None = None, value: int = 0
    ) -> dict[str, Any]:
        """Send a transaction, and return what became of it. Raises RevertedError."""
        asked = {"from": sender, "data": "0x" + data.hex(), "value": hex(value)}
        if to is not None:
            asked["to"] = to
        receipt: dict[str, Any] = self.ask("eth_sendTransactionSync", asked)
        if receipt["status"] != "0x1":
            trace = self.ask("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
            raise RevertedError(trace.get("revertReason") or trace.get("error") or "reverted")
        self.gas[name] = int(receipt["gasUsed"], 16)
        return receipt

    def read(self, data: bytes, to: str) -> bytes:
        """Call a view. Raises RevertedError."""
        return bytes.fromhex(self.ask("eth_call", {"to": to, "data": "0x" + data.hex()}, "latest")[2:])

    def balance(self, address: str) -> int:
        """Money of an address."""
        return int(self.ask("eth_getBalance", address, "latest"), 16)

    @property
    def now(self) -> int:
        """The time of the last block."""
        return int(self.ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def at(self, seconds: int) -> None:
        """Make a block at a time."""
        self.ask("evm_mine", seconds)


@contextmanager
def running() -> Iterator[Chain]:
    """A chain whose time stands still but for what a test says."""
    found = sorted(HERE.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"))
    if not found:
        if os.environ.get("PROOFCOMPUTE_REQUIRE_MODEL"):
            pytest.fail("the judges are not installed; run: make .venv/judges")
        pytest.skip("needs the judges (make .venv/judges)")
    words = [str(found[0]), "--host", "127.0.0.1", "--port", "0", "--timestamp", str(START), "--no-cors"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if listening := re.search(r"Listening on 127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail(f"anvil did not start: {''.join(said)}")
        chain = Chain(int(listening[1]))
        # Nobody reads its output from now on.
        chain.ask("anvil_setLoggingEnabled", False)
        chain.ask("anvil_setBlockTimestampInterval", 1)
        yield chain
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()
