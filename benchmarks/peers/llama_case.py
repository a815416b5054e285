"""Measures llama.cpp (package llama-cpp-python) on the demo model in Q8_0 and our engine, in turn.

llama.cpp proves nothing; this compares how fast a node serves. Ours includes sampling and committing,
theirs does not. Everything runs once before it is timed, and each timing begins when the threads of the one
before, which look for more work for a while, are asleep.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.bench.timing import seconds
from proofcompute.importers import import_checkpoint, packaged_smollm2
from proofcompute.models.model import Model
from proofcompute.testing.requests import token_request
from proofcompute.testing.subject import Subject

PREFILL, PROMPT, TOKENS, THREADS, ROUNDS = 512, 40, 200, 2, 5
BATCH = 512
"""Rows in one step of llama.cpp: the whole prompt, which is fastest."""
REST = 0.2
"""Seconds after which no thread of OpenMP or of ours polls for work any more."""


def run(_name: str) -> list[dict[str, Any]]:
    """Return tokens per second of prefill and of decoding for llama.cpp and for two of our precisions."""
    import llama_cpp

    source = packaged_smollm2()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "q8_0.gguf"
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
        parameters.allow_requantize = True
        if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), parameters):
            raise RuntimeError("llama.cpp could not re-quantise the model to Q8_0")
        theirs = llama_cpp.Llama(
            str(target),
            n_ctx=1_024,
            n_batch=BATCH,
            n_ubatch=BATCH,
            n_threads=THREADS,
            n_threads_batch=THREADS,
            flash_attn=True,
            verbose=False,
        )
        kernels = kernels_for("auto")
        ours = {p: Subject(_loaded(Path(folder) / p, p), kernels) for p in ("w8a8", "w8a16")}
        first = ours["w8a8"].model
        ids = np.frombuffer(token_request(first, PREFILL, 1).inputs[0][1], "<i4").tolist()

        def eval_prompt(count: int) -> None:
            theirs.reset()
            theirs.eval(ids[:count])

        def eval_tokens() -> None:
            for token in ids[:TOKENS]:
                theirs.eval([token])

        def our(subject: Subject, prompt: int, count: int) -> Callable[[], None]:
            request = token_request(subject.model, prompt, count)

            def action() -> None:
                session = subject.execute(request)
                subject.commit(session)
                if len(session.answer) != count:
                    raise RuntimeError(f"{len(session.answer)} tokens instead of {count}")

            return action

        prefills: list[Callable[[], object]] = [
            lambda: eval_prompt(PREFILL),
            *(our(s, PREFILL, 1) for s in ours.values()),
        ]
        prefilled = [_rested(prefills) for _ in range(ROUNDS + 1)][1:]
        prefill_rounds = [list(column) for column in zip(*prefilled, strict=True)]
        prefill = [median(column) for column in prefill_rounds]
        decoding: list[Callable[[], object]] = [lambda: eval_prompt(PROMPT), eval_tokens]
        for s in ours.values():
            decoding += [our(s, PROMPT, 1), our(s, PROMPT, TOKENS + 1)]
        rows = [_rested(decoding) for _ in range(ROUNDS + 1)][1:]  # the first loads and compiles
        decode_rounds = [[r[1] for r in rows]]
        decode_rounds += [[r[i + 1] - r[i] for r in rows] for i in range(2, len(decoding), 2)]
        decode = [median(column) for column in decode_rounds]
        note = (
            f"prefill of {PREFILL}, {TOKENS} tokens decoded after {PROMPT}, {THREADS} threads, "
            f"{ROUNDS} rounds in turn"
        )
        return [
            {
                "system": "ours" if i else "llama.cpp",
                "what": what,
                "prefill_tokens_per_second": PREFILL / p,
                "decode_tokens_per_second": TOKENS / d,
                "prefill_over_llama": prefill[0] / p,
                "decode_over_llama": decode[0] / d,
                "rounds": {"prefill": prefill_rounds[i], "decode": decode_rounds[i]},
                "note": note,
            }
            for i, (what, p, d) in enumerate(zip(("Q8_0", *ours), prefill, decode, strict=True))
        ]


def _loaded(path: Path, precision: str) -> Model:
    """Return the demo model from a model file, as a node has it."""
    import_checkpoint(packaged_smollm2(), kernels_for("auto"), precision).save(path)
    return Model.load(path)


def _rested(actions: Sequence[Callable[[], object]]) -> list[float]:
    """Return the seconds of each action, with a rest before it."""
    found = []
    for action in actions:
        time.sleep(REST)
        found.append(seconds(action))
    return found
