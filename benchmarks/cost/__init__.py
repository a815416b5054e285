"""Estimates what a node's work costs on a GPU: counts bytes and operations, and bounds their time from below.

The launches are those of the CUDA backend itself, run on a device without memory (:mod:`.device`); the cost
of each follows from its arguments (:mod:`.counts`). ``python -m benchmarks.cost`` writes the tables of
``docs/gpu-cost.md``.
"""
