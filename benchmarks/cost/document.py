"""Makes the tables of ``docs/gpu-cost.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from benchmarks.cost.counts import cost, total
from benchmarks.cost.device import Launched, Mark
from benchmarks.cost.estimate import Overhead, Time, duration, fits, followed, overhead
from benchmarks.cost.runs import Commitment, answered, commitment, decode_step, prefill
from benchmarks.cost.shapes import GPUS, MODELS
from proofcompute.importers.compiling import PRECISIONS, decoder_program

__all__ = ["TABLES"]

PRECISION = "w8a16"
PROMPT, ANSWER = 64, 448
CONTEXT = PROMPT + ANSWER // 2
"""A step in the middle of the answer, which represents all steps."""
LONG = 512
AHEAD = 64
FINISHED = tuple(range(PROMPT, PROMPT + ANSWER))
"""Return the number of rows after each step of that request."""
SUITES = ("sha256", "blake3")


def _rows(cells: list[list[str]]) -> str:
    head, *body = cells
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in body])


@cache
def _weights(model: str) -> int:
    program = decoder_program(MODELS[model].arch, PRECISIONS[PRECISION])
    return sum(s.rows * s.row_bytes for s in program.weights)


def _step(model: str, gpu: str) -> Time:
    """Estimate one decoding step in the middle of the answer."""
    return duration(_launches(model), GPUS[gpu], CONTEXT)


@cache
def _launches(model: str) -> list[Launched]:
    return decode_step(MODELS[model], PRECISION, CONTEXT)


@cache
def _chunks(model: str, prompt: int) -> list[list[Launched]]:
    return prefill(MODELS[model], PRECISION, prompt)


def _prefill(model: str, gpu: str, prompt: int) -> list[Time]:
    return [duration(chunk, GPUS[gpu], 0) for chunk in _chunks(model, prompt)]


@cache
def _hashing(model: str, suite: str, finished: tuple[int, ...]) -> Commitment:
    return commitment(MODELS[model], PRECISION, suite, finished)


def _decoding(model: str, gpu: str, suite: str) -> tuple[Overhead, float]:
    """Return the overhead of a request of PROMPT + ANSWER tokens, and the seconds without it."""
    step = _step(model, gpu).seconds
    run = sum(c.seconds for c in _prefill(model, gpu, PROMPT)) + (ANSWER - 1) * step
    made = _hashing(model, suite, FINISHED)
    left = FINISHED[-1] - AHEAD * len(made.beside)
    meanwhile = [AHEAD * step] * (len(made.beside) - 1) + [left * step]
    return overhead(made, meanwhile, GPUS[gpu]), run


@cache
def _answered(model: str, suite: str) -> list[Launched | Mark]:
    return answered(MODELS[model], PRECISION, suite, LONG)


def _bottleneck(times: Sequence[Time]) -> str:
    bounds = sum((t.bounds for t in times), Counter[str]())
    return max(bounds, key=lambda name: bounds[name])


def devices() -> str:
    """Return the table of published figures."""
    cells = [["device", "GB/s", "int8 TOPS, dense", "cache, MB", "multiprocessors", "GHz", "published in"]]
    for name, gpu in GPUS.items():
        rates = [f"{gpu.bandwidth / 1e9:,.0f}", f"{gpu.int8 / 1e12:,.0f}", f"{gpu.cache / 1e6:.0f}"]
        cells.append([name, *rates, str(gpu.processors), f"{gpu.clock / 1e9:.2f}", gpu.source])
    return _rows(cells)


def work() -> str:
    """Return the table of costs per token, which do not depend on the device."""
    cells = [
        [
            "model",
            "weights, MB",
            "decode: launches",
            "MB read",
            "MB written",
            "int8 products, G",
            "prefill: MB moved a token",
            "int8 products, G",
        ]
    ]
    for name in MODELS:
        step = total(cost(x, CONTEXT) for x in _launches(name))
        whole = total(cost(x, 0) for chunk in _chunks(name, LONG) for x in chunk)
        cells.append(
            [
                name,
                f"{_weights(name) / 1e6:,.0f}",
                f"{step.launches:,}",
                f"{step.read / 1e6:,.1f}",
                f"{step.written / 1e6:,.1f}",
                f"{step.products / 1e9:,.2f}",
                f"{whole.moved / LONG / 1e6:,.1f}",
                f"{whole.products / LONG / 1e9:,.2f}",
            ]
        )
    return _rows(cells)


def hashing() -> str:
    """Return the table of what committing adds."""
    head = ["model", "hash", "trees", "KB hashed a token", "compressions a token", "launches a token"]
    cells = [[*head, "KB moved a token"]]
    for name, shape in MODELS.items():
        program = decoder_program(shape.arch, PRECISIONS[PRECISION])
        leaf = sum(program.group_bytes(i) for i in range(len(program.committed)))
        for suite in SUITES:
            made = _hashing(name, suite, FINISHED)
            every = total(cost(x, 0) for part in [*made.beside, made.after] for x in part)
            rows = FINISHED[-1]
            counts = [f"{every.compressions / rows:,.0f}", f"{every.launches / rows:,.1f}"]
            moved = f"{every.moved / rows / 1e3:,.1f}"
            cells.append([name, suite, str(len(program.committed)), f"{leaf / 1e3:,.1f}", *counts, moved])
    return _rows(cells)


def times() -> str:
    """Return the table of expected times and what bounds them."""
    head = ["model", "device", "decode, ms", "tokens/s", "bound by", f"prefill of {LONG}, ms", "bound by"]
    cells = [head]
    for model in MODELS:
        for gpu, card in GPUS.items():
            if not fits(_weights(model), card):
                cells.append([model, gpu, "does not fit", "", "", "", ""])
                continue
            step, chunks = _step(model, gpu), _prefill(model, gpu, LONG)
            decode = [f"{1e3 * step.seconds:,.2f}", f"{1 / step.seconds:,.0f}", _bottleneck([step])]
            whole = f"{1e3 * sum(c.seconds for c in chunks):,.1f}"
            cells.append([model, gpu, *decode, whole, _bottleneck(chunks)])
    return _rows(cells)


def _range(shares: Iterable[float]) -> str:
    return " to ".join(f"{share:,.2f}" for share in shares) + " %"


def overheads() -> str:
    """Return the table of the expected commit overhead."""
    head = ["model", "device", "hash", "decode", f"prefill of {LONG}, others follow", "nothing follows"]
    cells = [[*head, "receipt after the token, us"]]
    for model in MODELS:
        for gpu, card in GPUS.items():
            for suite in SUITES if fits(_weights(model), card) else ():
                decode, run = _decoding(model, gpu, suite)
                prompt = sum(c.seconds for c in _prefill(model, gpu, LONG))
                both = [followed(_answered(model, suite), card, least=least) for least in (True, False)]
                shares = [
                    _range(100 * o.hidden / prompt for o in both),
                    _range(100 * o.alone / prompt for o in both),
                ]
                waits = " to ".join(f"{1e6 * o.exposed:,.0f}" for o in both)
                cells.append([model, gpu, suite, f"{100 * decode.alone / run:,.2f} %", *shares, waits])
    return _rows(cells)


TABLES = {"devices": devices, "work": work, "hashing": hashing, "times": times, "overheads": overheads}
"""Tables by the names of their places in the document."""
