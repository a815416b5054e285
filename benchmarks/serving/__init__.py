"""Measures a node as a service beside other servers on one machine: `python -m benchmarks.serving -o DIR`."""
