"""Measures audits of Llama-3.1-8B and 70B shapes with synthetic weights: `python -m benchmarks.scale`."""
