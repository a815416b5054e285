"""What a gateway adds to its nodes' answers: `python -m benchmarks.gateway MODEL`.

A node (`proofcompute serve`) and a gateway before it run in processes of their own on this machine. Each
round asks the node directly, the gateway without audits, and a gateway that audits a share of the answers, in
turn, so that what else the machine does falls on all of them alike. It prints, as JSON: the time to the first
text over the node's own, at the median and at the 99th percentile, with one client; and tokens a second with
several clients.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

import proofcompute as pc

NAME = "model"
PROMPT = "Write a list of ten words that begin with the letter s."


@contextmanager
def started(*words: str) -> Iterator[str]:
    """Run a command of the package, and yield the address that it prints."""
    command = [sys.executable, "-m", "proofcompute", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[2].removesuffix(",")
        finally:
            process.terminate()


def files(folder: Path, model: Path, share: float) -> None:
    """Make an identity for the node, the model's card, and a file of models for each gateway."""
    pc.NodeIdentity.new().save(folder / "identity")
    card = pc.ModelFile.open(model).card
    (folder / "card").write_bytes(card.encode())
    plain: dict[str, Any] = {"name": NAME, "card": "card"}
    audit = {"weights": str(model.resolve()), "audit": {"by": "replay", "share": share}}
    for name, more in (("plain", {}), ("audited", audit)):
        (folder / f"{name}.json").write_text(json.dumps({"version": 1, "models": [{**plain, **more}]}))


def nodes(folder: Path, url: str) -> None:
    key = pc.NodeIdentity.load(folder / "identity").public.hex()
    node = {"name": "node", "url": url, "key": key, "models": [NAME], "most": 64}
    (folder / "nodes.json").write_text(json.dumps({"version": 1, "nodes": [node]}))


def asked(client: httpx2.Client, url: str, tokens: int, seed: int) -> tuple[float, float]:
    """Ask for a stream, and return the seconds to its first text and to its end."""
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "seed": seed,
        "ignore_eos": True,
        "stream": True,
    }
    start, first = time.perf_counter(), None
    with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if first is None and '"content":"' in line and '"content":""' not in line:
                first = time.perf_counter() - start
            if '"error"' in line:
                raise RuntimeError(line)
    end = time.perf_counter() - start
    return end if first is None else first, end


def firsts(urls: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """Seconds to the first text at each address, round by round."""
    found: dict[str, list[float]] = {name: [] for name in urls}
    with httpx2.Client(timeout=120) as client:
        for url in urls.values():
            asked(client, url, 2, 0)  # connections, kernels, cards and terms
        for seed in range(1, rounds + 1):
            for name, url in urls.items():
                found[name].append(asked(client, url, 2, seed)[0])
    return found


def speeds(urls: dict[str, str], rounds: int, clients: int, tokens: int) -> dict[str, list[float]]:
    """Tokens a second at each address with several clients, round by round."""
    found: dict[str, list[float]] = {name: [] for name in urls}
    with httpx2.Client(timeout=300) as client, ThreadPoolExecutor(clients) as threads:
        for seed in range(rounds):
            for name, url in urls.items():
                start = time.perf_counter()
                list(
                    threads.map(lambda i, u=url, s=seed: asked(client, u, tokens, 64 * s + i), range(clients))
                )
                found[name].append(clients * tokens / (time.perf_counter() - start))
    return found


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=200, help="questions for the time to the first text")
    parser.add_argument("--speed-rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.05, help="of the answers that are audited")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        files(folder, given.model, given.share)
        served = (
            "serve",
            "--name",
            f"{NAME}={given.model}",
            str(given.model),
            "--identity",
            str(folder / "identity"),
        )
        quiet = ("--port", "0", "--log-level", "error")
        node = stack.enter_context(started(*served, *quiet, "--rate", "100", "--max-client", "64"))
        nodes(folder, node)
        urls = {"node": node}
        for kind in ("plain", "audited"):
            words = (
                "gateway",
                "--nodes",
                str(folder / "nodes.json"),
                "--models",
                str(folder / f"{kind}.json"),
            )
            urls[kind] = stack.enter_context(started(*words, *quiet))
        first = firsts({n: urls[n] for n in ("node", "plain")}, given.rounds)
        added = [g - n for g, n in zip(first["plain"], first["node"], strict=True)]
        speed = speeds(urls, given.speed_rounds, given.clients, given.tokens)
    middle = {n: statistics.median(v) for n, v in speed.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(speed[name], speed["node"], strict=True))
        for name in ("plain", "audited")
    }
    result = {
        "first_text_ms": {n: [1000 * percentile(v, s) for s in (0.5, 0.99)] for n, v in first.items()},
        "added_ms": {
            "median": 1000 * statistics.median(added),
            "p99_of_pairs": 1000 * percentile(added, 0.99),
        },
        "added_ms_at_p99": 1000 * (percentile(first["plain"], 0.99) - percentile(first["node"], 0.99)),
        "tokens_per_second": middle,
        "speed_beside_the_node": ratios,
        "share": given.share,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
