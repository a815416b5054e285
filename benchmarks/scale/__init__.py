"""Auditing at the sizes of Llama-3.1-8B and 70B, on synthetic weights: `python -m benchmarks.scale`."""
