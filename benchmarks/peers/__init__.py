"""Other systems beside ours, on one machine in one run: `python -m benchmarks.peers -o DIR`."""
