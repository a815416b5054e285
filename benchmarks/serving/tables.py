"""Shows the parts of the measurement as tables, each figure that has a goal beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

from benchmarks.serving.peers import LLAMA_BENCH, OURS
from proofcompute.bench.tables import Table, percent, size, time

__all__ = ["GOALS", "tables"]

GOALS: Final = {
    "engine 8": 2.5,
    "engine 16": 3.0,
    "http 8": 2.2,
    "burst": 2.5,
    "receipts": 0.02,
    "delay": 0.010,
    "cached": 0.050,
    "recomputed": 0.45,
    "slowed": 0.15,
    "every cell 64+448": 0.4,
    "every cell 512+1": 1.0,
    "flood": 0.8,
    "memory": 0.10,
    "request": 0.005,
    "ask": 1.5,
}
"""Goals: at least, for speeds; at most, for everything else."""

Rows = list[dict[str, Any]]


def tables(parts: dict[str, Any]) -> Iterator[Table]:
    """Yield the tables of the parts that were measured."""
    for name, table in _TABLES.items():
        if name in parts:
            yield table(parts[name]["rows"])


def _goal(text: str, met: bool) -> str:
    return f"{text}: {'met' if met else '**missed**'}"


def _least(value: float, name: str) -> str:
    return _goal(f"{GOALS[name]}", value >= GOALS[name]) if name in GOALS else "-"


def _absent(rows: Rows, columns: int) -> list[tuple[str, ...]]:
    """Return the lines of systems without figures."""
    return [
        (x["system"], f"{x['status']}: {x['reason']}", *("" for _ in range(columns - 2)))
        for x in rows
        if x.get("status", "measured") != "measured"
    ]


def _measured(rows: Rows) -> Rows:
    return [x for x in rows if x.get("status", "measured") == "measured"]


def _engine(rows: Rows) -> Table:
    return Table(
        "Requests at once in the engine",
        "Without HTTP; prompts, sampling, hashing and signing included.",
        "python -m benchmarks.serving -o DIR --only engine",
        ("at once", "tokens/s", "over one", "goal"),
        [
            (
                f"{x['live']}",
                f"{x['tokens_per_second']:,.0f}",
                f"{x['over_one']:.2f}",
                _least(x["over_one"], f"engine {x['live']}"),
            )
            for x in rows
        ],
    )


def _receipts(rows: Rows) -> Table:
    return Table(
        "What receipts cost",
        "The same requests in the engine with receipts, and with nothing hashed and nothing signed, in turn.",
        "python -m benchmarks.serving -o DIR --only receipts",
        ("at once", "without", "with", "cost", "goal"),
        [
            (
                f"{x['live']}",
                time(x["without_seconds"]),
                time(x["with_seconds"]),
                f"{100 * x['cost']:.1f} %",
                _goal("2 %", x["cost"] <= GOALS["receipts"]),
            )
            for x in rows
        ],
    )


def _loops(rows: Rows) -> Table:
    measured = _measured(rows)
    ours = {x["clients"]: x["rounds"]["tokens_per_second"] for x in measured if x["system"] == OURS}

    def against(x: dict[str, Any]) -> str:
        """Return our speed divided by theirs, round by round."""
        if x["system"] == OURS or x["clients"] not in ours:
            return "-"
        theirs = x["rounds"]["tokens_per_second"]
        ratio = median(a / b for a, b in zip(ours[x["clients"]], theirs, strict=True))
        return _goal(f"{ratio:.2f}, goal 1", ratio >= 1)

    def own_goal(x: dict[str, Any]) -> str:
        return _least(x["over_one"], f"http {x['clients']}") if x["system"] == OURS else "-"

    def seconds(x: dict[str, Any], name: str) -> str:
        return time(x[name]) if name in x else "-"

    notes = {x["system"]: x["note"] for x in measured if x.get("note")}
    said = "".join(f" {name}: {note}." for name, note in notes.items())
    return Table(
        "Clients beside each other",
        "Each client asks again as soon as it has its answer, over HTTP, streamed. Tokens per second from "
        "the first request sent to the last answer's end; latencies as clients see them, the 99th percentile "
        "of few answers being their worst. Ours runs at w8a16 and signs receipts; the others run the same "
        f"model in Q8_0 and sign nothing. {LLAMA_BENCH} is no server; its first token is that of all prompts."
        + said,
        "python -m benchmarks.serving -o DIR --only loops",
        (
            *("system", "clients", "tokens/s", "over one", "goal", "first token", "p99"),
            *("between tokens", "p99", "ours over it"),
        ),
        [
            (
                x["system"],
                f"{x['clients']}",
                f"{x['tokens_per_second']:,.0f}",
                f"{x['over_one']:.2f}",
                own_goal(x),
                seconds(x, "first_p50_seconds"),
                seconds(x, "first_p99_seconds"),
                seconds(x, "gap_p50_seconds"),
                seconds(x, "gap_p99_seconds"),
                against(x),
            )
            for x in measured
        ]
        + _absent(rows, 10),
    )


def _bursts(rows: Rows) -> Table:
    return Table(
        "First token of requests that arrive at once",
        "One request alone, then several at once, on a server with nothing else to do.",
        "python -m benchmarks.serving -o DIR --only bursts",
        (
            "system",
            "at once",
            "alone",
            "median of them",
            "last of them",
            "median / alone",
            "last / alone",
            "goal",
        ),
        [
            (
                x["system"],
                f"{x['requests']}",
                time(x["alone_seconds"]),
                time(x["median_seconds"]),
                time(x["last_seconds"]),
                f"{x['median_over_alone']:.2f}",
                f"{x['last_over_alone']:.2f}",
                _goal(f"{GOALS['burst']}, the last", x["last_over_alone"] <= GOALS["burst"])
                if x["system"] == OURS
                else "-",
            )
            for x in _measured(rows)
        ]
        + _absent(rows, 8),
    )


def _prefixes(rows: Rows) -> Table:
    return Table(
        "Prompts that begin alike",
        "First token of a prompt whose beginning an earlier prompt had, and of another of the same length.",
        "python -m benchmarks.serving -o DIR --only prefixes",
        ("system", "tokens alike", "tokens after them", "alike", "other", "alike / other"),
        [
            (
                x["system"],
                f"{x['shared']}",
                f"{x['own']}",
                time(x["alike_p50_seconds"]),
                time(x["other_p50_seconds"]),
                f"{x['alike_over_other']:.2f}",
            )
            for x in _measured(rows)
        ]
        + _absent(rows, 6),
    )


def _delay(rows: Rows) -> Table:
    return Table(
        "Delay of the server's event loop",
        "A task in the server's own loop sleeps 5 ms again and again, and notes how late it wakes.",
        "python -m benchmarks.serving -o DIR --only delay",
        ("clients", "waking", "median", "p99", "worst", "goal"),
        [
            (
                f"{x['clients']}",
                f"{x['wakings']:,} times",
                time(x["p50_seconds"]),
                time(x["p99_seconds"]),
                time(x["worst_seconds"]),
                _goal("10 ms", x["p99_seconds"] < GOALS["delay"]) if x["clients"] else "-",
            )
            for x in rows
        ],
    )


def _opening(rows: Rows) -> Table:
    return Table(
        "Opening cells while others are served",
        "Eight uniform cells of one answer: from the cache right after the answer, or by computing it "
        "again, alone and beside four requests that run all the time. The others lose: their speed while "
        "answers are computed again and opened, beside that without.",
        "python -m benchmarks.serving -o DIR --only opening",
        ("what", "rows", "time", "over generating", "goal", "the others lose", "goal"),
        [
            (
                x["what"],
                f"{x['rows']:,}",
                time(x["seconds"]),
                f"{x['over_generating']:.2f}" if x["over_generating"] is not None else "-",
                _goal("50 ms", x["seconds"] <= GOALS["cached"])
                if x["what"].startswith("from the cache")
                else _goal(f"{GOALS['recomputed']}", x["over_generating"] <= GOALS["recomputed"])
                if x["others_lose"] is None
                else "-",
                percent(x["others_lose"]) if x["others_lose"] is not None else "-",
                _goal("15 %", x["others_lose"] <= GOALS["slowed"]) if x["others_lose"] is not None else "-",
            )
            for x in rows
        ],
    )


def _whole(rows: Rows) -> Table:
    def goal(x: dict[str, Any]) -> str:
        most = GOALS.get(f"every cell {x['prompt']}+{x['tokens']}")
        return "-" if most is None else _goal(f"{most}", x["over_running"] <= most)

    return Table(
        "Opening every cell",
        "Opening the whole trace for the holder of a key, in one process and from memory.",
        "python -m benchmarks.serving -o DIR --only whole",
        ("tokens", "cells", "opening", "running", "opening it", "opening / running", "goal"),
        [
            (
                f"{x['prompt']}+{x['tokens']}",
                f"{x['cells']:,}",
                size(x["opening_bytes"]),
                time(x["running_seconds"]),
                time(x["opening_seconds"]),
                f"{x['over_running']:.2f}",
                goal(x),
            )
            for x in rows
        ],
    )


def _client(rows: Rows) -> Table:
    return Table(
        "The client's side",
        "Making a request from the body of a call, with only the model's card; and `proofcompute ask` as a "
        "new process, beside what the node takes for the same question.",
        "python -m benchmarks.serving -o DIR --only client",
        ("what", "time", "goal"),
        [
            (x["what"], time(x["seconds"]), _goal(time(GOALS[x["goal"]]), x["seconds"] <= GOALS[x["goal"]]))
            for x in _measured(rows)
        ]
        + _absent(rows, 3),
    )


def _flood(rows: Rows) -> Table:
    return Table(
        "Honest clients in a flood",
        "Four clients ask one request after the other, in turn without and within hostile traffic: malformed "
        "and deep JSON, bodies that are too long or half sent, dripping headers, malformed frames, odd paths "
        "and challenges again and again, also read slowly. The strangers send as fast as the node lets them, "
        "from other addresses, and share the cores with it.",
        "python -m benchmarks.serving -o DIR --only flood",
        (
            "flood",
            "clients",
            "tokens/s",
            "speed kept",
            "goal",
            "first token",
            "p99",
            "hostile requests/s",
            "the strangers' CPU",
        ),
        [
            (
                f"{x['strangers']} strangers" if x["flood"] else "none",
                f"{x['clients']}",
                f"{median(x['rounds']['tokens_per_second']):.0f}",
                percent(x["kept"]) if x["flood"] else "-",
                _goal("80 %", x["kept"] >= GOALS["flood"]) if x["flood"] else "-",
                time(x["first_p50_seconds"]),
                time(x["first_p99_seconds"]),
                f"{x['requests_per_second']:,.0f}" if x["flood"] else "-",
                percent(x["strangers_cpu"]) if x["flood"] else "-",
            )
            for x in rows
        ],
    )


def _soak(rows: Rows) -> Table:
    return Table(
        "Hours in minutes",
        "Clients that hang up at random, for a while, and open cells of a tenth of their answers. Memory: "
        "resident bytes of the server and its processes, the median of the last fifth of the time beside "
        "that of the second fifth.",
        "python -m benchmarks.serving -o DIR --only soak",
        (
            "seconds",
            "clients",
            "answers",
            "hung up",
            "opened",
            "errors",
            "receipts verified",
            "memory",
            "grows",
            "goal",
        ),
        [
            (
                f"{x['seconds']:,.0f}",
                f"{x['clients']}",
                f"{x['answers']:,}",
                f"{x['hung_up']:,}",
                f"{x['opened']:,}",
                f"{x['errors']}",
                f"{x['verified']:,}",
                size(x["memory_bytes"]),
                percent(x["growth"]),
                _goal("10 %, no error", x["growth"] <= GOALS["memory"] and not x["errors"]),
            )
            for x in rows
        ],
    )


_TABLES: Final[dict[str, Callable[[Rows], Table]]] = {
    "engine": _engine,
    "receipts": _receipts,
    "loops": _loops,
    "bursts": _bursts,
    "prefixes": _prefixes,
    "delay": _delay,
    "opening": _opening,
    "whole": _whole,
    "client": _client,
    "flood": _flood,
    "soak": _soak,
}
