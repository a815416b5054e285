"""Commitments: hash suites, Merkle trees, the leaves of a trace, and node signatures."""
