"""Lists figures that others published about their systems: constants, never measured here.

Each was compared with a copy of its source on the day in ``checked``. What was not found there is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """The figures that one system's authors publish."""

    system: str
    guarantee: str
    prover: str
    verifier: str
    size: str
    source: str
    """Title, place in it, and its date or version."""
    checked: str
    """The day on which the figures were found there."""


_DAY = "2026-11-24"

PUBLISHED = (
    Published(
        "CommitLLM",
        "secret-key Freivalds on weight products, commit and audit; attention outputs not verified",
        "12.1-13.8 % while generating, 225-554 % with the receipt's finalisation (A100)",
        "Llama 70B, one token: 1.27 ms for 10 layers, 10.1 ms for all 80 (Apple M4)",
        "about 144 KB/token retained for audits (8B)",
        "paper/main.typ of github.com/lambdaclass/CommitLLM, Provider Costs (snapshot of 2026-04-01, commit "
        "96d2ed7); attention: README, Verification Coverage",
        _DAY,
    ),
    Published(
        "Verathos",
        "sumcheck over committed weights, 2 of 32 layers a request: detection 6.25 %",
        "1-3 % (dense 8B), 3-8 % (14-32B), below 1 % (MoE); sampling adds about 10 %",
        "4-200 ms",
        "50-100 KB/response",
        "docs/inference_protocol.md of github.com/verathos-ai/verathos, Performance and Detection "
        "Probability (commit b2dce41)",
        _DAY,
    ),
    Published(
        "DiFR",
        "statistical: 4-bit weights found with AUC above 0.999 in 300 tokens (from tokens alone), in 2 (from "
        "activations)",
        "none (tokens alone)",
        "a reference run with the weights",
        "nothing beside the tokens",
        "A. Karvonen and others, DiFR: Inference Verification Despite Nondeterminism, arXiv:2511.20621v1, "
        "abstract (2025)",
        _DAY,
    ),
    Published(
        "Slalom",
        "Freivalds for linear layers, the rest in an enclave",
        "-",
        "6-20 times the throughput of everything in the enclave",
        "-",
        "F. Tramer and D. Boneh, Slalom: Fast, Verifiable and Private Execution of Neural Networks in "
        "Trusted Hardware, ICLR 2019, abstract",
        _DAY,
    ),
    Published(
        "DeepProve",
        "zero-knowledge",
        "GPT-2, 512 tokens: 7.6 min (24 cores, 504 GB)",
        "1.3 s",
        "10.7 MiB",
        "README of github.com/Lagrange-Labs/deep-prove, Headline Numbers",
        _DAY,
    ),
    Published(
        "Jolt Atlas",
        "zero-knowledge",
        "GPT-2 14.9 s, nanoGPT 2.29 s (Apple M3)",
        "1.04 s; 0.13 s",
        "-",
        "README of github.com/ICME-Lab/jolt-atlas, Benchmarks (an earlier version has 14 s for nanoGPT)",
        _DAY,
    ),
    Published(
        "Verde / RepOps",
        "refereed: right if one of several provers is honest; operators reproduced bit for bit",
        "-",
        "-",
        "-",
        "A. Arun and others, Verde: Verification via Refereed Delegation for Machine Learning Programs, "
        "arXiv:2502.19405v1, abstract (2025), which gives no figure",
        _DAY,
    ),
    Published(
        "TAO",
        "tolerance within sound and calibrated bounds, dispute",
        "+0.3 % (Qwen3-8B, FP32)",
        "a bound check or a vote on one operator",
        "-",
        "J. Yao and others, TAO: Tolerance-Aware Optimistic Verification for Floating-Point Neural Networks, "
        "arXiv:2510.16028v3, abstract (2026)",
        _DAY,
    ),
    Published(
        "VeriLLM",
        "empirical rerun as one prefill",
        "-",
        "about 1 % of inference, on a GPU",
        "-",
        "K. Wang and others, VeriLLM: A Lightweight Framework for Publicly Verifiable Decentralized "
        "Inference, arXiv:2509.24257v4, abstract (2026)",
        _DAY,
    ),
)
