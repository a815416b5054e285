"""Figures that others published about their systems: constants, never measured here, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PUBLISHED", "Published"]


@dataclass(frozen=True)
class Published:
    """What one system's authors say."""

    system: str
    guarantee: str
    prover: str
    verifier: str
    size: str
    source: str


_ITS = "published by its authors, not measured here"

PUBLISHED = (
    Published(
        "CommitLLM",
        "secret-key Freivalds on products, commit and audit; attention not verified",
        "12-14 % online, 225-554 % with finalisation (A100)",
        "70B: 1.3 ms/token for 10 layers, 10 ms for all (Apple M4)",
        "opening 4-6 MB/token (8B)",
        _ITS,
    ),
    Published(
        "Verathos",
        "sumcheck over committed weights, 2 of 32 layers a request: detection 6.25 %",
        "1-8 %",
        "4-200 ms",
        "50-100 KB/response",
        _ITS,
    ),
    Published(
        "DiFR",
        "statistical (AUC above 0.999 for 4-bit substitutes)",
        "0",
        "a forward pass on a GPU with all weights",
        "0",
        _ITS,
    ),
    Published(
        "Slalom",
        "Freivalds for linear layers, the rest in an enclave",
        "-",
        "6-20 times faster than all in the enclave",
        "-",
        "F. Tramer and D. Boneh, ICLR 2019",
    ),
    Published(
        "DeepProve",
        "zero-knowledge",
        "GPT-2, 512 tokens: 7.6 min (24 cores, 504 GB)",
        "1.3 s",
        "10.7 MiB",
        "README of github.com/Lagrange-Labs/deep-prove",
    ),
    Published(
        "Jolt Atlas",
        "zero-knowledge",
        "GPT-2 14.9 s, nanoGPT 2.3 s (Apple M3)",
        "1.04 s; 0.13 s",
        "-",
        _ITS,
    ),
    Published(
        "Verde / RepOps",
        "refereed, bit-exact float operators",
        "+30 % for products, about 60 % on a 1B model",
        "a referee reruns one operator",
        "-",
        _ITS,
    ),
    Published("TAO", "tolerance with bounds, dispute", "+0.3 %", "a rerun of one operator", "-", _ITS),
    Published(
        "VeriLLM", "rerun as one prefill", "about 0", "about 1 % of inference, GPU", "-", "arXiv:2509.24257"
    ),
)
