"""llama.cpp (package llama-cpp-python): the demo model re-quantised to Q8_0, beside our engine, in turn.

llama.cpp proves nothing; this compares how fast a node serves. Ours includes committing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from proofcompute.bench.subject import Subject, token_request
from proofcompute.bench.timing import in_turn, seconds
from proofcompute.devices import kernels_for
from proofcompute.importers import import_gguf, packaged_smollm2

PREFILL, PROMPT, TOKENS, THREADS, ROUNDS = 512, 40, 100, 2, 5


def run(name: str) -> dict[str, Any]:
    """Tokens per second of prefill and of decoding for llama.cpp and for two of our precisions."""
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
            str(target), n_ctx=1_024, n_threads=THREADS, n_threads_batch=THREADS, verbose=False
        )
        kernels = kernels_for("auto")
        ours = {p: Subject(import_gguf(source, kernels, p), kernels) for p in ("w8a8", "w8a16")}
        first = ours["w8a8"].model
        ids = np.frombuffer(token_request(first, PREFILL, 1).inputs[0][1], "<i4").tolist()

        def eval_prompt(count: int) -> None:
            theirs.reset()
            theirs.eval(ids[:count])

        def eval_tokens() -> None:
            for token in ids[:TOKENS]:
                theirs.eval([token])

        def our(subject: Subject, prompt: int, count: int) -> Callable[[], object]:
            request = token_request(subject.model, prompt, count)
            return lambda: subject.commit(subject.execute(request))

        prefills = [lambda: eval_prompt(PREFILL), *(our(s, PREFILL, 1) for s in ours.values())]
        for action in prefills:
            action()
        prefill = in_turn(prefills, ROUNDS)
        decoding: list[list[float]] = []
        for _ in range(ROUNDS):
            eval_prompt(PROMPT)
            row = [seconds(eval_tokens)]
            for s in ours.values():
                whole, head = seconds(our(s, PROMPT, TOKENS + 1)), seconds(our(s, PROMPT, 1))
                row.append(whole - head)
            decoding.append(row)
        decode = [median(c) for c in zip(*decoding, strict=True)]
        names = ["llama.cpp Q8_0", *(f"ours {p}, committing included" for p in ours)]
        return {
            "rows": [
                {
                    "engine": engine,
                    "prefill_tokens_per_second": PREFILL / p,
                    "decode_tokens_per_second": TOKENS / d,
                    "prefill_over_llama": prefill[0] / p,
                    "decode_over_llama": decode[0] / d,
                }
                for engine, p, d in zip(names, prefill, decode, strict=True)
            ],
            "note": f"{name}: prefill of {PREFILL}, {TOKENS} tokens decoded after {PROMPT}, "
            f"{THREADS} threads, {ROUNDS} rounds in turn",
        }
