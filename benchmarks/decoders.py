"""Measures how fast decoders of several families decode, beside one of the Llama kind.

``python -m benchmarks.decoders`` runs it.

All have the same matrices: of as many rows and columns, or mixtures whose chosen experts together have as
many. So what differs is everything besides products. Weights are random. Families take turns, and the best
median step of several rounds counts, since other work on the machine can only slow a round down. On a busy
machine, ``NUMBA_NUM_THREADS=1`` and ``--processor-time`` give steadier ratios, of the time of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from secrets import token_bytes

import numpy as np

from proofcompute.arithmetic.devices import kernels_for
from proofcompute.arithmetic.kernels import Kernels
from proofcompute.commitments.signing import NodeIdentity
from proofcompute.importers.architecture import Arch, Attention, Block, Latent, Mlp, Moe, Norm
from proofcompute.protocol.messages import Generation, Request
from proofcompute.prover.node import Node
from proofcompute.testing.models import Shape, random_decoder

WIDTH, HIDDEN, VOCABULARY = 576, 1536, 8192
"""Columns of the residual stream, width of a gated feed-forward layer, and tokens: those of a model of 135
million parameters, with a smaller vocabulary."""


def families(layers: int) -> Mapping[str, Arch]:
    """Return descriptions with the matrices of the first, or mixtures of as many active parameters."""
    llama = Shape(layers, WIDTH, 9, 3, HIDDEN, VOCABULARY).arch
    block, rms = llama.blocks[0], llama.norm
    layer, bias = Norm("layer", rms.eps), Norm("layer", rms.eps, bias=True)
    plain = Mlp(HIDDEN * 3 // 2, "gelu_tanh", gated=False, bias=True)  # as many elements in two matrices
    by_head = replace(block.attention, qk_norm="head", norm=rms)
    biased = replace(block.attention, bias=True, o_bias=True)
    gemma = Mlp(HIDDEN, "gelu_tanh")

    def of(
        name: str,
        attention: Attention,
        ffn: Mlp | Moe,
        norm: Norm = rms,
        norms: str = "pre",
        parallel: str = "",
    ) -> Arch:
        return replace(
            llama, family=name, blocks=(Block(attention, ffn, norm, norms, parallel),) * layers, norm=norm
        )

    latent = Attention(
        9, 9, 96, 64, block.attention.scale, block.attention.rope, latent=Latent(0, 128, 32, 64, rms)
    )
    eight = Moe(8, 2, Mlp(HIDDEN // 2, "silu"), when="after")
    many = Moe(64, 8, Mlp(HIDDEN // 8, "silu"), normalise=True)
    shared = Moe(32, 4, Mlp(HIDDEN // 8, "silu"), score="sigmoid", groups=4, top_groups=2, group_score="top2",
                 shared=Mlp(HIDDEN // 2, "silu"))  # fmt: skip
    limited = Mlp(HIDDEN // 2, "silu", bias=True, alpha=1.702, limit=7.0)
    sinks = replace(biased, sinks=True, window=128)
    return {
        "llama": llama,
        "qwen3": of("qwen3", by_head, block.ffn),
        "gemma2": replace(
            of("gemma2", replace(block.attention, softcap=50.0), gemma, norms="both"), final_softcap=30.0
        ),
        "gemma3": of("gemma3", by_head, gemma, norms="both"),
        "olmo2": of("olmo2", replace(block.attention, qk_norm="full", norm=rms), block.ffn, norms="post"),
        "cohere": of("cohere", block.attention, block.ffn, layer, parallel="one"),
        "phi": of("phi", biased, plain, bias, parallel="one"),
        "gpt2": replace(of("gpt2", replace(biased, rope=None), plain, bias), positions=4096),
        "mixtral": of("mixtral", block.attention, eight),
        "qwen3-moe": of("qwen3_moe", by_head, many),
        "gpt-oss": of("gpt_oss", sinks, Moe(8, 2, limited, when="after", router_bias=True)),
        "deepseek": of("deepseek_v3", latent, shared),
    }


class Decoder:
    """A node of one family, and the best time of a step by the number of live requests."""

    def __init__(self, arch: Arch, kernels: Kernels, precision: str) -> None:
        self.node = Node(random_decoder(arch, precision, kernels), NodeIdentity(bytes(32)), device=kernels)
        self.best: dict[int, float] = {}

    def measure(self, live: int, prompt: int, count: int, clock: Callable[[], float]) -> None:
        """Run ``live`` requests at once, and note the median step in which all decode."""
        rng, engine = np.random.default_rng(0), self.node.engine
        steps = []
        sessions = []
        for _ in range(live):
            tokens = rng.integers(0, VOCABULARY, prompt).astype("<i4").tobytes()
            how = Generation(count, stops=())
            sessions.append(
                engine.add(Request(self.node.card.model_id, (("tokens", tokens),), token_bytes(32), how))
            )
        while any(s.running for s in sessions):
            decoding = all(s.emitted for s in sessions)
            before = clock()
            engine.step()
            if decoding:
                steps.append(clock() - before)
        if any(s.error is not None or s.emitted != count for s in sessions):
            raise SystemExit("a request ended early")
        self.best[live] = min(self.best.get(live, float("inf")), sorted(steps)[len(steps) // 2])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Steps of decoders of several families.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="w8a16")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--processor-time", action="store_true", help="instead of the time that passes")
    parser.add_argument("--family", nargs="+", help="these besides llama, and not all")
    options = parser.parse_args()
    kernels = kernels_for(options.device)
    clock = time.thread_time if options.processor_time else time.perf_counter
    chosen = {
        name: Decoder(arch, kernels, options.precision)
        for name, arch in families(options.layers).items()
        if not options.family or name in ("llama", *options.family)
    }
    for decoder in chosen.values():
        decoder.measure(1, options.prompt, 32, clock)  # compiles
        decoder.best.clear()
    for _ in range(options.rounds):
        for live in options.live:
            for decoder in chosen.values():
                decoder.measure(live, options.prompt, options.count, clock)
    print("family     ", *(f"{live:>3} live: step ms   to llama" for live in options.live))
    for name, decoder in chosen.items():
        figures = [(decoder.best[live], chosen["llama"].best[live]) for live in options.live]
        print(f"{name:11}", *(f"{1e3 * best:18.2f} {best / base:10.2f}" for best, base in figures))


if __name__ == "__main__":
    main()
