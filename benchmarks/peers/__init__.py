"""Measures other systems and ours on one machine in one run: `python -m benchmarks.peers -o DIR`."""
