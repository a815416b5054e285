"""What a node's work costs on a GPU: bytes and operations, counted, and the time that they take at least.

The launches are those of the CUDA backend itself, run on a device without memory (:mod:`.device`); what each
costs follows from its arguments (:mod:`.counts`). ``python -m benchmarks.cost`` writes the tables of
``docs/gpu-cost.md``.
"""
